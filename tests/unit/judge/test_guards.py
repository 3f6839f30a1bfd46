"""Which clients are planned for rules that say who may call, and what is expected of them."""

from __future__ import annotations

from typing import Any

import pytest

from loadtests.judge.checks import Plan
from loadtests.judge.guards import DENIED, INSIDE, LET_IN, OUTSIDE
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
    told = {gap.where: gap.why for gap in plan.gaps}
    assert (
        told[f"Service reviews: GET / by {OUTSIDE.words}"]
        == "no other request is planned that shows that the service answers at all"
    )
    # Where a split leads to it, that shows it.
    plan = planned(STRICT, SUBSETS, virtual_service("reviews", to(("v1", 50), ("v2", 50))))
    assert f"Service reviews: GET / by {OUTSIDE.words}" in {check.name for check in plan.checks}


def test_a_service_whose_pods_have_another_name_is_a_gap() -> None:
    other = {**service("front"), "spec": {"ports": [{"name": "http", "port": 80}], "selector": {"app": "page"}}}
    assert [gap.where for gap in planned(STRICT, other).gaps] == ["Service front: spec.selector"]
