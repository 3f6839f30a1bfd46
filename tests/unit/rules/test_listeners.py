"""Listeners of a Gateway of the Gateway API, as HTTPRoutes are read beside them, and what else enters by the same port."""

from __future__ import annotations

from typing import Any

import pytest

from loadtests.entries.question import ResponseCheck
from loadtests.rules import ingress
from loadtests.verdict import Expected
from tests.unit.rules.test_ingress import BASE, DOOR, PARENT, REQUEST, SERVICES, TO_OTHER, TO_S, gateway, route, service

ADMITS = {"allowedRoutes": {"namespaces": {"from": "All"}}}


def expected(*objects: dict[str, Any], expectation: Any = ingress.http_routed, **request: Any) -> Expected:
    return ResponseCheck((), expectation, {"call": {**REQUEST, **request}}).expect([*SERVICES, *objects]).expected


def outcome_of(*objects: dict[str, Any], **request: Any) -> str:
    """The outcome; the path of what is not modelled, or why the rules lead to no expectation."""
    found = expected(*objects, **request)
    if found.broken:
        return found.broken[0]
    if found.unknown:
        return found.unknown["call"][0]
    (outcome,) = found.shares["call"]
    return outcome


def allowed(**parts: Any) -> dict[str, Any]:
    return {"allowedRoutes": parts}


def named(**selector: Any) -> dict[str, Any]:
    return allowed(namespaces={"from": "Selector", "selector": selector})


LABEL = "kubernetes.io/metadata.name"
ADMITTED, NOT_ADMITTED = "HTTP 200", "call: no HTTPRoute of Gateway istio-system/ingress is for a.lab"
NAMESPACES = "Gateway ingress: spec.listeners[0].allowedRoutes.namespaces"


@pytest.mark.parametrize(
    ("listener", "outcome"),
    [
        (ADMITS, ADMITTED),
        # By default, routes of the Gateway's own namespace only.
        ({"allowedRoutes": {}}, NOT_ADMITTED),
        ({"allowedRoutes": None}, NOT_ADMITTED),
        (allowed(namespaces={"from": "Same"}), NOT_ADMITTED),
        (named(matchLabels={LABEL: "bookinfo"}), ADMITTED),
        (named(matchLabels={LABEL: "shop"}), NOT_ADMITTED),
        (named(matchExpressions=[{"key": LABEL, "operator": "In", "values": ["shop", "bookinfo"]}]), ADMITTED),
        (named(matchExpressions=[{"key": LABEL, "operator": "NotIn", "values": ["bookinfo"]}]), NOT_ADMITTED),
        (named(matchExpressions=[{"key": LABEL, "operator": "Exists"}]), ADMITTED),
        (named(matchExpressions=[{"key": LABEL, "operator": "DoesNotExist"}]), NOT_ADMITTED),
        (named(), ADMITTED),
        (named(matchLabels={"team": "a"}), f"{NAMESPACES}.selector"),
        (named(matchLabels={LABEL: "shop", "team": "a"}), f"{NAMESPACES}.selector"),
        (named(matchExpressions=[{"key": LABEL, "operator": "New", "values": ["bookinfo"]}]), f"{NAMESPACES}.selector"),
        (allowed(namespaces={"from": "None"}), f"{NAMESPACES}.from"),
        (allowed(namespaces={"from": "All"}, kinds=[{"kind": "HTTPRoute"}]), ADMITTED),
        (
            allowed(namespaces={"from": "All"}, kinds=[{"group": "gateway.networking.k8s.io", "kind": "HTTPRoute"}]),
            ADMITTED,
        ),
        (allowed(namespaces={"from": "All"}, kinds=[{"kind": "GRPCRoute"}]), NOT_ADMITTED),
        (allowed(namespaces={"from": "All"}, kinds=[{"group": "other", "kind": "HTTPRoute"}]), NOT_ADMITTED),
        (allowed(namespaces={"from": "All", "new": 1}), f"{NAMESPACES}.new"),
        # Host names and ports.
        ({"hostname": "*.lab"}, ADMITTED),
        ({"hostname": "A.lab"}, ADMITTED),
        ({"hostname": "b.lab"}, NOT_ADMITTED),
        ({"port": 81}, "call: Gateway istio-system/ingress does not listen on port 80"),
        ({"protocol": "HTTPS"}, "Gateway ingress: spec.listeners[0].protocol"),
        ({"tls": {"mode": "Terminate"}}, "Gateway ingress: spec.listeners[0].tls.mode"),
        ({"new": 1}, "Gateway ingress: spec.listeners[0].new"),
    ],
)
def test_which_routes_a_listener_admits(listener: dict[str, Any], outcome: str) -> None:
    assert outcome_of(gateway(listener), route("r", TO_S)) == outcome


