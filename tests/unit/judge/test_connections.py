"""Which connections are planned for TCP routes, and what the log of the caller's proxy says of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from loadtests.judge.checks import Check, Plan
from loadtests.judge.lines import Answer, Ground, Line, lines_by_peer, outcome_of
from loadtests.judge.plan import plan_for
from loadtests.judge.reach import Settings
from loadtests.judge.session import request_of
from loadtests.verdict import ERROR, Outcome
from tests.unit.judge.rules import PODS, SUBSETS, service, to, virtual_service

AROUND = [SUBSETS, service("reviews", ("tcp", 9000), ("http", 9080)), service("ratings"), *PODS]
SHARES = {"reviews.shop:9000 v1": 0.8, "reviews.shop:9000 v3": 0.2}
SPLIT = to(("v1", 80), ("v3", 20))


def planned(*rules: dict[str, Any]) -> Plan:
    return plan_for([*rules, *AROUND], Settings("shop"))


def routed(*routes: dict[str, Any], name: str = "reviews", **more: Any) -> dict[str, Any]:
    return virtual_service(name, tcp=list(routes), **more)


def checked() -> Check:
    (check,) = planned(routed(SPLIT)).checks
    return check


def test_a_tcp_route_gets_connections_to_its_ports() -> None:
    check = checked()
    assert (check.name, check.fate.shares, check.connects) == ("VirtualService reviews: spec.tcp[0]", SHARES, True)
    assert request_of(check.calls[0], "m", None) == ("reviews.shop.svc.cluster.local", 9000, "TCP", "", {}, "")
    assert planned(routed(SPLIT)).gaps == ()


def test_each_route_gets_connections_of_the_callers_that_it_is_for() -> None:
    plan = planned(routed({"match": [{"sourceLabels": {"app": "ratings"}}], **to(("v2", 1))}, SPLIT))
    assert {check.name[-6:]: dict(check.calls[0].caller.labels)["app"] for check in plan.checks} == {
        "tcp[0]": "ratings", "tcp[1]": "istio-lab-probe",
    }  # fmt: skip
    assert plan.gaps == ()


@pytest.mark.parametrize(
    ("rules", "where", "why", "outcome"),
    [
        ([routed(SPLIT, to(("v2", 1)))], "tcp[1]", "spec.tcp[0] takes the connection", Outcome.UNKNOWN),
        ([routed({"match": [{"port": 9080}], **SPLIT})], "tcp[0]", "do not come to it", Outcome.UNKNOWN),
        (
            [routed({"match": [{"destinationSubnets": ["10.0.0.0/8"]}], **SPLIT})],
            "tcp[0]",
            "destinationSubnets",
            Outcome.UNKNOWN,
        ),
        ([routed(to(("v9", 1)))], "tcp[0]", "v9", Outcome.FAIL),
        ([routed(SPLIT), routed(SPLIT, name="later", hosts=["reviews"], age=9)], "tcp[0]", "sidecars follow", Outcome.FAIL),
    ],
    ids=["shadowed", "another port", "addresses", "no pods", "an older rule"],
)
def test_why_a_route_gets_no_connection(rules: list[dict[str, Any]], where: str, why: str, outcome: Outcome) -> None:
    found = [gap for gap in planned(*rules).gaps if gap.where.endswith(where)]
    assert any(why in gap.why and gap.outcome is outcome for gap in found), found


def test_a_rule_for_others_only_gets_no_connection() -> None:
    (gap,) = [one for one in planned(routed(SPLIT, exportTo=["."])).gaps if "tcp" in one.where]
    assert gap.outcome is Outcome.UNKNOWN


GROUND = Ground("shop", "cluster.local", {"10.0.0.1": {"app": "reviews", "version": "v1"}})
LOG = (
    '[2026-11-27T05:00:00.000Z] "- - -" 0 {flags} - - "-" 0 0 501 - "-" "-" "-" "-" "{host}" '
    "outbound|9000|v1|reviews.shop.svc.cluster.local 10.0.0.9:1 10.96.0.1:9000 10.0.0.9:{port} - -"
)


@pytest.mark.parametrize(
    ("given", "outcome"),
    [
        ({}, "reviews.shop:9000 v1"),
        ({"host": "10.0.0.7:9000"}, "reviews.shop:9000 v1, but at another pod (10.0.0.7)"),
        ({"flags": "UF,URX"}, ERROR),
        ({"host": "-", "flags": "UH"}, ERROR),
    ],
    ids=["arrived", "another pod", "refused", "no pods"],
)
def test_where_a_connection_went_is_known_by_its_address(given: Mapping[str, str], outcome: str) -> None:
    log = "\n".join(LOG.format(**{"flags": "-", "host": "10.0.0.1:9000", "port": n, **given}) for n in ("40001", "40002"))
    lines: dict[str, Line] = lines_by_peer(log, {"10.0.0.9:40001": "m", "10.0.0.9:4": "n"})
    assert list(lines) == ["m"]
    assert outcome_of(checked(), Answer(200, "", "10.0.0.9:40001"), lines["m"], GROUND)[0] == outcome
    assert outcome_of(checked(), Answer(0, "", "refused"), None, GROUND) == (ERROR, "refused")
