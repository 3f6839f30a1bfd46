"""Expectations for Ingresses."""

from __future__ import annotations

from typing import Any

import pytest

from loadtests.entries.question import ResponseCheck
from loadtests.rules import ingress, ingresses
from loadtests.rules.calls import Call, Caller
from loadtests.rules.expectations import NoExpectationError, NotModelledError
from loadtests.rules.routing import route_call
from loadtests.rules.view import not_modelled, viewed
from tests.unit import gateways
from tests.unit.rules import test_ingress
from tests.unit.rules.test_gateway_api import thing
from tests.unit.rules.test_ingress import HOST, REQUEST, expected, service
from tests.unit.rules.test_listeners import istios, rules_for

SERVICES = [gateways.INGRESS, service("s", ports=[{"name": "web", "port": 80}]), service("other")]
S: dict[str, Any] = {"service": {"name": "s", "port": {"number": 80}}}
OTHER: dict[str, Any] = {"service": {"name": "other", "port": {"number": 80}}}


def an_ingress(name: str, *paths: tuple[str, str, Any], host: str = HOST, made: str = "", **spec: Any) -> dict[str, Any]:
    listed = [{"path": value, "pathType": kind, "backend": backend} for kind, value, backend in paths]
    metadata = {"name": name, "namespace": "bookinfo", "creationTimestamp": made, "uid": name, "generation": 1}
    rules = [{"http": {"paths": listed}} | ({"host": host} if host else {})]
    return {"kind": "Ingress", "metadata": metadata, "spec": {"ingressClassName": "istio", "rules": rules, **spec}}


def by_name(port: str, name: str = "s") -> dict[str, Any]:
    return {"service": {"name": name, "port": {"name": port}}}


def annotated(name: str, one: dict[str, Any]) -> dict[str, Any]:
    """The same Ingress with its class in the annotation, which counts before the field."""
    return {**one, "metadata": {**one["metadata"], "annotations": {"kubernetes.io/ingress.class": name}}}


ALL, OWN = ("Prefix", "/", S), "ImplementationSpecific"


@pytest.mark.parametrize(
    ("made", "outcome"),
    [
        # The longest path wins; of equal length, the exact one, in any order; of equal ones, the older Ingress's.
        ([an_ingress("i", ("Prefix", "/", OTHER), ("Prefix", "/a", S))], "HTTP 200"),
        ([an_ingress("i", ("Prefix", "/a", OTHER), ("Exact", "/a", S))], "HTTP 200"),
        ([an_ingress("i", ("Prefix", "/a", OTHER)), an_ingress("j", ("Exact", "/a", S))], "HTTP 200"),
        ([an_ingress("j", ALL), an_ingress("i", ("Prefix", "/", OTHER))], None),
        ([an_ingress("j", ALL, made="2026-01-01"), an_ingress("i", ("Prefix", "/", OTHER), made="2026-02-01")], "HTTP 200"),
        # A catch-all path without a type comes last.
        ([an_ingress("i", (OWN, "/*", OTHER), ("Prefix", "/", S))], "HTTP 200"),
        ([an_ingress("i", (OWN, "/a/*", S))], "HTTP 200"),
        ([an_ingress("i", (OWN, "/.*", S))], "HTTP 200"),
        # Only the most specific host.
        ([an_ingress("i", ("Exact", "/b", S)), an_ingress("j", ALL, host="*.lab")], "HTTP 404"),
        ([an_ingress("i", ALL), an_ingress("j", ("Exact", "/a", OTHER), host="")], "HTTP 200"),
        ([an_ingress("i", ("Exact", "/a", OTHER), host="*.lab"), an_ingress("j", ALL)], "HTTP 200"),
        # Istio ignores the default backend; TLS only affects HTTPS.
        ([an_ingress("i", ("Exact", "/b", S), defaultBackend=S, tls=[{"hosts": [HOST], "secretName": "c"}])], "HTTP 404"),
        # Ports by name; what leads to no Service, or to a port that it does not name, is left out.
        ([an_ingress("i", ("Prefix", "/", by_name("web")))], "HTTP 200"),
        ([an_ingress("i", ("Exact", "/a", by_name("other")), ("Exact", "/b", S))], "HTTP 404"),
        ([an_ingress("i", ("Exact", "/a", by_name("web", "absent")), ALL)], "HTTP 200"),
        ([an_ingress("i", ("Exact", "/a", {"resource": {"kind": "Bucket", "name": "b"}}), ALL)], "HTTP 200"),
        ([an_ingress("i", ("Prefix", "/", {"service": {"name": "s", "port": {"number": 81}}}))], None),
        # A host without any other path is left out, too.
        ([an_ingress("i", ("Prefix", "/", by_name("other"))), an_ingress("j", ALL, host="*.lab")], "HTTP 200"),
        # Another class, or none, is for other controllers.
        ([an_ingress("i", ALL), an_ingress("j", ("Exact", "/a", OTHER), ingressClassName=None)], "HTTP 200"),
        ([an_ingress("i", ALL, ingressClassName="nginx")], None),
        ([an_ingress("i", ALL), annotated("nginx", an_ingress("j", ("Exact", "/a", OTHER)))], "HTTP 200"),
        ([annotated("istio", an_ingress("i", ALL, ingressClassName=None))], "HTTP 200"),
        ([an_ingress("i", ALL, new="field")], None),
    ],
)
def test_all_ingresses_together(made: list[dict[str, Any]], outcome: str | None) -> None:
    assert expected(test_ingress.gateway({}), *SERVICES, *made, expectation=ingresses.ingress_routed, uri="/a") == outcome


