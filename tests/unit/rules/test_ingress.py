"""Expectations for HTTPRoutes."""

from __future__ import annotations

from typing import Any

import pytest

from loadtests.entries.question import ResponseCheck
from loadtests.rules import ingress
from loadtests.rules.expectations import NoExpectationError
from tests.unit import gateways

HOST = "a.lab"


PARENT = {"namespace": "istio-system", "name": "ingress"}
DOOR = "istio-ingressgateway.istio-system.svc.cluster.local"


def gateway(*listeners: dict[str, Any], name: str = "ingress", address: str = DOOR, **spec: Any) -> dict[str, Any]:
    """A Gateway of the Gateway API; its listeners admit routes of all namespaces unless they say otherwise."""
    everywhere = {"allowedRoutes": {"namespaces": {"from": "All"}}}
    listed = [{"name": f"l{n}", "port": 80, "protocol": "HTTP", **everywhere, **one} for n, one in enumerate(listeners)]
    addresses = {"addresses": [{"type": "Hostname", "value": address}]} if address else {}
    spec = {"gatewayClassName": "istio", **addresses, "listeners": listed, **spec}
    metadata = {"name": name, "namespace": "istio-system", "uid": name, "generation": 1}
    return {"apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway", "metadata": metadata, "spec": spec}


def service(name: str, namespace: str = "bookinfo", **spec: Any) -> dict[str, Any]:
    metadata = {"name": name, "namespace": namespace, "uid": name, "generation": 1}
    return {"kind": "Service", "metadata": metadata, "spec": {"ports": [{"port": 80}], "selector": {"app": name}, **spec}}


SERVICES = [gateways.INGRESS, *map(service, ("s", "t", "other"))]
# A second Gateway has pods of its own.
BASE = [gateway({}), gateway({}, name="other", address=""), *SERVICES]
REQUEST = {"gateway": ("istio-system", "ingress"), "authority": HOST, "uri": "/", "method": "GET", "answers": ("s",)}
TO_S: dict[str, Any] = {"backendRefs": [{"name": "s", "port": 80}]}
TO_OTHER: dict[str, Any] = {"backendRefs": [{"name": "other", "port": 80}]}


def route(
    name: str, *rules: dict[str, Any], hosts: list[str] | None = None, made: str = "", parents: Any = None
) -> dict[str, Any]:
    metadata = {"name": name, "namespace": "bookinfo", "creationTimestamp": made, "uid": name, "generation": 1}
    spec = {"parentRefs": parents or [PARENT], "hostnames": hosts or [HOST], "rules": list(rules)}
    return {"kind": "HTTPRoute", "metadata": metadata, "spec": spec}


def http_route(*matches: dict[str, Any], hosts: list[str] | None = None) -> dict[str, Any]:
    rule = {"backendRefs": [{"name": "s", "port": 80}], **({"matches": list(matches)} if matches else {})}
    return route("r", rule, hosts=hosts)


def path(kind: str, value: str, **more: Any) -> dict[str, Any]:
    return {"path": {"type": kind, "value": value}, **more}


@pytest.mark.parametrize(
    ("match", "uri", "taken"),
    [
        (path("Exact", "/a"), "/a", True),
        (path("Exact", "/a"), "/a/", False),
        (path("PathPrefix", "/a"), "/a", True),
        (path("PathPrefix", "/a/"), "/a", True),
        (path("PathPrefix", "/a"), "/a/b", True),
        (path("PathPrefix", "/a"), "/ab", False),
        (path("PathPrefix", "/"), "/anything", True),
        (path("RegularExpression", "/a+"), "/aaa", True),
        (path("RegularExpression", "/a+"), "/aab", False),
        (path("PathPrefix", "/a", method="GET"), "/a", True),
        (path("PathPrefix", "/a", method="POST"), "/a", False),
        (path("PathPrefix", "/a", headers=[{"name": "X-Who", "value": "me"}]), "/a", True),
        (path("PathPrefix", "/a", headers=[{"name": "X-Who", "value": "you"}]), "/a", False),
    ],
)
def test_http_routes(match: dict[str, Any], uri: str, taken: bool) -> None:
    request = {**REQUEST, "uri": uri, "headers": {"x-who": "me"}}
    assert ingress.http_routed([*BASE, http_route(match)], request) == {f"HTTP {200 if taken else 404}": 1.0}


def test_an_http_route_matches_only_its_hosts_and_every_path_if_it_names_none() -> None:
    assert ingress.http_routed([*BASE, http_route()], REQUEST) == {"HTTP 200": 1.0}
    assert ingress.http_routed([*BASE, http_route(hosts=["*.lab"])], REQUEST) == {"HTTP 200": 1.0}
    # Other hosts are up to other rules of the gateway.
    for routes in ([], [http_route(hosts=["b.lab"])], [route("r", TO_S, parents=[{**PARENT, "name": "other"}])]):
        with pytest.raises(NoExpectationError, match=r"no HTTPRoute of Gateway istio-system/ingress is for a\.lab"):
            ingress.http_routed([*BASE, *routes], REQUEST)


