"""The verdict: pure functions from expected shares and observed responses to PASS, FAIL or INCONCLUSIVE.

Shares are judged with the sequential multinomial test by Lindon and Malek (arXiv 2011.03567), which compares a Dirichlet
mixture over all splits with the expected split. The ratio is an e-process, so it may be checked after every request: a true
expectation is *ever* rejected with a probability of at most ``FAIL_ALPHA``. The splits that are not rejected at ``PASS_ALPHA``
form a confidence sequence, which is used here one share at a time (the projections are valid jointly, without a further
correction). PASS requires all of it within the margin, so a share outside the margin is ever accepted with a probability of at
most ``PASS_ALPHA``.

Two mixtures with equal weights are still one e-process: the wide one detects a share that is far off after few requests, the
narrow one tightens the sequence around a share that is right.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

FAIL_ALPHA = 0.001
"""Upper bound on the probability that a run with true shares ever ends with FAIL."""
PASS_ALPHA = 0.01
"""Upper bound on the probability that a run with a share outside the margin ever ends with PASS."""
MARGIN = 0.05
ERROR_LIMIT = 0.01
PRIOR_STRENGTHS = (20.0, 1000.0)
"""Weight of the expected split in each half of the mixture, in requests.

With 20, 80/20 instead of an expected 90/10 is detected quickly; with 1000, a true split passes after fewer requests.
"""
ERROR = "error"
AT_SERVER = "at the server"
"""A class of the same requests as the others, as their far end counted them."""


class Outcome(StrEnum):
    """Outcome of a verdict. VOID: the run itself cannot be judged. UNKNOWN: the rules use something that is not modelled."""

    PASS = "PASS"  # noqa: S105 - an outcome, not a password
    FAIL = "FAIL"
    INCONCLUSIVE = "INCONCLUSIVE"
    VOID = "VOID"
    UNKNOWN = "UNKNOWN"

    @property
    def exit_code(self) -> int:
        """Locust's exit status: 0 PASS, 1 FAIL, 2 anything else."""
        return {"PASS": 0, "FAIL": 1}.get(self.value, 2)


@dataclass(frozen=True)
class Expected:
    """The expectation: for each traffic class, every version's share (summing to 1), and the margin around each share."""

    shares: Mapping[str, Mapping[str, float]]
    margin: float = MARGIN
    broken: tuple[str, ...] = ()
    """Why there is no expectation (no rule, weights that do not add up); any item makes the verdict FAIL."""
    unknown: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Traffic class -> paths of relevant rule fields that are not modelled; such a class has no shares and no verdict."""
    lenient: frozenset[str] = frozenset()
    """Traffic classes in which outcomes without a share count as errors, of which a few may come."""


@dataclass(frozen=True)
class Observed:
    """The observation: for each traffic class, the number of responses per version, and of errors under ``ERROR``."""

    counts: Mapping[str, Mapping[str, int]]
    sent: Mapping[str, Mapping[str, int]] | None = None
    """Like ``counts``, plus responses after the verdict was reached, which other sources counted too; None if none came."""
    sources: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """The same requests by version, over all classes, as counted elsewhere: source -> counts."""
    views: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """The clients' counts with the labels of one source, where they differ from the outcomes: source -> counts."""
    in_flight: int = 0
    """Requests that only one side may have counted: one per user at the start and at the end, plus those that clients may have
    sent while the proxies' counters were read."""
    stale: tuple[str, ...] = ()
    """Descriptions of stale proxies."""
    void: tuple[str, ...] = ()
    """Why the run cannot be judged (a rule was edited, the generator was saturated)."""

    @property
    def n(self) -> int:
        """Requests counted, whether they can be judged or not."""
        return sum(sum(line.values()) for name, line in self.counts.items() if name != AT_SERVER)


@dataclass(frozen=True)
class Share:
    """One version's line in the verdict; shares are fractions of 1."""

    version: str
    expected: float
    count: int
    observed: float
    low: float
    high: float
    held: bool
    """Whether the whole interval is within the expected share +- margin."""


@dataclass(frozen=True)
class ClassVerdict:
    """The verdict on one traffic class."""

    name: str
    outcome: Outcome
    n: int
    errors: int
    e_value: float
    still_needed: int
    shares: tuple[Share, ...]
    reason: str


@dataclass(frozen=True)
class Verdict:
    """The whole verdict: the worst of its classes, or FAIL or VOID for another reason."""

    outcome: Outcome
    reasons: tuple[str, ...]
    classes: tuple[ClassVerdict, ...] = field(default_factory=tuple)
    sources: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """Requests by version as counted by each source, clients first; empty if there is only one source."""
    n: int = 0
    """Requests that the clients counted: failed ones as well, and those that cannot be judged."""

    @property
    def still_needed(self) -> int:
        """Estimated number of requests until the last class is decided."""
        return max((c.still_needed for c in self.classes), default=0)


