"""Expectations for rules from public bug reports: what the mesh does, or UNKNOWN with the field's path."""

from __future__ import annotations

from typing import Any

import pytest

from loadtests.entries import entry
from loadtests.entries.question import ResponseCheck, Split
from loadtests.rules import ingresses, retries, security
from loadtests.rules.calls import Call, Caller
from loadtests.rules.expectations import NotModelledError, Rules
from loadtests.rules.view import View, not_modelled, viewed
from loadtests.verdict import Expected, Observed, Outcome, judge
from tests.unit import pods
from tests.unit.entries.test_expected import entrances, sample

REVIEWS = Split("reviews", {"anonymous": {"headers": {}, "uri": "/reviews/0", "method": "GET", "port": 9080}}, "productpage")


def rule(kind: str, name: str, **spec: Any) -> dict[str, Any]:
    return {
        "kind": kind,
        "metadata": {"name": name, "uid": f"{kind}/{name}", "generation": 1, "namespace": "bookinfo"},
        "spec": spec,
    }


SUBSETS = rule(
    "DestinationRule", "reviews", host="reviews", subsets=[{"name": v, "labels": {"version": v}} for v in ("v1", "v2", "v3")]
)


SERVICES = [
    rule("Service", name, ports=[{"name": "http", "port": 9080}], selector={"app": name})
    for name in ("reviews", "ratings", "other", "echo")
]
PODS = [one for app in ("reviews", "other") for one in pods.versions(app, "v1", "v2", "v3")]


def expectation(question: Split, objects: list[dict[str, Any]]) -> Rules:
    return question.expect([*objects, *SERVICES, *PODS])


def to(subset: str, weight: int | None = None, host: str = "reviews") -> dict[str, Any]:
    return {"destination": {"host": host, "subset": subset}} | ({} if weight is None else {"weight": weight})


def reviews(*routes: dict[str, Any], name: str = "reviews", host: str = "reviews", **spec: Any) -> dict[str, Any]:
    return rule("VirtualService", name, hosts=[host], http=list(routes), **spec)


def expected(*objects: dict[str, Any]) -> Expected:
    return expectation(REVIEWS, [*objects, SUBSETS]).expected


@pytest.mark.parametrize(
    ("legs", "shares"),
    [
        ([to("v1", 4), to("v3", 1)], {"v1": 0.8, "v3": 0.2}),
        ([to("v1", 3), to("v2", 0), to("v3", 1)], {"v1": 0.75, "v2": 0.0, "v3": 0.25}),
        ([to("v1", 10)], {"v1": 1.0}),
    ],
)
def test_weights_are_shares_of_their_sum(legs: list[dict[str, Any]], shares: dict[str, float]) -> None:
    found = expected(reviews({"route": legs}))
    assert dict(found.shares["anonymous"]) == pytest.approx(shares)
    assert found.broken == ()


@pytest.mark.parametrize(
    ("condition", "unknown"),
    [
        ({"queryParams": {"full": {"exact": "yes"}}}, None),
        ({"port": 9999}, None),
        ({"sourceLabels": {"app": "ratings"}}, None),
        ({"scheme": {"exact": "https"}}, None),
        ({"uri": {"exact": "/REVIEWS/1"}, "ignoreUriCase": True}, None),
        ({"withoutHeaders": {"x-none": {}}, "method": {"exact": "POST"}}, None),
        # The request does not show whether productpage has that label.
        ({"sourceLabels": {"tier": "front"}}, "match[0].sourceLabels.tier"),
        ({"sourceNamespace": "other"}, None),
    ],
)
def test_a_condition_matches_does_not_match_or_is_unknown(condition: dict[str, Any], unknown: str | None) -> None:
    found = expected(reviews({"match": [condition], "route": [to("v3")]}, {"route": [to("v1")]}))
    if unknown is None:
        assert (dict(found.shares["anonymous"]), found.unknown) == ({"v1": 1.0}, {})
    else:
        assert found.shares == {}
        assert found.unknown == {"anonymous": (f"VirtualService reviews: spec.http[0].{unknown}",)}


