"""What rules lead one to expect for a single request, on small objects."""

from __future__ import annotations

import json
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from loadtests.entries import entry
from loadtests.entries.question import ResponseCheck
from loadtests.reports import summary
from loadtests.rules import responses, security
from loadtests.rules.actions import seconds
from loadtests.rules.calls import Call, Caller
from loadtests.rules.expectations import NoExpectationError, NotModelledError
from loadtests.rules.view import View, viewed
from loadtests.verdict import AT_SERVER, Observed, Outcome, judge
from tests.unit import pods


def virtual_service(*routes: dict[str, Any], name: str = "ratings") -> dict[str, Any]:
    return {
        "kind": "VirtualService", "metadata": {"name": name, "uid": name, "generation": 1, "namespace": "bookinfo"},
        "spec": {"hosts": [name], "http": list(routes)},
    }  # fmt: skip


TO = {"route": [{"destination": {"host": "ratings"}}]}
JASON = {"match": [{"headers": {"end-user": {"exact": "jason"}}}]}
SUBSETS: dict[str, Any] = {
    "kind": "DestinationRule", "metadata": {"name": "ratings", "uid": "d", "generation": 1, "namespace": "bookinfo"},
    "spec": {"host": "ratings", "subsets": [{"name": v, "labels": {"version": v}} for v in ("v1", "v2", "v3")]},
}  # fmt: skip
SERVICES = [
    {
        "kind": "Service", "metadata": {"name": name, "uid": name, "resourceVersion": "1", "namespace": "bookinfo"},
        "spec": {"ports": [{"name": "http", "port": 9080}], "selector": {"app": name}},
    }
    for name in ("ratings", "reviews")
]  # fmt: skip
PODS = pods.versions("ratings", "v1", "v2", "v3")


def given(*rules: dict[str, Any]) -> list[View]:
    return viewed([*rules, SUBSETS, *SERVICES, *PODS])


RATINGS, OF_REVIEWS = (Call(name, 9080, Caller("bookinfo"), f"/{name}/0") for name in ("ratings", "reviews"))
ASKED = {"call": RATINGS, "answers": ("/",)}
BY_PAGE = {**ASKED, "caller_seconds": 3.0}
BY_JASON = {"call": replace(RATINGS, headers={"end-user": "jason"})}


@pytest.mark.parametrize(("text", "expected"), [("2s", 2), ("500ms", 0.5), ("1m30s", 90), ("0.5s", 0.5)])
def test_durations(text: str, expected: float) -> None:
    assert seconds(text) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("fault", "shares"),
    [
        ({"abort": {"httpStatus": 555, "percentage": {"value": 100}}}, {"HTTP 555": 1.0}),
        # Without a percentage, a fault affects no request (istio/istio#36303).
        ({"abort": {"httpStatus": 555}}, {"HTTP 200": 1.0}),
        ({"abort": {"httpStatus": 555, "percentage": {}}}, {"HTTP 200": 1.0}),
        ({"abort": {"httpStatus": 500, "percentage": {"value": 20}}}, {"HTTP 500": 0.2, "HTTP 200": 0.8}),
        ({"abort": {"httpStatus": 500, "percentage": {"value": 0}}}, {"HTTP 200": 1.0}),
        ({}, {"HTTP 200": 1.0}),
    ],
)
def test_aborts(fault: dict[str, Any], shares: dict[str, float]) -> None:
    assert responses.aborted(given(virtual_service({**TO, "fault": fault})), ASKED) == pytest.approx(shares)


def test_a_fault_on_another_users_route_is_not_expected() -> None:
    rule = virtual_service({**TO, **JASON, "fault": {"abort": {"httpStatus": 555, "percentage": {"value": 100}}}}, TO)
    assert responses.aborted(given(rule), ASKED) == {"HTTP 200": 1.0}
    assert responses.aborted(given(rule), BY_JASON) == {"HTTP 555": 1.0}


