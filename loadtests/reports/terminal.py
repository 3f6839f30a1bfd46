"""A verdict for the terminal: one line while a run lasts, a table once it has ended.

``python -m loadtests.reports.terminal --results FOLDER --entry ENTRY --since SECONDS`` prints the table of a verdict that is
not older than that (seconds of the epoch), and nothing if there is none.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from loadtests import ending
from loadtests.reports import summary
from loadtests.verdict import Verdict, described

STYLES = {"PASS": "bold green", "FAIL": "bold red"}
OPEN_STYLE = "bold yellow"
BAR_CELLS = 24
BAR_WIDTH = 110
"""Columns of a terminal that has room for the bar."""


def percent(share: float) -> str:
    """A share as a percentage, with a digit after the point where it has one."""
    return f"{share * 100:.1f}".removesuffix(".0") + " %"


def status(verdict: Verdict, rate: float) -> str:
    """How a run is doing, in one line.

    :param rate: requests per second
    """
    parts = []
    for one in verdict.classes:
        shares = ", ".join(f"{described(s.version)} {percent(s.observed)} of {percent(s.expected)}" for s in one.shares)
        parts.append(f"{one.name} {one.outcome}" if one.outcome == "PASS" else f"{one.name}: {shares}" if one.n else one.name)
    left = f", about {verdict.still_needed} more" if verdict.still_needed else ""
    return "; ".join([*parts, f"{verdict.n} requests{left}, {rate:.0f}/s"])


def bar(share: Mapping[str, Any], margin: float) -> Text:
    """The interval of a share (filled) on a line from 0 to 1, with the expected share and its margin marked."""

    def cell(value: float) -> int:
        return min(BAR_CELLS - 1, max(0, int(value * BAR_CELLS)))

    wanted = range(cell(share["expected"] - margin), cell(share["expected"] + margin) + 1)
    seen = range(cell(share["low"]), cell(share["high"]) + 1)
    cells = ["█" if i in seen else "░" if i in wanted else "·" for i in range(BAR_CELLS)]
    text = Text("".join(cells))
    text.stylize("green" if share["held"] else "yellow")
    return text


def table(verdict: Mapping[str, Any], width: int) -> Table:
    """The shares of a verdict, as ``report.plain`` has it.

    :param width: of the terminal, in columns
    """
    made = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("traffic", "outcome"):
        made.add_column(name, min_width=9, overflow="fold")
    for name in ("expected", "observed", "interval", "0 to 100 %", "requests"):
        if name != "0 to 100 %":
            made.add_column(name, justify="right", no_wrap=True)
        elif width >= BAR_WIDTH:
            made.add_column(name, no_wrap=True)
    made.add_column("verdict", no_wrap=True)
    for one in verdict["classes"]:
        style = STYLES.get(one["outcome"], OPEN_STYLE)
        for number, share in enumerate(one["shares"]):
            interval = f"{percent(share['low'])} to {percent(share['high'])}"
            cells = [Text(percent(share["expected"])), Text(percent(share["observed"])), Text(interval)]
            cells += [bar(share, verdict["facts"]["margin"])] if width >= BAR_WIDTH else []
            first = number == 0
            made.add_row(
                Text(one["name"] if first else ""), Text(described(share["version"])), *cells, str(share["count"]),
                Text(one["outcome"] if first else "", style=style),
            )  # fmt: skip
        if not one["shares"]:
            blank = [""] * (5 if width >= BAR_WIDTH else 4)
            made.add_row(Text(one["name"]), *blank, str(one["n"]), Text(one["outcome"], style=style))
    return made


def show(console: Console, verdict: Mapping[str, Any], report: Path) -> None:
    """Print the whole verdict."""
    facts = verdict["facts"]
    console.print()
    if verdict["classes"]:
        console.print(table(verdict, console.width))
    for name, counts in verdict["sources"].items():
        counted = ", ".join(f"{described(version)} {n}" for version, n in sorted(counts.items()))
        console.print(Text(f"counted by {name}: {counted}", style="dim"))
    head = Text.assemble((f"{facts['entry']}: "), (verdict["outcome"], STYLES.get(verdict["outcome"], OPEN_STYLE)))
    console.print(head, f"after {verdict['n']} requests in {facts['seconds']:.0f} s; report: {report}", soft_wrap=True)


def main() -> int:
    """0, whatever the verdict is: the run's own exit status says it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--entry", required=True)
    parser.add_argument("--since", type=float, required=True)
    options = parser.parse_args()
    if (verdict := summary.read(options.results, options.entry, options.since)) is not None:
        show(Console(highlight=False), verdict, options.results / options.entry / "verdict.html")
    return 0


if __name__ == "__main__":
    sys.exit(ending.guarded(main))
