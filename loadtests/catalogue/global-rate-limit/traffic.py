"""Rows of requests, one user per row: to a service with quotas, and to two whose rate limit service is down."""

from dataclasses import replace

from loadtests.clients.http import Row
from loadtests.entries.question import GATEWAY, ROUTING, ResponseCheck, enters
from loadtests.mesh.requirements import Program
from loadtests.rules.calls import Call
from loadtests.rules.quotas import quota
from loadtests.samples.quota import by_status

ROW, SAMPLE = 12, "make load deploys it with the sample"
REQUESTS = {
    "limited path": ("shop", "/limited"),
    "other path": ("shop", "/free"),
    "service down, open": ("lenient", "/limited"),
    "service down, closed": ("strict", "/limited"),
}


def by_users(app: str, uri: str) -> Call:
    """A call of some user that enters by the ingress gateway."""
    return replace(enters(f"{app}.lab.internal", "quota/quota", uri), varied=frozenset(("x-user",)))


QUESTION = ResponseCheck(
    namespace="quota",
    kinds=(*ROUTING, "envoyfilters.networking.istio.io", "deployments.apps", "configmaps"),
    expectation=quota,
    classes={
        name: {
            "namespace": "quota", "app": app, "port": 8080, "call": by_users(app, uri), "row": ROW, "config": "ratelimit",
            "service": ("ratelimit.quota.svc.cluster.local", 8081),
        }
        for name, (app, uri) in REQUESTS.items()
    },
    proxies=(("quota", "shop"), ("quota", "lenient"), ("quota", "strict"), GATEWAY),
    requires=(Program("quota", "ratelimit", SAMPLE), Program("quota", "redis", SAMPLE)),
    margin=0.15,
)  # fmt: skip
TRAFFIC = {name: Row(uri, f"{app}.lab.internal", count=ROW, label=by_status) for name, (app, uri) in REQUESTS.items()}
