"""How long WebSockets stay open, as EnvoyFilters say."""

from __future__ import annotations

from typing import Any

import pytest

from loadtests.entries.question import ResponseCheck
from loadtests.rules.calls import Call, Caller
from loadtests.rules.websockets import closed_when_silent
from loadtests.verdict import Expected
from tests.unit import pods

CALL = Call("echo:8080", 8080, Caller("echo", {"app": "client"}, all_labels=False), "/websocket/idle")
CONTEXT = {"context": "SIDECAR_INBOUND"}
ECHO: dict[str, Any] = {"workloadSelector": {"labels": {"app": "echo"}}}


def thing(kind: str, name: str, **spec: Any) -> dict[str, Any]:
    metadata = {"name": name, "uid": f"{kind}/{name}", "generation": 1, "namespace": "echo"}
    return {"kind": kind, "metadata": metadata, "spec": spec}


SAMPLE = (
    thing("Service", "echo", ports=[{"name": "http", "port": 8080}], selector={"app": "echo"}),
    *(pods.pod(f"{app}-0", {"app": app}, "echo") for app in ("echo", "client")),
    thing("Deployment", "echo", template={"metadata": {"labels": {"app": "echo"}}}),
)


def patch(value: Any, match: dict[str, Any] = CONTEXT, to: str = "HTTP_ROUTE", operation: str = "MERGE") -> dict[str, Any]:
    return {"applyTo": to, "match": match, "patch": {"operation": operation, "value": value}}


def idle(duration: str, spelling: str = "idle_timeout", **more: Any) -> dict[str, Any]:
    return patch({"route": {spelling: duration}}, **more)


CLOSED, OPEN = "at most 7 s of silence, then closed", "open after 9 s"


def envoy(*patches: dict[str, Any], name: str = "f", **spec: Any) -> dict[str, Any]:
    return thing("EnvoyFilter", name, configPatches=list(patches), **ECHO | spec)


def expected(*objects: dict[str, Any], silence: float = 9, stays: float = 9) -> Expected:
    request = {"namespace": "echo", "app": "echo", "port": 8080, "call": CALL, "seconds": stays, "silence": silence}
    check = ResponseCheck((), closed_when_silent, {"connections": request}, namespace="echo")
    return check.expect([*SAMPLE, *objects]).expected


@pytest.mark.parametrize(
    ("filters", "silence", "outcome"),
    [
        ([envoy(idle("2s"))], 9, CLOSED),
        ([envoy(idle("2s", spelling="idleTimeout"))], 9, CLOSED),
        ([envoy(idle("2s"))], 1, OPEN),
        ([envoy(idle("2s"))], 3, CLOSED),
        ([envoy(idle("4s"))], 9, None),
        ([envoy(idle("20s"))], 9, OPEN),
        ([envoy(idle("0s"))], 9, OPEN),
        ([], 9, OPEN),
        ([envoy(idle("2s"), workloadSelector={"labels": {"app": "pool"}})], 9, OPEN),
        # What is not known: for some routes only, other proxies, several of them, other patches, and what may come first.
        ([envoy(idle("2s"), patch({"name": "another"}, to="HTTP_FILTER", operation="INSERT_FIRST"))], 9, None),
        ([envoy(idle("2s")), envoy(patch({"route": {"timeout": "9s"}}), name="g")], 9, None),
        ([envoy(idle("2s", match={**CONTEXT, "routeConfiguration": {"name": "inbound|8080||"}}))], 9, None),
        ([envoy(idle("2s", match={"context": "GATEWAY"}))], 9, None),
        ([envoy(idle("2s", match={}))], 9, None),
        ([envoy(idle("2s", to="VIRTUAL_HOST"))], 9, None),
        ([envoy(idle("2s", operation="INSERT_FIRST"))], 9, None),
        ([envoy(idle("2s"), idle("3s"))], 9, None),
        ([envoy(idle("2s")), envoy(idle("0s"), name="g")], 9, None),
        ([envoy(idle("2s"), workloadSelector={"labels": {"tier": "front"}})], 9, OPEN),
        ([envoy(idle("3.5s"))], 9, None),
        ([envoy(idle("2.5s"))], 9, None),
        ([envoy(idle("2s"))], 2, None),
    ],
)
def test_when_a_connection_is_closed(filters: list[dict[str, Any]], silence: float, outcome: str | None) -> None:
    found = expected(*filters, silence=silence)
    assert found.broken == ()
    assert (dict(found.shares), bool(found.unknown)) == (({"connections": {outcome: 1.0}}, False) if outcome else ({}, True))


def test_a_timeout_of_the_route_is_not_known() -> None:
    route = {"timeout": "1s", "route": [{"destination": {"host": "echo"}}]}
    found = expected(thing("VirtualService", "echo", hosts=["echo"], http=[route]))
    assert found.unknown == {"connections": ("VirtualService echo: spec.http[0].timeout",)}


def test_limits_of_the_connections_pool_are_not_known() -> None:
    policy = {"connectionPool": {"tcp": {"maxConnectionDuration": "1s"}}}
    found = expected(thing("DestinationRule", "echo", host="echo", trafficPolicy=policy))
    assert list(found.unknown) == ["connections"]
