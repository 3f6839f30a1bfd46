"""Marked traffic: its expectation, and how responses and other sources are compared."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from loadtests.entries import entry
from loadtests.rules.conditions import present
from loadtests.rules.expectations import NoExpectationError, Rules, Shares, placed
from loadtests.rules.view import viewed
from loadtests.samples import shadow
from loadtests.verdict import ERROR, Expected, Observed, Outcome, judge
from tests.unit import pods
from tests.unit.test_inputs import PROJECT

PODS = {"reviews-normal-1": "normal", "reviews-shadow-1": "shadow", "ratings-normal-1": "normal", "mysqldb-shadow-0": "shadow"}
QUESTION: Any = entry.load("full-link").question


def objects(variant: str = "policy") -> list[dict[str, Any]]:
    rules = list(yaml.safe_load_all((entry.CATALOGUE / f"full-link/{variant}.yaml").read_text()))
    sample = list(yaml.safe_load_all((PROJECT / "samples/shadow/shadow.yaml").read_text()))
    return [*rules, *(o for o in sample if o["kind"] in ("Deployment", "Service")), *pods.of_workloads(sample, "shadow")]


def linked(found: list[dict[str, Any]], visit: str) -> Shares:
    return shadow.linked(viewed(placed(found, "shadow")), QUESTION.classes[visit])


def rule(found: list[dict[str, Any]], name: str) -> dict[str, Any]:
    return next(o for o in found if o["kind"] == "VirtualService" and o["metadata"]["name"] == name)


@pytest.mark.parametrize(("visit", "way"), [("everybody", "normal"), ("test traffic", "shadow"), ("forged mark", "normal")])
def test_only_the_gateway_marks(visit: str, way: str) -> None:
    assert linked(objects(), visit) == {way: 1.0}


def test_a_gateway_that_keeps_client_marks_sends_forged_ones_to_the_shadow() -> None:
    found = objects()
    del rule(found, "full-link")["spec"]["http"][1]["headers"]
    assert linked(found, "forged mark") == {"shadow": 1.0}


def test_a_rule_that_ignores_the_mark_leads_to_a_mixed_path() -> None:
    found = objects()
    del rule(found, "ratings")["spec"]["http"][0]
    assert linked(found, "test traffic") == {"reviews shadow, store normal": 1.0}


def test_the_mark_is_found_among_other_baggage() -> None:
    match = rule(objects(), "reviews")["spec"]["http"][0]["match"][0]["headers"]["baggage"]
    values = {
        "lab-traffic=test": True, "user=7, lab-traffic=test;ttl=3": True, "lab-traffic=test , x=y": True,
        "lab-traffic=tester": False, "no-lab-traffic=test": False, "x=lab-traffic=test": False,
    }  # fmt: skip
    assert {value: present(match, value) for value in values} == values


def test_a_version_without_a_store_has_no_expectation() -> None:
    found = [o for o in objects() if o["metadata"]["name"] != "ratings-shadow"]
    with pytest.raises(NoExpectationError, match="ratings shadow"):
        linked(found, "test traffic")


def test_responses_and_sources_are_labelled_by_version() -> None:
    rules = Rules(Expected({}), "")
    labelled = QUESTION.label(
        {
            "test traffic": {"reviews-shadow-1 1,1": 5, "reviews-shadow-1 5,4": 2, "reviews-shadow-1 3,3": 1, ERROR: 1},
            "the stores": {"mysqldb-shadow-0": 7, "reviews-gone-2": 1},
        },
        PODS,
        rules,
    )
    assert labelled == {
        "test traffic": {"shadow": 5, "reviews shadow, store normal": 2, "reviews shadow, store unknown (3,3)": 1, ERROR: 1},
        "the stores": {"shadow": 7, "unknown pod reviews-gone-2": 1},
    }


def test_each_source_is_compared_with_its_part_of_the_path() -> None:
    sent = {"normal": 200, "reviews shadow, store normal": 100}
    views = {source.name: source.view(sent) for source in QUESTION.sources}
    assert views["the proxies of reviews"] == views["the access logs"] == {"normal": 200, "shadow": 100}
    assert views["the stores"] == views["the proxies of ratings"] == {"normal": 300}
    expected = Expected({"a": {"normal": 1.0}, "b": {"shadow": 1.0}})
    counts = {"a": {"normal": 200}, "b": {"reviews shadow, store normal": 100}}
    right = {"the proxies of reviews": {"normal": 200, "shadow": 100}, "the stores": {"normal": 300}}
    assert judge(expected, Observed(counts, sources=right, views=views)).outcome is Outcome.FAIL, "all sources saw the leak"
    wrong = right | {"the stores": {"normal": 200, "shadow": 100}}
    assert judge(expected, Observed(counts, sources=wrong, views=views)).outcome is Outcome.VOID, "the stores did not"
