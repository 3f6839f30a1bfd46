"""Reports of one verdict: JSON for programs, JUnit XML for CI, one self-contained HTML page for people."""

from __future__ import annotations

import dataclasses
import json
import math
import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from jinja2 import Environment, FileSystemLoader

from loadtests.reports import chart
from loadtests.verdict import FAIL_ALPHA, PASS_ALPHA, Outcome, Verdict

UNFINISHED = "interrupted before there was a verdict"
"""Reason in the reports that a run writes at its start, so that they are right however it ends."""
EARLIER = "earlier"
"""Folder below the results to which a command moves the reports of the run before it (scripts/run.py)."""
OVER_TIME = (
    "Shares over time: the line is what was observed, the band its 99 % confidence sequence, the dashed line what is expected. "
    "A traffic class passes once its bands are within the margin around the dashed lines."
)
SIDE_BY_SIDE = (
    "Distance from the expected share, as multiples of the margin, with its 99 % confidence sequence: the share that is least "
    "certain. An interval within the margin passes; one that reaches further than the chart ends at its edge."
)
"""What the charts show."""
TIMED_CLASSES = 4
"""The most traffic classes whose shares are shown over time."""
FEW = 3
"""The most traffic classes that give their own reasons for PASS."""
TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class Facts:
    """Everything needed to repeat the run."""

    entry: str
    started: str
    seconds: float
    seed: int
    margin: float
    rules: str
    versions: dict[str, str]
    remarks: tuple[str, ...] = ()
    fail_alpha: float = FAIL_ALPHA
    """Upper bound on how often FAIL is wrong."""
    pass_alpha: float = PASS_ALPHA
    """Upper bound on how often PASS is wrong."""


@dataclass(frozen=True)
class Moment:
    """A verdict's shares at one moment of a run."""

    seconds: float
    """Since counting started."""
    n: int
    """Requests counted until then."""
    shares: tuple[tuple[str, str, float, float, float, float], ...]
    """Traffic class, version, expected, observed, and both ends of the confidence sequence; fractions of 1."""


def moment_of(verdict: Verdict, seconds: float) -> Moment:
    """The shares that ``verdict`` has now."""
    shares = tuple((c.name, s.version, s.expected, s.observed, s.low, s.high) for c in verdict.classes for s in c.shares)
    return Moment(round(seconds, 1), verdict.n, shares)


@dataclass(frozen=True)
class Progress:
    """How far a run has come, for whoever watches it."""

    entry: str
    verdict: Verdict
    beginning: bool
    """Whether it still waits for the proxies to have the rules."""
    pending: bool
    """Whether the final verdict is still to come."""
    finished: bool
    generator: str
    """How the side that sends is doing."""
    margin: float
    remarks: tuple[str, ...] = ()
    epoch: int = 0
    """Changes whenever counting starts again."""
    history: tuple[Moment, ...] = ()
    """Since counting started, once a second."""


def facts_of(
    entry: str, started: float, seed: int, margin: float, rules: str, running: Mapping[str, str], remarks: tuple[str, ...]
) -> Facts:
    """The facts of a run that ends now.

    :param started: when counting started, in seconds of the epoch; 0 if it did not
    :param rules: their generation
    :param running: versions of what runs in the cluster
    """
    packages = {name: metadata.version(name) for name in ("locust", "requests", "gevent")}
    return Facts(
        entry=entry, started=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(started)),
        seconds=round(time.time() - started, 1) if started else 0.0, seed=seed, margin=margin, rules=rules,
        versions={"python": platform.python_version(), **packages, **running}, remarks=remarks,
    )  # fmt: skip


def plain(verdict: Verdict, facts: Facts, history: Sequence[Moment] = ()) -> dict[str, Any]:
    """Verdict, facts and history as JSON values."""
    more = {"facts": dataclasses.asdict(facts), "history": [dataclasses.asdict(one) for one in history]}
    values: dict[str, Any] = jsonable(dataclasses.asdict(verdict) | more)
    return values


def jsonable(value: Any) -> Any:
    """A value as JSON has it; infinity becomes the text "inf"."""
    if isinstance(value, dict):
        return {k: jsonable(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [jsonable(v) for v in value]
    return "inf" if isinstance(value, float) and math.isinf(value) else value


def junit(verdict: Verdict, facts: Facts) -> str:
    """One test case per traffic class; any outcome other than PASS and FAIL is an error, never a success."""
    cases = [(c.name, c.outcome, c.reason) for c in verdict.classes]
    if not cases or verdict.outcome not in {c.outcome for c in verdict.classes}:
        cases.append(("whole run", verdict.outcome, "; ".join(verdict.reasons)))
    suite = ElementTree.Element("testsuite", name=facts.entry, tests=str(len(cases)), time=str(facts.seconds))
    counts = {"failures": 0, "errors": 0}
    for name, outcome, reason in cases:
        case = ElementTree.SubElement(suite, "testcase", classname=f"istio-lab.{facts.entry}", name=name)
        if outcome is not Outcome.PASS:
            kind = "failure" if outcome is Outcome.FAIL else "error"
            counts[f"{kind}s"] += 1
            ElementTree.SubElement(case, kind, message=f"{outcome}: {reason}")
    for key, count in counts.items():
        suite.set(key, str(count))
    return ElementTree.tostring(suite, encoding="unicode")


def html(verdict: Verdict, facts: Facts, history: Sequence[Moment] = ()) -> str:
    """The page; names are escaped, and nothing is loaded from elsewhere."""
    known = {share[0] for share in history[-1].shares} if len(history) > 1 and facts.margin else set()
    charts, caption = [chart.over_time(history, name, facts.margin) for name in sorted(known)], OVER_TIME
    if not 0 < len(known) <= TIMED_CLASSES:
        rows = chart.rows_of(verdict.classes, facts.margin)
        charts, caption = [chart.side_by_side(rows)] if rows else [], SIDE_BY_SIDE
    more = {"margin": facts.margin, "charts": charts, "caption": caption, "reasons": reasons_of(verdict)}
    return render("report.html", verdict=verdict, facts=facts, **more)


def reasons_of(verdict: Verdict) -> list[str]:
    """Its reasons, with those of many classes that pass summed up."""
    passed = [one.reason for one in verdict.classes if one.outcome is Outcome.PASS]
    if len(passed) <= FEW:
        return list(verdict.reasons)
    rest = [reason for reason in verdict.reasons if reason not in passed]
    return [*rest, f"{len(passed)} of {len(verdict.classes)} traffic classes pass"]


def render(template: str, **values: Any) -> str:
    """Render a template; values are escaped."""
    return Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True).get_template(template).render(**values)


def write_whole(folder: Path, texts: dict[str, str]) -> list[Path]:
    """Write files by name, each atomically."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        partial = folder / f".{name}.partial"
        partial.write_text(text)
        partial.replace(folder / name)
    return [folder / name for name in texts]


def write_void(folder: Path, name: str, reason: str) -> None:
    """Write the reports of an entry that could not be judged."""
    started = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    write(folder, Verdict(Outcome.VOID, (reason,)), Facts(name, started, 0.0, 0, 0.0, "", {}))


def write(folder: Path, verdict: Verdict, facts: Facts, history: Sequence[Moment] = ()) -> list[Path]:
    """Write the three reports; the one for programs comes last.

    :param history: the shares of the run, since counting started
    """
    texts = {
        "verdict.xml": junit(verdict, facts),
        "verdict.html": html(verdict, facts, history),
        "verdict.json": json.dumps(plain(verdict, facts, history), indent=2) + "\n",
    }
    return write_whole(folder, texts)
