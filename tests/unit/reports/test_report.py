"""The pages of a verdict and of the catalogue: self-contained, with one chart of the run at the top."""

from __future__ import annotations

import json
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from loadtests.entries import entry
from loadtests.reports import chart, report, summary
from loadtests.verdict import Expected, Observed, Outcome, Verdict, judge
from tests.loaded import loaded

SPLIT = Expected({"anonymous": {"v1": 0.8, "v3": 0.2}})
SVG = "{http://www.w3.org/2000/svg}"


def verdict_at(seconds: int, share: float = 0.8, expected: Expected = SPLIT) -> Verdict:
    counts = {
        name: {version: round(15 * seconds * (share if version == "v1" else 1 - share)) for version in shares}
        for name, shares in expected.shares.items()
    }
    return judge(expected, Observed(counts))


def page_of(seconds: int, share: float = 0.8, expected: Expected = SPLIT, timed: bool = True) -> str:
    history = [report.moment_of(verdict_at(s, share, expected), s) for s in range(1, seconds + 1)]
    facts = report.facts_of("mine <b>", 1.0, 1, expected.margin, "rules", {"istio": "1"}, ("<i>remark</i>",))
    return report.html(verdict_at(seconds, share, expected), facts, history if timed else ())


def charts(page: str) -> list[ElementTree.Element]:
    return [
        ElementTree.fromstring(text)  # noqa: S314 - made here
        for text in re.findall(r"<svg xmlns.*?</svg>", page, re.DOTALL)
    ]


def corners(element: ElementTree.Element) -> list[tuple[float, float]]:
    """The points of a line or an area; the library lets an area begin and end on the axis."""
    found = [(float(x), float(y)) for x, y in re.findall(r"([\d.]+) ([\d.]+)", element.get("d", ""))]
    return found if "nofill" in element.get("class", "") else found[1:-1]


def paths(picture: ElementTree.Element, mark: str) -> list[ElementTree.Element]:
    return [one for one in picture.iter(f"{SVG}path") if one.get("style") == chart.MARKS[mark]]


def test_the_pages_load_nothing_and_escape_names(tmp_path: Path) -> None:
    page = page_of(60)
    lines = [summary.line_of(name, None) for name in entry.names()[:3]]
    summary.write(tmp_path, lines)
    for one in (page, (tmp_path / "catalogue.html").read_text()):
        assert loaded(one) == []
    assert loaded('<script src="https://cdn.example/x.js"></script>') != []
    assert "mine &lt;b&gt;" in page
    assert "<i>" not in page


def test_the_band_narrows_around_the_observed_share_within_the_margin() -> None:
    (picture,) = charts(page_of(100))
    bands, dashed, zones = (paths(picture, mark) for mark in ("band", "dashed", "zone"))
    assert [len(found) for found in (bands, dashed, zones)] == [2, 2, 2]
    points = corners(bands[0])
    at = {x: [y for other, y in points if other == x] for x, _ in points}
    wide, narrow = (max(at[x]) - min(at[x]) for x in (min(at), max(at)))
    assert narrow < wide / 3
    zone = [y for _, y in corners(zones[0])]
    assert min(zone) <= min(at[max(at)]) <= max(at[max(at)]) <= max(zone), "a share that passes ends within the margin"
    expected = {y for _, y in corners(dashed[0])}
    assert len(expected) == 1
    assert expected.pop() == pytest.approx((min(zone) + max(zone)) / 2, abs=0.2)


def test_a_share_that_fails_ends_outside_the_margin() -> None:
    page = page_of(60, share=0.6)
    (picture,) = charts(page)
    end = max(corners(paths(picture, "line")[0]))[1]
    zone = [y for _, y in corners(paths(picture, "zone")[0])]
    assert not min(zone) <= end <= max(zone)
    assert '<span class="chip FAIL">' in page


@pytest.mark.parametrize(
    ("classes", "timed", "marks"), [(1, True, "band"), (4, True, "band"), (5, True, "bar"), (2, False, "bar")]
)
def test_many_classes_or_no_history_are_shown_side_by_side(classes: int, timed: bool, marks: str) -> None:
    expected = Expected({f"class {n}": {"v1": 0.8, "v3": 0.2} for n in range(classes)})
    drawn = charts(page_of(40, expected=expected, timed=timed))
    assert len(drawn) == (classes if marks == "band" else 1)
    assert all(paths(picture, marks) for picture in drawn)
    if marks == "bar":
        assert {f"class {n}" for n in range(classes)} <= {text.text for text in drawn[0].iter(f"{SVG}text")}


def test_reasons_of_many_classes_that_pass_are_summed_up() -> None:
    many = verdict_at(200, expected=Expected({f"class {n}": {"v1": 0.8, "v3": 0.2} for n in range(5)}))
    assert report.reasons_of(many) == ["5 of 5 traffic classes pass"]
    assert report.reasons_of(verdict_at(200)) == list(verdict_at(200).reasons)
    failed = judge(
        Expected({f"class {n}": {"v1": 1.0} for n in range(6)}),
        Observed({f"class {n}": {"v1": 300, "v2": int(n == 5)} for n in range(6)}),
    )
    assert report.reasons_of(failed) == [failed.classes[5].reason, "5 of 6 traffic classes pass"]


def test_a_run_without_shares_has_no_chart(tmp_path: Path) -> None:
    report.write_void(tmp_path, "mine", "a rule was edited")
    page = (tmp_path / "verdict.html").read_text()
    assert charts(page) == []
    assert "a rule was edited" in page


def test_the_history_is_in_the_report_for_programs(tmp_path: Path) -> None:
    history = [report.moment_of(verdict_at(s), s) for s in (1, 2)]
    report.write(tmp_path, verdict_at(2), report.facts_of("mine", 1.0, 1, 0.05, "", {}, ()), history)
    written = json.loads((tmp_path / "verdict.json").read_text())
    assert [(one["seconds"], one["n"]) for one in written["history"]] == [(1, 15), (2, 30)]


def test_the_catalogue_is_one_chart_with_what_did_not_pass_first(tmp_path: Path) -> None:
    names = entry.names()[:4]
    results = {names[1]: 0.8, names[2]: 0.6}
    for name, share in results.items():
        facts = report.facts_of(name, 1.0, 1, 0.05, "", {}, ())
        report.write(tmp_path / name, verdict_at(100, share), facts)
    report.write_void(tmp_path / names[3], names[3], "void")
    summary.write(tmp_path, [summary.line_of(name, summary.read_last(tmp_path, name)) for name in names])
    page = (tmp_path / "catalogue.html").read_text()
    (picture,) = charts(page)
    labels = [text.text for text in picture.iter(f"{SVG}text") if text.text in names]
    assert set(labels) == set(names)
    rows = {text.text: float(text.get("y", 0)) for text in picture.iter(f"{SVG}text") if text.text in names}
    assert max(rows, key=rows.__getitem__) == names[1], "the one that passed is the lowest"
    zone = [x for x, _ in corners(paths(picture, "zone")[0])]
    passed, failed = ([x for x, _ in corners(bar)] for bar in paths(picture, "bar"))
    assert min(zone) <= min(passed) <= max(passed) <= max(zone)
    assert max(failed) > max(zone), "v3 has a share that is too large"
    written = {line["entry"]: line for line in json.loads((tmp_path / "catalogue.json").read_text())}
    assert written[names[1]]["interval"]["low"] > -1
    assert (written[names[3]]["outcome"], written[names[3]]["interval"]["low"]) == (str(Outcome.VOID), None)
