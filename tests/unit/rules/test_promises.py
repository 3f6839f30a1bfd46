"""What rules promise for one request, by small objects."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from loadtests.entries import entry
from loadtests.entries.question import AT_SERVER, Contract
from loadtests.reports import summary
from loadtests.rules import promises, security
from loadtests.rules.declared import NotModelledError
from loadtests.verdict import Observed, Outcome, judge


def virtual_service(*routes: dict[str, Any], name: str = "ratings") -> dict[str, Any]:
    return {
        "kind": "VirtualService", "metadata": {"name": name, "uid": name, "generation": 1},
        "spec": {"hosts": [name], "http": list(routes)},
    }  # fmt: skip


TO = {"route": [{"destination": {"host": "ratings"}}]}
JASON = {"match": [{"headers": {"end-user": {"exact": "jason"}}}]}
ASKED = {"virtual_service": "ratings", "uri": "/ratings/0", "method": "GET", "headers": {}, "authority": "ratings"}


@pytest.mark.parametrize(("text", "seconds"), [("2s", 2), ("500ms", 0.5), ("1m30s", 90), ("0.5s", 0.5)])
def test_durations(text: str, seconds: float) -> None:
    assert promises.seconds(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("fault", "shares"),
    [
        ({"abort": {"httpStatus": 555, "percentage": {"value": 100}}}, {"HTTP 555": 1.0}),
        # Without a percentage a fault hits nobody (istio/istio#36303).
        ({"abort": {"httpStatus": 555}}, {"HTTP 200": 1.0}),
        ({"abort": {"httpStatus": 555, "percentage": {}}}, {"HTTP 200": 1.0}),
        ({"abort": {"httpStatus": 500, "percentage": {"value": 20}}}, {"HTTP 500": 0.2, "HTTP 200": 0.8}),
        ({"abort": {"httpStatus": 500, "percentage": {"value": 0}}}, {"HTTP 200": 1.0}),
        ({}, {"HTTP 200": 1.0}),
    ],
)
def test_aborts(fault: dict[str, Any], shares: dict[str, float]) -> None:
    assert promises.aborted([virtual_service({**TO, "fault": fault})], ASKED) == pytest.approx(shares)


def test_a_fault_of_somebody_elses_route_is_not_promised() -> None:
    objects = [virtual_service({**TO, **JASON, "fault": {"abort": {"httpStatus": 555, "percentage": {"value": 100}}}}, TO)]
    assert promises.aborted(objects, ASKED) == {"HTTP 200": 1.0}
    assert promises.aborted(objects, {**ASKED, "headers": {"end-user": "jason"}}) == {"HTTP 555": 1.0}


@pytest.mark.parametrize(
    ("share", "shares"),
    [(100, {"HTTP 200 after 2 s": 1.0}), (25, {"HTTP 200 after 2 s": 0.25, "HTTP 200 after 0 s": 0.75})],
)
def test_delays(share: int, shares: dict[str, float]) -> None:
    fault = {"delay": {"fixedDelay": "2s", "percentage": {"value": share}}}
    assert promises.delayed([virtual_service({**TO, "fault": fault})], ASKED) == pytest.approx(shares)


@pytest.mark.parametrize(
    ("delay", "reviews_seconds", "outcome"),
    [
        ("7s", 10.0, "no reviews after 6 s"),
        ("7s", 2.5, "reviews without ratings after 3 s"),
        ("2s", 10.0, "reviews with stars after 2 s"),
        ("2s", 2.5, "reviews with stars after 2 s"),
    ],
)
def test_who_gives_up_first_when_ratings_are_late(delay: str, reviews_seconds: float, outcome: str) -> None:
    rule = virtual_service({**TO, "fault": {"delay": {"fixedDelay": delay, "percentage": {"value": 100}}}})
    request = {**ASKED, "reviews_seconds": reviews_seconds, "page_seconds": 3.0, "page_attempts": 2}
    assert promises.page_delayed([rule], request) == {outcome: 1.0}


@pytest.mark.parametrize(("limit", "outcome"), [("0.5s", "HTTP 504 after 1 s"), ("3s", "HTTP 200 after 2 s")])
def test_time_outs_bite_only_where_they_are_shorter(limit: str, outcome: str) -> None:
    objects = [
        virtual_service({**TO, "timeout": limit}, name="reviews"),
        virtual_service({**TO, "fault": {"delay": {"fixedDelay": "2s", "percentage": {"value": 100}}}}),
    ]
    request = {**ASKED, "virtual_service": "reviews", "slow_virtual_service": "ratings", "attempts": 2}
    assert promises.timed_out(objects, request) == {outcome: 1.0}


@pytest.mark.parametrize(
    ("route", "outcome"),
    [
        ({"redirect": {"uri": "/new", "redirectCode": 308}}, "HTTP 308 to http://ratings/new"),
        ({"redirect": {"authority": "other"}}, "HTTP 301 to http://other/ratings/0"),
        ({"directResponse": {"status": 418}}, "HTTP 418"),
        (TO, "HTTP 200"),
    ],
)
def test_the_gateways_own_answers(route: dict[str, Any], outcome: str) -> None:
    assert promises.answered([virtual_service(route)], ASKED) == {outcome: 1.0}


def test_mirrors_promise_the_client_and_the_far_end() -> None:
    to = {"route": [{"destination": {"host": "ratings", "subset": "v1"}}]}
    copied = {**to, "mirror": {"host": "ratings", "subset": "v3"}}
    near = {**ASKED, "service": "ratings", "subset": "v3"}
    far = {**near, "at_server": True}

    def arrived(**more: Any) -> float:
        return promises.mirrored([virtual_service({**copied, **more})], far).get("arrived", 0.0)

    assert promises.mirrored([virtual_service({**copied, "mirrorPercentage": {"value": 30}})], near) == {"HTTP 200": 1.0}
    assert arrived(mirrorPercentage={"value": 30}) == pytest.approx(0.3)
    assert arrived() == 1.0, "without a percentage a mirror takes all requests"
    assert arrived(mirrorPercentage={}) == 0.0
    assert arrived(mirror={"host": "ratings", "subset": "v2"}) == 0.0
    assert promises.mirrored([virtual_service(to)], far) == {"did not arrive": 1.0}
    with pytest.raises(NotModelledError, match=r"route\[\]\.destination\.subset"):
        promises.mirrored([virtual_service({**copied, **TO})], far)


@pytest.mark.parametrize(("origin", "outcome"), [("https://a", "may read"), ("https://b", "may not read")])
def test_origins(origin: str, outcome: str) -> None:
    objects = [virtual_service({**TO, "corsPolicy": {"allowOrigins": [{"exact": "https://a"}]}})]
    assert promises.shared(objects, {**ASKED, "origin": origin}) == {outcome: 1.0}


@pytest.mark.parametrize(
    ("principal", "method", "uri", "action", "outcome"),
    [
        ("cluster.local/ns/a/sa/b", "GET", "/d/0", "ALLOW", "HTTP 200"),
        ("cluster.local/ns/a/sa/c", "GET", "/d/0", "ALLOW", "HTTP 403"),
        ("cluster.local/ns/a/sa/b", "POST", "/d/0", "ALLOW", "HTTP 403"),
        ("cluster.local/ns/a/sa/b", "GET", "/e", "ALLOW", "HTTP 403"),
        ("cluster.local/ns/a/sa/b", "GET", "/d/0", "DENY", "HTTP 403"),
        ("cluster.local/ns/a/sa/c", "GET", "/d/0", "DENY", "HTTP 200"),
    ],
)
def test_authorization(principal: str, method: str, uri: str, action: str, outcome: str) -> None:
    rule = {
        "from": [{"source": {"principals": ["cluster.local/ns/a/sa/b"], "namespaces": ["a"]}}],
        "to": [{"operation": {"methods": ["GET"], "paths": ["/d/*"]}}],
    }
    policy = {"kind": "AuthorizationPolicy", "metadata": {"name": "p"}, "spec": {"action": action, "rules": [rule]}}
    request = {"namespace": "a", "app": "d", "port": 80, "principal": principal, "method": method, "uri": uri}
    assert security.permitted([policy], request) == {outcome: 1.0}


def test_an_absent_rule_breaks_the_promise() -> None:
    contract = Contract(("x",), promises.aborted, {"anonymous": ASKED}, at_server=ASKED)
    broken = contract.promised([virtual_service(TO, name="other")]).declared
    assert broken.broken == tuple(f"{n}: no VirtualService ratings is in force" for n in ("anonymous", AT_SERVER))
    assert broken.shares == {}


@pytest.mark.parametrize(("about_time", "outcome"), [(True, Outcome.PASS), (False, Outcome.FAIL)])
def test_only_questions_about_time_take_a_few_strays_for_errors(about_time: bool, outcome: Outcome) -> None:
    contract = Contract(("x",), promises.delayed, {"anonymous": ASKED}, about_time=about_time)
    rules = contract.promised([virtual_service(TO)])
    counts = {"anonymous": {"HTTP 200 after 0 s": 500, "HTTP 200 after 1 s": 2}}
    assert judge(rules.declared, Observed(contract.label(counts, {}, rules))).outcome is outcome


def test_the_catalogues_report_takes_only_new_verdicts(tmp_path: Path) -> None:
    name = entry.names()[0]
    told = {"outcome": "PASS", "n": 7, "reasons": ["held"], "facts": {"started": "2026-01-01T00:00:00Z"}}
    (tmp_path / name).mkdir()
    (tmp_path / name / "verdict.json").write_text(json.dumps(told))
    os.utime(tmp_path / name / "verdict.json", (time.time() - 100, time.time() - 100))
    assert summary.read(tmp_path, name, 0.0) == told
    assert summary.read(tmp_path, name, time.time() - 50) is None
    lines = [summary.line_of(name, told), summary.line_of(entry.names()[1], None)]
    assert [line.outcome for line in lines] == ["PASS", summary.NEVER]
    assert 'tests="2" failures="0" errors="1"' in summary.junit(lines)
    summary.write(tmp_path, lines)
    assert "1 of 2 entries pass" in (tmp_path / "catalogue.html").read_text()
    assert all(line.aim for line in lines)
