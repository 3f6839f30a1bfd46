"""Consecutive runs on Locust's own page: each is judged by its own requests, and invalid runs are refused."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.unit.run.test_interrupt import locust, wait_for
from tests.unit.test_inputs import PROJECT


class Page:
    """Locust's page and its content."""

    def __init__(self, port: int, results: Path) -> None:
        self.at, self.results = f"http://127.0.0.1:{port}", results

    def swarm(self, users: Any, **fields: Any) -> dict[str, Any]:
        form = {"user_count": users, "spawn_rate": "20", **fields}
        content: dict[str, Any] = requests.post(f"{self.at}/swarm", data=form, timeout=10).json()
        return content

    def stop(self) -> None:
        requests.post(f"{self.at}/stop", timeout=20)

    def get(self, path: str) -> dict[str, Any]:
        content: dict[str, Any] = requests.get(f"{self.at}{path}", timeout=10).json()
        return content

    @property
    def verdict(self) -> dict[str, Any]:
        return self.get("/mesh/verdict")

    @property
    def state(self) -> str:
        return str(self.get("/stats/requests")["state"])

    def finished(self) -> dict[str, Any]:
        wait_for(lambda: bool(self.verdict["finished"]), seconds=30)
        return self.verdict


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """Locust's page with the simulated mesh."""
    results = tmp_path_factory.mktemp("results")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = locust(results, "--web-host", "127.0.0.1", "--web-port", str(port))
    (results / "edits").mkdir()
    environment = {**os.environ, "PLAYED_LATE": str(results / "late"), "PLAYED_EDITS": str(results / "edits")}
    with subprocess.Popen(
        command, cwd=PROJECT, env=environment, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    ) as run:
        made = Page(port, results)

        def answers() -> bool:
            try:
                return requests.get(made.at, timeout=5).ok
            except requests.ConnectionError:
                return False

        try:
            wait_for(answers)
            yield made
        finally:
            run.terminate()
            run.wait(timeout=5)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"user_count": "0"}, "user_count: '0' was given; accepted: 1 to 500; nothing was started"),
        ({"user_count": "-1"}, "user_count: '-1' was given; accepted: 1 to 500; nothing was started"),
        ({"user_count": ""}, "user_count: '' was given; accepted: 1 to 500; nothing was started"),
        ({"user_count": "2.5"}, "user_count: '2.5' was given; accepted: 1 to 500; nothing was started"),
        (
            {"user_count": "5000", "spawn_rate": "5000"},
            "user_count: '5000' was given; accepted: 1 to 500; spawn_rate: '5000' was",
        ),
        ({"spawn_rate": "0"}, "spawn_rate: '0' was given; accepted: a number above 0"),
        ({"spawn_rate": "nan"}, "spawn_rate: 'nan' was given; accepted: a number above 0"),
        ({"entry": "reviews-80-21"}, "entry: 'reviews-80-21' was given; accepted: an entry of the catalogue"),
        ({"kubeconfig": "/etc/passwd"}, "kubeconfig: was given; accepted: no such field"),
        ({"max_seconds": "100000"}, "max_seconds: was given; accepted: no such field"),
    ],
)
def test_a_run_that_cannot_be_judged_is_refused_at_once(page: Page, fields: dict[str, str], words: str) -> None:
    before = page.state
    result = page.swarm(**{"users": "3", **fields})
    assert result["success"] is False
    assert result["message"].startswith(words)
    assert result["message"].endswith("; nothing was started")
    assert page.state == before


def test_a_form_without_users_is_refused(page: Page) -> None:
    result = requests.post(f"{page.at}/swarm", data={"spawn_rate": "1"}, timeout=10).json()
    assert result["message"] == "user_count: '' was given; accepted: 1 to 500; nothing was started"


def test_each_verdict_is_of_its_own_run_and_fewer_users_are_fewer(page: Page) -> None:
    assert page.swarm(20)["success"]
    wait_for(lambda: page.verdict["n"] > 100)
    page.stop()
    assert page.swarm(3)["success"]
    began = time.monotonic()
    time.sleep(1.5)
    seen = page.verdict
    most = 3 * 60 * (time.monotonic() - began) + 6
    assert seen["n"] <= most, "requests of the first run, or its users"
    page.stop()
    result = page.finished()
    assert 0 < result["n"] <= 3 * 60 * (time.monotonic() - began) + 6
    written = json.loads((page.results / "reviews-80-20/verdict.json").read_text())
    assert (written["outcome"], written["n"]) == (result["outcome"], result["n"])
    assert "disagree" not in str(written["reasons"])


