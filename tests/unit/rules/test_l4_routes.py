"""Expectations for TLSRoutes and TCPRoutes."""

from __future__ import annotations

from typing import Any

import pytest

from loadtests.entries.question import ResponseCheck
from loadtests.rules.l4_routes import tcp_shared, tls_passed
from loadtests.rules.responses import CLOSED
from loadtests.verdict import Expected
from tests.unit.rules import test_ingress
from tests.unit.rules.test_ingress import PARENT, SERVICES, gateway, service
from tests.unit.rules.test_listeners import grant, istios, rules_for

TLS = {"port": 443, "protocol": "TLS", "tls": {"mode": "Passthrough"}}
TCP = {"port": 443, "protocol": "TCP"}
REQUEST: dict[str, Any] = {
    "gateway": ("istio-system", "ingress"), "port": 443, "authority": "a.lab", "servers": {"s": "by s", "t": "by t"},
}  # fmt: skip


def to(*weights: tuple[str, int | None], **more: Any) -> dict[str, Any]:
    named = [{"name": n, "port": 80, **({} if weight is None else {"weight": weight})} for n, weight in weights]
    return {"backendRefs": named, **more}


S, T = to(("s", None)), to(("t", None))


def tls_route(name: str, *rules: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {**test_ingress.route(name, *rules, **more), "kind": "TLSRoute"}


def tcp_route(name: str, *rules: dict[str, Any], **more: Any) -> dict[str, Any]:
    made = {**test_ingress.route(name, *rules, **more), "kind": "TCPRoute"}
    return {**made, "spec": {key: value for key, value in made["spec"].items() if key != "hostnames"}}


def expected(*objects: dict[str, Any], **request: Any) -> Expected:
    expectation = tls_passed if any(o["kind"] == "TLSRoute" for o in objects) else tcp_shared
    return ResponseCheck((), expectation, {"call": {**REQUEST, **request}}).expect([*SERVICES, *objects]).expected


def shares(*objects: dict[str, Any], **request: Any) -> dict[str, float]:
    found = expected(*objects, **request)
    assert (found.broken, found.unknown) == ((), {})
    return dict(found.shares["call"])


def unknown(*objects: dict[str, Any], **request: Any) -> str:
    found = expected(*objects, **request)
    assert (found.broken, found.shares) == ((), {})
    return found.unknown["call"][0]


@pytest.mark.parametrize(
    ("rule", "wanted"),
    [
        (S, {"by s": 1.0}),
        (to(("s", 8), ("t", 2)), {"by s": 0.8, "by t": 0.2}),
        (to(("s", 3), ("t", None)), {"by s": 0.75, "by t": 0.25}),
        (to(("s", None), ("t", 0)), {"by s": 1.0}),
        (to(("s", None), ("unknown", 0)), {"by s": 1.0}),
        (to(("s", 1), ("s", 2), ("t", 1)), {"by s": 0.75, "by t": 0.25}),
        (to(("s", 0)), {CLOSED: 1.0}),
        ({**S, "name": "first"}, {"by s": 1.0}),
    ],
)
def test_weights(rule: dict[str, Any], wanted: dict[str, float]) -> None:
    assert shares(gateway(TLS), tls_route("r", rule)) == wanted
    assert shares(gateway(TCP), tcp_route("r", rule)) == wanted


@pytest.mark.parametrize(
    ("listeners", "routes", "outcome"),
    [
        ([TLS], [tls_route("r", S, hosts=["*.lab"])], "by s"),
        ([TLS], [tls_route("r", S, hosts=["A.lab"])], "by s"),
        ([TLS], [tls_route("r", S, hosts=["b.lab"])], CLOSED),
        ([TLS], [tls_route("r", T, hosts=["*.lab"]), tls_route("q", S)], "by s"),
        ([TLS], [tls_route("r", T, hosts=["*.b.lab"]), tls_route("q", S, hosts=["*.lab"])], "by s"),
        # A route without a weighted backend has no server names.
        ([TLS], [tls_route("r", T, hosts=["*.lab"]), tls_route("q", to(("s", 0)))], "by t"),
        # What a listener serves limits a route.
        ([{**TLS, "hostname": "*.lab"}], [tls_route("r", S)], "by s"),
        ([{**TLS, "hostname": "*.b.lab"}], [tls_route("r", S, hosts=["*.lab"])], CLOSED),
        ([{**TLS, "hostname": "a.lab"}], [tls_route("r", S, hosts=["*.lab"])], "by s"),
        (
            [{**TLS, "hostname": "a.lab"}, {**TLS, "hostname": "*.lab"}],
            [
                tls_route("r", S, hosts=["*.lab"], parents=[{**PARENT, "sectionName": "l0"}]),
                tls_route("q", T, hosts=["*.lab"], parents=[{**PARENT, "sectionName": "l1"}]),
            ],
            "by s",
        ),
        ([TLS], [tls_route("r", S, parents=[{**PARENT, "sectionName": "l1"}])], CLOSED),
        ([TLS], [tls_route("r", S, parents=[{**PARENT, "port": 443}])], "by s"),
        ([TLS], [tls_route("r", S, parents=[{**PARENT, "port": 80}])], CLOSED),
        ([{**TLS, "allowedRoutes": {}}], [tls_route("r", S)], CLOSED),
        ([TLS], [tls_route("r", S), tls_route("q", T, hosts=["b.lab"], parents=[PARENT])], "by s"),
        # Whatever a route says that has no bearing.
        ([TLS], [tls_route("r", S), tls_route("q", {**T, "new": 1}, hosts=["b.lab"])], "by s"),
        ([TLS], [tls_route("r", S), {**tls_route("q", T), "kind": "HTTPRoute"}], "by s"),
    ],
)
def test_server_names(listeners: list[dict[str, Any]], routes: list[dict[str, Any]], outcome: str) -> None:
    assert shares(gateway(*listeners), *routes) == {outcome: 1.0}


@pytest.mark.parametrize(
    ("routes", "outcome"),
    [
        ([tcp_route("b", S, made="1"), tcp_route("a", T, made="2")], "by s"),
        ([tcp_route("b", T), tcp_route("a", S)], "by s"),
        ([tcp_route("a", T), tcp_route("a-b", S)], "by s"),
        ([tcp_route("a", T, parents=[{**PARENT, "port": 80}]), tcp_route("b", S)], "by s"),
        ([tcp_route("a", T, parents=[{**PARENT, "sectionName": "other"}]), tcp_route("b", S)], "by s"),
        ([tcp_route("a", S, parents=[{**PARENT, "port": 443}, {**PARENT, "sectionName": "other"}])], "by s"),
        ([tcp_route("a", S), tcp_route("b", {**T, "new": 1})], "by s"),
    ],
)
def test_a_listener_for_tcp_has_its_oldest_route(routes: list[dict[str, Any]], outcome: str) -> None:
    assert shares(gateway(TCP), *routes) == {outcome: 1.0}


def of_shop(made: dict[str, Any]) -> dict[str, Any]:
    return {**made, "metadata": {**made["metadata"], "namespace": "shop"}}


def test_of_two_namespaces_tcp_routes_of_one_age_are_taken_by_name() -> None:
    at, theirs = {"servers": {"s": "by s", "bookinfo/s": "by s", "shop/t": "by t"}}, service("t", "shop")
    assert shares(gateway(TCP), theirs, tcp_route("b", S), of_shop(tcp_route("a", T)), **at) == {"by t": 1.0}
    assert shares(gateway(TCP), theirs, tcp_route("a", S), of_shop(tcp_route("b", T)), **at) == {"by s": 1.0}
    assert unknown(gateway(TCP), theirs, tcp_route("a", S), of_shop(tcp_route("a", T)), **at) == "TCPRoute a: metadata.name"


def test_a_listener_without_a_route_makes_no_promise() -> None:
    assert expected(gateway(TCP)).broken == ("call: no TCPRoute of Gateway istio-system/ingress is for port 443",)


OTHER_TLS = istios(["*"], protocol="TLS", port=8443, tls={"mode": "PASSTHROUGH"})


@pytest.mark.parametrize(
    ("objects", "path"),
    [
        ([gateway({**TLS, "tls": {"mode": "Terminate"}}), tls_route("r", S)], "Gateway ingress: spec.listeners[0].tls.mode"),
        ([gateway({**TLS, "tls": None}), tls_route("r", S)], "Gateway ingress: spec.listeners[0].tls.mode"),
        (
            [gateway({**TLS, "tls": {"mode": "Passthrough", "options": {"a": "b"}}}), tls_route("r", S)],
            "Gateway ingress: spec.listeners[0].tls.options.a",
        ),
        ([gateway(TLS), tls_route("r", S), tls_route("q", T)], "TLSRoute r: spec.hostnames"),
        ([gateway(TLS), tls_route("r", S, S)], "TLSRoute r: spec.rules"),
        ([gateway(TLS), tls_route("r", {**S, "new": 1})], "TLSRoute r: spec.rules[0].new"),
        ([gateway(TLS), tls_route("r", to(("other", 1)))], "TLSRoute r: spec.rules[0].backendRefs[0].name"),
        ([gateway(TLS), tls_route("r", S), *OTHER_TLS], "Gateway own: spec.servers"),
        ([gateway(TLS), tls_route("r", S), rules_for("s", tls={"mode": "SIMPLE"})], "DestinationRule d: spec.trafficPolicy"),
        ([gateway(TCP), tcp_route("r", S, T)], "TCPRoute r: spec.rules"),
        ([gateway(TCP), tcp_route("r", to(("nobody", 1)))], "TCPRoute r: spec.rules[0].backendRefs[0].name"),
        (
            [gateway(TCP), tcp_route("r", {"backendRefs": [{"name": "s", "port": 81}]})],
            "TCPRoute r: spec.rules[0].backendRefs[0].port",
        ),
        ([gateway(TCP), tcp_route("r", S), *OTHER_TLS], "Gateway own: spec.servers"),
    ],
)
def test_what_is_not_modelled_is_named(objects: list[dict[str, Any]], path: str) -> None:
    assert unknown(*objects).startswith(path)


def test_a_service_of_another_namespace_needs_a_grant() -> None:
    rule = {"backendRefs": [{"name": "s", "namespace": "shop", "port": 80}]}
    for made, listener, kind in ((tls_route, TLS, "TLSRoute"), (tcp_route, TCP, "TCPRoute")):
        objects = [gateway(listener), service("s", "shop"), made("r", rule)]
        assert "no ReferenceGrant of shop" in unknown(*objects, servers={"shop/s": "by s"})
        assert "no ReferenceGrant of shop" in unknown(*objects, grant(), servers={"shop/s": "by s"}), "for HTTPRoutes"
        assert shares(*objects, grant(kind=kind), servers={"shop/s": "by s"}) == {"by s": 1.0}