def expected(*objects: dict[str, Any], expectation: Any = ingress.http_routed, **request: Any) -> str | None:
    """The outcome; None if it is UNKNOWN."""
    given = [] if any(o["kind"] == "Gateway" for o in objects) else BASE
    found = ResponseCheck((), expectation, {"call": {**REQUEST, **request}}).expect([*given, *objects]).expected
    assert not found.broken
    if found.unknown:
        return None
    (outcome,) = found.shares["call"]
    return outcome


def s_if(*matches: dict[str, Any]) -> dict[str, Any]:
    return {**TO_S, "matches": list(matches)}


def other_if(*matches: dict[str, Any]) -> dict[str, Any]:
    return {**TO_OTHER, "matches": list(matches)}


NAMED = {"name": "g", "uid": "g", "generation": 1, "namespace": "bookinfo"}
REMOVES = {"type": "RequestHeaderModifier", "requestHeaderModifier": {"remove": ["a"]}}
A_OR_B: dict[str, Any] = {"backendRefs": [{"name": "s", "port": 80, "weight": 3}, {"name": "t", "port": 80}]}
UNKNOWN_FILTER: dict[str, Any] = {"filters": [{"type": "ExtensionRef", "extensionRef": {"name": "any"}}]}
NOBODY: dict[str, Any] = {"backendRefs": [{"name": "s", "port": 80, "weight": 0}]}


@pytest.mark.parametrize(
    ("routes", "outcome"),
    [
        # Precedence: exact path, longest prefix, regular expression; method, headers, query parameters; age; order.
        ([route("a", other_if(path("PathPrefix", "/a")), s_if(path("Exact", "/a")))], "HTTP 200"),
        ([route("a", s_if(path("Exact", "/a")), other_if(path("PathPrefix", "/a")))], "HTTP 200"),
        ([route("a", other_if(path("PathPrefix", "/")), s_if(path("PathPrefix", "/a")))], "HTTP 200"),
        ([route("a", other_if(path("RegularExpression", "/a.*.*")), s_if({}))], "HTTP 200"),
        ([route("a", other_if({}), s_if({"method": "GET"}))], "HTTP 200"),
        ([route("a", other_if({"method": "GET"}), s_if(path("PathPrefix", "/a")))], "HTTP 200"),
        ([route("a", TO_S), route("b", TO_OTHER)], "HTTP 200"),
        ([route("a", TO_OTHER), route("b", TO_S)], None),
        ([route("a", TO_OTHER, made="2026-02-01"), route("b", TO_S, made="2026-01-01")], "HTTP 200"),
        ([route("a", TO_OTHER), route("b", s_if(path("Exact", "/a")))], "HTTP 200"),
        ([route("a", TO_S, TO_OTHER)], "HTTP 200"),
        # Routes for a less specific host do not apply.
        ([route("a", s_if(path("Exact", "/b"))), route("b", TO_OTHER, hosts=["*.lab"])], "HTTP 404"),
        ([route("a", TO_OTHER, hosts=["*.lab"]), route("b", TO_S)], "HTTP 200"),
        ([route("a", TO_OTHER, hosts=["*.lab"]), route("b", TO_S, hosts=["*", HOST])], "HTTP 200"),
        ([route("a", TO_S, hosts=["b.lab", HOST]), route("b", TO_OTHER, hosts=["*"])], "HTTP 200"),
        # Weights, and no backend at all.
        ([route("a", A_OR_B)], None),
        ([route("a", NOBODY)], "HTTP 500"),
        ([route("a", {})], "HTTP 500"),
        ([route("a", {"backendRefs": [{"name": "s", "port": 80}, {"name": "t", "port": 80, "weight": 0}]})], "HTTP 200"),
        ([route("a", {"backendRefs": [{"name": "s", "namespace": "other", "port": 80}]})], None),
        ([route("a", {"backendRefs": [{"name": "s", "kind": "Hostname", "group": "networking.istio.io"}]})], None),
        ([route("a", {"backendRefs": [{"name": "s", "namespace": "bookinfo", "port": 80}]})], "HTTP 200"),
        # With a filter that istiod does not know, all of a route is dropped.
        ([route("a", {**TO_OTHER, **UNKNOWN_FILTER, "matches": [path("Exact", "/b")]}, TO_S)], None),
        ([route("a", TO_S, {"backendRefs": [{"name": "s", "filters": [{"type": "RequestMirror"}]}]})], None),
        ([route("a", TO_S), route("b", {**TO_OTHER, **UNKNOWN_FILTER}, hosts=["b.lab"])], "HTTP 200"),
        # Filters and other fields.
        ([route("a", {**TO_S, "filters": [REMOVES]})], "HTTP 200"),
        ([route("a", {"filters": [{"type": "RequestRedirect", "requestRedirect": {"port": 80}}]})], "HTTP 302"),
        ([route("a", {"filters": [REMOVES, {"type": "RequestRedirect", "requestRedirect": {"statusCode": 307}}]})], "HTTP 307"),
        ([route("a", {**TO_S, "filters": [{"type": "URLRewrite", "urlRewrite": {"hostname": "b"}}]})], None),
        ([route("a", {**TO_S, "timeouts": {"request": "1s"}})], None),
        ([route("a", s_if({"headers": [{"name": "User-Agent", "value": "x"}]}))], None),
        ([route("a", s_if({"queryParams": [{"name": "q", "value": "1"}]}))], "HTTP 200"),
        ([route("a", s_if({"queryParams": [{"name": "q", "value": "2"}]}))], "HTTP 404"),
        ([route("a", s_if({"queryParams": [{"name": "q", "value": "[0-9]", "type": "RegularExpression"}]}))], "HTTP 200"),
        ([route("a", TO_S, parents=[{**PARENT, "sectionName": "l0"}])], "HTTP 200"),
        ([route("a", TO_S), route("b", s_if(path("Exact", "/a")), parents=[{**PARENT, "sectionName": "l1"}])], "HTTP 200"),
        ([route("a", TO_S, parents=[{**PARENT, "port": 80}])], "HTTP 200"),
        ([route("a", TO_S), route("b", other_if(path("Exact", "/a")), parents=[{**PARENT, "port": 81}])], "HTTP 200"),
        ([route("a", TO_S, parents=[{**PARENT, "name": "other", "sectionName": "http"}, PARENT])], "HTTP 200"),
        ([route("a", TO_S), route("b", TO_OTHER, parents=[{"kind": "Service", "group": "", "name": "s"}])], "HTTP 200"),
        # For one of these rules, Istio takes none of the route.
        ([route("a", TO_S, {"matches": [path("Exact", "/b")], "filters": [{"type": "ExtensionRef"}]})], None),
        ([route("a", TO_S, {"matches": [path("Exact", "/b")], "backendRefs": [{"name": "s.bookinfo", "port": 80}]})], None),
        ([route("a", TO_S, {"matches": [path("Exact", "/b")], "backendRefs": [{"name": "s"}]})], None),
        # What there is behind them.
        ([route("a", {"backendRefs": [{"name": "s", "port": 81}]})], None),
        # Routes of other kinds are not modelled beside those, where they could apply.
        ([route("a", TO_S), {**route("g"), "kind": "GRPCRoute"}], None),
        # A listener for HTTP has none of these.
        ([route("a", TO_S), {**route("g", hosts=["*.lab"]), "kind": "TLSRoute"}], "HTTP 200"),
        ([route("a", TO_S), {"kind": "TCPRoute", "metadata": NAMED, "spec": {"parentRefs": [PARENT]}}], "HTTP 200"),
        ([route("a", TO_S), {**route("g", hosts=["b.lab"]), "kind": "GRPCRoute"}], "HTTP 200"),
        ([route("a", TO_S), {**route("g", parents=[{**PARENT, "name": "other"}]), "kind": "GRPCRoute"}], "HTTP 200"),
    ],
)
def test_all_routes_of_the_gateway_together(routes: list[dict[str, Any]], outcome: str | None) -> None:
    assert expected(*routes, uri="/a?q=1") == outcome