def test_an_unknown_condition_does_not_matter_beside_a_failed_one_or_a_matching_alternative() -> None:
    strange = {"x-new": 1}
    for conditions, version in (
        ([{**strange, "method": {"exact": "PUT"}}], "v1"),
        ([strange, {"method": {"exact": "GET"}}], "v3"),
    ):
        found = expected(reviews({"match": conditions, "route": [to("v3")]}, {"route": [to("v1")]}))
        assert dict(found.shares["anonymous"]) == {version: 1.0}


@pytest.mark.parametrize(
    "field", ["timeout", "fault", "mirror", "mirrors", "headers", "rewrite", "redirect", "delegate", "directResponse", "x-new"]
)
def test_no_field_of_a_route_is_ignored(field: str) -> None:
    found = expected(reviews({field: {"a": {"b": 1}}, "route": [to("v1")]}))
    assert found.unknown == {"anonymous": (f"VirtualService reviews: spec.http[0].{field}.a.b",)}
    verdict = judge(found, Observed({"anonymous": {"v1": 10_000}}))
    assert (verdict.outcome, verdict.outcome.exit_code) == (Outcome.UNKNOWN, 2)
    assert f"anonymous: not modelled: VirtualService reviews: spec.http[0].{field}.a.b" in verdict.reasons


def test_a_policy_of_the_service_that_can_reject_requests_is_unknown() -> None:
    limits = rule(
        "DestinationRule", "reviews", **SUBSETS["spec"], trafficPolicy={"connectionPool": {"tcp": {"maxConnections": 1}}}
    )
    found = expectation(REVIEWS, [reviews({"route": [to("v1")]}), limits]).expected
    assert found.unknown == {"anonymous": ("DestinationRule reviews: spec.trafficPolicy.connectionPool.tcp.maxConnections",)}
    other = rule("DestinationRule", "x", host="ratings", trafficPolicy={"connectionPool": {"tcp": {"maxConnections": 1}}})
    assert expected(reviews({"route": [to("v1")]}), other).unknown == {}, "another service's has no bearing"


def test_known_classes_are_judged_beside_unknown_ones() -> None:
    expected = Expected({"known": {"v1": 1.0}}, unknown={"strange": ("VirtualService a: spec.b",)})
    few = judge(expected, Observed({"known": {"v1": 10}, "strange": {"v2": 10}}))
    many = judge(expected, Observed({"known": {"v1": 10_000}, "strange": {"v2": 10_000}}))
    wrong = judge(expected, Observed({"known": {"v2": 10}}))
    assert [v.outcome for v in (few, many, wrong)] == [Outcome.INCONCLUSIVE, Outcome.UNKNOWN, Outcome.FAIL]


def test_of_two_rules_for_one_host_only_the_older_applies() -> None:
    ours, canary = reviews({"route": [to("v1")]}), reviews(
        {"route": [to("v3")]}, name="reviews-canary", host="reviews.bookinfo.svc.cluster.local"
    )  # fmt: skip
    ours["metadata"]["creationTimestamp"], canary["metadata"]["creationTimestamp"] = "2026-01-02", "2026-01-01"
    (reason,) = expected(ours, canary).broken
    assert reason == (
        "anonymous: VirtualServices reviews-canary and reviews are both for reviews.bookinfo: "
        "sidecars follow reviews-canary alone; merge them"
    )
    canary["spec"]["gateways"] = ["door"]
    assert expected(ours, canary).broken == (), "a gateway has rules of its own"


def test_a_short_host_belongs_to_the_rules_own_namespace() -> None:
    elsewhere = rule("DestinationRule", "reviews", **{**SUBSETS["spec"], "host": "reviews.echo.svc.cluster.local"})
    found = expectation(REVIEWS, [reviews({"route": [to("v1")]}), elsewhere]).expected
    assert found.broken == ("anonymous: VirtualService reviews: no DestinationRule of reviews has a subset v1",)
    same = reviews({"route": [to("v1", 80, "reviews.bookinfo.svc.cluster.local"), to("v3", 20)]})
    assert dict(expected(same).shares["anonymous"]) == {"v1": 0.8, "v3": 0.2}
    # Istio does not complete a name that contains a dot.
    half = expected(reviews({"route": [to("v1", host="reviews.bookinfo")]}))
    assert half.broken == ("anonymous: VirtualService reviews: there is no service reviews.bookinfo",)


