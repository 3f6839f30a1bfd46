"""The verdict's guarantees, tested by simulation where they are probabilistic."""

from __future__ import annotations

import math
import random
import statistics
from typing import Any

import pytest

from loadtests.verdict import (
    AT_SERVER,
    ERROR,
    PASS_ALPHA,
    Expected,
    Observed,
    Outcome,
    exact_upper,
    interval,
    judge,
    log_e_value,
)

NINETY = {"v1": 0.9, "v3": 0.1}


def watched(true_share: float, expected: dict[str, float], limit: int, rng: random.Random) -> int:
    """Requests until the expected split is rejected, checked after every request; 0 if it never is."""
    counts = [0, 0]
    shares = list(expected.values())
    for n in range(1, limit + 1):
        counts[rng.random() < true_share] += 1
        if log_e_value(counts, shares) >= math.log(1000):
            return n
    return 0


def test_false_fails_of_2500_watched_runs_are_at_most_one_in_a_thousand() -> None:
    rng = random.Random(20)
    failed = sum(watched(0.1, NINETY, 400, rng) > 0 for _ in range(2500))
    assert failed <= 2, f"{failed} of 2500 true expectations were rejected"


def test_80_20_expected_as_90_10_fails_within_a_median_of_250_requests() -> None:
    rng = random.Random(21)
    runs = [watched(0.2, NINETY, 3000, rng) for _ in range(400)]
    assert 0 not in runs, "a wrong expectation was never rejected"
    assert statistics.median(runs) <= 250


def test_intervals_contain_the_true_share_in_watched_runs() -> None:
    rng = random.Random(22)
    missed = 0
    for _ in range(300):
        counts = [0, 0, 0]
        for n in range(1, 301):
            counts[rng.choices(range(3), [0.5, 0.3, 0.2])[0]] += 1
            if n % 10 == 0:
                low, high = interval(counts, [0.5, 0.3, 0.2], 2, 0.001)
                missed += not low <= 0.2 <= high
    assert missed == 0


def test_pass_needs_the_whole_interval_inside_the_margin() -> None:
    expected = Expected({"all": {"v1": 0.8, "v3": 0.2}}, margin=0.05)
    early = judge(expected, Observed({"all": {"v1": 80, "v3": 20}}))
    late = judge(expected, Observed({"all": {"v1": 2400, "v3": 600}}))
    assert (early.outcome, late.outcome) == (Outcome.INCONCLUSIVE, Outcome.PASS)
    assert early.still_needed > 0
    assert all(s.low >= s.expected - 0.05 and s.high <= s.expected + 0.05 for s in late.classes[0].shares)
    assert not all(s.held for s in early.classes[0].shares)


def test_a_share_just_outside_the_margin_never_passes() -> None:
    rng = random.Random(23)
    expected = Expected({"all": {"v1": 0.8, "v3": 0.2}}, margin=0.05)
    for _ in range(20):
        counts = {"v1": 0, "v3": 0}
        for n in range(1, 3001):
            counts["v3" if rng.random() < 0.26 else "v1"] += 1
            if n % 50 == 0:
                assert judge(expected, Observed({"all": counts})).outcome is not Outcome.PASS


def ended(true: list[float], expected: list[float], rng: random.Random, limit: int = 6000) -> tuple[Outcome, int]:
    """Outcome of a run that is checked after every 25 requests, and its number of requests."""
    shares = {str(i): share for i, share in enumerate(expected)}
    counts, outcome = dict.fromkeys(shares, 0), Outcome.INCONCLUSIVE
    while outcome is Outcome.INCONCLUSIVE and sum(counts.values()) < limit:
        for version in rng.choices(list(shares), true, k=25):
            counts[version] += 1
        outcome = judge(Expected({"all": shares}), Observed({"all": counts})).outcome
    return outcome, sum(counts.values())


@pytest.mark.parametrize("true", [0.25, 0.15])
def test_a_share_at_the_margin_passes_in_at_most_one_watched_run_of_a_hundred(true: float) -> None:
    rng = random.Random(24)
    passed = sum(ended([1 - true, true], [0.8, 0.2], rng)[0] is Outcome.PASS for _ in range(200))
    assert passed <= 2, f"{passed} of 200 runs with a share at the margin passed"


