"""Which requests are planned for routes of the Gateway API and for Ingresses, and what is said of those that get none."""

from __future__ import annotations

from typing import Any

import pytest

from loadtests.judge.attached import INGRESS
from loadtests.judge.checks import Check, Plan
from loadtests.judge.guards import OUTSIDE
from loadtests.judge.plan import plan_for
from loadtests.judge.reach import Settings
from loadtests.judge.session import sender_of
from loadtests.rules.calls import Caller
from loadtests.rules.workloads import INGRESS_GATEWAY
from loadtests.verdict import Outcome
from tests.unit import gateways
from tests.unit.judge.rules import AROUND, service, to, virtual_service
from tests.unit.judge.test_plan import GATEWAY
from tests.unit.pods import pod
from tests.unit.rules.test_ingress import gateway

ENTRANCE = Caller("istio-system", INGRESS_GATEWAY.labels[0], all_labels=False)
HOST = "a.routes.lab.internal"
MESH = [gateways.INGRESS, gateway({"hostname": "*.routes.lab.internal"})]


def made(kind: str, *rules: dict[str, Any], name: str = "one", year: int = 2026, **spec: Any) -> dict[str, Any]:
    metadata = {
        "name": name, "namespace": "shop", "uid": name, "generation": 1, "creationTimestamp": f"{year}-01-01T00:00:00Z",
    }  # fmt: skip
    attached = {"parentRefs": [{"name": "ingress", "namespace": "istio-system"}], "hostnames": [HOST]}
    return {"kind": kind, "metadata": metadata, "spec": {**attached, "rules": list(rules), **spec}}


def backends(**weights: int) -> dict[str, Any]:
    return {"backendRefs": [{"name": name, "port": 9080, "weight": weight} for name, weight in weights.items()]}


def below(path: str, **more: Any) -> dict[str, Any]:
    return {"path": {"type": "PathPrefix", "value": path}, **more}


def planned(*rules: dict[str, Any], entrance: Caller | None = ENTRANCE, **settings: Any) -> Plan:
    return plan_for([*rules, *AROUND, *MESH], Settings("shop", entrance=entrance, **settings))


def checks(*rules: dict[str, Any]) -> dict[str, Check]:
    plan = planned(*rules)
    assert plan.gaps == ()
    return {check.name.partition(": spec.")[2]: check for check in plan.checks}


def gaps(*rules: dict[str, Any], **settings: Any) -> dict[str, tuple[str, Outcome]]:
    return {gap.where: (gap.why, gap.outcome) for gap in planned(*rules, **settings).gaps}


def test_weights_are_asked_of_the_gateway() -> None:
    (check,) = checks(made("HTTPRoute", {"matches": [below("/x")], **backends(reviews=80, ratings=20)})).values()
    assert check.fate.shares == {"reviews.shop:9080": 0.8, "ratings.shop:9080": 0.2}
    assert check.fate.places["ratings.shop:9080"].labels == {"app": "ratings"}
    assert (check.by_gateway, check.calls[0].caller.gateway, check.calls[0].port) == (True, "istio-system/ingress", 80)


def test_a_rule_gets_a_request_that_none_before_it_takes() -> None:
    found = checks(
        made(
            "HTTPRoute",
            {"matches": [below("/x"), {"path": {"type": "Exact", "value": "/y"}}], **backends(reviews=1)},
            {"matches": [below("/x", headers=[{"name": "End-User", "value": "jason"}])], **backends(ratings=1)},
            {"matches": [below("/x", queryParams=[{"name": "q", "type": "RegularExpression", "value": "[0-9]"}])],
             **backends(ratings=1)},
            {"matches": [below("/x", method="HEAD")], **backends(ratings=1)},
            backends(reviews=1),
        )
    )  # fmt: skip
    assert [call.uri for call in found["rules[0]"].calls] == ["/x/", "/y"]
    assert dict(found["rules[1]"].calls[0].headers) == {"end-user": "jason"}
    assert found["rules[2]"].calls[0].query["q"].isdecimal()
    assert found["rules[3]"].calls[0].method == "HEAD"
    assert found["rules[4]"].calls[0].uri == "/"
    # Without them, a rule for everything would take what the others are asked.
    assert [check.fate.shares for check in found.values()] == [
        {"reviews.shop:9080": 1.0}, *3 * [{"ratings.shop:9080": 1.0}], {"reviews.shop:9080": 1.0},
    ]  # fmt: skip