def test_a_split_between_two_hosts_is_unknown() -> None:
    found = expected(reviews({"route": [to("v1", 50), {"destination": {"host": "other"}, "weight": 50}]}))
    assert found.unknown == {"anonymous": ("VirtualService reviews: spec.http[0].route[1].destination.host",)}


@pytest.mark.parametrize(("pattern", "taken"), [("*", True), (".*", True), ("(", None)])
def test_regular_expressions_on_headers(pattern: str, taken: bool | None) -> None:
    question = Split("reviews", {"jason": {"headers": {"end-user": "jason"}}}, "productpage")
    matched = {"match": [{"headers": {"End-User": {"regex": pattern}}}], "route": [to("v2")]}
    found = expectation(question, [reviews(matched, {"route": [to("v1")]}), SUBSETS]).expected
    assert dict(found.shares) == ({} if taken is None else {"jason": {"v2": 1.0}})
    assert (taken is None) == any("is no regular expression" in reason for reason in found.broken)


def echo(**given: Any) -> list[dict[str, Any]]:
    routes = [{"retries": given, "route": [{"destination": {"host": "echo"}}]}]
    objects = [
        rule("VirtualService", "echo", hosts=["echo"], http=routes),
        rule("Service", "echo", ports=[{"name": "http", "port": 8080}]),
    ]
    return [{**o, "metadata": {**o["metadata"], "namespace": "echo"}} for o in objects]


TO_ECHO = Call("echo", 8080, Caller("echo"))


@pytest.mark.parametrize(
    ("retry_on", "twice", "late"),
    [
        ({}, "HTTP 503 at attempt 1", "HTTP 504"),
        ({"retryOn": "connect-failure,refused-stream"}, "HTTP 503 at attempt 1", "HTTP 504"),
        ({"retryOn": "503"}, "HTTP 200 at attempt 3", "HTTP 504"),
        ({"retryOn": "gateway-error"}, "HTTP 200 at attempt 3", "HTTP 200 at attempt 2"),
        ({"retryOn": "5xx"}, "HTTP 200 at attempt 3", "HTTP 200 at attempt 2"),
    ],
)
def test_only_what_retry_on_names_is_retried(retry_on: dict[str, str], twice: str, late: str) -> None:
    objects = viewed(echo(attempts=4, perTryTimeout="0.3s", **retry_on))
    assert retries.attempted(objects, {"call": TO_ECHO, "wanted": 3}) == {twice: 1.0}
    assert retries.attempted(objects, {"call": TO_ECHO, "wanted": 2, "late_seconds": 1.0}) == {late: 1.0}


@pytest.mark.parametrize("retry_on", [{}, {"retryOn": "503"}, {"retryOn": "5xx"}])
def test_no_field_of_retries_is_left_unread(retry_on: dict[str, str]) -> None:
    question = entry.load("retries").question
    client = [o for o in sample("echo") if (o["kind"], o["metadata"]["name"]) == ("Service", "client")]
    made = [*echo(attempts=4, perTryTimeout="0.3s", **retry_on), *entrances("echo"), *client]
    found = question.expect(made).expected
    assert (found.unknown, found.broken, len(found.shares)) == ({}, (), 3)


def test_an_unknown_retry_condition_is_unknown() -> None:
    with pytest.raises(NotModelledError, match=r"retryOn: envoy-ratelimited"):
        retries.attempted(viewed(echo(attempts=4, retryOn="envoy-ratelimited")), {"call": TO_ECHO, "wanted": 3})


def test_a_timeout_beside_a_fault_has_no_effect() -> None:
    question = entry.load("timeout").question
    assert isinstance(question, ResponseCheck)
    asked = question.classes["anonymous"]
    request = {**asked, "slow_call": asked["call"]}
    delay = {"delay": {"fixedDelay": "2s", "percentage": {"value": 100}}}
    route = {"fault": delay, "timeout": "0.5s", "retries": {"attempts": 2, "retryOn": "5xx"}, "route": [to("v1")]}
    assert question.expectation(viewed([reviews(route), SUBSETS, *SERVICES, *PODS]), request) == {"HTTP 200 after 2 s": 1.0}


