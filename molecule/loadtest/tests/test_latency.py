"""Latency from the intended start, compared with fortio's, and the search for the highest rate."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests import lab

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "istio-lab"
HOST = "echo.lab.internal"
# Long enough that the clients' own overhead, a few milliseconds, does not matter.
LEAST = 0.8
PATH = f"/slow/{LEAST * 1000:.0f}"
RATE, SECONDS, PAIRS = 20, 10, 3


@pytest.fixture(scope="module", autouse=True)
def echo() -> None:
    """The sample echo, with rules for other services of the sample."""
    done = lab.playbook("apply_policy.yml", lab_entry="load-balancing")
    assert done.returncode == 0, done.stdout[-2000:]


@pytest.fixture(scope="module")
def fortio(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """fortio, compiled with the lab's own Go from a pinned module."""
    go = {"GOCACHE": CACHE / "go/build", "GOMODCACHE": CACHE / "go/mod", "GOFLAGS": "-modcacherw", "GOTOOLCHAIN": "local"}
    made = tmp_path_factory.mktemp("fortio") / "fortio"
    settings = {**os.environ, "CGO_ENABLED": "0", "GOROOT": "", **{name: str(value) for name, value in go.items()}}
    command = [str(lab.PROJECT / ".venv/bin/go"), "build", "-o", str(made), "fortio.org/fortio"]
    subprocess.run(command, cwd=lab.PROJECT / "tests/fortio", env=settings, check=True, timeout=600)
    return made


def open_loop(folder: Path, *arguments: str) -> tuple[subprocess.CompletedProcess[str], dict[str, Any]]:
    url = f"{lab.gateway_url()}{PATH}"
    command = [sys.executable, "-m", "loadtests.latency.open_loop", url, "--host", HOST, "--results", str(folder), *arguments]
    done = subprocess.run(command, cwd=lab.PROJECT, capture_output=True, text=True, check=False, timeout=200)
    return done, json.loads((folder / "latency.json").read_text())


def by_fortio(fortio: Path, folder: Path) -> float:
    """fortio's p99 in milliseconds, at the same rate on the same target.

    The buckets of its histogram widen with the distance from the offset, so the offset is what no response is faster than.
    """
    file = folder / "fortio.json"
    command = [
        str(fortio), "load", "-quiet", "-qps", str(RATE), "-t", f"{SECONDS}s", "-c", "40", "-uniform", "-r", "0.001", "-offset",
        f"{LEAST}s", "-p", "99", "-H", f"Host: {HOST}", "-json", str(file), f"{lab.gateway_url()}{PATH}",
    ]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True, timeout=100)
    report = json.loads(file.read_text())
    assert set(report["RetCodes"]) == {"200"}
    return float(report["DurationHistogram"]["Percentiles"][0]["Value"]) * 1000


def test_p99_agrees_with_fortio(fortio: Path, tmp_path: Path) -> None:
    ratios = []
    for _ in range(PAIRS):
        done, result = open_loop(tmp_path, "--rate", str(RATE), "--step", str(SECONDS))
        assert done.returncode == 0, done.stdout + done.stderr
        (step,) = result["steps"]
        assert (step["sent"], step["errors"]) == (RATE * SECONDS, 0)
        ratios.append(step["latency"]["p99"] / by_fortio(fortio, tmp_path))
    print("p99 against fortio's:", [round(r, 3) for r in ratios])
    assert 0.95 <= statistics.median(ratios) <= 1.05


def test_the_highest_rate_that_meets_the_service_level_is_found(tmp_path: Path) -> None:
    done, result = open_loop(tmp_path, "--find", "--p99", "2000", "--rate", "8", "--most", "13", "--step", "3")
    assert done.returncode == 0, done.stdout + done.stderr
    assert [step["rate"] for step in result["steps"]] == [8, 10, 12.5]
    assert "highest rate that met the service level: 12.5 requests/s" in done.stdout


def test_a_missed_service_level_ends_the_search(tmp_path: Path) -> None:
    done, result = open_loop(tmp_path, "--find", "--p99", "300", "--rate", "8", "--step", "3")
    assert done.returncode == 1, done.stdout + done.stderr
    assert len(result["steps"]) == 1
    assert "more than 300 ms" in result["broken"]
