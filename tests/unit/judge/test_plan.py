"""Which requests are planned for rules, and what is said of those that get none."""

from __future__ import annotations

import random
from typing import Any

import pytest

from loadtests.judge.checks import Check, Gap, Plan, needed
from loadtests.judge.plan import plan_for
from loadtests.judge.reach import PROBES, Settings
from loadtests.judge.session import Door, request_of
from loadtests.rules.calls import Call, Caller
from loadtests.rules.routing import find_route
from loadtests.rules.view import viewed
from loadtests.rules.workloads import INGRESS_GATEWAY
from loadtests.verdict import Outcome
from tests.unit import pods
from tests.unit.gateways import INGRESS
from tests.unit.judge.rules import AROUND, JASON, SUBSETS, service, to, virtual_service

GATEWAY: dict[str, Any] = {
    "kind": "Gateway", "apiVersion": "networking.istio.io/v1", "metadata": {"name": "door", "namespace": "shop", "uid": "g"},
    "spec": {
        "selector": {"istio": "ingressgateway"},
        "servers": [{"port": {"number": 80, "name": "http", "protocol": "HTTP"}, "hosts": ["*"]}],
    },
}  # fmt: skip
PODS_OF_GATEWAY = Caller("istio-system", {"istio": "ingressgateway"}, all_labels=False)
INGRESS_PODS = Caller("istio-system", INGRESS_GATEWAY.labels[0], all_labels=False)
ROUTE = "VirtualService reviews: spec.http"


def planned(*rules: dict[str, Any], around: list[dict[str, Any]] = AROUND, **settings: Any) -> Plan:
    return plan_for([*rules, *around], Settings("shop", **settings))


def calls(*routes: dict[str, Any], **settings: Any) -> dict[str, list[Call]]:
    """The requests for routes of one rule, by the route's number."""
    plan = planned(virtual_service("reviews", *routes), **settings)
    assert plan.gaps == ()
    return {check.name.removeprefix(ROUTE): list(check.calls) for check in plan.checks}


def gaps(*routes: dict[str, Any], **settings: Any) -> dict[str, tuple[str, Outcome]]:
    plan = planned(virtual_service("reviews", *routes), **settings)
    return {gap.where.removeprefix(ROUTE): (gap.why, gap.outcome) for gap in plan.gaps}


def test_a_split_is_asked_of_the_service_by_a_probe_in_the_mesh() -> None:
    (check,) = planned(virtual_service("reviews", to(("v1", 80), ("v3", 20)))).checks
    (call,) = check.calls
    assert (call.name, call.port, call.method, call.uri) == ("reviews.shop.svc.cluster.local", 9080, "GET", "/")
    assert call.caller.namespace == PROBES
    assert check.fate.shares == {"reviews.shop:9080 v1": 0.8, "reviews.shop:9080 v3": 0.2}
    assert check.fate.places["reviews.shop:9080 v3"].labels == {"app": "reviews", "version": "v3"}


def test_a_route_gets_a_request_that_no_earlier_one_takes() -> None:
    found = calls({**JASON, **to(("v2", 1))}, to(("v1", 1)))
    assert [dict(call.headers)["end-user"] for call in found["[0]"]] == ["jason"]
    assert "end-user" not in found["[1]"][0].headers


