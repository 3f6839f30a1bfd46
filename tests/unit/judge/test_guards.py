"""Which clients are planned for rules that say who may call, and what is expected of them."""

from __future__ import annotations

from typing import Any

import pytest

from loadtests.judge.checks import Plan
from loadtests.judge.guards import DENIED, FORGER, INSIDE, LET_IN, OUTSIDE, REJECTED, guest_of
from loadtests.judge.plan import plan_for
from loadtests.judge.reach import Settings
from loadtests.rules.security import REFUSED
from tests.unit.judge.rules import PODS, SUBSETS, service, to, virtual_service


def workload(name: str) -> dict[str, Any]:
    template = {"metadata": {"labels": {"app": name, "version": "v1"}}, "spec": {}}
    return {
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": "shop", "uid": f"d{name}"},
        "spec": {"template": template},
    }


def rule(kind: str, name: str = "one", **spec: Any) -> dict[str, Any]:
    return {
        "kind": kind,
        "metadata": {"name": name, "namespace": "shop", "uid": f"{kind}{name}", "generation": 1},
        "spec": spec,
    }


STRICT = rule("PeerAuthentication", mtls={"mode": "STRICT"})
NOBODY = rule("AuthorizationPolicy")
READERS = rule(
    "AuthorizationPolicy", selector={"matchLabels": {"app": "reviews"}},
    rules=[{"to": [{"operation": {"methods": ["GET"], "paths": ["/reviews/*"]}}]}],
)  # fmt: skip


def planned(*rules: dict[str, Any]) -> Plan:
    return plan_for([*rules, service("reviews"), workload("reviews"), *PODS], Settings("shop"))


def expected(*rules: dict[str, Any]) -> dict[str, str]:
    return {check.name.removeprefix("Service reviews: GET "): next(iter(check.fate.shares)) for check in planned(*rules).checks}


@pytest.mark.parametrize(
    ("rules", "outcomes"),
    [
        ([STRICT], {f"/ by {INSIDE.words}": LET_IN, f"/ by {OUTSIDE.words}": REFUSED}),
        (
            [rule("PeerAuthentication", mtls={"mode": "PERMISSIVE"})],
            {f"/ by {INSIDE.words}": LET_IN, f"/ by {OUTSIDE.words}": LET_IN},
        ),
        ([NOBODY], {f"/ by {INSIDE.words}": DENIED, f"/ by {OUTSIDE.words}": DENIED}),
        ([NOBODY, STRICT], {f"/ by {INSIDE.words}": DENIED, f"/ by {OUTSIDE.words}": REFUSED}),
        (
            [READERS],
            {
                f"/ by {INSIDE.words}": DENIED, f"/ by {OUTSIDE.words}": DENIED,
                f"/reviews/istio-lab by {INSIDE.words}": LET_IN,
            },
        ),
    ],
    ids=["strict", "permissive", "nobody", "nobody and strict", "readers"],
)  # fmt: skip
def test_who_is_let_in_is_read_from_the_rules(rules: list[dict[str, Any]], outcomes: dict[str, str]) -> None:
    assert expected(*rules) == outcomes
    assert planned(*rules).gaps == ()


def test_without_rules_about_it_nobody_is_asked() -> None:
    assert planned(SUBSETS).checks == ()


def test_identities_that_no_probe_has_are_said_not_to_be_asked() -> None:
    source = {"from": [{"source": {"principals": ["cluster.local/ns/shop/sa/page"]}}]}
    plan = planned(rule("AuthorizationPolicy", rules=[source]))
    assert [gap.where for gap in plan.gaps] == ["AuthorizationPolicy one: spec.rules[0].from"]
    assert {next(iter(check.fate.shares)) for check in plan.checks} == {DENIED}


@pytest.mark.parametrize(
    ("operation", "fields"),
    [
        ({"methods": ["POST"]}, ["methods"]),
        ({"ports": ["80"], "hosts": ["a"]}, ["hosts", "ports"]),
        ({"paths": ["*/end"], "methods": ["GET"]}, ["paths"]),
        ({"paths": ["/a/{*}"]}, ["paths"]),
        ({"paths": ["/a", "/b/*"], "methods": ["GET"]}, []),
    ],
    ids=str,
)
def test_operations_that_no_request_tells_apart_are_said_not_to_be_asked(operation: dict[str, Any], fields: list[str]) -> None:
    plan = planned(rule("AuthorizationPolicy", rules=[{"to": [{"operation": operation}]}]))
    where = "AuthorizationPolicy one: spec.rules[0].to[0].operation."
    assert [gap.where.removeprefix(where) for gap in plan.gaps if gap.where.startswith(where)] == fields


def test_a_refusal_proves_nothing_of_a_service_that_nobody_else_asks() -> None:
    elsewhere = virtual_service("reviews", to(host="ratings"), age=1)
    ratings = [service("ratings"), workload("ratings")]
    plan = planned(STRICT, elsewhere, *ratings)
    reasons = {gap.where: gap.why for gap in plan.gaps}
    assert (
        reasons[f"Service reviews: GET / by {OUTSIDE.words}"]
        == "no other request is planned that shows that the service answers at all"
    )
    # Where a split leads to it, that shows it.
    plan = planned(STRICT, SUBSETS, virtual_service("reviews", to(("v1", 50), ("v2", 50))))
    assert f"Service reviews: GET / by {OUTSIDE.words}" in {check.name for check in plan.checks}


def test_a_service_whose_pods_have_another_name_is_a_gap() -> None:
    other = {**service("front"), "spec": {"ports": [{"name": "http", "port": 80}], "selector": {"app": "page"}}}
    assert [gap.where for gap in planned(STRICT, other).gaps] == ["Service front: spec.selector"]