def test_a_route_of_the_gateways_own_namespace_is_admitted_by_default() -> None:
    own = {**route("r", {"backendRefs": [{"name": "istio-ingressgateway", "port": 80}]}, parents=[{"name": "ingress"}])}
    own["metadata"] = {**own["metadata"], "namespace": "istio-system"}
    assert outcome_of(gateway({"allowedRoutes": {}}), own, answers=("istio-system/istio-ingressgateway",)) == ADMITTED


@pytest.mark.parametrize(
    ("listeners", "routes", "outcome"),
    [
        # A host name is left to the listener that is the most specific one for it.
        ([{}, {"hostname": "a.lab"}], [route("r", TO_S, parents=[{**PARENT, "sectionName": "l0"}])], NOT_ADMITTED),
        ([{}, {"hostname": "a.lab"}], [route("r", TO_S, parents=[{**PARENT, "sectionName": "l1"}])], ADMITTED),
        ([{}, {"hostname": "b.lab"}], [route("r", TO_S, parents=[{**PARENT, "sectionName": "l0"}])], ADMITTED),
        ([{"hostname": "*.lab"}, {"hostname": "*.b.lab"}], [route("r", TO_S)], ADMITTED),
        (
            [{"hostname": "*.lab"}, {"hostname": "a.lab"}],
            [
                route("r", TO_OTHER, hosts=["*.lab"], parents=[{**PARENT, "sectionName": "l0"}]),
                route("s", TO_S, parents=[{**PARENT, "sectionName": "l1"}]),
            ],
            ADMITTED,
        ),
        (
            [{"hostname": "*.lab"}, {"hostname": "a.lab"}],
            [route("r", TO_S, hosts=["*.lab"]), route("s", TO_S, parents=[{**PARENT, "sectionName": "l1"}])],
            "HTTPRoute r: spec.hostnames",
        ),
        # The narrower of both names counts. Istio merges routes of one host name as they write it, and puts others after them.
        ([{"hostname": "a.lab"}], [route("r", TO_S, hosts=["*.lab"])], ADMITTED),
        (
            [{"hostname": "a.lab"}],
            [route("r", TO_S, hosts=["*.lab"], made="1"), route("s", TO_S, hosts=["a.lab"], made="2")],
            "HTTPRoute r: spec.hostnames",
        ),
        ([{"hostname": "a.lab"}], [route("r", TO_S, hosts=["*.lab", "a.lab"])], "HTTPRoute r: spec.hostnames"),
        ([{}, {}], [route("r", TO_S)], "Gateway ingress: spec.listeners[1].hostname"),
        ([{}, {"protocol": "TCP"}], [route("r", TO_S)], "Gateway ingress: spec.listeners[1].protocol"),
        ([{}, {"port": 443, "protocol": "New", "new": 1}], [route("r", TO_S)], ADMITTED),
    ],
)  # fmt: skip
def test_listeners_of_one_port(listeners: list[dict[str, Any]], routes: list[dict[str, Any]], outcome: str) -> None:
    assert outcome_of(gateway(*listeners), *routes) == outcome


