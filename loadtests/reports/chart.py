"""The charts of the reports, as self-contained SVG: the shares of one run over time, or those of many side by side."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import pygal
from markupsafe import Markup
from pygal.style import Style

from loadtests.verdict import ClassVerdict, described

Points = list[tuple[float | None, float | None]]
COLORS = 8
"""For shares, in the pages' style (``page.html``); further shares take them again."""
MOMENTS = 240
"""More of them could not be distinguished on a page."""
REACH = 3.0
"""Margins on both sides of the expected share that the chart of many shares has room for."""
OPEN = "not decided"
OUTCOMES = {"PASS": "--pass", "FAIL": "--fail", OPEN: "--open"}
MARKS = {
    "zone": "stroke: none; fill-opacity: .15", "band": "stroke: none; fill-opacity: .3", "line": "stroke-width: 2.5",
    "dashed": "stroke-width: 1.5; stroke-dasharray: 7 5", "bar": "stroke-width: 6", "dots": "",
}  # fmt: skip
"""What a series looks like."""


class Moment(Protocol):
    """A run's shares at one moment, as in ``report.Moment``."""

    @property
    def seconds(self) -> float:
        """Since counting started."""

    @property
    def shares(self) -> Sequence[tuple[str, str, float, float, float, float]]:
        """Traffic class, version, expected, observed, and both ends of the confidence sequence; fractions of 1."""


@dataclass(frozen=True)
class Interval:
    """How far a share is from the expected share, as multiples of the margin; a row of a chart."""

    name: str
    outcome: str
    observed: float | None = None
    """None where there is no share, as are both ends of the confidence sequence."""
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Series:
    """A series of a chart."""

    mark: str
    """One of ``MARKS``."""
    color: str
    """Its name in the pages' style."""
    points: Points
    name: str | None = None
    """In the legend; None if it is not there."""


def interval_of(name: str, outcome: str, margin: float, shares: Iterable[Mapping[str, Any]]) -> Interval:
    """The share that is least certain to be as expected.

    :param shares: each with ``expected``, ``observed``, ``low`` and ``high``, fractions of 1
    """
    found = [[(share[part] - share["expected"]) / margin for part in ("observed", "low", "high")] for share in shares if margin]
    return Interval(name, outcome, *max(found, key=lambda one: max(map(abs, one)), default=()))


def rows_of(classes: Iterable[ClassVerdict], margin: float) -> list[Interval]:
    """A row for each traffic class."""
    return [interval_of(c.name, str(c.outcome), margin, [vars(share) for share in c.shares]) for c in classes]