@pytest.mark.parametrize(
    ("match", "part", "value"),
    [
        ({"uri": {"exact": "/a"}}, "uri", "/a"),
        ({"uri": {"prefix": "/a/"}}, "uri", "/a/"),
        ({"uri": {"regex": "/v[0-9]/[a-z]+"}}, "uri", None),
        ({"method": {"exact": "HEAD"}}, "method", "HEAD"),
        ({"headers": {"x-a": {"prefix": "b"}}}, "headers", {"x-a": "b"}),
        ({"headers": {"x-a": {}}}, "headers", {"x-a": "istio-lab"}),
        ({"headers": {"user-agent": {"regex": ".*Firefox.*"}}}, "headers", {"user-agent": "Firefox"}),
        ({"queryParams": {"q": {"exact": "1"}}}, "query", {"q": "1"}),
        ({"authority": {"exact": "reviews.shop.svc.cluster.local"}}, "host", "reviews.shop.svc.cluster.local"),
        ({"withoutHeaders": {"x-a": {"exact": "b"}}, "uri": {"prefix": "/a"}}, "uri", "/a"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_conditions_are_solved(match: dict[str, Any], part: str, value: Any) -> None:
    (call,) = calls({"match": [match], **to(("v2", 1))}, to(("v1", 1)))["[0]"]
    if value is not None:
        planned = getattr(call, part)
        assert (value.items() <= planned.items()) if isinstance(value, dict) else planned == value


@pytest.mark.parametrize(
    "earlier",
    [
        {"uri": {"prefix": "/a"}},
        {"method": {"exact": "GET"}},
        {"withoutHeaders": {"x-a": {}}},
        {"withoutHeaders": {"x-a": {"exact": "b"}}},
        {"withoutHeaders": {"x-a": {"regex": "[0-9]{3}"}}},
        {"headers": {"user-agent": {"exact": "istio-lab-judge"}}},
    ],
    ids=str,
)
def test_an_earlier_route_is_avoided(earlier: dict[str, Any]) -> None:
    assert len(calls({"match": [earlier], **to(("v2", 1))}, to(("v1", 1)))["[1]"]) == 1


def test_each_condition_of_a_route_is_asked_by_turns() -> None:
    matches = [{"uri": {"exact": path}} for path in ("/a", "/b")]
    assert [call.uri for call in calls({"match": matches, **to(("v2", 1))}, to(("v1", 1)))["[0]"]] == ["/a", "/b"]


def test_requests_of_one_route_with_several_fates_are_several_checks() -> None:
    matches = [{"uri": {"prefix": path}} for path in ("/a", "/b")]
    found = calls({"match": matches, "redirect": {"authority": "else.where"}}, to(("v1", 1)))
    assert set(found) == {"[0] (1)", "[0] (2)", "[1]"}


def test_a_route_behind_one_that_takes_everything_is_warned_of() -> None:
    plan = planned(virtual_service("reviews", to(("v1", 1)), {**JASON, **to(("v2", 1))}))
    assert plan.warnings == (f"{ROUTE}[1]: no request reaches it: {ROUTE}[0] takes them all",)
    assert [check.name for check in plan.checks] == [f"{ROUTE}[0]"]


@pytest.mark.parametrize(
    ("earlier", "later"),
    [
        ({"uri": {"prefix": "/a"}}, {"uri": {"exact": "/a/b"}}),
        ({"uri": {"prefix": "/a"}}, {"uri": {"prefix": "/a/b"}, "method": {"exact": "GET"}}),
        ({"headers": {"x-a": {}}}, {"headers": {"x-a": {"exact": "b"}}}),
        ({"uri": {"regex": "/[a-z]+"}}, {"uri": {"regex": "/[a-z]+"}}),
    ],
    ids=str,
)
def test_a_condition_within_an_earlier_one_is_shadowed(earlier: dict[str, Any], later: dict[str, Any]) -> None:
    routes = ({"match": [one], **to((version, 1))} for one, version in ((earlier, "v1"), (later, "v2")))
    plan = planned(virtual_service("reviews", *routes))
    assert plan.warnings == (f"{ROUTE}[1]: no request reaches it: {ROUTE}[0].match[0] takes them all",)


def test_what_two_earlier_conditions_take_together_is_not_said_to_be_shadowed() -> None:
    either = [{"uri": {"regex": "/a.*"}}, {"uri": {"regex": "/[^a].*"}}, {"uri": {"exact": "/"}}]
    why, outcome = gaps({"match": either, **to(("v1", 1))}, {"match": [{"uri": {"regex": "/a+"}}], **to(("v2", 1))})["[1]"]
    assert outcome is Outcome.UNKNOWN
    assert why == f"no request was found that {ROUTE}[0].match[0] does not take before it"


@pytest.mark.parametrize(
    ("match", "why"),
    [
        ({"method": {"exact": "POST"}}, "its method is POST, and only GET, HEAD may be sent: see METHODS="),
        (
            {"sourceNamespace": "shop"},
            f"{ROUTE}[0].match[0].sourceNamespace is shop, and requests are sent from namespace {PROBES}",
        ),
        ({"port": 1234}, "reviews.shop.svc.cluster.local has no port for HTTP that it is for"),
        ({"headers": {"x-forwarded-for": {"exact": "1"}}}, f"not modelled: {ROUTE}[0].match[0].headers.x-forwarded-for"),
        ({"scheme": {"exact": "https"}}, "no request was found that it takes"),
    ],
    ids=str,
)
def test_a_condition_without_a_request_is_said_to_have_none(match: dict[str, Any], why: str) -> None:
    assert gaps({"match": [match], **to(("v2", 1))}, to(("v1", 1)))["[0]"] == (why, Outcome.UNKNOWN)


def test_methods_may_be_named() -> None:
    route = {"match": [{"method": {"exact": "POST"}}], **to(("v2", 1))}
    assert calls(route, to(("v1", 1)), methods=("GET", "POST"))["[0]"][0].method == "POST"


def test_a_route_for_callers_with_labels_is_asked_by_a_pod_with_them() -> None:
    found = calls({"match": [{"sourceLabels": {"app": "page", "tier": "front"}}], **to(("v2", 1))}, to(("v1", 1)))
    assert {"app": "page", "tier": "front"}.items() <= found["[0]"][0].caller.labels.items()
    assert found["[1]"][0].caller.labels["app"] == "istio-lab-probe"


def test_the_younger_of_two_rules_for_one_host_is_never_followed_and_both_fail() -> None:
    plan = planned(virtual_service("reviews", to(("v1", 1)), age=5), virtual_service("old", to(("v2", 1)), hosts=["reviews"]))
    assert plan.checks == ()
    assert {gap.where: gap.outcome for gap in plan.gaps} == {
        "VirtualService old: spec.http[0]": Outcome.FAIL, f"{ROUTE}[0]": Outcome.FAIL,
    }  # fmt: skip
    assert "sidecars follow VirtualService old alone" in next(gap.why for gap in plan.gaps if gap.where == f"{ROUTE}[0]")


def test_a_subset_without_pods_fails() -> None:
    relabelled = [SUBSETS, service("reviews")]
    plan = planned(virtual_service("reviews", to(("v1", 1))), around=[*relabelled, AROUND[4]])
    assert [(gap.where, gap.outcome) for gap in plan.gaps] == [(f"{ROUTE}[0]", Outcome.FAIL)]
    assert "selects no running pod" in plan.gaps[0].why


def test_a_field_that_is_not_modelled_is_named() -> None:
    why, outcome = gaps({**to(("v1", 1)), "statPrefix": "x"})["[0]"]
    assert (why, outcome) == (f"not modelled: {ROUTE}[0].statPrefix", Outcome.UNKNOWN)


def test_fields_that_outcomes_do_not_show_are_listed() -> None:
    policy = {**SUBSETS, "spec": {**SUBSETS["spec"], "trafficPolicy": {"loadBalancer": {"simple": "RANDOM"}}}}  # type: ignore[dict-item]
    route = {**to(("v1", 1)), "timeout": "5s", "mirror": {"host": "ratings"}}
    plan = planned(virtual_service("reviews", route), around=[policy, *AROUND[1:]])
    assert plan.unseen == (
        f"{ROUTE}[0].mirror", f"{ROUTE}[0].timeout", "DestinationRule reviews: spec.trafficPolicy.loadBalancer",
    )  # fmt: skip
    assert plan.checks[0].fate.copied == {"ratings.shop:9080"}


@pytest.mark.parametrize(
    ("rule", "why"),
    [
        (
            virtual_service("reviews", to(), exportTo=["."]),
            f"spec.exportTo does not include namespace {PROBES}, where requests",
        ),
        (
            virtual_service("reviews", to(), hosts=["reviews.com"]),
            "no service of the cluster is called reviews.com, so nothing",
        ),
        (virtual_service("reviews", to(), gateways=["shop/door"]), "the lab has no way in by the pods that Gateway shop/door"),
        (virtual_service("reviews", to(), gateways=["shop/none"]), "there is no Gateway shop/none"),
        (virtual_service("reviews", tcp=[to()], http=[]), "no service of the cluster has a port for TCP that it is for"),
        (virtual_service("reviews", tls=[to()], http=[]), "no connections are planned for TLS routes yet"),
        (virtual_service("reviews", tcp=[to()], http=[], gateways=["door"]), "no connections are planned by gateways yet"),
    ],
    ids=lambda value: "" if isinstance(value, dict) else value[:30],
)
def test_a_rule_that_no_request_can_be_sent_for_is_a_gap(rule: dict[str, Any], why: str) -> None:
    plan = planned(rule, GATEWAY)
    assert [(gap.why.startswith(why), gap.outcome) for gap in plan.gaps] == [(True, Outcome.UNKNOWN)]


@pytest.mark.parametrize("kind", ["TCPRoute", "EnvoyFilter", "WasmPlugin"])
def test_a_kind_without_requests_is_a_gap(kind: str) -> None:
    item = {"kind": kind, "metadata": {"name": "one", "namespace": "shop", "uid": "x"}, "spec": {}}
    plan = planned(virtual_service("reviews", to(("v1", 1))), item)
    assert Gap(f"{kind} one: spec", "no requests are planned for this kind yet") in plan.gaps
    elsewhere = {**item, "metadata": {"name": "one", "namespace": "other", "uid": "x"}}
    assert planned(virtual_service("reviews", to(("v1", 1))), elsewhere).gaps == ()


def test_the_labs_own_envoy_filters_are_not_named() -> None:
    def unseen(name: str) -> tuple[str, ...]:
        item = {"kind": "EnvoyFilter", "metadata": {"name": name, "namespace": "istio-system", "uid": "x"}, "spec": {}}
        return planned(virtual_service("reviews", to(("v1", 1))), item).unseen

    assert "EnvoyFilter one of istio-system: spec" in unseen("one")
    assert not [path for path in unseen("istio-lab-alpn") if "EnvoyFilter" in path]


def test_requests_enter_by_a_gateway_of_the_lab() -> None:
    rule = virtual_service("page", to(), hosts=["*"], gateways=["door"])
    plan = planned(rule, GATEWAY, entrance=PODS_OF_GATEWAY)
    assert plan.gaps == ()
    (call,) = plan.checks[0].calls
    assert (call.caller.gateway, call.port, call.host) == ("shop/door", 80, "judge.istio-lab.internal")
    assert plan.checks[0].by_gateway


def secured(mode: str = "SIMPLE", number: int = 8443) -> dict[str, Any]:
    server = {"port": {"number": number, "name": "https", "protocol": "HTTPS"}, "hosts": ["*"], "tls": {"mode": mode}}
    return {**GATEWAY, "spec": {**GATEWAY["spec"], "servers": [server]}}


def test_requests_enter_by_https_where_a_gateway_has_nothing_else() -> None:
    rule = virtual_service("page", to(), hosts=["shop.example"], gateways=["door"])
    plan = planned(rule, secured(), INGRESS, entrance=INGRESS_PODS, secure=True)
    assert plan.gaps == ()
    (call,) = plan.checks[0].calls
    assert (call.scheme, call.port, call.host) == ("https", 8443, "shop.example")
    assert request_of(call, "m", Door("127.0.0.1", 1)) == (
        "127.0.0.1", 1, "GET", "/", {"Host": "shop.example", "user-agent": "m"}, "shop.example",
    )  # fmt: skip
    assert "Gateway shop/door: spec.servers.tls" in plan.unseen
    both = {**GATEWAY, "spec": {**GATEWAY["spec"], "servers": GATEWAY["spec"]["servers"] + secured()["spec"]["servers"]}}
    assert planned(rule, both, INGRESS, entrance=INGRESS_PODS, secure=True).checks[0].calls[0].scheme == "http"


@pytest.mark.parametrize(
    ("gateway", "secure"), [(secured(), False), (secured("MUTUAL"), True), (secured(number=9443), True)],
    ids=["no way in", "a client's certificate", "another port"],
)  # fmt: skip
def test_a_server_for_https_that_the_lab_cannot_enter_by_is_unknown(gateway: dict[str, Any], secure: bool) -> None:
    rule = virtual_service("page", to(), hosts=["shop.example"], gateways=["door"])
    (gap,) = planned(rule, gateway, INGRESS, entrance=INGRESS_PODS, secure=secure).gaps
    assert (gap.outcome, "has no server for plain HTTP on port 80" in gap.why) == (Outcome.UNKNOWN, True)


@pytest.mark.parametrize(
    ("earlier", "why", "outcome"),
    [
        (
            {"uri": {"prefix": "/a"}},
            "no request reaches it: VirtualService old: spec.http[0].match[0] takes them all",
            Outcome.FAIL,
        ),
        ({"uri": {"exact": "/a/b"}}, None, None),
        ({"headers": {"x": {"exact": "1"}}}, None, None),
    ],
    ids=["all", "one of them", "others"],
)
def test_an_older_rule_of_a_gateway_for_the_same_host_may_take_all(
    earlier: dict[str, Any], why: str | None, outcome: Outcome | None
) -> None:
    older = virtual_service("old", {"match": [earlier], **to()}, hosts=["*"], gateways=["door"])
    younger = virtual_service("new", {"match": [{"uri": {"prefix": "/a/b"}}], **to()}, hosts=["*"], gateways=["door"], age=9)
    plan = planned(older, younger, GATEWAY, entrance=PODS_OF_GATEWAY)
    found = {gap.where: (gap.why, gap.outcome) for gap in plan.gaps}
    assert found.get("VirtualService new: spec.http[0] by Gateway shop/door") == ((why, outcome) if why else None)


def test_a_delegate_is_asked_within_the_route_that_leads_to_it() -> None:
    root = virtual_service("reviews", {"match": [{"uri": {"prefix": "/a"}}], "delegate": {"name": "part"}}, to(("v1", 1)))
    part = virtual_service("part", {"match": [{"uri": {"prefix": "/a/b"}}], **to(("v2", 1))}, hosts=[])
    plan = planned(root, part)
    assert plan.gaps == ()
    assert plan.checks[0].name == f"VirtualService part: spec.http[0] within {ROUTE}[0]"
    assert plan.checks[0].calls[0].uri == "/a/b"
    assert planned(part, virtual_service("reviews", to(("v1", 1)))).gaps[0].outcome is Outcome.FAIL


def test_rules_of_other_namespaces_for_its_services_are_planned_and_others_are_not() -> None:
    name = "reviews.shop.svc.cluster.local"
    theirs = virtual_service("far", to(("v1", 1), host=name), namespace="other", hosts=[name])
    aside = virtual_service(
        "aside", to(host="else.other.svc.cluster.local"), namespace="other", hosts=["else.other.svc.cluster.local"]
    )
    plan = planned(theirs, aside)
    assert [check.name for check in plan.checks] == ["VirtualService other/far: spec.http[0]"]
    assert plan.gaps == ()


@pytest.mark.parametrize(("label", "warned"), [("app", True), ("app.kubernetes.io/name", True), ("version", False)])
def test_a_service_that_selects_pods_of_several_applications_is_warned_of(label: str, warned: bool) -> None:
    wide = {**service("all"), "spec": {"ports": [{"name": "http", "port": 80}], "selector": {"tier": "web"}}}
    both = [pods.pod(f"{name}-0", {"tier": "web", label: name}, "shop") for name in ("a", "b")]
    plan = planned(virtual_service("reviews", to(("v1", 1))), wide, *both)
    warning = f"Service all: spec.selector selects pods of several applications ({label}: a, b)"
    assert plan.warnings == ((warning,) if warned else ())
    assert planned(virtual_service("reviews", to(("v1", 1)))).warnings == ()


def test_the_estimate_is_what_a_verdict_takes() -> None:
    assert needed({"a": 1.0}) < 100
    assert 500 < needed({"a": 0.8, "b": 0.2}) < 1000
    call = Call("a", 80, Caller("b"))
    (check,) = planned(virtual_service("reviews", to(("v1", 1)))).checks
    assert Check("a", (call,) * 300, check.fate).requests == 300


PATHS = [{"uri": {kind: path}} for kind in ("exact", "prefix") for path in ("/", "/a", "/a/b")]
PATHS += [{"uri": {"regex": "/a.*"}}, {"uri": {"regex": "/[a-z]+"}}, {}]
HEADERS: list[dict[str, Any]] = [
    {}, {"headers": {"x": {"exact": "1"}}}, {"headers": {"x": {"prefix": "1"}}}, {"headers": {"x": {}}},
    {"withoutHeaders": {"x": {}}}, {"withoutHeaders": {"x": {"exact": "1"}}}, {"headers": {"y": {"regex": "[0-9]+"}}},
]  # fmt: skip
METHODS: list[dict[str, Any]] = [{}, {}, {"method": {"exact": "GET"}}, {"method": {"exact": "HEAD"}}]


@pytest.mark.parametrize("seed", range(15))
def test_every_route_is_asked_or_a_gap_and_what_is_called_shadowed_takes_nothing(seed: int) -> None:
    draw = random.Random(seed)

    def condition() -> dict[str, Any]:
        return {**draw.choice(PATHS), **draw.choice(HEADERS), **draw.choice(METHODS)}

    routes = [{"match": [condition() for _ in range(draw.choice((1, 1, 2)))], **to(("v1", 1))} for _ in range(4)]
    rule = virtual_service("reviews", *routes)
    plan = planned(rule)
    named = [*(check.name for check in plan.checks), *(gap.where for gap in plan.gaps), *plan.warnings]
    assert [n for n, _ in enumerate(routes) if not any(one.startswith(f"{ROUTE}[{n}]") for one in named)] == []
    views = viewed([rule, *AROUND])
    for _ in range(60):
        headers = {name: draw.choice(("1", "12", "x")) for name in ("x", "y") if draw.random() < 0.5}
        call = Call(
            "reviews.shop.svc.cluster.local:9080", 9080, Caller(PROBES), draw.choice(("/", "/a", "/ab", "/a/b/c", "/z9")),
            draw.choice(("GET", "HEAD")), headers,
        )  # fmt: skip
        taken = find_route(views, call).branch
        if taken is not None and taken.condition is not None:
            path = f"VirtualService reviews: {taken.condition.parts[0].path.rstrip('.')}"
            shadowed = {warning.partition(": no request")[0] for warning in plan.warnings}
            assert not {path, path.partition(".match")[0]} & shadowed, (routes, call)
