"""The billing sample for entries: how to pay, and how to read the response and msgd's own count."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from loadtests.clients.http import Fetch
from loadtests.entries.question import LEADING, ResponseCheck, between, through
from loadtests.mesh.cluster import Cluster
from loadtests.rules.calls import Call, Caller
from loadtests.rules.egress import reached

HOST = "billing.lab.internal"
WITNESS = "witness:http"
"""Service and port of the pod without a sidecar that reads msgd's count."""
PAY = "/pay/load"


def outcome(response: Any) -> str:
    """Status, and the hop that failed: ``HTTP 500 at http://msgd...``."""
    failed = response.json().get("failed")
    return f"HTTP {response.status_code}" + (f" at {failed}" if failed else "")


def path_taken(response: Any) -> str:
    """Status, and the gateway whose header the last call had."""
    by = response.json().get("by")
    return f"{outcome(response)} by {by}" if by else outcome(response)


def release(response: Any) -> str:
    """The release of svcb that handled the call."""
    return str(response.json()["svcb"])


def paid(path: str, label: Callable[[Any], str] = outcome) -> Fetch:
    """A payment through the gateway."""
    return Fetch(path, HOST, label=label)


def sent_to_msgd(cluster: Cluster) -> int:
    """Payments that msgd has received so far, by its own count, read through a pod without a sidecar."""
    return int(cluster.ask(f"/api/v1/namespaces/{cluster.namespace}/services/{WITNESS}/proxy/received/load")["received"])


TO_SVCA = through("billing/billing", HOST, "svca", PAY)
"""How a payment enters; a part of requests about calls that follow from it."""
TO_SVCB = Call("svcb:8080", 8080, Caller("billing", {"app": "svca"}, all_labels=False), "/notify/load")
MSGD = "msgd.outside.internal"
TO_MSGD: dict[str, Any] = {
    "call": Call(MSGD, 9997, Caller("billing", {"app": "svcb"}, all_labels=False), "/send"),
    "through": (*TO_SVCA["through"], between("billing", "svca", "svca", "svcb", TO_SVCB.uri, TO_SVCB.port)),
}
BY_SVCB: dict[str, Any] = {
    "call": TO_SVCB,
    **TO_SVCA,
    "onward": ({"call": TO_MSGD["call"], "app": MSGD, "namespace": "billing", "port": 9997, "within": 2.0},),
}
"""A payment as far as svcb, which says its release even if msgd fails, but not after the 5 s for which svca waits."""
MSGD_REACHED = ResponseCheck(
    namespace="billing",
    kinds=LEADING,
    expectation=reached,
    classes={"pay": TO_MSGD},
    server=sent_to_msgd,
    at_server={**TO_MSGD, "at_server": True},
)
"""Whether payments reach msgd, according to their responses and to msgd itself."""