def test_a_host_without_an_ingress_is_left_to_other_rules() -> None:
    with pytest.raises(NoExpectationError, match=r"no Ingress is for a\.lab"):
        ingresses.ingress_routed([an_ingress("i", ALL, host="b.lab")], REQUEST)


@pytest.mark.parametrize(
    ("kind", "value", "uri", "host", "taken"),
    [
        ("Exact", "/a", "/a", HOST, True),
        ("Exact", "/a", "/a/b", HOST, False),
        ("Prefix", "/a", "/a/b", HOST, True),
        ("Prefix", "/a", "/ab", HOST, False),
        ("Prefix", "/a/", "/a", HOST, True),
        ("Prefix", "/", "/a/b", HOST, True),
    ],
)
def test_ingresses(kind: str, value: str, uri: str, host: str, taken: bool) -> None:
    rule = {"host": HOST, "http": {"paths": [{"path": value, "pathType": kind, "backend": S}]}}
    metadata = {"name": "i", "namespace": "bookinfo"}
    found = {"kind": "Ingress", "metadata": metadata, "spec": {"ingressClassName": "istio", "rules": [rule]}}
    request = {"authority": host, "uri": uri, "answers": ("s",)}
    assert ingresses.ingress_routed([*SERVICES, found], request) == {f"HTTP {200 if taken else 404}": 1.0}


@pytest.mark.parametrize(
    ("beside", "why"),
    [
        (istios(["*"], HOST), "VirtualService own: spec.hosts"),
        (istios(["*"], "*.lab"), None),
        (istios(["*"], HOST, port=8443), None),
        (istios(["*"], protocol="TCP"), "Gateway own: spec.servers"),
        ([test_ingress.gateway({}), test_ingress.http_route()], "HTTPRoute r: spec.parentRefs"),
        ([test_ingress.gateway({}), test_ingress.http_route(hosts=["b.lab"])], None),
        ([rules_for("s", loadBalancer={"simple": "RANDOM"})], None),
        ([rules_for("s", tls={"mode": "SIMPLE"})], "DestinationRule d: spec.trafficPolicy.tls.mode"),
    ],
)
def test_other_rules_for_the_same_port_and_host(beside: list[dict[str, Any]], why: str | None) -> None:
    asked = ResponseCheck((), ingresses.ingress_routed, {"call": REQUEST})
    found = asked.expect([*SERVICES, an_ingress("i", ALL), *beside]).expected
    assert found.broken == ()
    assert list(found.unknown.get("call", ())) == ([] if why is None else [why])


def test_which_service_answers() -> None:
    there = [*SERVICES, an_ingress("i", ("Prefix", "/a", OTHER), ALL)]
    for uri, name in (("/a/b", "other"), ("/b", "s")):
        request = {**REQUEST, "uri": uri, "answers": ("s", "other")}
        assert ingresses.ingress_shared(there, request) == {name: 1.0}


SECURED = [{"hosts": [HOST], "secretName": "c"}]
FRONT = thing(
    "Gateway", "front", selector={"istio": "ingressgateway"},
    servers=[{"port": {"number": 8080, "name": "http", "protocol": "HTTP"}, "hosts": ["*"]}],
)  # fmt: skip
LED = thing(
    "VirtualService", "front", hosts=[HOST], gateways=["front"],
    http=[{"route": [{"destination": {"host": "s.bookinfo.svc.cluster.local", "port": {"number": 80}}}]}],
)  # fmt: skip


@pytest.mark.parametrize(
    ("beside", "why"),
    [
        (an_ingress("i", ALL), "Ingress i: spec.rules"),
        (an_ingress("i", ALL, host=""), ""),
        (an_ingress("i", ALL, host="*.lab"), ""),
        (an_ingress("i", ALL, host="b.lab"), ""),
        (an_ingress("i", ALL, host="b.lab", tls=SECURED), ""),
        (an_ingress("i", ALL, ingressClassName=None), ""),
        (annotated("nginx", an_ingress("i", ALL)), ""),
        (an_ingress("i", ALL, ingressClassName="nginx"), "Ingress i: spec.ingressClassName"),
    ],
)
def test_other_rules_are_not_read_beside_an_ingress_for_their_host(beside: dict[str, Any], why: str) -> None:
    """It enters by port 80 of the Service, which is port 8080 of the pods."""
    http_route = [test_ingress.gateway({}), test_ingress.http_route()]
    found = ResponseCheck((), ingress.http_routed, {"call": REQUEST}).expect([*SERVICES, *http_route, beside]).expected
    assert list(found.unknown.get("call", ())) == [why] * bool(why)
    seen = viewed([*SERVICES, FRONT, LED, beside])
    entering = Call(HOST, 8080, Caller("istio-system", gateways.INGRESS["spec"]["selector"], "shop/front"))
    if why:
        with pytest.raises(NotModelledError, match=why):
            route_call(seen, entering)
    else:
        assert route_call(seen, entering).destinations
        assert not_modelled(seen) == ()


@pytest.mark.parametrize(("tls", "port", "applies"), [(SECURED, 443, True), (SECURED, 8081, False), (None, 443, False)])
def test_an_ingress_with_tls_enters_by_the_port_for_it_as_well(tls: Any, port: int, applies: bool) -> None:
    beside = an_ingress("i", ALL, host="b.lab", **({"tls": tls} if tls else {}))
    gateway = test_ingress.gateway({"port": port, "protocol": "HTTPS", "tls": {"certificateRefs": [{"name": "c"}]}})
    request = {**REQUEST, "scheme": "https", "port": port}
    there = [*SERVICES, gateway, test_ingress.http_route(), beside]
    found = ResponseCheck((), ingress.http_routed, {"call": request}).expect(there).expected
    assert list(found.unknown.get("call", ())) == ["Ingress i: spec.rules"] * applies
