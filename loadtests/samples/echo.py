"""The echo sample for entries: callers with and without a sidecar, and how to read answers and rows of calls."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from loadtests.clients import secure
from loadtests.clients.http import Fetch
from loadtests.clients.websocket import Exchanged
from loadtests.entries import question
from loadtests.entries.question import SECURITY, ResponseCheck, enters
from loadtests.mesh.cluster import Cluster
from loadtests.mesh.credentials import ensure_server_tls
from loadtests.rules.authorization import OUTSIDE
from loadtests.rules.calls import Call, Caller
from loadtests.rules.security import REFUSED, permitted
from loadtests.rules.workloads import BY_GATEWAY, INGRESS_PRINCIPAL


def called(response: Any) -> str:
    """The status that a caller of the echo sample received, or ``refused`` without a response."""
    status = response.json()["status"]
    return f"HTTP {status}" if status else REFUSED


def principal(account: str) -> str:
    """What the certificate of a caller names."""
    return f"cluster.local/ns/echo/sa/{account}"


READ = {"method": "GET", "uri": "/", "authority": "echo:8080"}
"""How callers ask echo."""

CALLED = {"namespace": "echo", "app": "echo", "port": 8080}
"""The workload that callers call."""

UPGRADE = {"upgrade": "websocket", "connection": "Upgrade"}
"""With which a client asks for a WebSocket."""

GATEWAY = "echo/echo"
"""The Gateway by which requests from outside enter."""


def from_outside(uri: str) -> dict[str, Any]:
    """A client's request to echo, which the gateway makes for it."""
    call = {"principal": INGRESS_PRINCIPAL, "method": "GET", "uri": uri, "authority": "echo.lab.internal", "client": OUTSIDE}
    return {**CALLED, **BY_GATEWAY, **call, "gateway": GATEWAY}


def through(app: str, uri: str, method: str = "GET") -> dict[str, Any]:
    """How a request gets to client, auditor, or legacy, which has no sidecar: see :func:`question.through`."""
    return question.through(GATEWAY, f"{app}.lab.internal", app, uri, method, proxied=app != "legacy")


def by_client(app: str, uri: str = "/", method: str = "GET") -> Call:
    """A call that client makes."""
    return Call(f"{app}:8080", 8080, Caller("echo", {"app": "client"}, all_labels=False), uri, method)


TLS_NAMES = "*.sni.lab.internal"
"""The certificate by which the sample serves TLS is for these names."""


def answered_by(response: Any) -> str:
    """The service whose pod answered over TLS that nobody on the way terminated; the status if it is not 200."""
    return service(response.json()["pod"]) if response.status == 200 else secure.status(response)


def serve_tls(cluster: Cluster) -> bool:
    """Create that certificate, and the authority that signed it, which clients trust (Secret ``sni-ca``)."""
    return ensure_server_tls(cluster, TLS_NAMES, "sni", "echo", "pool", "legacy", "client")


def by_users(app: str, uri: str = "/") -> Call:
    """A call of some user, named in the header ``x-user``, that enters by the ingress gateway."""
    return replace(enters(f"{app}.lab.internal", GATEWAY, uri), varied=frozenset(("x-user",)))


ENCRYPTED = ResponseCheck(
    namespace="echo",
    kinds=SECURITY,
    expectation=permitted,
    classes={
        "with a sidecar": {
            **CALLED,
            "principal": principal("client"),
            "caller": {"app": "client"},
            **READ,
            **through("client", "/call/echo/"),
        },
        "without a sidecar": {
            **CALLED,
            "principal": "",
            "caller": {"app": "legacy"},
            **READ,
            **through("legacy", "/call/echo/"),
        },
    },
)
"""Whether echo answers callers with, and without, a mesh certificate."""
CALLERS = {
    "with a sidecar": Fetch("/call/echo/", "client.lab.internal", label=called),
    "without a sidecar": Fetch("/call/echo/", "legacy.lab.internal", label=called),
}


def caller_shown(response: Any) -> str:
    """The identity in the caller's certificate, as reported by the callee's sidecar; ``nobody`` without one."""
    body = response.json()["body"]
    header = body["headers"].get("x-forwarded-client-cert", "") if isinstance(body, dict) else ""
    found = re.findall(r"URI=([^;,]+)", header)
    return str(found[-1]) if found else "nobody"


def turns(row: int, pods: int) -> Callable[[Any], str]:
    """Label for a row of calls: whether each of the ``pods`` got the same number."""

    def label(response: Any) -> str:
        answered = response.json()["pods"]
        return "in turn" if sorted(answered.count(p) for p in set(answered)) == [row // pods] * pods else "not in turn"

    return label


def through_client(uri: str, method: str = "GET", label: Callable[[Any], str] = called) -> Fetch:
    """A request by which client makes such a call to echo."""
    return Fetch(f"/call/echo{uri}", "client.lab.internal", method, label=label)


def service(pod: str) -> str:
    """The service of a pod: its name without what the Deployment adds."""
    return pod.rsplit("-", 2)[0]


def conversed(exchanged: Exchanged) -> str:
    """The service whose pod returned all messages of a WebSocket."""
    replies = [json.loads(reply) for _, reply in exchanged]
    if [reply["message"] for reply in replies] != [message for message, _ in exchanged]:
        return "other messages"
    pods = {str(reply["pod"]) for reply in replies}
    return service(pods.pop()) if len(pods) == 1 else "several pods"


def answerers(row: Mapping[str, Sequence[Any]], expected_failure: int | None = None) -> str:
    """The services that answered a row of calls; statuses other than 200 as they are.

    :param row: statuses and pods, as callers report them
    :param expected_failure: a status that does not count
    """
    answers = [(status, pod) for status, pod in zip(row["statuses"], row["pods"], strict=True) if status != expected_failure]
    found = {service(pod) if status == 200 else f"HTTP {status}" if status else REFUSED for status, pod in answers}
    return " and ".join(sorted(found)) or "nobody"


def taken_over(response: Any) -> str:
    """Who answered before, while, and after the pods of a service failed, and how many calls failed."""
    rows = response.json()
    during = rows["during"]["statuses"]
    order = [answerers(rows["before"]), answerers(rows["during"], expected_failure=503), answerers(rows["after"])]
    return f"{during.count(503)} of {len(during)} failed; {', then '.join(order)}"


REPORTED = 200
"""How many characters of a text callers report."""


def called_service(response: Any) -> str:
    """The service that answered client's call; the status if it is not 200."""
    body = response.json()
    return service(body["body"]["pod"]) if body["status"] == 200 else called(response)


def called_text(response: Any) -> str:
    """The status that client received, with the text of an answer that is none of the sample's."""
    body = response.json()["body"]
    return f"{called(response)} {body if isinstance(body, str) else ''}".rstrip()
