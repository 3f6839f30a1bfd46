"""Latency from the intended start: the calculation, and a stall that a closed loop hides."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from loadtests.latency import statistics
from loadtests.latency.statistics import Request
from tests.unit.test_inputs import PROJECT


def test_requests_are_due_evenly_or_at_random() -> None:
    assert list(statistics.due_times(4, 1, None)) == [0, 0.25, 0.5, 0.75]
    random = list(statistics.due_times(100, 100, seed=7))
    assert random == list(statistics.due_times(100, 100, seed=7))
    assert random != list(statistics.due_times(100, 100, seed=8))
    assert 9_600 < len(random) < 10_400
    gaps = [b - a for a, b in itertools.pairwise(random)]
    assert 0.35 < sum(g > 0.01 for g in gaps) / len(gaps) < 0.39, "1/e of all gaps are longer than the mean"


def test_quantiles_are_of_the_nearest_rank() -> None:
    assert statistics.quantiles([n / 1000 for n in range(1, 1001)]) == {
        "p50": 500, "p90": 900, "p99": 990, "p99.9": 999, "max": 1000,
    }  # fmt: skip
    assert statistics.quantiles([0.007]) == dict.fromkeys(("p50", "p90", "p99", "p99.9", "max"), 7)


def test_a_step_has_both_latencies_and_late_requests() -> None:
    step = statistics.summary(2, [Request(10, 10, 10.1, False), Request(10.5, 12, 12.1, False), Request(11, 11, 12, True)], 10)
    assert (step.sent, step.errors, step.waited, step.achieved) == (3, 1, 1, round(2 / 2.1, 2))
    assert (step.latency["max"], step.service["max"]) == (1600, 1000)


def test_a_service_level_is_met_or_missed() -> None:
    step = statistics.summary(10, [Request(i / 10, i / 10, i / 10 + 0.1, i < 2) for i in range(100)], 0)
    assert statistics.broken(step, 150, 0.02) == ""
    assert statistics.broken(step, 150, 0.01) == "2 of 100 requests failed"
    assert statistics.broken(step, 50, 0.02) == "p99 is 100 ms, more than 50 ms"
    nothing = statistics.summary(10, [], 0)
    assert statistics.broken(nothing, 50, 0.0), "without responses, no level is met"
    assert statistics.next_rate([step], 100) == 12.5
    assert statistics.next_rate([step], 12) is None


class Stalling(BaseHTTPRequestHandler):
    """Responds at once, except for one stall of two seconds."""

    protocol_version = "HTTP/1.1"
    until = 0.0
    lock = threading.Lock()
    seen = 0

    def do_GET(self) -> None:
        with Stalling.lock:
            Stalling.seen += 1
            if Stalling.seen == 100:
                Stalling.until = time.monotonic() + 2
        time.sleep(max(0.0, Stalling.until - time.monotonic()))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    Stalling.seen, Stalling.until = 0, 0.0
    made = ThreadingHTTPServer(("127.0.0.1", 0), Stalling)
    threading.Thread(target=made.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{made.server_port}/"
    made.shutdown()


def open_loop(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "loadtests.latency.open_loop", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=PROJECT, timeout=120)


def test_a_stall_is_not_hidden(server: str, tmp_path: Path) -> None:
    # One client, as in a closed loop: it sends nothing during the stall and sees one slow request.
    done = open_loop(server, "--rate", "50", "--step", "8", "--users", "1", "--results", str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    (step,) = json.loads((tmp_path / "latency.json").read_text())["steps"]
    assert step["sent"] == 400
    assert step["service"]["p99"] < 200, "as a closed loop measures it"
    assert step["locust"]["p99"] < 200
    assert step["locust"]["max"] > 1700
    # A hundred requests were due in those two seconds: a quarter of all requests waited, the first of them for the whole stall.
    assert 1700 < step["latency"]["max"] < 2300
    assert 900 < step["latency"]["p90"] < 1600
    assert step["latency"]["p99"] > 1700
    assert "requests in the last step began late" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["ftp://x/"], "URL: 'ftp://x/' was given; accepted: http://HOST:PORT/PATH; nothing was sent"),
        (["http://x/", "--rate", "0"], "RATE: '0' was given; accepted: a number above 0; nothing was sent"),
        (["http://x/", "--find"], "P99: nothing was given; accepted: milliseconds, which FIND needs; nothing was sent"),
        (["http://x/", "--users", "0"], "USERS: 0 was given; accepted: 1 to 2000; nothing was sent"),
        (["http://x/", "--step", "1e6"], "STEP: 1e+06 was given; accepted: up to 900"),
    ],
)
def test_invalid_options_are_refused_in_one_line(arguments: list[str], words: str) -> None:
    done = open_loop(*arguments)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert words in line