DETAILS = {"namespace": "bookinfo", "app": "details", "port": 9080, "method": "GET", "uri": "/details/0"}


@pytest.mark.parametrize(
    ("operation", "allowed"),
    [
        ({"paths": ["/details/{*}"]}, True),
        ({"paths": ["/details/{*}/x"]}, False),
        ({"paths": ["/{**}"]}, True),
        ({"paths": ["/det*ls/0"]}, False),
        ({"notPaths": ["/details/0"]}, False),
        ({"paths": ["/details/*"], "notPaths": ["*/1"]}, True),
        ({"notMethods": ["GET"]}, False),
        ({"methods": ["GET"], "notMethods": ["POST"]}, True),
    ],
)
def test_operations(operation: dict[str, Any], allowed: bool) -> None:
    policy = rule("AuthorizationPolicy", "p", rules=[{"to": [{"operation": operation}]}])
    request = {**DETAILS, "principal": "cluster.local/ns/a/sa/b"}
    assert security.permitted([policy], request) == {f"HTTP {200 if allowed else 403}": 1.0}


@pytest.mark.parametrize(
    ("part", "path"),
    [
        ({"from": [{"source": {"ipBlocks": ["10.0.0.0/8"]}}]}, "spec.rules[0].from[0].source.ipBlocks[0]"),
        ({"to": [{"operation": {"hosts": ["a"]}}]}, "spec.rules[0].to[0].operation.hosts[0]"),
        ({"when": [{"key": "request.headers[x]", "notValues": ["y"]}]}, "spec.rules[0].when[0].notValues[0]"),
    ],
)
@pytest.mark.parametrize("action", ["ALLOW", "DENY"])
def test_a_security_condition_that_is_not_modelled_never_gets_a_verdict(part: dict[str, Any], path: str, action: str) -> None:
    question = ResponseCheck(
        ("authorizationpolicies.security.istio.io",), security.permitted,
        {"call": {**DETAILS, "app": "a", "principal": "cluster.local/ns/a/sa/b", "uri": "/"}},
    )  # fmt: skip
    found = question.expect([rule("AuthorizationPolicy", "p", action=action, rules=[part])]).expected
    assert (found.shares, found.unknown) == ({}, {"call": (f"AuthorizationPolicy p: {path}",)})


def test_a_custom_action_is_decided_by_its_provider() -> None:
    policy = rule("AuthorizationPolicy", "p", action="CUSTOM", provider={"name": "x"}, rules=[{}])
    with pytest.raises(NotModelledError, match="CUSTOM"):
        security.permitted([policy], {**DETAILS, "principal": ""})


@pytest.mark.parametrize(
    ("claims", "with_policy", "without"),
    [
        ({"iss": "i", "sub": "s", "aud": "echo"}, 200, 200),
        ({"iss": "i", "sub": "", "aud": "echo"}, 403, 200),
        (None, 403, 200),
        ({"iss": "i", "sub": "s", "aud": "pool"}, 403, 403),
        ({"iss": "other", "sub": "s", "aud": "echo"}, 401, 401),
    ],
)
def test_a_principal_has_an_issuer_and_a_subject(claims: dict[str, str] | None, with_policy: int, without: int) -> None:
    request = {**DETAILS, "app": "echo", "claims": claims, "sound": True}
    tokens = rule("RequestAuthentication", "echo", jwtRules=[{"issuer": "i", "audiences": ["echo"], "jwksUri": "u"}])
    readers = rule("AuthorizationPolicy", "readers", rules=[{"from": [{"source": {"requestPrincipals": ["*"]}}]}])
    assert security.token_accepted([tokens, readers], request) == {f"HTTP {with_policy}": 1.0}
    assert security.token_accepted([tokens], request) == {f"HTTP {without}": 1.0}