@pytest.mark.parametrize(
    ("share", "shares"),
    [(100, {"HTTP 200 after 2 s": 1.0}), (25, {"HTTP 200 after 2 s": 0.25, "HTTP 200 after 0 s": 0.75})],
)
def test_delays(share: int, shares: dict[str, float]) -> None:
    fault = {"delay": {"fixedDelay": "2s", "percentage": {"value": share}}}
    assert responses.delayed(given(virtual_service({**TO, "fault": fault})), BY_PAGE) == pytest.approx(shares)


def test_a_caller_does_not_wait_for_a_delay_that_is_longer_than_its_own_limit() -> None:
    def late(seconds: str, share: int = 100) -> dict[str, float]:
        fault = {"delay": {"fixedDelay": seconds, "percentage": {"value": share}}}
        return responses.delayed(given(virtual_service({**TO, "fault": fault})), BY_PAGE)

    assert late("5s") == {"HTTP 500 after 3 s": 1.0}
    assert late("5s", 25) == pytest.approx({"HTTP 500 after 3 s": 0.25, "HTTP 200 after 0 s": 0.75})
    assert late("3s", 0) == {"HTTP 200 after 0 s": 1.0}
    with pytest.raises(NotModelledError, match=r"fault\.delay\.fixedDelay"):
        late("3.1s")


@pytest.mark.parametrize(
    ("delay", "reviews_seconds", "outcome"),
    [
        ("7s", 10.0, "no reviews after 6 s"),
        ("7s", 2.5, "reviews without ratings after 3 s"),
        ("2s", 10.0, "reviews with stars after 2 s"),
        ("2s", 2.5, "reviews with stars after 2 s"),
        # Too close to tell who gives up first.
        ("3s", 10.0, ""),
        ("2.6s", 2.5, ""),
    ],
)
def test_which_caller_times_out_first_when_ratings_is_late(delay: str, reviews_seconds: float, outcome: str) -> None:
    rule = virtual_service({**TO, "fault": {"delay": {"fixedDelay": delay, "percentage": {"value": 100}}}})
    request = {**ASKED, "reviews_seconds": reviews_seconds, "page_seconds": 3.0, "page_attempts": 2}
    if outcome:
        assert responses.page_delayed(given(rule), request) == {outcome: 1.0}
    else:
        with pytest.raises(NotModelledError, match="fixedDelay"):
            responses.page_delayed(given(rule), request)


@pytest.mark.parametrize(
    ("limit", "delay", "subset", "outcome"),
    [
        ("0.5s", "2s", "v2", "HTTP 504 after 1 s"),
        ("3s", "2s", "v2", "HTTP 200 after 2 s"),
        ("0s", "2s", "v3", "HTTP 200 after 2 s"),
        # productpage gives up after 3 s, twice.
        ("10s", "4s", "v2", "HTTP 500 after 6 s"),
        ("2s", "4s", "v2", "HTTP 504 after 4 s"),
        # v3 does not wait that long for ratings, v1 asks for none, and of all versions nobody knows which answers.
        ("10s", "4s", "v3", ""),
        ("0.5s", "2s", "v1", ""),
        ("0.5s", "2s", "", ""),
        ("0.5s", "0s", "v1", "HTTP 200 after 0 s"),
        # Too close to tell.
        ("2s", "2s", "v2", ""),
        ("3s", "4s", "v2", ""),
    ],
)
def test_a_timeout_takes_effect_only_if_it_is_shorter(limit: str, delay: str, subset: str, outcome: str) -> None:
    of_version = {"route": [{"destination": {"host": "reviews", **({"subset": subset} if subset else {})}}]}
    objects = given(
        virtual_service({**of_version, "timeout": limit}, name="reviews"),
        virtual_service({**TO, "fault": {"delay": {"fixedDelay": delay, "percentage": {"value": 100}}}}),
        {**SUBSETS, "metadata": {**SUBSETS["metadata"], "name": "reviews"}, "spec": {**SUBSETS["spec"], "host": "reviews"}},
        *pods.versions("reviews", "v1", "v2", "v3"),
    )
    request = {
        **BY_PAGE, "call": OF_REVIEWS, "slow_call": RATINGS, "attempts": 2, "version_seconds": {"v2": 10.0, "v3": 2.5},
    }  # fmt: skip
    if outcome:
        assert responses.timed_out(objects, request) == {outcome: 1.0}
    else:
        with pytest.raises(NotModelledError):
            responses.timed_out(objects, request)