def test_stop_and_new_in_quick_succession_and_the_last_run_passes(page: Page) -> None:
    for _ in range(5):
        assert page.swarm(20)["success"]
        time.sleep(0.3)
        page.stop()
    assert page.swarm(20)["success"]
    time.sleep(0.2)
    assert not page.verdict["finished"], "the result of an earlier run"
    result = page.finished()
    assert result["outcome"] == "PASS", result
    assert json.loads((page.results / "reviews-80-20/verdict.json").read_text())["n"] == result["n"]
    wait_for(lambda: page.state == "stopped", seconds=5)


def test_a_rule_that_is_edited_starts_the_verdict_again(page: Page) -> None:
    assert page.swarm(1)["success"]
    wait_for(lambda: page.verdict["n"] > 100)
    before = page.verdict
    moments = [moment["n"] for moment in before["history"]]
    assert moments == sorted(moments) != [], "a moment each second"
    (page.results / "edits/one").touch()
    wait_for(lambda: page.verdict["n"] < 100)
    verdict = page.verdict
    assert (verdict["outcome"], verdict["finished"]) == ("INCONCLUSIVE", False)
    assert verdict["epoch"] > before["epoch"]
    assert len(verdict["history"]) < len(moments), "the history of the old rule"
    page.stop()
    assert page.finished()["outcome"] == "INCONCLUSIVE"


def test_a_run_that_is_stopped_while_it_waits_for_the_proxies_does_not_start(page: Page) -> None:
    (page.results / "late").touch()
    assert page.swarm(20)["success"]
    wait_for(lambda: page.verdict["outcome"] == "INCONCLUSIVE")
    page.stop()
    (page.results / "late").unlink()
    result = page.finished()
    assert (result["outcome"], result["reasons"]) == ("VOID", ["the run was stopped before it began"])
    time.sleep(1)
    assert page.state == "stopped"
    assert page.swarm(20)["success"]
    assert page.finished()["outcome"] == "PASS"


def series(page: Page, *names: str) -> requests.Response:
    return requests.post(f"{page.at}/mesh/series", json={"entries": names}, timeout=10)


def ended(page: Page) -> dict[str, Any]:
    wait_for(lambda: not page.get("/mesh/series")["active"], seconds=60)
    return page.get("/mesh/series")


def test_entries_are_judged_one_after_another_and_one_that_is_refused_stops_no_other(page: Page) -> None:
    assert series(page, "reviews-80-20", "sticky", "reviews-v1").ok
    refused = series(page, "reviews-80-20")
    assert (refused.status_code, refused.json()["error"]) == (409, "a series of entries is active: stop it first")
    assert page.swarm(20) == {"success": False, "message": "a series of entries is active: stop it first"}
    applied = requests.post(f"{page.at}/mesh/entry", json={"entry": "reviews-80-20"}, timeout=10)
    assert applied.status_code == 409
    wait_for(lambda: page.get("/mesh/series")["current"] == "reviews-80-20")
    assert page.get("/mesh/series")["waiting"] == ["sticky", "reviews-v1"]
    done = ended(page)["done"]
    assert [one["entry"] for one in done] == ["reviews-80-20", "sticky", "reviews-v1"]
    assert [one["outcome"] for one in done] == ["PASS", None, "PASS"]
    assert done[1]["reason"] == "the sample of sticky is not deployed yet"
    assert json.loads((page.results / "reviews-v1/verdict.json").read_text())["outcome"] == "PASS"
    assert page.state == "stopped"


def test_stopping_ends_the_run_and_starts_no_other_entry(page: Page) -> None:
    (page.results / "late").touch()  # the first entry waits for its proxies
    assert series(page, "reviews-90-10", "reviews-50-50").ok
    wait_for(lambda: bool(page.verdict["beginning"]))
    page.stop()
    (page.results / "late").unlink()
    progress = ended(page)
    assert progress["stopped"]
    first, second = progress["done"]
    assert first["outcome"] in (None, "VOID"), "it may be known already that the run is void"
    assert second == {"entry": "reviews-50-50", "outcome": None, "reason": "stopped"}
    time.sleep(1)
    assert (page.state, page.finished()["entry"]) == ("stopped", "reviews-90-10")
    assert page.swarm(20, entry="reviews-80-20")["success"]
    assert page.finished()["outcome"] == "PASS"


@pytest.mark.parametrize("names", [[], ["reviews-80-21"], ["sticky", "sticky"], "sticky", [["sticky"]], None])
def test_a_series_of_anything_but_entries_is_refused(page: Page, names: Any) -> None:
    result = requests.post(f"{page.at}/mesh/series", json={"entries": names}, timeout=10)
    assert result.status_code == 409
    assert result.json()["error"].endswith("was given; accepted: a list of entries of the catalogue, each at most once")
    assert not page.get("/mesh/series")["active"]