OWN = {"gateway.networking.k8s.io/gateway-name": "own"}
OF_OWN = [
    pod("own-istio-1", OWN, "shop"),
    {**service("own-istio", ("http", 81)), "spec": {"selector": OWN, "ports": [{"port": 81}]}},
]
SERVER = {"port": {"number": 81, "name": "http", "protocol": "HTTP"}}


def own_gateway(*listeners: dict[str, Any], **spec: Any) -> dict[str, Any]:
    named = [{"name": f"l{n}", "port": 81, "protocol": "HTTP", **one} for n, one in enumerate(listeners or ({},))]
    metadata = {"name": "own", "namespace": "shop", "uid": "own", "generation": 1}
    spec = {"gatewayClassName": "istio", "listeners": named, **spec}
    return {"kind": "Gateway", "apiVersion": "gateway.networking.k8s.io/v1", "metadata": metadata, "spec": spec}


OF_IT = made("HTTPRoute", backends(reviews=1), parentRefs=[{"name": "own"}], hostnames=[])


@pytest.mark.parametrize("entrance", [ENTRANCE, None], ids=["beside the lab's gateway", "without one"])
def test_a_gateway_with_pods_of_its_own_is_asked_by_them(entrance: Caller | None) -> None:
    plan = planned(own_gateway(), OF_IT, GATEWAY, virtual_service("front", to(), hosts=["*"], gateways=["door"]), *OF_OWN,
                   entrance=entrance)  # fmt: skip
    (check,) = [one for one in plan.checks if one.name == "HTTPRoute one: spec.rules[0]"]
    (call,) = check.calls
    assert (call.caller.gateway, call.caller.namespace, dict(call.caller.labels), call.port) == ("shop/own", "shop", OWN, 81)
    assert check.fate.shares == {"reviews.shop:9080": 1.0}
    assert (sender_of(call), [gap.where for gap in plan.gaps if "own" in gap.where]) == (OUTSIDE.caller, [])


@pytest.mark.parametrize(
    ("objects", "where", "why"),
    [
        ([own_gateway(), OF_IT], "HTTPRoute one: spec.parentRefs[0]", "Gateway shop/own has no running pods"),
        ([own_gateway(), OF_IT, OF_OWN[0]], "HTTPRoute one: spec.parentRefs[0]", "or no Service is in front of them"),
        (
            [own_gateway(), OF_IT, *OF_OWN, pod("own-istio-2", {**OWN, "track": "2"}, "shop")],
            "HTTPRoute one: spec.parentRefs[0]",
            "the pods of Gateway shop/own are not alike",
        ),
        (
            [own_gateway(gatewayClassName="other"), OF_IT, *OF_OWN], "HTTPRoute one: spec.parentRefs[0]",
            "not modelled: Gateway own: spec.gatewayClassName",
        ),
        ([own_gateway({}, {"protocol": "TLS", "port": 443}), OF_IT, *OF_OWN], "Gateway own: spec.listeners[1]", "TLS"),
        ([own_gateway({}, {"port": 82}), OF_IT, *OF_OWN], "Gateway own: spec.listeners[1]", "no route is asked by it"),
        (
            [own_gateway(), OF_IT, *OF_OWN, {**GATEWAY, "spec": {"selector": OWN, "servers": [{**SERVER, "hosts": ["*"]}]}},
             virtual_service("front", to(), hosts=["*"], gateways=["door"])],
            "HTTPRoute one: spec.rules[0]", "VirtualService front: spec.hosts",
        ),
    ],
    ids=["no pods", "no Service", "two kinds", "another class", "TLS", "another port", "a Gateway of Istio's beside it"],
)  # fmt: skip
def test_why_a_gateway_with_pods_of_its_own_is_not_asked(objects: list[dict[str, Any]], where: str, why: str) -> None:
    assert why in gaps(*objects)[where][0]