@pytest.mark.parametrize(
    ("made", "outcome"),
    [
        (gateway({}, address="istio-ingressgateway"), ADMITTED),
        (gateway({}, address=""), "Gateway ingress: spec.addresses"),
        (gateway({}, address="10.0.0.1"), "Gateway ingress: spec.addresses"),
        (gateway({}, address="istio-ingressgateway.istio-system"), "Gateway ingress: spec.addresses"),
        (gateway({}, addresses=[{"value": DOOR}]), "Gateway ingress: spec.addresses"),
        (gateway({}, gatewayClassName="nginx"), "Gateway ingress: spec.gatewayClassName"),
        (gateway({}, allowedListeners={"namespaces": {"from": "All"}}), ADMITTED),
        (
            gateway({}, allowedListeners={"namespaces": {"from": "Selector", "selector": {"matchLabels": {"team": "a"}}}}),
            ADMITTED,
        ),
        (gateway({}, allowedListeners={"namespaces": {}, "new": 1}), "Gateway ingress: spec.allowedListeners.new"),
        (gateway({}, name="another"), "call: no Gateway istio-system/ingress of the Gateway API is applied"),
    ],
)
def test_the_gateway_itself(made: dict[str, Any], outcome: str) -> None:
    assert outcome_of(made, route("r", TO_S)) == outcome


def listener_set(name: str = "more", namespace: str = "bookinfo", /, parent: Any = None, **listener: Any) -> dict[str, Any]:
    """A ListenerSet that adds HTTP on port 81 to the Gateway, unless it says otherwise."""
    listed = {"name": "l", "port": 81, "protocol": "HTTP", **listener}
    metadata = {"name": name, "namespace": namespace, "uid": f"{namespace}/{name}", "generation": 1}
    return {"kind": "ListenerSet", "metadata": metadata, "spec": {"parentRef": parent or PARENT, "listeners": [listed]}}


OF_SET: dict[str, Any] = {"port": 81, "listener_set": ("bookinfo", "more")}
NOT_ADDED = "call: no ListenerSet bookinfo/more adds listeners to Gateway istio-system/ingress"
LISTENERS = "Gateway ingress: spec.allowedListeners.namespaces"


def allows(**namespaces: Any) -> dict[str, Any]:
    return {"allowedListeners": {"namespaces": namespaces}}


@pytest.mark.parametrize(
    ("allowed", "outcome"),
    [
        (allows(**{"from": "All"}), ADMITTED),
        (allows(**{"from": "Selector"}, selector={"matchLabels": {LABEL: "bookinfo"}}), ADMITTED),
        (allows(**{"from": "Selector"}, selector={"matchLabels": {LABEL: "shop"}}), NOT_ADDED),
        (allows(**{"from": "Selector"}, selector={"matchLabels": {"team": "a"}}), f"{LISTENERS}.selector"),
        # By default, none; Same is the Gateway's own namespace.
        ({}, NOT_ADDED),
        (allows(), NOT_ADDED),
        (allows(**{"from": "None"}), NOT_ADDED),
        (allows(**{"from": "Same"}), NOT_ADDED),
        (allows(**{"from": "New"}), f"{LISTENERS}.from"),
    ],
)
def test_which_listener_sets_a_gateway_allows(allowed: dict[str, Any], outcome: str) -> None:
    made = route("r", TO_S, parents=[{"kind": "ListenerSet", "name": "more"}])
    assert outcome_of(gateway({}, **allowed), listener_set(), made, **OF_SET) == outcome


ALLOWS = allows(**{"from": "All"})
BY_SET = route("r", TO_S, parents=[{"kind": "ListenerSet", "name": "more"}])


@pytest.mark.parametrize(
    ("objects", "outcome"),
    [
        ([listener_set(), BY_SET], ADMITTED),
        # Routes of the ListenerSet's own namespace are admitted by default, and those that name the Gateway are not its own.
        ([listener_set(), route("r", TO_S)], "call: no HTTPRoute of ListenerSet bookinfo/more is for a.lab"),
        ([listener_set(hostname="b.lab"), BY_SET], "call: no HTTPRoute of ListenerSet bookinfo/more is for a.lab"),
        (
            [listener_set(), route("r", TO_S, parents=[{"kind": "ListenerSet", "name": "more", "namespace": "shop"}])],
            "call: no HTTPRoute of ListenerSet bookinfo/more is for a.lab",
        ),
        ([listener_set(port=82), BY_SET], "call: ListenerSet bookinfo/more does not listen on port 81"),
        ([listener_set(parent={"name": "ingress"}), BY_SET], NOT_ADDED),
        ([listener_set(parent={**PARENT, "name": "other"}), BY_SET], NOT_ADDED),
        ([listener_set("another"), BY_SET], NOT_ADDED),
        ([listener_set(new=1), BY_SET], "ListenerSet more: spec.listeners[0].new"),
        ([listener_set(), listener_set("another", port=82, new=1), BY_SET], ADMITTED),
        # Of several on one port, Istio may take some only.
        ([listener_set(), listener_set("another"), BY_SET], "ListenerSet another: spec.listeners[0].port"),
        ([listener_set(), listener_set("another", parent={**PARENT, "name": "other"}), BY_SET], ADMITTED),
    ],
)
def test_routes_of_a_listener_set(objects: list[dict[str, Any]], outcome: str) -> None:
    assert outcome_of(gateway({}, **ALLOWS), *objects, **OF_SET) == outcome