def _log_beta(values: Sequence[float]) -> float:
    return sum(math.lgamma(v) for v in values) - math.lgamma(sum(values))


def _log_mixture(counts: Sequence[int], shares: Sequence[float]) -> float:
    """Natural log of the probability of ``counts``, in their order of arrival, under the mixture around ``shares``."""
    halves = []
    for strength in PRIOR_STRENGTHS:
        prior = [max(strength * p, 0.5) for p in shares]
        halves.append(_log_beta([a + n for a, n in zip(prior, counts, strict=True)]) - _log_beta(prior))
    most = max(halves)
    return most + math.log(sum(math.exp(half - most) for half in halves) / len(halves))


def _log_sum(counts: Sequence[int], shares: Sequence[float]) -> float:
    """log of prod(shares ** counts); -inf if a version without a share responded."""
    total = 0.0
    for n, p in zip(counts, shares, strict=True):
        if n:
            if p <= 0:
                return -math.inf
            total += n * math.log(p)
    return total


def log_e_value(counts: Sequence[int], shares: Sequence[float]) -> float:
    """Natural log of the evidence against ``shares``; reject at ``log(1 / FAIL_ALPHA)``.

    :param counts: responses of each version
    :param shares: expected share of each version, in the same order, summing to 1
    """
    return _log_mixture(counts, shares) - _log_sum(counts, shares)


def interval(counts: Sequence[int], shares: Sequence[float], arm: int, alpha: float) -> tuple[float, float]:
    """The current confidence sequence of one version's share.

    The other shares take the best-fitting values, which projects the joint set onto this share.

    :return: (low, high), fractions of 1
    """
    n, k = sum(counts), counts[arm]
    if n == 0:
        return 0.0, 1.0
    others = [c for i, c in enumerate(counts) if i != arm]
    rest = n - k
    fixed = sum(c * math.log(c / rest) for c in others if c)
    limit = _log_mixture(counts, shares) - fixed - math.log(1 / alpha)

    def inside(p: float) -> bool:
        fit = (k * math.log(p) if k else 0.0) + (rest * math.log1p(-p) if rest else 0.0)
        return fit > limit

    centre = min(max(k / n, 1e-12), 1 - 1e-12)
    return _edge(inside, centre, 1e-12), _edge(inside, centre, 1 - 1e-12)


def _edge(inside: object, centre: float, far: float) -> float:
    """Bisect from ``centre`` (inside) towards ``far``; ``far`` itself if the whole range is inside."""
    assert callable(inside)
    if inside(far):
        return round(far, 9)
    near = centre
    for _ in range(50):
        middle = (near + far) / 2
        near, far = (middle, far) if inside(middle) else (near, middle)
    return near


def exact_upper(n: int, alpha: float) -> float:
    """Exact upper bound of a share that never occurred in ``n`` requests: the p with (1 - p) ** n = alpha.

    It may be checked continuously: a single occurrence ends the run with FAIL, so the bound only applies while there is none.
    """
    return 1.0 if n == 0 else 1 - alpha ** (1 / n)


def _share_lines(counts: Mapping[str, int], expected: Mapping[str, float], n: int, d: Expected) -> tuple[Share, ...]:
    names = sorted(set(expected) | set(counts))
    possible = [name for name in names if expected.get(name, 0.0) > 0]
    lines = []
    for name in names:
        share, count = expected.get(name, 0.0), counts.get(name, 0)
        if share <= 0:
            low, high = (0.0, exact_upper(n, PASS_ALPHA)) if not count else (count / n, count / n)
        elif len(possible) == 1:
            low, high = (1 - exact_upper(n, PASS_ALPHA), 1.0) if count == n else (count / n, count / n)
        else:
            low, high = interval(
                [counts.get(p, 0) for p in possible], [expected[p] for p in possible], possible.index(name), PASS_ALPHA
            )
        held = share - d.margin <= low and high <= share + d.margin
        lines.append(Share(name, share, count, count / n if n else 0.0, low, high, held))
    return tuple(lines)


def _still_needed(lines: Sequence[Share], n: int, margin: float) -> int:
    """Requests until the widest interval fits, whose width shrinks roughly with the square root of n."""
    gap = max((max(line.high - line.expected, line.expected - line.low) for line in lines), default=1.0)
    if n < 50:
        return round(10 / margin**2 / 2)
    return max(1, math.ceil(n * min((gap / margin) ** 2, 100.0)) - n)


def described(outcome: str) -> str:
    """An outcome in words: that of a whole service, and that of no response, have no name of their own."""
    return {"": "the service", ERROR: "no valid response"}.get(outcome, outcome)


def _described_shares(expected: Mapping[str, float]) -> str:
    """``v1 80.0%, v3 20.0%``."""
    return ", ".join(f"{described(outcome)} {share:.1%}" for outcome, share in expected.items() if share > 0)


