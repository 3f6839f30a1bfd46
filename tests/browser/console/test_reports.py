"""The reports in Chromium: wide and narrow, light and dark, printed, and without a request to anywhere."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Page

from loadtests.entries import entry
from loadtests.reports import report, summary
from loadtests.verdict import Expected, Observed, Verdict, judge
from tests.browser.actions import SHOTS, overflow, serious, shot

EXPECTED = Expected({"visitors": {"v1": 0.8, "v3": 0.2}})

SHIFTS = {"reviews-80-20": 0.0, "reviews-90-10": 0.15}


def verdict_after(seconds: int, shift: float) -> Verdict:
    """The verdict on 15 requests a second, with a share that is off by ``shift``."""
    first = round(15 * seconds * (0.8 - shift))
    counts = {"v1": first, "v3": 15 * seconds - first}
    return judge(EXPECTED, Observed({"visitors": counts}, sources={"the access logs": counts}))


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """The reports of a run that passed, of one that failed, and of a catalogue in which others were not run."""
    for name, shift in SHIFTS.items():
        history = [report.moment_of(verdict_after(seconds, shift), seconds) for seconds in range(1, 121)]
        facts = report.facts_of(name, 1.0, 1, EXPECTED.margin, "rules", {"istio": "1"}, ("a remark",))
        report.write(tmp_path / name, verdict_after(120, shift), facts, history)
    summary.write(tmp_path, [summary.line_of(name, summary.read_last(tmp_path, name)) for name in entry.names()])
    return tmp_path


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_report_fits_is_accessible_and_prints(scheme: str, page: Page, results: Path) -> None:
    requested: list[str] = []
    page.on("request", lambda request: requested.append(request.url))
    pages = {"catalogue": results / "catalogue.html", **{name: results / name / "verdict.html" for name in SHIFTS}}
    for name, file in pages.items():
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type] # a parameter is a str
        for width in (1440, 360):
            page.set_viewport_size({"width": width, "height": 900})
            page.goto(file.as_uri())
            shot(page, f"report-{name}-{scheme}-{width}")
            assert overflow(page) <= 0, f"{name} scrolls sideways at {width} px"
            assert serious(page) == [], f"{name}, {width} px"
        page.emulate_media(color_scheme=scheme, media="print")  # type: ignore[arg-type] # a parameter is a str
        page.set_viewport_size({"width": 720, "height": 1020})  # of A4 between its margins
        cut = page.evaluate(
            "[...document.querySelectorAll('.card, figure > div')].filter(e => e.scrollWidth > e.clientWidth).length"
        )
        assert cut == 0, f"{name}: paper does not scroll"
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)", "paper is light"
        page.pdf(path=SHOTS / f"report-{name}-{scheme}.pdf", format="A4")
        page.emulate_media(media="screen")
    assert set(requested) == {file.as_uri() for file in pages.values()}
