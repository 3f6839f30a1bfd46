"""Which objects questions read: rules of all namespaces, of which those that bear on a call count."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from loadtests.entries import entry
from loadtests.entries.question import (
    BY_ROUTES,
    LEADING,
    OF_PROXIES,
    ROUTES,
    ROUTING,
    SECURITY,
    ResponseCheck,
    Split,
    enters,
    rules_in,
)
from loadtests.mesh import propagation
from loadtests.mesh.cluster import Cluster, RefusedByServerError
from loadtests.rules import egress, ingress, ingresses, responses, security
from loadtests.rules.calls import Call, Caller
from loadtests.rules.expectations import Rules
from tests.unit import gateways, pods
from tests.unit.entries.test_expected import entrances
from tests.unit.rules.test_ingress import gateway

PORTS = {"HTTPRoute": ROUTES[0], "Ingress": "ingresses.networking.k8s.io"}


def thing(kind: str, name: str, of: str = "bookinfo", made: str = "2", **spec: Any) -> dict[str, Any]:
    metadata = {"name": name, "namespace": of, "uid": f"{kind}/{of}/{name}", "generation": 1, "creationTimestamp": made}
    return {"kind": kind, "metadata": metadata, "spec": spec}


def service(name: str, of: str = "bookinfo") -> dict[str, Any]:
    return thing("Service", name, of, ports=[{"name": "http", "port": 9080}], selector={"app": name})


def split(v1: int, v3: int, of: str = "bookinfo", **more: Any) -> dict[str, Any]:
    routes = [{"destination": {"host": REVIEWS, "subset": v}, "weight": weight} for v, weight in (("v1", v1), ("v3", v3))]
    return thing("VirtualService", "reviews", of, **{"hosts": [REVIEWS], "http": [{"route": routes}], **more})


REVIEWS = "reviews.bookinfo.svc.cluster.local"
SUBSETS = [{"name": v, "labels": {"version": v}} for v in ("v1", "v3")]
HERE = [
    split(80, 20), thing("DestinationRule", "reviews", host="reviews", subsets=SUBSETS), service("reviews"),
    *pods.versions("reviews", "v1", "v3"), service("productpage"), service("ratings"), *entrances("bookinfo"), gateways.INGRESS,
]  # fmt: skip
"""The rule under test comes first, for some tests leave it out."""


@dataclass(frozen=True)
class There(Cluster):
    """A cluster with objects in several namespaces.

    :param refused: HTTP status of lists of all namespaces; 0 if the account may have them
    """

    objects: list[dict[str, Any]] = field(default_factory=list)
    refused: int = 0
    asked: list[str] = field(default_factory=list)

    def ask(self, path: str, **query: str) -> dict[str, Any]:
        self.asked.append(path)
        if path.endswith("/configmaps/istio"):
            return {"metadata": {"name": "istio", "namespace": "istio-system", "uid": "m", "resourceVersion": "1"}, "data": {}}
        *_, before, namespace, plural = ("", "", *path.split("/"))
        if before != "namespaces":
            namespace = ""
            if self.refused:
                raise RefusedByServerError(f"GET {path}: HTTP {self.refused}", self.refused)
        named = plural.removesuffix("es") if plural == "ingresses" else plural
        found = [
            o for o in self.objects
            if named.lower() in (o["kind"].lower(), f"{o['kind'].lower()}s", f"{o['kind'].lower().removesuffix('y')}ies")
            and namespace in ("", o["metadata"]["namespace"])
            and o.get("apiVersion", "x").partition("/")[0] in ("x", path.split("/")[2])
        ]  # fmt: skip
        return {"apiVersion": "v1", "kind": f"{found[0]['kind']}List" if found else "List", "items": found}


def there(*objects: dict[str, Any], refused: int = 0, namespace: str = "bookinfo") -> There:
    return There("kubeconfig", namespace, objects=[*HERE, *objects], refused=refused)


QUESTION = entry.load("reviews-80-20").question


def read(*objects: dict[str, Any], refused: int = 0) -> Rules:
    return QUESTION.read(there(*objects, refused=refused))


def shares(rules: Rules) -> Mapping[str, float]:
    assert (rules.expected.broken, rules.expected.unknown) == ((), {})
    return rules.expected.shares["anonymous"]


def test_an_older_rule_of_another_namespace_that_is_given_to_the_caller_counts() -> None:
    assert shares(read()) == {"v1": 0.8, "v3": 0.2}
    (why,) = read(split(50, 50, "team", made="1")).expected.broken
    assert "sidecars follow reviews alone" in why
    alone = There("kubeconfig", "bookinfo", objects=[*HERE[1:], split(50, 50, "team")])
    found = QUESTION.read(alone)
    assert shares(found) == {"v1": 0.5, "v3": 0.5}
    assert found.generation != QUESTION.read(There("kubeconfig", "bookinfo", objects=HERE[1:])).generation


def test_what_was_read_before_holds_for_as_long_as_every_object_is_the_same() -> None:
    before = read()
    assert QUESTION.read(there(), before) is before
    after = QUESTION.read(there(split(50, 50, "team", made="1")), before)
    assert (after.expected.broken, after.objects) != (before.expected.broken, before.objects)


HOSTED = thing(
    "ServiceEntry", "x", "team", hosts=["x.lab"], location="MESH_EXTERNAL", resolution="DNS",
    ports=[{"number": 9080, "name": "http", "protocol": "HTTP"}], endpoints=[{"address": "y.lab"}],
)  # fmt: skip


@pytest.mark.parametrize(
    "other",
    [
        split(50, 50, "team", made="1", exportTo=["."]),
        split(50, 50, "team", made="1", hosts=["reviews"]),
        split(50, 50, "team", made="1", gateways=["own"]),
        thing("VirtualService", "x", "team", hosts=["x.lab"], http=[{"new": 1, "route": [{"destination": {"host": "x.lab"}}]}]),
        thing("DestinationRule", "x", "team", host=REVIEWS, trafficPolicy={"new": 1}),
        thing("DestinationRule", "x", "team", host="x.lab", trafficPolicy={"new": 1}),
        thing("Sidecar", "default", "team", egress=[{"hosts": ["./*"]}]),
        thing("Gateway", "x", "team", selector={"istio": "ingressgateway"}, servers=[]),
        thing("HTTPRoute", "x", "team", parentRefs=[{"group": "", "kind": "Service", "name": "reviews"}], rules=[]),
        thing("Service", "x", "team", type="ExternalName", externalName="x.lab"),
        {**thing("Sidecar", "without-a-spec", "team"), "spec": None},
        HOSTED,
    ],
    ids=lambda o: f"{o['kind']} {o['metadata']['name']}",
)
def test_a_rule_of_another_namespace_without_a_bearing_changes_nothing(other: dict[str, Any]) -> None:
    found, edited = read(other), {**other, "metadata": {**other["metadata"], "generation": 2}}
    assert shares(found) == {"v1": 0.8, "v3": 0.2}
    assert found.generation == read().generation == read(edited).generation, "it is nothing that makes a run void"


def test_the_default_sidecar_of_the_root_namespace_counts_and_the_callers_own_comes_first() -> None:
    hides = thing("Sidecar", "default", "istio-system", egress=[{"hosts": ["istio-system/*"]}])
    assert read(hides).expected.broken == ("anonymous: reviews:9080 has no route for it",)
    assert shares(read(hides, thing("Sidecar", "default", egress=[{"hosts": ["./*"]}]))) == {"v1": 0.8, "v3": 0.2}


def test_a_call_to_a_service_that_stands_for_another_name_is_left_open() -> None:
    alias = thing("Service", "alias", type="ExternalName", externalName="x.lab", ports=[{"name": "http", "port": 9080}])
    asked = Split(app="reviews", classes={"call": {"host": "alias", "port": 9080}}, callers="productpage")
    assert asked.read(there(alias)).expected.unknown == {"call": ("Service alias: spec.externalName",)}
    led = thing("VirtualService", "reviews", hosts=["reviews"], http=[{"route": [{"destination": {"host": "alias"}}]}])
    found = QUESTION.read(There("kubeconfig", "bookinfo", objects=[*HERE[1:], alias, led]))
    assert found.expected.unknown == {"anonymous": ("Service alias: spec.externalName",)}


def test_every_kind_is_listed_once_and_pods_in_the_namespace_alone() -> None:
    cluster = there()
    rules_in(cluster, (*ROUTING, "deployments.apps"))
    assert len(cluster.asked) == len(set(cluster.asked)) == len(ROUTING) + len(OF_PROXIES) + 2
    near = [path for path in cluster.asked if "/namespaces/" in path]
    assert [path.rpartition("/")[2] for path in near] == ["pods", "deployments", "istio"]


def test_a_limited_account_reads_the_namespace_and_the_root_namespace_and_says_so() -> None:
    hides = thing("Sidecar", "default", "istio-system", egress=[{"hosts": ["istio-system/*"]}])
    found = read(split(50, 50, "team", made="1"), refused=403)
    assert shares(found) == {"v1": 0.8, "v3": 0.2}
    (remark,) = found.remarks
    assert remark.startswith("rules of other namespaces than bookinfo and istio-system were not read")
    assert remark.endswith("HTTP 403")
    assert read(hides, refused=403).expected.broken
    assert read().remarks == ()
    cluster = there(refused=403)
    rules_in(cluster, ROUTING)
    assert len([path for path in cluster.asked if "/namespaces/" not in path]) == 1, "the other kinds are not tried"
    with pytest.raises(RefusedByServerError, match="HTTP 410"):
        read(refused=410)


def test_sentinels_of_any_namespace_are_left_out() -> None:
    carriers = propagation.carriers("x.sentinel", "team", ["team", "istio-system"], propagation.NAME)
    cluster = there(*carriers)
    kinds = ("serviceentries.networking.istio.io", "envoyfilters.networking.istio.io")
    assert [o["kind"] for o in rules_in(cluster, kinds).objects] == ["MeshConfig"]


def test_a_policy_is_not_judged_where_a_rule_of_another_namespace_answers_for_the_service() -> None:
    abort = {
        "fault": {"abort": {"httpStatus": 403, "percentage": {"value": 100}}},
        "route": [{"destination": {"host": REVIEWS}}],
    }
    denies = thing("AuthorizationPolicy", "nothing")
    call = {"app": "reviews", "port": 9080, "principal": "a", "caller": {"app": "a"}, "method": "GET", "uri": "/"}
    asked = ResponseCheck(SECURITY, security.permitted, {"call": call})
    made = thing("VirtualService", "x", "team", hosts=[REVIEWS], http=[abort])

    def found(*objects: dict[str, Any]) -> Rules:
        return asked.read(There("kubeconfig", "bookinfo", objects=[service("reviews"), *objects]))

    assert found(denies).expected.shares == {"call": {"HTTP 403": 1.0}}
    assert found(denies, made).expected.unknown == {"call": ("VirtualService x: spec.http[0].fault",)}


SERVER = {"port": {"number": 8080, "name": "http", "protocol": "HTTP"}, "hosts": ["a.lab"]}
GATEWAY = {
    "apiVersion": "networking.istio.io/v1", **thing("Gateway", "g", selector={"istio": "ingressgateway"}, servers=[SERVER])
}  # fmt: skip


@pytest.mark.parametrize(
    ("expectation", "route", "outcome"),
    [
        (responses.answered, {"redirect": {"uri": "/x"}}, "HTTP 301 to http://a.lab/x"),
        (responses.responded, {"directResponse": {"status": 410}}, "HTTP 410"),
    ],
)
def test_hosts_that_others_register_have_no_bearing_on_what_a_gateway_answers_itself(
    expectation: Any, route: dict[str, Any], outcome: str
) -> None:
    made = thing("VirtualService", "a", hosts=["a.lab"], gateways=["g"], http=[route])
    request = {"call": enters("a.lab", "bookinfo/g"), "answers": (), "characters": 9}
    found = ResponseCheck(ROUTING, expectation, {"call": request}).read(there(made, GATEWAY, HOSTED))
    assert found.expected.unknown == {}
    assert found.expected.shares == {"call": {outcome: 1.0}}


def test_a_host_outside_that_another_namespace_registers_for_itself_has_no_bearing() -> None:
    port = [{"number": 80, "name": "http", "protocol": "HTTP"}]
    ours = thing("ServiceEntry", "x", hosts=["x.lab"], ports=port, resolution="DNS")
    theirs = thing("ServiceEntry", "x", "team", hosts=["x.lab"], ports=port, endpoints=[{"address": "y"}], exportTo=["."])
    request = {"call": Call("x.lab", 80, Caller("bookinfo", {"app": "a"}, all_labels=False), "/send")}
    found = ResponseCheck(LEADING, egress.reached, {"call": request}).read(there(ours, theirs))
    assert found.expected.shares == {"call": {"HTTP 200": 1.0}}


def ingress_for(host: str, of: str, name: str = "istio") -> dict[str, Any]:
    backend = {"service": {"name": "reviews", "port": {"number": 9080}}}
    paths = [{"path": "/", "pathType": "Prefix", "backend": backend}]
    return thing("Ingress", f"of-{of}", of, ingressClassName=name, rules=[{"host": host, "http": {"paths": paths}}])


def route_for(host: str, of: str) -> dict[str, Any]:
    rules = [{"backendRefs": [{"name": "reviews", "port": 9080}]}]
    parents = [{"name": "ingress", "namespace": "istio-system"}]
    return thing("HTTPRoute", f"of-{of}", of, parentRefs=parents, hostnames=[host], rules=rules)


@pytest.mark.parametrize(
    ("kind", "expectation", "made"),
    [("Ingress", ingresses.ingress_routed, ingress_for), ("HTTPRoute", ingress.http_routed, route_for)],
)
def test_kubernetes_own_ways_in_of_another_namespace(kind: str, expectation: Any, made: Any) -> None:
    request = {
        "authority": "a.lab", "uri": "/", "method": "GET", "answers": ("reviews",), "gateway": ("istio-system", "ingress"),
    }  # fmt: skip
    asked = ResponseCheck((PORTS[kind], *BY_ROUTES), expectation, {"call": request})
    answered = {"call": {"HTTP 200": 1.0}}
    there_too = (gateway({}), service("reviews", "team"))
    assert asked.read(there(made("a.lab", "bookinfo"), made("b.lab", "team"), *there_too)).expected.shares == answered
    (why,) = asked.read(there(made("a.lab", "team"), *there_too)).expected.unknown["call"]
    assert (
        why
        == {
            "Ingress": "Ingress of-team: spec.rules[0].http.paths[0].backend.service.name",
            "HTTPRoute": "HTTPRoute of-team: spec.rules[0].backendRefs[0].name",
        }[kind]
    )
    if kind == "Ingress":
        assert asked.read(there(made("a.lab", "bookinfo"), ingress_for("b.lab", "team", "nginx"))).expected.shares == answered