def _described_counts(counts: Mapping[str, int]) -> str:
    """``v1 90 of 100 (90.0%), v3 10 of 100 (10.0%)``, the most frequent first."""
    total = sum(counts.values())
    often = sorted(((outcome, n) for outcome, n in counts.items() if n), key=lambda one: -one[1])
    return ", ".join(f"{described(outcome)} {n} of {total} ({n / total:.1%})" for outcome, n in often)


def judge_class(name: str, expected: Mapping[str, float], counts: Mapping[str, int], d: Expected) -> ClassVerdict:
    """The verdict on one traffic class.

    :param expected: expected share of each version
    :param counts: responses of each version, errors under ``ERROR``
    """
    excused = {version for version in counts if name in d.lenient and version not in expected} | {ERROR}
    errors = sum(c for version, c in counts.items() if version in excused)
    answers = {version: c for version, c in counts.items() if version not in excused and c}
    n = sum(answers.values())
    lines = _share_lines(answers, expected, n, d)

    def verdict(outcome: Outcome, e_value: float, reason: str, needed: int = 0) -> ClassVerdict:
        return ClassVerdict(name, outcome, n, errors, e_value, needed, lines, reason)

    difference = f"{name}: expected {_described_shares(expected)}; observed {_described_counts(counts)}"
    if any(line.count and line.expected <= 0 for line in lines):
        return verdict(Outcome.FAIL, math.inf, difference)
    if errors and interval([errors, n], [ERROR_LIMIT, 1 - ERROR_LIMIT], 0, FAIL_ALPHA)[0] > ERROR_LIMIT:
        return verdict(Outcome.FAIL, math.inf, difference)
    possible = [version for version, share in expected.items() if share > 0]
    log_e = log_e_value([answers.get(v, 0) for v in possible], [expected[v] for v in possible])
    e_value = math.exp(min(log_e, 700.0))
    if log_e >= math.log(1 / FAIL_ALPHA):
        return verdict(Outcome.FAIL, e_value, difference)
    if n and all(line.held for line in lines) and errors <= ERROR_LIMIT * n:
        return verdict(Outcome.PASS, e_value, f"{name}: every share is within {d.margin:.1%} of the expected share")
    needed = _still_needed(lines, n, d.margin)
    return verdict(Outcome.INCONCLUSIVE, e_value, f"{name}: about {needed} more requests are needed", needed)


def sent_by_clients(observed: Observed) -> dict[str, int]:
    """The clients' counts by version, over all classes; failed requests under ``ERROR``."""
    clients: dict[str, int] = {}
    for counts in (observed.counts if observed.sent is None else observed.sent).values():
        for version, n in counts.items():
            clients[version] = clients.get(version, 0) + n
    return clients


def disagreements(observed: Observed) -> list[str]:
    """Descriptions of differences between clients and other sources that exceed the requests in flight and 1 %."""
    everything = sent_by_clients(observed)
    # A failed request may have reached any version, or none.
    slack = observed.in_flight + everything.get(ERROR, 0)
    differing = []
    for name, counted in observed.sources.items():
        clients = observed.views.get(name, everything)
        for version in sorted((set(clients) | set(counted)) - {ERROR}):
            ours, theirs = clients.get(version, 0), counted.get(version, 0)
            if abs(ours - theirs) > slack + 0.01 * ours:
                differing.append(f"{version}: clients counted {ours}, {name} {theirs}")
    return differing


def judge(expected: Expected, observed: Observed) -> Verdict:
    """The verdict on a run, at any time during it.

    A void run is never PASS or FAIL. Rules without an expectation, or a proxy that never received them, are FAIL.
    """
    return replace(_judged(expected, observed), n=observed.n)


def _judged(expected: Expected, observed: Observed) -> Verdict:
    if observed.void:
        return Verdict(Outcome.VOID, observed.void)
    if expected.broken:
        return Verdict(Outcome.FAIL, expected.broken)
    classes = tuple(
        judge_class(name, shares, observed.counts.get(name, {}), expected) for name, shares in sorted(expected.shares.items())
    )
    outcomes = {c.outcome for c in classes}
    sources = {"clients": sent_by_clients(observed), **observed.sources} if observed.sources else {}
    differing = disagreements(observed)
    if differing:
        return Verdict(Outcome.VOID, tuple(f"sources disagree: {d}" for d in differing), classes, sources)
    if Outcome.FAIL in outcomes or observed.stale:
        reasons = tuple(c.reason for c in classes if c.outcome is Outcome.FAIL) + observed.stale
        return Verdict(Outcome.FAIL, reasons, classes, sources)
    if Outcome.INCONCLUSIVE in outcomes or not (classes or expected.unknown):
        worst = Outcome.INCONCLUSIVE
    else:
        worst = Outcome.UNKNOWN if expected.unknown else Outcome.PASS
    unknown = tuple(f"{name}: not modelled: {', '.join(paths)}" for name, paths in sorted(expected.unknown.items()))
    return Verdict(worst, unknown + tuple(c.reason for c in classes), classes, sources)