PAGE = rule(
    "AuthorizationPolicy", rules=[{"from": [{"source": {"principals": ["cluster.local/ns/web/sa/page"]}}]}],
    selector={"matchLabels": {"app": "reviews"}},
)  # fmt: skip


def planned_as(accounts: set[str], *rules: dict[str, Any]) -> Plan:
    around = [service("reviews"), workload("reviews"), service("ratings"), workload("ratings"), *PODS]
    return plan_for([*rules, *around], Settings("shop", accounts=frozenset(accounts)))


def test_an_identity_that_a_policy_names_asks_the_services_that_it_is_for() -> None:
    plan = planned_as({"web/page"}, PAGE)
    client = guest_of("web", "page")
    expected = {check.name: next(iter(check.fate.shares)) for check in plan.checks}
    assert expected[f"Service reviews: GET / by {client.words}"] == LET_IN
    assert expected[f"Service reviews: GET / by {INSIDE.words}"] == DENIED
    assert f"Service ratings: GET / by {client.words}" not in expected
    assert plan.gaps == ()
    (check,) = (check for check in plan.checks if client.words in check.name)
    assert (check.calls[0].caller.namespace, check.calls[0].caller.account) == ("web", "page")


def test_an_identity_that_a_policy_excludes_is_denied() -> None:
    source = {"namespaces": ["*"], "notPrincipals": ["cluster.local/ns/web/sa/page"]}
    plan = planned_as({"web/page"}, rule("AuthorizationPolicy", rules=[{"from": [{"source": source}]}]))
    expected = {check.name: next(iter(check.fate.shares)) for check in plan.checks}
    assert expected[f"Service reviews: GET / by {guest_of('web', 'page').words}"] == DENIED
    assert expected[f"Service reviews: GET / by {INSIDE.words}"] == LET_IN
    assert plan.gaps == ()


@pytest.mark.parametrize(
    ("source", "path", "why"),
    [
        ({"principals": ["cluster.local/ns/web/sa/none"]}, "principals", "there is no ServiceAccount none in namespace web"),
        (
            {"principals": ["cluster.local/ns/istio-system/sa/page"]},
            "principals",
            "no pods are started in namespace istio-system",
        ),
        ({"principals": ["*/sa/page"]}, "principals", "no identity is planned for */sa/page"),
        ({"serviceAccounts": ["web/none"]}, "serviceAccounts", "there is no ServiceAccount none in namespace web"),
        ({"namespaces": ["other"]}, "namespaces", "there is no ServiceAccount default in namespace other"),
        ({"ipBlocks": ["10.0.0.0/8"]}, "ipBlocks", "no requests are planned that differ in it"),
        ({"notRequestPrincipals": ["*"]}, "notRequestPrincipals", "no requests are planned that differ in it"),
    ],
    ids=str,
)
def test_an_identity_under_which_no_probe_runs_is_named(source: dict[str, Any], path: str, why: str) -> None:
    plan = planned_as({"web/page"}, rule("AuthorizationPolicy", rules=[{"from": [{"source": source}]}]))
    found = {gap.where: gap.why for gap in plan.gaps}
    assert found[f"AuthorizationPolicy one: spec.rules[0].from[0].source.{path}"] == why


def test_no_probe_runs_where_a_filter_may_change_what_it_sends() -> None:
    other = {**rule("EnvoyFilter"), "metadata": {"name": "f", "namespace": "web", "uid": "f"}}
    plan = planned_as({"web/page"}, PAGE, other)
    assert [gap.why for gap in plan.gaps] == ["EnvoyFilter f of namespace web may change what its pods send"]


TOKENS = rule("RequestAuthentication", jwtRules=[{"issuer": "https://a", "jwksUri": "https://a/keys"}])
SIGNED_IN = rule("AuthorizationPolicy", rules=[{"from": [{"source": {"requestPrincipals": ["*"]}}]}])


def test_a_token_of_an_unknown_issuer_is_rejected_and_a_valid_one_is_said_not_to_be_had() -> None:
    plan = planned(TOKENS)
    expected = {check.name.removeprefix("Service reviews: GET / by "): next(iter(check.fate.shares)) for check in plan.checks}
    assert expected == {INSIDE.words: LET_IN, FORGER.words: REJECTED, OUTSIDE.words: LET_IN}
    assert [(gap.where, gap.why) for gap in plan.gaps] == [
        ("RequestAuthentication one: spec.jwtRules[0]", "no valid token of https://a is available")
    ]
    (call,) = (check.calls[0] for check in plan.checks if check.name.endswith(FORGER.words))
    assert call.headers["authorization"].startswith("Bearer ey")
    assert call.headers["authorization"].count(".") == 2


def test_without_a_token_a_policy_that_asks_for_one_denies() -> None:
    expected = {check.name.removeprefix("Service reviews: GET / by "): next(iter(check.fate.shares))
            for check in planned(TOKENS, SIGNED_IN).checks}  # fmt: skip
    assert expected == {INSIDE.words: DENIED, FORGER.words: REJECTED, OUTSIDE.words: DENIED}


def test_a_token_where_no_rule_looks_for_one_is_none() -> None:
    elsewhere = rule("RequestAuthentication", jwtRules=[{"issuer": "https://a", "fromHeaders": [{"name": "x-token"}]}])
    expected = {check.name.removeprefix("Service reviews: GET / by "): next(iter(check.fate.shares))
            for check in planned(elsewhere).checks}  # fmt: skip
    assert expected[FORGER.words] == LET_IN
