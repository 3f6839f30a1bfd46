"""The catalogue with the last verdict of each entry: ``python -m loadtests.reports.summary --results FOLDER``.

Prints a table. With ``--since`` (used by `make verify`) it also writes catalogue.json, catalogue.xml (JUnit) and catalogue.html
beside the entries' own reports, and exits with 0 if every entry (of ``--entries``) has passed since then, 1 if one has failed,
2 otherwise.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from loadtests import ending
from loadtests.entries import entry
from loadtests.reports.chart import Interval, interval_of, side_by_side
from loadtests.reports.report import EARLIER, SIDE_BY_SIDE, render, write_whole

NEVER = "not run"


@dataclass(frozen=True)
class Line:
    """One entry and its last verdict."""

    entry: str
    aim: str
    outcome: str
    n: int
    started: str
    seconds: float
    reasons: tuple[str, ...]
    readme: str
    interval: Interval
    """Of the share that is least certain to be as expected."""


def aim_of(readme: str) -> str:
    """The aim in an entry's README."""
    found = re.search(r"^\*\*Aim\.\*\* (.+)$", readme, re.MULTILINE)
    return found.group(1) if found else ""


def line_of(name: str, verdict: dict[str, Any] | None) -> Line:
    """An entry with its verdict as written by ``report.plain``, or None."""
    readme = (entry.CATALOGUE / name / "README.md").read_text()
    if verdict is None:
        return Line(name, aim_of(readme), NEVER, 0, "", 0.0, (), readme, Interval(name, NEVER))
    facts, outcome = verdict["facts"], verdict["outcome"]
    shares = [share for one in verdict["classes"] for share in one["shares"]]
    return Line(
        name, aim_of(readme), outcome, verdict["n"], facts["started"], facts["seconds"], tuple(verdict["reasons"]), readme,
        interval_of(name, outcome, facts["margin"], shares),
    )  # fmt: skip


def read(results: Path, name: str, since: float) -> dict[str, Any] | None:
    """An entry's verdict in ``results``; None if it is missing or older than ``since`` (seconds of the epoch)."""
    file = results / name / "verdict.json"
    if not file.exists() or file.stat().st_mtime < since:
        return None
    verdict: dict[str, Any] = json.loads(file.read_text())
    return verdict


def read_last(results: Path, name: str) -> dict[str, Any] | None:
    """An entry's last verdict, of whichever run; None if it never had one."""
    return read(results, name, 0.0) or read(results / EARLIER, name, 0.0)


def last_line_of(results: Path, name: str) -> Line:
    """An entry with its last verdict: an earlier one if a command has begun since that was to judge it, and left none."""
    if verdict := read(results, name, 0.0):
        return line_of(name, verdict)
    line = line_of(name, read_last(results, name))
    return line if line.outcome == NEVER else replace(line, outcome=f"earlier {line.outcome}")


def junit(lines: list[Line]) -> str:
    """One test case per entry; any outcome other than PASS and FAIL is an error."""
    bad = [line for line in lines if line.outcome != "PASS"]
    failures = sum(line.outcome == "FAIL" for line in bad)
    counts = {"tests": len(lines), "failures": failures, "errors": len(bad) - failures}
    suite = ElementTree.Element("testsuite", {"name": "istio-lab catalogue", **{k: str(v) for k, v in counts.items()}})
    for line in lines:
        case = ElementTree.SubElement(suite, "testcase", classname="istio-lab", name=line.entry)
        if line.outcome != "PASS":
            kind = "failure" if line.outcome == "FAIL" else "error"
            ElementTree.SubElement(case, kind, message=f"{line.outcome}: {'; '.join(line.reasons)}")
    return ElementTree.tostring(suite, encoding="unicode")


def write(results: Path, lines: list[Line]) -> None:
    """Write the three reports."""
    at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    rows = sorted((line.interval for line in lines), key=lambda one: (one.outcome == "PASS", one.name))
    charts = [side_by_side(rows)] if rows else []
    texts = {
        "catalogue.json": json.dumps([asdict(line) for line in lines], indent=2) + "\n",
        "catalogue.xml": junit(lines),
        "catalogue.html": render("catalogue.html", lines=lines, at=at, charts=charts, caption=SIDE_BY_SIDE),
    }
    write_whole(results, texts)


def table(lines: list[Line]) -> list[str]:
    """One line per entry: name, last verdict, aim."""
    width = max((len(line.entry) for line in lines), default=0)
    outcomes = max((12, *(len(line.outcome) for line in lines)))
    return [f"{line.entry:<{width}}  {line.outcome:<{outcomes}}  {line.aim}" for line in lines]


def main() -> int:
    """0; with ``--since``, 1 if an entry has failed since then, or else 2 if one has not passed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--since", type=float)
    parser.add_argument("--entries", default="", help="names separated by commas; empty for all")
    options = parser.parse_args()
    wanted = [name for name in entry.names() if name in options.entries.split(",") or not options.entries]
    if options.since is None:
        print("\n".join(table([last_line_of(options.results, name) for name in wanted])))
        return 0
    lines = [line_of(name, read(options.results, name, options.since)) for name in wanted]
    print("\n".join(table(lines)))
    write(options.results, lines)
    bad = [f"{line.entry} {line.outcome}" for line in lines if line.outcome != "PASS"]
    print("; ".join([*([f"not PASS: {', '.join(bad)}"] if bad else []), f"report: {options.results}/catalogue.html"]))
    return 1 if any(line.outcome == "FAIL" for line in lines) else 2 if bad or not lines else 0


if __name__ == "__main__":
    sys.exit(ending.guarded(main))