@pytest.mark.parametrize(
    ("shares", "most"), [([0.5, 0.5], 1750), ([0.8, 0.2], 1050), ([0.9, 0.1], 600), ([0.5, 0.3, 0.2], 2175)]
)
def test_true_shares_pass_after_so_many_requests_in_the_median(shares: list[float], most: int) -> None:
    rng = random.Random(25)
    runs = [ended(shares, shares, rng) for _ in range(60)]
    assert {outcome for outcome, _ in runs} == {Outcome.PASS}
    assert statistics.median(n for _, n in runs) <= most


def test_zero_share_fails_on_the_first_response_and_passes_by_the_exact_bound() -> None:
    expected = Expected({"all": {"v1": 1.0, "v3": 0.0}}, margin=0.05)
    needed = math.ceil(math.log(PASS_ALPHA) / math.log(0.95))
    assert judge(expected, Observed({"all": {"v1": 5000, "v3": 1}})).outcome is Outcome.FAIL
    assert judge(expected, Observed({"all": {"v1": needed - 1}})).outcome is Outcome.INCONCLUSIVE
    assert judge(expected, Observed({"all": {"v1": needed}})).outcome is Outcome.PASS
    assert exact_upper(needed, PASS_ALPHA) <= 0.05 < exact_upper(needed - 1, PASS_ALPHA)


def test_an_unexpected_version_fails() -> None:
    verdict = judge(Expected({"all": NINETY}), Observed({"all": {"v1": 9, "v2": 1}}))
    assert verdict.outcome is Outcome.FAIL
    assert "v2" in verdict.reasons[0]


@pytest.mark.parametrize(("errors", "outcome"), [(0, Outcome.PASS), (5, Outcome.PASS), (400, Outcome.FAIL)])
def test_errors_have_a_limit(errors: int, outcome: Outcome) -> None:
    counts = {"v1": 2700, "v3": 300, ERROR: errors}
    assert judge(Expected({"all": NINETY}), Observed({"all": counts})).outcome is outcome


LATE = Expected({"a": {"HTTP 200 after 2 s": 1.0}}, lenient=frozenset({"a"}))


@pytest.mark.parametrize(
    ("expected", "counts", "reason"),
    [
        (LATE, {"HTTP 200 after 0 s": 20}, "expected HTTP 200 after 2 s 100.0%; observed HTTP 200 after 0 s 20 of 20 (100.0%)"),
        (
            LATE, {"HTTP 200 after 2 s": 5, "HTTP 200 after 0 s": 12, ERROR: 3},
            "expected HTTP 200 after 2 s 100.0%; observed HTTP 200 after 0 s 12 of 20 (60.0%), "
            "HTTP 200 after 2 s 5 of 20 (25.0%), no valid response 3 of 20 (15.0%)",
        ),
        (
            Expected({"a": NINETY}), {"v1": 9, "v2": 1},
            "expected v1 90.0%, v3 10.0%; observed v1 9 of 10 (90.0%), v2 1 of 10 (10.0%)",
        ),
        (
            Expected({"a": NINETY}), {"v1": 100, "v3": 100},
            "expected v1 90.0%, v3 10.0%; observed v1 100 of 200 (50.0%), v3 100 of 200 (50.0%)",
        ),
        (Expected({"a": {"": 1.0}}), {ERROR: 30}, "expected the service 100.0%; observed no valid response 30 of 30 (100.0%)"),
    ],
)  # fmt: skip
def test_a_fail_says_what_was_expected_what_came_and_how_often(expected: Expected, counts: dict[str, int], reason: str) -> None:
    verdict = judge(expected, Observed({"a": counts}))
    assert (verdict.outcome, verdict.reasons) == (Outcome.FAIL, (f"a: {reason}",))


@pytest.mark.parametrize(("strays", "outcome"), [(5, Outcome.PASS), (400, Outcome.FAIL)])
def test_a_lenient_class_excuses_a_few_outcomes_without_a_share(strays: int, outcome: Outcome) -> None:
    counts = {"HTTP 200 after 2 s": 3000, "HTTP 200 after 0 s": strays}
    assert judge(LATE, Observed({"a": counts})).outcome is outcome
    assert judge(Expected(LATE.shares), Observed({"a": counts})).outcome is Outcome.FAIL


