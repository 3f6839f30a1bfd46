"""Has client make rows of calls to echo, and looks each call up in Zipkin by the id of its trace."""

from loadtests.clients.traced import PORT, ZIPKIN, TracedRow
from loadtests.entries.question import LEADING, ResponseCheck
from loadtests.rules.traces import traced
from loadtests.samples.echo import CALLED, READ, through

URI = "/calls/40/echo/"
"""Forty calls to echo for one request."""

QUESTION = ResponseCheck(
    namespace="echo",
    kinds=(*LEADING, "telemetries.telemetry.istio.io", "deployments.apps"),
    expectation=traced,
    classes={
        "calls": {
            **CALLED, **READ, "caller": {"app": "client"}, "sidecar": True,
            "collector": (f"{ZIPKIN.name}.{ZIPKIN.namespace}.svc.cluster.local", PORT),
            **through("client", URI),
        }
    },
    proxies=(("echo", "client"), ("echo", "echo")),
    requires=(ZIPKIN,),
)  # fmt: skip
TRAFFIC = {"calls": TracedRow(URI, "client.lab.internal")}
