"""A verdict as the terminal shows it."""

from __future__ import annotations

import io
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from loadtests.reports import report, terminal
from loadtests.verdict import Expected, Observed, Outcome, Verdict, judge

SPLIT = Expected({"anonymous": {"v1": 0.8, "v3": 0.2}, "jason": {"v1": 1.0}})


def verdict(v1: int, v3: int, jason: int = 0, jason_v3: int = 0) -> Verdict:
    return judge(SPLIT, Observed({"anonymous": {"v1": v1, "v3": v3}, "jason": {"v1": jason, "v3": jason_v3}}))


def plain(found: Verdict) -> dict[str, Any]:
    values: dict[str, Any] = json.loads(json.dumps(report.plain(found, report.facts_of("mine", 1.0, 1, 0.05, "", {}, ()))))
    return values


def printed(found: Verdict, width: int = 140) -> list[str]:
    screen = io.StringIO()
    terminal.show(Console(file=screen, width=width, highlight=False), plain(found), Path("results/mine/verdict.html"))
    return [line.rstrip() for line in screen.getvalue().splitlines() if line.strip()]


def test_a_row_for_each_share_with_what_was_expected_and_what_came() -> None:
    lines = printed(verdict(1600, 400, 100))
    cells = [line.split() for line in lines[1:4]]
    assert cells[0][:4] == ["anonymous", "v1", "80", "%"]
    assert cells[0][4:6] == ["80", "%"]
    assert (cells[0][-2], cells[0][-1]) == ("1600", "PASS")
    assert cells[1][:3] == ["v3", "20", "%"]
    assert "█" in lines[1]
    assert lines[-1].startswith("mine: PASS after 2100 requests in ")
    assert lines[-1].endswith("; report: results/mine/verdict.html")


def test_the_bar_is_where_the_share_is() -> None:
    low, high = (terminal.bar({"expected": d, "low": d - 0.01, "high": d + 0.01, "held": True}, 0.05).plain for d in (0.1, 0.9))
    assert low.index("█") < terminal.BAR_CELLS / 3
    assert high.rindex("█") > terminal.BAR_CELLS * 2 / 3
    assert low.count("░") >= 1, "the margin is marked"
    assert len(low) == terminal.BAR_CELLS


@pytest.mark.parametrize("width", [80, 100, 200])
def test_it_fits_the_terminal_and_says_what_is_whose(width: int) -> None:
    lines = printed(verdict(1600, 400, 100), width)
    assert all(len(line) <= width for line in lines[:-1])
    assert [line.split()[0] for line in lines[1:4]] == ["anonymous", "v3", "jason"]
    assert lines[1].endswith("PASS")
    assert ("█" in lines[1]) is (width > 100)


def test_a_failure_is_in_the_last_line() -> None:
    assert "mine: FAIL after" in printed(verdict(100, 900))[-1]


def test_a_run_that_was_not_judged_has_no_table() -> None:
    lines = printed(Verdict(Outcome.VOID, ("a rule was edited",)))
    assert len(lines) == 1
    assert lines[0].startswith("mine: VOID after 0 requests")


def test_names_are_not_markup() -> None:
    found = judge(Expected({"[red]x[/red]": {"v[1]": 1.0}}), Observed({"[red]x[/red]": {"v[1]": 9}}))
    assert any("[red]x[/red]" in line and "v[1]" in line for line in printed(found))


def test_one_line_tells_how_a_run_is_doing() -> None:
    line = terminal.status(verdict(80, 20, 1000), 196.4)
    assert line.startswith("anonymous: v1 80 % of 80 %, v3 20 % of 20 %; jason PASS; 1100 requests, about ")
    assert line.endswith(" more, 196/s")
    assert terminal.status(Verdict(Outcome.INCONCLUSIVE, ()), 0) == "0 requests, 0/s"


def test_an_earlier_verdict_is_not_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine").mkdir()
    file = tmp_path / "mine/verdict.json"
    file.write_text(json.dumps(plain(verdict(100, 900))))
    os.utime(file, (1000, 1000))
    for since, shown in ((999, True), (1001, False)):
        monkeypatch.setattr(sys, "argv", ["x", "--results", str(tmp_path), "--entry", "mine", "--since", str(since)])
        assert terminal.main() == 0
        assert ("mine: FAIL" in capsys.readouterr().out) is shown