@pytest.mark.parametrize(
    ("objects", "outcome"),
    [
        ([listener_set()], ADMITTED),
        ([listener_set(port=80)], "ListenerSet more: spec.listeners[0].port"),
        # Its routes may take requests by the same port of the pods, for the same host.
        ([listener_set(), BY_SET], ADMITTED),
        ([listener_set(port=8080), BY_SET], "HTTPRoute r: spec.parentRefs"),
        ([listener_set(port=8080, hostname="b.lab"), BY_SET], ADMITTED),
        ([BY_SET], "HTTPRoute r: spec.parentRefs"),
        ([listener_set(parent={**PARENT, "name": "unknown"}), BY_SET], "HTTPRoute r: spec.parentRefs"),
    ],
)
def test_routes_of_the_gateway_beside_a_listener_set(objects: list[dict[str, Any]], outcome: str) -> None:
    assert outcome_of(gateway({}, **ALLOWS), route("own", TO_S), *objects) == outcome


def test_a_gateway_of_another_namespace_than_its_service_is_served_by_nobody() -> None:
    elsewhere = gateway({})
    elsewhere["metadata"] = {**elsewhere["metadata"], "namespace": "bookinfo"}
    led = route("r", TO_S, parents=[{"name": "ingress"}])
    assert outcome_of(elsewhere, led, gateway=("bookinfo", "ingress")) == "Gateway ingress: spec.addresses"