def test_a_rule_that_is_tried_first_is_avoided_by_the_one_behind_it() -> None:
    rules = [{"matches": [below("/")], **backends(reviews=1)}, {"matches": [below("/istio-lab")], **backends(ratings=1)}]
    found = checks(made("HTTPRoute", *rules))
    assert [check.calls[0].uri for check in found.values()] == ["/", "/istio-lab/"]


@pytest.mark.parametrize(
    ("to", "outcome"),
    [
        ({}, f"HTTP 302 to http://{HOST}/x/"),
        ({"statusCode": 301, "scheme": "https"}, f"HTTP 301 to https://{HOST}/x/"),
        ({"hostname": "b.lab", "port": 8080}, "HTTP 302 to http://b.lab:8080/x/"),
        ({"scheme": "https", "port": 443}, f"HTTP 302 to https://{HOST}/x/"),
        ({"path": {"type": "ReplaceFullPath", "replaceFullPath": "/new"}}, f"HTTP 302 to http://{HOST}/new"),
        ({"path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/new"}}, f"HTTP 302 to http://{HOST}/new/"),
    ],
    ids=str,
)
def test_redirects(to: dict[str, Any], outcome: str) -> None:
    rule = {"matches": [below("/x")], "filters": [{"type": "RequestRedirect", "requestRedirect": to}]}
    (check,) = checks(made("HTTPRoute", rule)).values()
    assert check.fate.shares == {outcome: 1.0}


def test_a_prefix_that_is_replaced_by_the_root_is_not_modelled() -> None:
    to = {"path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/"}}
    rule = {"matches": [below("/x")], "filters": [{"type": "RequestRedirect", "requestRedirect": to}]}
    ((why, outcome),) = gaps(made("HTTPRoute", rule)).values()
    assert why == "not modelled: HTTPRoute one: spec.rules[0].filters[0].requestRedirect.path"
    assert outcome is Outcome.UNKNOWN


def test_calls_of_grpc_are_asked_by_their_path() -> None:
    found = checks(
        made(
            "GRPCRoute",
            {"matches": [{"method": {"service": "a.B", "method": "C"}}], **backends(reviews=3, ratings=1)},
            {"matches": [{"method": {"service": "a.B"}}], **backends(reviews=1)},
            backends(ratings=1),
        )
    )
    assert [check.calls[0].uri for check in found.values()] == ["/a.B/C", "/a.B/", "/"]
    assert found["rules[0]"].fate.shares == {"reviews.shop:9080": 0.75, "ratings.shop:9080": 0.25}


def path(value: str, kind: str = "Prefix", name: str = "reviews", **port: Any) -> dict[str, Any]:
    return {"path": value, "pathType": kind, "backend": {"service": {"name": name, "port": port or {"number": 9080}}}}


def an_ingress(*paths: dict[str, Any], host: str = "i.lab", **spec: Any) -> dict[str, Any]:
    rules = [{"host": host, "http": {"paths": list(paths)}}]
    return made("Ingress") | {"spec": {"ingressClassName": "istio", "rules": rules, **spec}}


def test_each_path_of_an_ingress_is_asked() -> None:
    found = checks(an_ingress(path("/a", "Exact"), path("/a"), path("/", name="ratings"), path("/c", name="ratings")))
    assert {name: (check.calls[0].uri, next(iter(check.fate.shares))) for name, check in found.items()} == {
        "rules[0].http.paths[0]": ("/a", "reviews.shop:9080"),
        "rules[0].http.paths[1]": ("/a/", "reviews.shop:9080"),
        "rules[0].http.paths[2]": ("/", "ratings.shop:9080"),
        "rules[0].http.paths[3]": ("/c/", "ratings.shop:9080"),
    }
    assert {check.calls[0].caller.gateway for check in found.values()} == {INGRESS}