@pytest.mark.parametrize(
    ("path", "uri", "taken"),
    [
        ({"path": "/api/products"}, "/api/products", True),
        ({"path": "/api/products"}, "/api/products/0", False),
        ({"path": "/api/products/*"}, "/api/products/0", True),
        ({"path": "/api/products/*"}, "/api/products", True),
        ({"path": "/api/products/*"}, "/api/productsheet", False),
        ({"path": "/api/.*"}, "/api/products/0", True),
        ({}, "/anything", True),
    ],
)
def test_an_implementation_specific_path(path: dict[str, str], uri: str, taken: bool) -> None:
    backend = {"service": {"name": "s", "port": {"number": 80}}}
    found = rule(
        "Ingress",
        "i",
        rules=[
            {"http": {"paths": [{**path, "pathType": "ImplementationSpecific", "backend": backend}]}},
            {"host": "x"},
        ],
        ingressClassName="istio",
    )
    request = {"authority": "any.lab", "uri": uri, "answers": ("s",)}
    served = rule("Service", "s", ports=[{"port": 80}])
    assert ingresses.ingress_routed([found, served], request) == {f"HTTP {200 if taken else 404}": 1.0}


SVCB = "./svcb.billing.svc.cluster.local"


@pytest.mark.parametrize(
    ("hosts", "exported", "reached"),
    [
        (["istio-system/*", SVCB], None, False),
        (["istio-system/*", "./*"], None, True),
        (["istio-system/*", "./*"], ["istio-system"], False),
        ([SVCB, "./msgd.outside.internal"], ["."], True),
        ([SVCB, "other/msgd.outside.internal"], None, False),
        ([SVCB, "*/*.outside.internal"], None, True),
        # Whoever would call msgd is not called.
        (["istio-system/*", "./msgd.outside.internal"], None, None),
    ],
)
def test_a_host_is_reachable_if_the_sidecar_imports_it(
    hosts: list[str], exported: list[str] | None, reached: bool | None
) -> None:
    question = entry.load("egress-allowed").question
    known = rule(
        "ServiceEntry",
        "msgd",
        hosts=["msgd.outside.internal"],
        ports=[{"number": 9997}],
        **({"exportTo": exported} if exported else {}),
    )
    sidecar = rule("Sidecar", "default", outboundTrafficPolicy={"mode": "REGISTRY_ONLY"}, egress=[{"hosts": hosts}])
    for one in (known, sidecar):
        one["metadata"]["namespace"] = "billing"
    found = question.expect([known, sidecar, *sample("billing"), *entrances("billing")]).expected
    assert found.unknown == {}
    if reached is None:
        assert set(found.broken) == {f"{name}: svcb:8080 has no route for it" for name in ("pay", "at the server")}
        return
    assert found.shares["at the server"] == {"arrived" if reached else "did not arrive": 1.0}


def test_unread_fields_are_named() -> None:
    seen = View(rule("VirtualService", "v", a=1, b={"c": [{"d": 2, "e": {}}, 3]}))
    assert not_modelled([seen]) == (), "nobody has looked at it"
    assert seen["spec"]["a"] == 1
    assert not_modelled([seen]) == tuple(f"VirtualService v: spec.b.c[{p}" for p in ("0].d", "0].e", "1]"))
    seen["spec"]["b"]["c"][0].accept("d")
    assert seen["spec"]["b"]["c"][0]["e"] == {}
    assert not_modelled([seen]) == ()
    assert not_modelled([View({"kind": "Deployment", "metadata": {"name": "d"}, "spec": {"a": 1, "b": 2}})]) == ()


def test_looking_at_other_alternatives_does_not_read_the_matching_one() -> None:
    others = {"method": {"exact": "PUT"}}
    found = expected(reviews({"match": [others, {"x-new": 1}], "route": [to("v3")]}, {"route": [to("v1")]}))
    assert found.unknown == {"anonymous": ("VirtualService reviews: spec.http[0].match[1].x-new",)}


def test_a_time_for_each_attempt_may_cut_an_answer_off() -> None:
    own = {"attempts": 2, "retryOn": "5xx", "perTryTimeout": "10ms"}
    found = expected(reviews({"route": [to("v1")], "retries": own}))
    assert found.unknown == {"anonymous": ("VirtualService reviews: spec.http[0].retries.perTryTimeout",)}
    for inert in ({**own, "attempts": 0}, {"attempts": 2, "retryOn": "5xx", "backoff": "1s"}):
        assert expected(reviews({"route": [to("v1")], "retries": inert})).unknown == {}