def grant(to: dict[str, Any] | None = None, namespace: str = "shop", **given: str) -> dict[str, Any]:
    origin = {"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "namespace": "bookinfo", **given}
    spec = {"from": [origin], "to": [{"group": "", "kind": "Service", **(to or {})}]}
    return {"kind": "ReferenceGrant", "metadata": {"name": "g", "namespace": namespace, "uid": "g"}, "spec": spec}


@pytest.mark.parametrize(
    ("grants", "reached"),
    [
        ([], False),
        ([grant()], True),
        ([grant({"name": "s"})], True),
        ([grant({"name": "t"})], False),
        ([grant({"kind": "Secret"})], False),
        ([grant(kind="GRPCRoute")], False),
        ([grant(namespace="bookinfo")], False),
        ([{**grant(), "metadata": {"name": "g", "namespace": "bookinfo", "uid": "g"}}], False),
    ],
)
def test_a_service_of_another_namespace_needs_a_grant(grants: list[dict[str, Any]], reached: bool) -> None:
    rule = {"backendRefs": [{"name": "s", "namespace": "shop", "port": 80}, {"name": "s", "port": 80, "weight": 3}]}
    objects = [gateway({}), service("s", "shop"), route("r", rule), *grants]
    found = expected(*objects, expectation=ingress.http_shared, answers=("s", "shop/s"))
    if reached:
        assert found.shares == {"call": {"shop/s": 0.25, "s": 0.75}}
    else:
        assert found.unknown["call"][0].startswith(
            "HTTPRoute r: spec.rules[0].backendRefs[0].namespace: no ReferenceGrant of shop"
        )
    assert expected(*objects, expectation=ingress.http_shared, answers=("s",)).unknown, "which service it is, is known by name"


def rules_for(host: str, namespace: str = "bookinfo", **policy: Any) -> dict[str, Any]:
    metadata = {"name": "d", "namespace": namespace, "uid": "d", "generation": 1}
    return {"kind": "DestinationRule", "metadata": metadata, "spec": {"host": host, "trafficPolicy": policy}}


BALANCED: dict[str, Any] = {"loadBalancer": {"simple": "RANDOM"}}
POOL: dict[str, Any] = {"connectionPool": {"tcp": {"maxConnections": 1}}}


@pytest.mark.parametrize(
    ("rule", "outcome"),
    [
        (rules_for("s", **BALANCED), ADMITTED),
        (rules_for("t", **POOL), ADMITTED),
        (rules_for("s", **POOL), "DestinationRule d: spec.trafficPolicy.connectionPool.tcp.maxConnections"),
        (rules_for("s", tls={"mode": "DISABLE"}), ADMITTED),
        (rules_for("s", tls={"mode": "SIMPLE"}), "DestinationRule d: spec.trafficPolicy.tls.mode"),
        # Those of the gateway's namespace apply, and those for it alone.
        (
            rules_for("s.bookinfo.svc.cluster.local", "istio-system", **POOL),
            "DestinationRule d: spec.trafficPolicy.connectionPool.tcp.maxConnections",
        ),
        (rules_for("s", "istio-system", **POOL), ADMITTED),
        ({**rules_for("s"), "spec": {"host": "s", "exportTo": ["."], "trafficPolicy": POOL}}, ADMITTED),
        (rules_for("s", portLevelSettings=[{"port": {"number": 81}, **POOL}]), ADMITTED),
    ],
)
def test_settings_of_the_gateways_calls(rule: dict[str, Any], outcome: str) -> None:
    assert outcome_of(gateway({}), route("r", TO_S), rule) == outcome


def istios(
    hosts: list[str], *names: str, port: int = 8080, protocol: str = "HTTP", selector: Any = None, tls: Any = None
) -> list[dict[str, Any]]:
    """A Gateway of Istio's own kind, and a VirtualService for it."""
    metadata = {"name": "own", "namespace": "bookinfo", "uid": "own", "generation": 1}
    server = {"port": {"number": port, "name": "x", "protocol": protocol}, "hosts": hosts} | ({"tls": tls} if tls else {})
    spec = {"selector": selector or {"istio": "ingressgateway"}, "servers": [server]}
    rule = {"hosts": list(names), "gateways": ["own"], "http": [{"directResponse": {"status": 418}}]}
    return [
        {"apiVersion": "networking.istio.io/v1", "kind": "Gateway", "metadata": metadata, "spec": spec},
        {"apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": metadata, "spec": rule},
    ]


RULE, SERVERS = "VirtualService own: spec.hosts", "Gateway own: spec.servers"


@pytest.mark.parametrize(
    ("beside", "outcome"),
    [
        (istios(["*"], "a.lab"), RULE),
        (istios(["*"], "A.lab"), RULE),
        (istios(["bookinfo/a.lab"], "*"), RULE),
        (istios(["*"], "*.lab"), ADMITTED),
        (istios(["*"], "*"), ADMITTED),
        (istios(["b.lab"], "*"), ADMITTED),
        (istios(["*"], "a.lab", port=8081), ADMITTED),
        (istios(["*"], "a.lab", port=80), RULE),
        (istios(["*"], "a.lab", selector={"istio": "egressgateway"}), ADMITTED),
        (istios(["*"], "a.lab", selector={"team": "a"}), RULE),
        (istios(["*"], "b.lab", protocol="TCP"), SERVERS),
        (istios(["a.lab"], "b.lab", tls={"httpsRedirect": True}), SERVERS),
        (istios(["*.lab"], "b.lab", tls={"httpsRedirect": True}), ADMITTED),
    ],
)
def test_rules_of_istios_own_kinds_for_the_same_pods(beside: list[dict[str, Any]], outcome: str) -> None:
    assert outcome_of(gateway({}), route("r", TO_S), *beside) == outcome


@pytest.mark.parametrize(
    ("other", "outcome"),
    [
        (gateway({}, name="second"), "HTTPRoute s: spec.parentRefs"),
        (gateway({"hostname": "b.lab"}, name="second"), ADMITTED),
        (gateway({"port": 81}, name="second"), ADMITTED),
        (gateway({}, name="second", address=""), ADMITTED),
    ],
)
def test_another_gateway_of_the_same_pods(other: dict[str, Any], outcome: str) -> None:
    second = route("s", TO_OTHER, parents=[{**PARENT, "name": "second"}])
    assert outcome_of(gateway({}), other, route("r", TO_S), second) == outcome


def test_a_gateway_that_nobody_knows_may_be_anything() -> None:
    second = route("s", TO_OTHER, parents=[{**PARENT, "name": "second"}])
    assert outcome_of(*BASE, route("r", TO_S), second) == "HTTPRoute s: spec.parentRefs"


def ending(*hostnames: str, certificates: Any = ({"name": "c"},), **tls: Any) -> dict[str, Any]:
    """A Gateway that ends TLS for host names, each by a listener of its own."""
    ends = {"port": 443, "protocol": "HTTPS", "tls": {"certificateRefs": list(certificates), **tls}}
    return gateway(*({**ends, **({"hostname": name} if name else {})} for name in hostnames))


def section(number: int) -> list[dict[str, Any]]:
    return [{**PARENT, "sectionName": f"l{number}"}]


CERTIFICATES = "Gateway ingress: spec.listeners[0].tls.certificateRefs"


@pytest.mark.parametrize(
    ("objects", "outcome"),
    [
        ([ending(""), route("r", TO_S)], ADMITTED),
        ([ending("*.lab"), route("r", TO_S, hosts=["*.lab"])], ADMITTED),
        ([ending("", mode="Terminate"), route("r", TO_S)], ADMITTED),
        ([ending("b.lab"), route("r", TO_S)], "call: Gateway istio-system/ingress serves no a.lab on port 443"),
        ([gateway({}), route("r", TO_S)], "call: Gateway istio-system/ingress does not listen on port 443"),
        # The server name decides on the listener, and then only its routes count.
        ([ending("*.lab", "a.lab"), route("r", TO_S, parents=section(1))], ADMITTED),
        ([ending("*.lab", "a.lab"), route("r", TO_S, hosts=["*.lab"], parents=section(0))], NOT_ADMITTED),
        ([ending("*.lab", "a.lab"), route("r", TO_S, parents=section(1)), route("q", TO_OTHER, parents=section(0))], ADMITTED),
        ([ending("", certificates=[{"name": "c", "kind": "Secret", "group": ""}, {"name": "d"}]), route("r", TO_S)], ADMITTED),
        ([ending("", certificates=[{"name": "c", "namespace": "x"}]), route("r", TO_S)], f"{CERTIFICATES}[0].namespace"),
        ([ending("", certificates=[]), route("r", TO_S)], CERTIFICATES),
        ([ending("", mode="Passthrough"), route("r", TO_S)], "Gateway ingress: spec.listeners[0].tls.mode"),
        ([ending("", options={"a": "b"}), route("r", TO_S)], "Gateway ingress: spec.listeners[0].tls.options.a"),
        ([gateway({"port": 443}), route("r", TO_S)], "Gateway ingress: spec.listeners[0].protocol"),
        # What else may take the connection.
        ([ending(""), route("r", TO_S), *istios(["*"], port=8443, protocol="HTTPS", tls={"mode": "SIMPLE"})], SERVERS),
        ([ending(""), route("r", TO_S), *istios(["b.lab"], port=8443, protocol="HTTPS", tls={"mode": "SIMPLE"})], ADMITTED),
        ([ending(""), route("r", TO_S), gateway({"port": 443}, name="second")], "Gateway second: spec.listeners"),
        ([ending(""), route("r", TO_S), gateway({"port": 443, "hostname": "b.lab"}, name="second")], ADMITTED),
        ([ending(""), route("r", TO_S), gateway({"port": 443}, name="second", address="")], ADMITTED),
    ],
)
def test_listeners_that_end_tls(objects: list[dict[str, Any]], outcome: str) -> None:
    assert outcome_of(*objects, scheme="https", port=443) == outcome