A_TO_T: dict[str, Any] = {"matches": [path("PathPrefix", "/a")], "backendRefs": [{"name": "t", "port": 80}]}


@pytest.mark.parametrize(
    ("rules", "shares"),
    [
        ([A_OR_B], {"s": 0.75, "t": 0.25}),
        ([{"backendRefs": [{"name": "s", "port": 80, "weight": n} for n in (1, 2)]}], {"s": 1.0}),
        ([{"backendRefs": [{"name": "s", "port": 80}, {"name": "t", "port": 80, "weight": 0}]}], {"s": 1.0}),
        ([A_OR_B, A_TO_T], {"t": 1.0}),
        ([NOBODY], {"HTTP 500": 1.0}),
        ([{"filters": [{"type": "RequestRedirect", "requestRedirect": {"statusCode": 301}}]}], {"HTTP 301": 1.0}),
        ([s_if(path("Exact", "/b"))], {"HTTP 404": 1.0}),
        ([{"backendRefs": [{"name": "s", "port": 80}, {"name": "u", "port": 80}]}], None),
        ([{**A_OR_B, "timeouts": {"request": "1s"}}], None),
        ([{"backendRefs": [{"name": "s", "port": 80, "filters": [REMOVES]}]}], None),
    ],
)
def test_shares_of_backends(rules: list[dict[str, Any]], shares: dict[str, float] | None) -> None:
    request = {**REQUEST, "uri": "/a", "answers": ("s", "t")}
    found = ResponseCheck((), ingress.http_shared, {"call": request}).expect([*BASE, route("r", *rules)]).expected
    assert found.broken == ()
    assert found.shares.get("call") == shares
    assert (shares is None) == bool(found.unknown)