def test_nothing_but_errors_never_passes() -> None:
    assert judge(Expected({"all": {"v1": 1.0}}), Observed({"all": {ERROR: 500}})).outcome is Outcome.FAIL


def test_no_responses_are_inconclusive() -> None:
    verdict = judge(Expected({"all": NINETY}), Observed({}))
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert verdict.outcome.exit_code == 2


@pytest.mark.parametrize(
    ("expected", "observed", "outcome", "code"),
    [
        (Expected({}, broken=("no rule",)), Observed({}), Outcome.FAIL, 1),
        (Expected({"a": NINETY}), Observed({"a": {"v1": 2700, "v3": 300}}, stale=("late",)), Outcome.FAIL, 1),
        (Expected({"a": NINETY}), Observed({"a": {"v1": 2700, "v3": 300}}, void=("edited",)), Outcome.VOID, 2),
        (Expected({"a": NINETY}), Observed({"a": {"v2": 100}}, void=("edited",)), Outcome.VOID, 2),
        (
            Expected({"a": NINETY}),
            Observed({"a": {"v1": 2700, "v3": 300}}, sources={"the proxies": {"v1": 2700, "v3": 300}}),
            Outcome.PASS,
            0,
        ),
        (
            Expected({"a": NINETY}),
            Observed({"a": {"v1": 2700, "v3": 300}}, sources={"the proxies": {"v1": 2700, "v3": 400}}),
            Outcome.VOID,
            2,
        ),
        (
            Expected({"a": NINETY}),
            Observed({"a": {"v1": 2700, "v3": 300}}, sources={"the proxies": {"v1": 2700, "v3": 320}}, in_flight=20),
            Outcome.PASS,
            0,
        ),
    ],
)
def test_what_overrides_the_statistics(expected: Expected, observed: Observed, outcome: Outcome, code: int) -> None:
    verdict = judge(expected, observed)
    assert (verdict.outcome, verdict.outcome.exit_code) == (outcome, code)


def test_a_source_that_disagrees_is_named() -> None:
    sources = {"the proxies": {"v1": 2700, "v3": 300}, "the access logs": {"v1": 2700}}
    verdict = judge(Expected({"a": NINETY}), Observed({"a": {"v1": 2700, "v3": 300}}, sources=sources))
    assert verdict.outcome is Outcome.VOID
    assert verdict.reasons == ("sources disagree: v3: clients counted 300, the access logs 0",)
    assert verdict.sources == {"clients": {"v1": 2700, "v3": 300}, **sources}


def test_later_responses_are_compared_but_not_judged() -> None:
    expected = Expected({"a": NINETY})
    late = Observed(
        {"a": {"v1": 2700, "v3": 300}}, sent={"a": {"v1": 2700, "v3": 900}}, sources={"the proxies": {"v1": 2700, "v3": 900}}
    )
    assert judge(expected, late).outcome is Outcome.PASS
    unseen = Observed(
        {"a": {"v1": 2700, "v3": 300}}, sent={"a": {"v1": 2700, "v3": 900}}, sources={"the proxies": {"v1": 2700, "v3": 300}}
    )
    assert judge(expected, unseen).outcome is Outcome.VOID


def test_the_worst_class_decides() -> None:
    expected = Expected({"anonymous": {"v1": 1.0}, "jason": {"v2": 1.0}})
    observed = Observed({"anonymous": {"v1": 500}, "jason": {"v1": 3, "v2": 200}})
    verdict = judge(expected, observed)
    assert verdict.outcome is Outcome.FAIL
    assert verdict.reasons[0].startswith("jason")


@pytest.mark.parametrize(
    ("expected", "observed"),
    [
        (Expected({"all": NINETY}), {}),
        (Expected({"all": NINETY}), {"void": ("a rule was edited",)}),
        (Expected({}, broken=("no rule",)), {}),
        (Expected({}, unknown={"all": ("VirtualService r: spec.new",)}), {}),
        (Expected({"all": {"v2": 1.0}}), {}),
    ],
)
def test_every_request_is_counted_whatever_the_verdict(expected: Expected, observed: dict[str, Any]) -> None:
    counts = {"all": {"v1": 9, ERROR: 2}, AT_SERVER: {"arrived": 11}}
    assert judge(expected, Observed(counts, sent={"all": {"v1": 20}}, **observed)).n == 11