def test_a_port_of_an_ingress_may_have_a_name() -> None:
    one = path("/a")
    one["backend"]["service"]["port"] = {"name": "http"}
    (check,) = checks(an_ingress(one)).values()
    assert check.fate.shares == {"reviews.shop:9080": 1.0}
    one["backend"]["service"]["port"] = {"name": "other"}
    assert gaps(an_ingress(one)) == {
        "Ingress one: spec.rules[0].http.paths[0]": ("Service reviews in namespace shop has no port other", Outcome.FAIL)
    }


TO = {"matches": [below("/x")], **backends(reviews=1)}
RULE = "HTTPRoute one: spec.rules[0]"
SERVICE = {"kind": "Service", "group": "", "name": "reviews", "port": 9080}


@pytest.mark.parametrize(
    ("rules", "where", "why", "outcome"),
    [
        ([made("HTTPRoute", backends(none=1))], RULE, "there is no Service none", Outcome.FAIL),
        ([made("HTTPRoute", {"backendRefs": [{"name": "reviews", "port": 1}]})], RULE,
         "Service reviews in namespace shop has no port 1", Outcome.FAIL),
        ([made("HTTPRoute", TO), made("HTTPRoute", TO, name="older", year=2025)], RULE,
         "no request reaches it: HTTPRoute older: spec.rules[0].matches[0] takes them all", Outcome.FAIL),
        ([made("HTTPRoute", {**TO, "matches": [below("/x", method="POST")]})], RULE, "its method is POST, and only GET, HEAD",
         Outcome.UNKNOWN),
        ([made("HTTPRoute", {**TO, "sessionPersistence": {"sessionName": "a"}})], RULE,
         "not modelled: HTTPRoute one: spec.rules[0].sessionPersistence", Outcome.UNKNOWN),
        ([made("HTTPRoute", TO, parentRefs=[{"kind": "Service", "group": "", "name": "none"}])],
         "HTTPRoute one: spec.parentRefs[0]", "there is no Service none", Outcome.FAIL),
        ([made("HTTPRoute", TO, parentRefs=[SERVICE]), made("HTTPRoute", TO, name="two", parentRefs=[SERVICE])], RULE,
         "not modelled: HTTPRoute one: spec.parentRefs, HTTPRoute two: spec.parentRefs", Outcome.UNKNOWN),
        ([made("HTTPRoute", TO, parentRefs=[SERVICE]), virtual_service("reviews", to(("v1", 1)))], RULE,
         "not modelled: VirtualService reviews: spec.hosts", Outcome.UNKNOWN),
        ([made("HTTPRoute", {**TO, "matches": [below("/", headers=[{"name": "x-request-id", "value": "a"}])]})], RULE,
         "not modelled: HTTPRoute one: spec.rules[0].matches[0].headers: proxies set", Outcome.UNKNOWN),
        ([made("HTTPRoute", TO, parentRefs=[{"name": "own"}])], "HTTPRoute one: spec.parentRefs[0]", "no Gateway shop/own",
         Outcome.UNKNOWN),
        ([made("HTTPRoute", TO, hostnames=["b.lab"])], "HTTPRoute one: spec.parentRefs[0]", "no listener of Gateway",
         Outcome.UNKNOWN),
        ([made("HTTPRoute", TO, parentRefs=[])], "HTTPRoute one: spec.parentRefs", "it is attached to nothing", Outcome.FAIL),
        ([an_ingress(path("/a"), ingressClassName="nginx")], "Ingress one: spec.rules[0].http.paths[0]",
         "not modelled: Ingress one: spec.ingressClassName", Outcome.UNKNOWN),
        ([an_ingress(path("/a"), ingressClassName="")], "Ingress one: spec.ingressClassName",
         "Istio takes Ingresses of its own", Outcome.UNKNOWN),
        ([an_ingress(path("/a"), host=HOST), made("HTTPRoute", TO, name="route")], "Ingress one: spec.rules[0].http.paths[0]",
         "not modelled: HTTPRoute route: spec.parentRefs", Outcome.UNKNOWN),
        ([made("HTTPRoute", TO), made("Ingress", name="i") | {"spec": an_ingress(path("/a"), host=HOST)["spec"]}], RULE,
         "not modelled: Ingress i: spec.rules", Outcome.UNKNOWN),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else "",
)  # fmt: skip
def test_what_no_request_is_planned_for_is_named(rules: list[dict[str, Any]], where: str, why: str, outcome: Outcome) -> None:
    found = gaps(*rules)
    assert where in found, found
    assert found[where][0].startswith(why), found
    assert found[where][1] is outcome


def test_a_rule_behind_one_of_the_same_route_is_idle() -> None:
    plan = planned(made("HTTPRoute", TO, TO))
    assert (len(plan.checks), plan.gaps) == (1, ())
    assert plan.warnings == (
        "HTTPRoute one: spec.rules[1]: no request reaches it: HTTPRoute one: spec.rules[0].matches[0] takes them all",
    )


def test_without_a_gateway_of_the_lab_nothing_enters() -> None:
    assert gaps(made("HTTPRoute", TO), entrance=None) == {
        "HTTPRoute one: spec.parentRefs[0]": ("the lab has no gateway by which requests could enter", Outcome.UNKNOWN)
    }


def test_what_does_not_change_where_requests_go_is_named() -> None:
    rule = {
        **TO, "timeouts": {"request": "1s"},
        "filters": [
            {"type": "URLRewrite", "urlRewrite": {"hostname": "b", "path": {"type": "ReplaceFullPath"}}},
            {"type": "RequestHeaderModifier", "requestHeaderModifier": {"set": [{"name": "a", "value": "b"}]}},
            {"type": "ResponseHeaderModifier", "responseHeaderModifier": {
                "set": [{"name": "X-A", "value": "b"}], "remove": ["x-c"], "add": [{"name": "x-d", "value": "e"}]}},
        ],
    }  # fmt: skip
    plan = planned(made("HTTPRoute", rule))
    left = (
        "filters[0].urlRewrite.path", "filters[1].requestHeaderModifier", "filters[2].responseHeaderModifier.add", "timeouts",
    )  # fmt: skip
    assert plan.unseen == tuple(f"{RULE}.{field}" for field in left)
    (check,) = plan.checks
    assert (check.fate.authority, check.fate.response) == ("b", {"x-a": "b", "x-c": None})


def test_a_rule_of_a_gateway_is_left_open_where_an_ingress_may_take_its_requests() -> None:
    rule = virtual_service("reviews", to(("v1", 1)), hosts=["i.lab"], gateways=["door"])
    assert gaps(rule, GATEWAY) == {}
    assert "VirtualService reviews: spec.http[0] by Gateway shop/door" in gaps(rule, GATEWAY, an_ingress(path("/a")))


@pytest.mark.parametrize(("number", "judged"), [(80, True), (8080, True), (9000, False)])
def test_requests_enter_by_the_port_of_the_gateway_alone(number: int, judged: bool) -> None:
    port = {"number": number, "name": "http", "protocol": "HTTP"}
    door = {**GATEWAY, "spec": {**GATEWAY["spec"], "servers": [{"port": port, "hosts": ["*"]}]}}
    assert (gaps(virtual_service("reviews", to(("v1", 1)), hosts=["i.lab"], gateways=["door"]), door) == {}) is judged


def test_a_route_that_is_attached_to_a_service_is_asked_by_a_sidecar() -> None:
    rules = [{"matches": [below("/x")], **backends(reviews=9, ratings=1)}, backends(ratings=1)]
    found = checks(made("HTTPRoute", *rules, parentRefs=[SERVICE]))
    assert [(check.by_gateway, check.calls[0].host, check.calls[0].uri) for check in found.values()] == [
        (False, "reviews.shop.svc.cluster.local:9080", "/x/"), (False, "reviews.shop.svc.cluster.local:9080", "/"),
    ]  # fmt: skip
    assert found["rules[0]"].fate.shares == {"reviews.shop:9080": 0.9, "ratings.shop:9080": 0.1}