def over_time(history: Sequence[Moment], traffic: str, margin: float) -> Markup:
    """The shares of one traffic class, each with a confidence sequence that narrows around what was observed."""
    shown = history[:: -(-len(history) // MOMENTS)]
    ends = (shown[0].seconds, shown[-1].seconds)
    found: dict[str, list[tuple[float, ...]]] = {}
    for moment in shown:
        for name, version, *values in moment.shares:
            if name == traffic:
                found.setdefault(version, []).append((moment.seconds, *(100 * value for value in values)))
    zones, series = [], []
    for number, (version, lines) in enumerate(found.items()):
        color = f"--line-{number % COLORS}"
        expected = lines[-1][1]
        low, high = ([(line[0], line[part]) for line in lines] for part in (3, 4))
        margins = (max(0.0, expected - 100 * margin), min(100.0, expected + 100 * margin))
        zones.append(Series("zone", color, _box(ends, margins)))
        series += [
            Series("band", color, [*low, *reversed(high), low[0]]), Series("dashed", color, [(x, expected) for x in ends]),
            Series("line", color, [(line[0], line[2]) for line in lines], described(version)),
        ]  # fmt: skip
    return _drawn(
        [*zones, *series], title=traffic, height=340, range=(0, 100), xrange=ends, y_labels=range(0, 101, 20),
        legend_at_bottom_columns=4, x_value_formatter=lambda x: f"{x:.0f} s", value_formatter=lambda y: f"{y:.0f} %",
    )  # fmt: skip


def side_by_side(rows: Sequence[Interval]) -> Markup:
    """An interval for each row, beside its name."""
    ends = (0.5 - len(rows), 0.5)
    series = [Series("zone", "--zone", _box((-1, 1), ends), "margin")]
    for name, color in OUTCOMES.items():
        own = [(n, row) for n, row in enumerate(rows) if name == (row.outcome if row.outcome in OUTCOMES else OPEN)]
        bars = [((_within(row.low), -n), (_within(row.high), -n), (None, None)) for n, row in own if row.low is not None]
        series += [Series("bar", color, [point for bar in bars for point in bar], name)] if bars else []
    dots: Points = [(_within(row.observed), -n) for n, row in enumerate(rows) if row.observed is not None]
    scale = {-2: "-2 margins", -1: "-1 margin", 0: "expected", 1: "+1 margin", 2: "+2 margins"}
    return _drawn(
        [*series, Series("dots", "--ink", dots, "observed share")], height=70 + 17 * len(rows), range=ends,
        xrange=(-REACH, REACH), x_labels=[{"label": label, "value": n} for n, label in scale.items()],
        y_labels=[{"label": row.name, "value": -n} for n, row in enumerate(rows)], show_y_guides=False,
        legend_at_bottom_columns=len(series) + 1,
    )  # fmt: skip


def _within(value: float | None) -> float | None:
    return None if value is None else min(REACH, max(-REACH, value))


def _box(xs: tuple[float, float], ys: tuple[float, float]) -> Points:
    """The corners of a rectangle, back to the first one."""
    return [(xs[0], ys[0]), (xs[0], ys[1]), (xs[1], ys[1]), (xs[1], ys[0]), (xs[0], ys[0])]


def _drawn(series: Sequence[Series], **more: Any) -> Markup:
    """A chart in the pages' look."""
    ink, line = "var(--ink)", "var(--line)"
    style = Style(
        background="transparent", plot_background="transparent", font_family="inherit", foreground=ink, foreground_subtle=line,
        foreground_strong=ink, guide_stroke_color=line, major_guide_stroke_color=line, guide_stroke_dasharray="none",
        major_guide_stroke_dasharray="none", label_font_size=13, major_label_font_size=13, legend_font_size=14,
        title_font_size=15, transition="0s", colors=tuple(f"var({one.color})" for one in series),
        value_colors=("black",) * len(series),
    )  # fmt: skip
    picture = pygal.XY(
        style=style, js=[], disable_xml_declaration=True, margin=8, legend_at_bottom=True, legend_box_size=13,
        truncate_legend=-1, truncate_label=-1, width=960, show_x_guides=True, **more,
    )  # fmt: skip
    for one in series:
        area, dots = one.mark in ("zone", "band"), one.mark == "dots"
        picture.add(one.name, one.points, fill=area, stroke=not dots, show_dots=dots, dots_size=2.5, allow_interruptions=True)
    picture.add_xml_filter(lambda root: _finished(root, series))
    # The library escapes names and generates everything else itself.
    return Markup(picture.render(is_unicode=True))  # noqa: S704


def _finished(root: Any, series: Sequence[Series]) -> Any:
    """The library's chart without what it would be moved by, and with the marks of its series."""
    for parent in list(root.iter()):
        for child in [one for one in parent if one.tag in ("script", "title")]:
            parent.remove(child)
        names = str(parent.get("class", "")).split()
        # Several charts share a page, on which an id is there once.
        number = str(parent.attrib.pop("id", "") if "legend" in names else "").removeprefix("activate-serie-")
        if number:
            parent[0].set("style", f"stroke: none; fill-opacity: {'.3' if series[int(number)].mark == 'zone' else '1'}")
        elif "series" in names:
            own = next(int(name.removeprefix("serie-")) for name in names if name.startswith("serie-"))
            for child in parent:
                child.set("style", MARKS[series[own].mark])
    return root
