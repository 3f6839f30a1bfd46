"""Where a request went, by the answer and the line in the log of the caller's proxy."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from loadtests.judge.checks import Check
from loadtests.judge.guards import DENIED, LET_IN, REJECTED, WITHOUT
from loadtests.judge.lines import Answer, Ground, Line, lines_by_mark, outcome_of
from loadtests.rules.calls import Call, Caller
from loadtests.rules.fates import Fate, Place
from loadtests.rules.security import REFUSED
from loadtests.verdict import ERROR
from tests.unit.judge.logged import log_line

V2 = "outbound|9080|v2|reviews.shop.svc.cluster.local"
FATE = Fate({"reviews.shop:9080 v2": 1.0}, 2.0, {"reviews.shop:9080 v2": Place("shop", {"app": "reviews", "version": "v2"})})
CHECK = Check("a", (Call("a", 80, Caller("b")),), FATE)
GROUND = Ground(
    "shop", "cluster.local", {"10.0.0.2": {"app": "reviews", "version": "v2"}, "10.0.0.3": {"app": "reviews", "version": "v3"}}
)


def worded(status: int = 200, location: str = "", text: str = "", **line: Any) -> tuple[str, str]:
    found = lines_by_mark(log_line("lab-1-7", **{"status": status, **line}), "lab-1-")
    return outcome_of(CHECK, Answer(status, location, text), found["lab-1-7"], GROUND)


@pytest.mark.parametrize(
    ("seen", "outcome"),
    [
        ({"cluster": V2, "host": "10.0.0.2:9080"}, "reviews.shop:9080 v2"),
        ({"cluster": V2, "host": "10.0.0.2:9080", "status": 404}, "reviews.shop:9080 v2"),
        ({"cluster": V2, "host": "10.0.0.3:9080"}, "reviews.shop:9080 v2, but at another pod (10.0.0.3)"),
        ({"cluster": V2, "host": "10.0.0.9:9080"}, "reviews.shop:9080 v2, but at another pod (10.0.0.9)"),
        ({"cluster": V2.replace("v2", "v1"), "host": "10.0.0.3:9080"}, "reviews.shop:9080 v1"),
        ({"cluster": V2.replace("v2", ""), "host": "10.0.0.3:9080"}, "reviews.shop:9080"),
        ({"cluster": V2, "host": "10.0.0.2:9080", "flags": "DI", "milliseconds": 2003}, "reviews.shop:9080 v2 after 2 s"),
        ({"cluster": V2, "host": "10.0.0.2:9080", "flags": "DI", "milliseconds": 900}, "reviews.shop:9080 v2 after 0.9 s"),
        ({"status": 500, "flags": "FI", "details": "fault_filter_abort"}, "HTTP 500 injected"),
        ({"status": 301, "details": "direct_response", "location": "http://a/b"}, "HTTP 301 to http://a/b"),
        ({"status": 503, "details": "direct_response", "text": "not\nnow"}, "HTTP 503 by the proxy: not now"),
        ({"status": 404, "flags": "NR", "details": "route_not_found"}, "HTTP 404 without a route"),
        ({"cluster": "PassthroughCluster", "host": "10.0.0.2:9080"}, "upstream PassthroughCluster"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_line_becomes_an_outcome(seen: dict[str, Any], outcome: str) -> None:
    assert worded(**seen) == (outcome, "")


@pytest.mark.parametrize(
    ("seen", "why"),
    [
        ({"status": 503, "flags": "UH", "details": "no_healthy_upstream", "cluster": V2}, "HTTP 503 no_healthy_upstream"),
        (
            {
                "status": 503,
                "flags": "UF",
                "details": "upstream_reset_before_response_started{connection_failure}",
                "cluster": V2,
            },
            "HTTP 503 upstream_reset_before_response_started",
        ),
    ],
    ids=str,
)
def test_a_request_that_reached_nobody_is_an_error(seen: dict[str, Any], why: str) -> None:
    assert worded(**seen) == (ERROR, why)


@pytest.mark.parametrize(
    ("authority", "headers", "outcome"),
    [
        ("b.lab", {"x-a": "1"}, "reviews.shop:9080 v2"),
        ("a.lab", {"x-a": "1"}, "reviews.shop:9080 v2, but as a.lab"),
        ("b.lab", {}, "reviews.shop:9080 v2, but without x-a"),
        ("b.lab", {"x-a": "2"}, "reviews.shop:9080 v2, but with x-a: 2"),
        ("b.lab", {"x-a": "1", "x-b": "3"}, "reviews.shop:9080 v2, but with x-b: 3"),
    ],
)
def test_what_was_not_changed_as_the_rules_say_is_part_of_the_outcome(
    authority: str, headers: dict[str, str], outcome: str
) -> None:
    check = replace(CHECK, fate=replace(FATE, authority="b.lab", response={"x-a": "1", "x-b": None}))
    line = Line(200, frozenset("-"), "via_upstream", 0.1, V2, "10.0.0.2:9080", authority)
    assert outcome_of(check, Answer(200, "", "", headers), line, GROUND) == (outcome, "")


def test_an_answer_without_a_line_or_with_another_status_is_an_error() -> None:
    assert outcome_of(CHECK, Answer(200, "", ""), None, GROUND) == (ERROR, "HTTP 200, of which the proxy logged nothing")
    assert outcome_of(CHECK, Answer(0, "", "OSError: no"), None, GROUND) == (ERROR, "OSError: no")
    line = Line(200, frozenset("-"), "via_upstream", 0.0, V2, "10.0.0.2:9080")
    assert outcome_of(CHECK, Answer(503, "", ""), line, GROUND) == (ERROR, "HTTP 503, where the proxy logged HTTP 200")


def test_only_lines_with_the_runs_mark_count_by_identifier_or_agent() -> None:
    log = "\n".join((log_line("lab-1-0"), log_line("-", agent="lab-1-1"), log_line("lab-2-0"), "noise lab-1-9"))
    assert set(lines_by_mark(log, "lab-1-")) == {"lab-1-0", "lab-1-1"}


def let_in(answer: Answer, line: Line | None, labels: dict[str, str]) -> tuple[str, str]:
    check = Check("a", (Call("a", 80, Caller("b", labels)),), Fate({REFUSED: 1.0}), guard=True)
    return outcome_of(check, answer, line, GROUND)


ARRIVED = Line(403, frozenset("-"), "via_upstream", 0.0, V2, "10.0.0.2:9080")
LOST = Line(503, frozenset(("UF",)), "upstream_reset_before_response_started{x}", 0.0, V2, "10.0.0.2:9080")


@pytest.mark.parametrize(
    ("answer", "line", "labels", "outcome"),
    [
        (Answer(403, "", "RBAC: access denied"), ARRIVED, {}, DENIED),
        (Answer(403, "", "not today"), ARRIVED, {}, LET_IN),
        (Answer(503, "", ""), LOST, {}, ERROR),
        (Answer(401, "", "Jwt issuer is not configured"), ARRIVED, {}, REJECTED),
        (Answer(401, "", "sign in"), ARRIVED, {}, LET_IN),
        (Answer(403, "", "RBAC: access denied"), None, {}, ERROR),
        (Answer(404, "", ""), None, WITHOUT, LET_IN),
        (Answer(403, "", "RBAC: access denied"), None, WITHOUT, DENIED),
        (Answer(0, "", "ConnectionResetError: [Errno 104] Connection reset by peer"), None, WITHOUT, REFUSED),
        (Answer(0, "", "RemoteDisconnected: Remote end closed connection without response"), None, WITHOUT, REFUSED),
        (Answer(0, "", "ConnectionRefusedError: [Errno 111] Connection refused"), None, WITHOUT, ERROR),
        (Answer(0, "", "TimeoutError: timed out"), None, WITHOUT, ERROR),
        (Answer(0, "", "ConnectionResetError: [Errno 104] Connection reset by peer"), None, {}, ERROR),
    ],
    ids=str,
)
def test_only_a_policys_words_or_a_closed_connection_say_that_a_client_was_not_let_in(
    answer: Answer, line: Line | None, labels: dict[str, str], outcome: str
) -> None:
    assert let_in(answer, line, labels)[0] == outcome
