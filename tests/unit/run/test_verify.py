"""Which entries are judged in parallel, and which wait."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

from loadtests.entries import entry
from loadtests.run import verify
from loadtests.run.verify import Job, Judge, choose, run_all

A1, A2, A3 = (Job(f"a{n}", "a", exclusive=False) for n in "123")
B1, C1 = Job("b1", "b", exclusive=False), Job("c1", "c", exclusive=False)
LONG_A, LONG_B = Job("a9", "a", exclusive=False, seconds=30), Job("b9", "b", exclusive=False, seconds=30)
LONG_SLOW_B = Job("slow-b9", "b", exclusive=True, seconds=30)
SLOW_A, SLOW_B = Job("slow-a", "a", exclusive=True), Job("slow-b", "b", exclusive=True)


@pytest.mark.parametrize(
    ("waiting", "running", "chosen"),
    [
        ([], [], None),
        ([B1, A2, A1], [], A1),
        ([B1, A2], [A1], B1),
        ([A2], [A1], None),
        ([SLOW_A, B1], [A1], B1),
        ([SLOW_A, SLOW_B], [A1], None),
        ([SLOW_A, SLOW_B], [], SLOW_A),
        ([SLOW_B], [SLOW_A], None),
        ([SLOW_A], [SLOW_A], None),
        ([C1, B1], [A1], B1),
        ([A1, LONG_A, B1], [], LONG_A),
        ([A1, A2, LONG_B], [], LONG_B),
        ([SLOW_A, LONG_SLOW_B], [], LONG_SLOW_B),
    ],
)
def test_what_a_free_worker_takes(waiting: list[Job], running: list[Job], chosen: Job | None) -> None:
    assert choose(waiting, running) == chosen


def test_everything_is_judged_once_and_nothing_beside_what_disturbs_it() -> None:
    jobs = [A1, A2, A3, B1, C1, SLOW_A, SLOW_B]
    seen: list[Job] = []
    now: list[Job] = []
    most, lock, pause = 0, threading.Lock(), threading.Event()

    def judge(job: Job) -> None:
        nonlocal most
        with lock:
            seen.append(job)
            now.append(job)
            most = max(most, len(now))
            assert len({j.namespace for j in now}) == len(now)
            assert len(now) == 1 or not any(j.exclusive for j in now)
        pause.wait(0.02)
        with lock:
            now.remove(job)

    run_all(jobs, judge)
    assert sorted(seen, key=lambda j: j.name) == sorted(jobs, key=lambda j: j.name)
    assert most == verify.WORKERS


def test_an_error_that_nobody_foresaw_comes_out_and_does_not_stop_the_others() -> None:
    seen = []

    def judge(job: Job) -> None:
        seen.append(job.name)
        if job == A1:
            raise RuntimeError("not foreseen")

    with pytest.raises(RuntimeError, match="not foreseen"):
        run_all([A1, A2, B1], judge, workers=2)
    assert sorted(seen) == ["a1", "a2", "b1"], "the other worker continued"


def test_without_a_verdict_locusts_last_words_are_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Judge, "apply_rules", lambda self, job: None)
    reported: list[str] = []
    judge = Judge("none", "policy", tmp_path, tmp_path, ("--locustfile", "none.py"), reported.append)
    name = entry.names()[0]
    old = tmp_path / name / "verdict.json"
    old.parent.mkdir()
    old.write_text(json.dumps({"outcome": "PASS", "n": 1, "reasons": []}))
    judge(Job(name, "a", exclusive=False))
    assert reported[0].startswith("VOID")
    assert "Locust ended with 1: Could not find 'none.py'" in reported[0]
    now = json.loads(old.read_text())
    assert (now["outcome"], now["n"]) == ("VOID", 0), "the verdict of an earlier run does not count"
    assert "Could not find 'none.py'" in now["reasons"][0]


def test_an_entry_that_has_not_run_yet_takes_as_long_as_its_longest_visit(tmp_path: Path) -> None:
    assert verify.likely_seconds(tmp_path, entry.load("websocket-idle")) == 9
    assert verify.likely_seconds(tmp_path, entry.load("cors")) == 1