@pytest.mark.parametrize(
    ("route", "outcome"),
    [
        ({"redirect": {"uri": "/new", "redirectCode": 308}}, "HTTP 308 to http://ratings/new"),
        ({"redirect": {"authority": "other"}}, "HTTP 301 to http://other/ratings/0"),
        ({"directResponse": {"status": 418}}, "HTTP 418"),
        (TO, "HTTP 200"),
    ],
)
def test_the_gateways_own_responses(route: dict[str, Any], outcome: str) -> None:
    assert responses.answered(given(virtual_service(route)), ASKED) == {outcome: 1.0}


def test_mirrors_give_an_expectation_for_the_client_and_for_the_mirror() -> None:
    to = {"route": [{"destination": {"host": "ratings", "subset": "v1"}}]}
    copied = {**to, "mirror": {"host": "ratings", "subset": "v3"}}
    near = {**ASKED, "mirror": ("ratings", "v3")}
    far = {**near, "at_server": True}

    def arrived(**more: Any) -> float:
        return responses.mirrored(given(virtual_service({**copied, **more})), far).get("arrived", 0.0)

    assert responses.mirrored(given(virtual_service({**copied, "mirrorPercentage": {"value": 30}})), near) == {"HTTP 200": 1.0}
    assert arrived(mirrorPercentage={"value": 30}) == pytest.approx(0.3)
    assert arrived() == 1.0, "without a percentage a mirror takes all requests"
    assert arrived(mirrorPercentage={}) == 0.0
    assert arrived(mirror={"host": "ratings", "subset": "v2"}) == 0.0
    assert responses.mirrored(given(virtual_service(to)), far) == {"did not arrive": 1.0}
    with pytest.raises(NotModelledError, match=r"spec.http\[0\].route: ratings v3 is sent requests as well"):
        responses.mirrored(given(virtual_service({**copied, **TO})), far)


@pytest.mark.parametrize(("origin", "outcome"), [("https://a", "may read"), ("https://b", "may not read")])
def test_origins(origin: str, outcome: str) -> None:
    objects = given(virtual_service({**TO, "corsPolicy": {"allowOrigins": [{"exact": "https://a"}]}}))
    assert responses.shared(objects, {**ASKED, "origin": origin}) == {outcome: 1.0}


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


def weighted(port: int | None = None) -> dict[str, Any]:
    to = {"port": {"number": port}} if port else {}
    legs = (("v1", 25), ("v2", 75))
    return {"route": [{"destination": {"host": "ratings", "subset": s, **to}, "weight": w} for s, w in legs]}


def test_releases_are_named_by_their_labels() -> None:
    subsets = [{"name": "v1", "labels": {"version": "v0.1"}}, {"name": "v2", "labels": {"version": "v0.2"}}]
    rule = {**SUBSETS, "spec": {"host": "ratings", "subsets": subsets}}
    objects = viewed([virtual_service(weighted()), rule, *SERVICES, *pods.versions("ratings", "v0.1", "v0.2")])
    assert responses.released(objects, ASKED) == {"v0.1": 0.25, "v0.2": 0.75}


def entered(name: str, port: int, protocol: str, **spec: Any) -> list[dict[str, Any]]:
    """A Gateway, and a rule for its traffic."""
    server = {"port": {"number": port, "name": "p", "protocol": protocol}, "hosts": ["*"]}
    return [
        {
            "kind": "Gateway", "metadata": {"name": name, "namespace": "bookinfo"},
            "spec": {"selector": {"istio": "gw"}, "servers": [server]},
        },
        {
            "kind": "VirtualService", "metadata": {"name": name, "namespace": "bookinfo"},
            "spec": {"hosts": ["*"], "gateways": [name], **spec},
        },
    ]  # fmt: skip


