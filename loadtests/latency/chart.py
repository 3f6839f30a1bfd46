"""The charts of a latency report: results plotted against the rate, for the whole path and for each hop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pygal
from markupsafe import Markup
from pygal.style import Style

from loadtests.latency.statistics import QUANTILES, Step
from loadtests.reports.report import render

Points = list[tuple[float, float | None]]
COLUMNS = 4
"""Columns of the legend; each row has this height in pixels:"""
ROW = 22


def lines(title: str, unit: str, series: Mapping[str, Points]) -> Markup:
    """One chart as self-contained SVG, with colors for light and dark pages.

    :param series: name of the line -> (requests per second, value or None)
    """
    rows = -(-len(series) // COLUMNS)
    style = Style(
        background="transparent", plot_background="transparent", foreground="#777", foreground_strong="#777",
        foreground_subtle="#777", guide_stroke_color="#7774", major_guide_stroke_color="#7777", opacity=".9",
        title_font_size=18, label_font_size=12, legend_font_size=13,
        colors=("#3b73b9", "#c0504d", "#5a9e43", "#8064a2", "#d98b27", "#2a9d9d", "#a6608a", "#7a7a3a"),
    )  # fmt: skip
    picture = pygal.XY(
        style=style, title=title, x_title="requests/s due", y_title=unit, js=[],
        height=320 + rows * ROW, width=720, margin_bottom=rows * ROW,
        legend_at_bottom=True, legend_at_bottom_columns=COLUMNS, dots_size=3, include_x_axis=True,
        disable_xml_declaration=True,
    )  # fmt: skip
    for name, points in series.items():
        picture.add(name, points)
    # The library escapes names and generates everything else itself.
    return Markup(picture.render(is_unicode=True))  # noqa: S704


def pictures(steps: Sequence[Step]) -> list[Markup]:
    """Charts of the whole path, then of its hops if they were watched."""
    names = [f"p{q * 100:g}" for q in QUANTILES[:3]]
    drawn = [
        lines("Answered", "requests/s", {"answered": [(s.rate, s.achieved) for s in steps]}),
        lines("Latency from when requests were due", "ms", {n: [(s.rate, s.latency[n]) for s in steps] for n in names}),
    ]
    hops = sorted({h.name for s in steps for h in s.hops})
    if hops:

        def over_rate(value: Any) -> dict[str, Points]:
            return {name: [(s.rate, value(h)) for s in steps for h in s.hops if h.name == name] for name in hops}

        drawn += [
            lines("Throughput of each hop", "requests/s", over_rate(lambda h: h.rate)),
            lines("p99 at each hop, measured by its own proxy", "ms", over_rate(lambda h: h.latency["p99"])),
            lines("Requests in flight at each hop", "requests", over_rate(lambda h: h.in_flight)),
            lines("Cores of each hop's workload", "cores", over_rate(lambda h: h.cores)),
            lines("Cores of each hop's proxy", "cores", over_rate(lambda h: h.proxy_cores)),
        ]
    return drawn


def page(url: str, steps: Sequence[Step], held: Sequence[Step], why: str, p99: float | None) -> str:
    """The report as a self-contained page.

    :param held: the steps that met the service level
    :param why: why the last step missed it; empty if it met it
    :param p99: the service level's limit in milliseconds, if any
    """
    return render("latency.html", url=url, steps=steps, held=held, why=why, p99=p99, pictures=pictures(steps))