AT_GATEWAY = Caller("istio-system", {"istio": "gw"}, "bookinfo/door")


def test_shares_of_connections() -> None:
    objects = given(*entered("door", 31400, "TCP", tcp=[{"match": [{"port": 31400}], **weighted(9080)}]))
    assert responses.connected(objects, {"call": Call("*", 31400, AT_GATEWAY)}) == {"v1": 0.25, "v2": 0.75}
    with pytest.raises(NoExpectationError, match="no server for port 1"):
        responses.connected(objects, {"call": Call("*", 1, AT_GATEWAY)})


@pytest.mark.parametrize(
    ("led", "headers", "outcome"),
    [
        (True, {"request": {"set": {"x-by": "door"}}}, "HTTP 200 by door"),
        (True, {}, "HTTP 200"),
        (False, {"request": {"set": {"x-by": "door"}}}, "HTTP 200"),
    ],
)
def test_the_path_through_a_gateway_needs_its_header(led: bool, headers: dict[str, Any], outcome: str) -> None:
    gateway = {"destination": {"host": "reviews"}}
    marked = {"match": [{"gateways": ["door"]}], "route": TO["route"], "headers": headers}
    to_gateway = {"match": [{"gateways": ["mesh"]}], "route": [gateway if led else TO["route"][0]]}
    door, rule = entered("door", 80, "HTTP", http=[to_gateway, marked])
    rule["spec"] |= {"hosts": ["ratings"], "gateways": ["mesh", "door"]}
    marked["route"] = [{"destination": {"host": "ratings", "port": {"number": 9080}}}]
    request = {
        "call": RATINGS, "by": "reviews.bookinfo.svc.cluster.local",
        "entering": Call("ratings.bookinfo.svc.cluster.local", 80, AT_GATEWAY),
    }  # fmt: skip
    assert responses.by_gateway(given(door, rule), request) == {outcome: 1.0}


def test_a_missing_rule_breaks_the_expectation() -> None:
    check = ResponseCheck(("x",), responses.aborted, {"anonymous": ASKED}, at_server=ASKED)
    broken = check.expect([virtual_service(TO, name="other"), *SERVICES]).expected
    assert broken.broken == tuple(f"{n}: no VirtualService for ratings:9080 is applied" for n in ("anonymous", AT_SERVER))
    assert broken.shares == {}


@pytest.mark.parametrize(("about_time", "outcome"), [(True, Outcome.PASS), (False, Outcome.FAIL)])
def test_only_questions_about_time_tolerate_a_few_outliers(about_time: bool, outcome: Outcome) -> None:
    check = ResponseCheck(("x",), responses.delayed, {"anonymous": BY_PAGE}, about_time=about_time)
    rules = check.expect([virtual_service(TO), *SERVICES])
    counts = {"anonymous": {"HTTP 200 after 0 s": 500, "HTTP 200 after 1 s": 2}}
    assert judge(rules.expected, Observed(check.label(counts, {}, rules))).outcome is outcome


def test_the_catalogue_report_contains_only_new_verdicts(tmp_path: Path) -> None:
    name = entry.names()[0]
    facts = {"started": "2026-01-01T00:00:00Z", "seconds": 9.0, "margin": 0.05}
    verdict = {"outcome": "PASS", "n": 7, "reasons": ["held"], "classes": [], "facts": facts}
    (tmp_path / name).mkdir()
    (tmp_path / name / "verdict.json").write_text(json.dumps(verdict))
    os.utime(tmp_path / name / "verdict.json", (time.time() - 100, time.time() - 100))
    assert summary.read(tmp_path, name, 0.0) == verdict
    assert summary.read(tmp_path, name, time.time() - 50) is None
    lines = [summary.line_of(name, verdict), summary.line_of(entry.names()[1], None)]
    assert [line.outcome for line in lines] == ["PASS", summary.NEVER]
    assert 'tests="2" failures="0" errors="1"' in summary.junit(lines)
    summary.write(tmp_path, lines)
    assert "1 of 2 entries pass" in (tmp_path / "catalogue.html").read_text()
    assert all(line.aim for line in lines)
