"""A run ends with VOID, whatever fails on the way: with the error's words, and where more of it is to be read."""

from __future__ import annotations

import functools
import inspect
import json
import subprocess
import sys
import tempfile
from typing import Any

import pytest

from loadtests.entries import entry
from loadtests.mesh.cluster import Cluster
from tests.unit.test_inputs import PROJECT

METHODS = [name for name, value in inspect.getmembers(Cluster, callable) if not name.startswith("_")]
NOT_OF_A_RUN = {"istioctl", "kubectl", "there"}
"""Methods of the cluster client that are called by the console or before a run."""
LISTENERS = [
    "arguments", "init", "test_start", "test_stop", "quitting", "user_error", "report_to_master", "worker_report",
]  # fmt: skip


@functools.cache
def output(what: str) -> subprocess.CompletedProcess[str]:
    """What the mesh that is played says. In a process of its own: Locust patches the standard library."""
    with tempfile.TemporaryDirectory() as results:
        command = [sys.executable, "-m", "tests.unit.run.played_mesh", what, results]
        return subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False, timeout=120)


def played(what: str) -> dict[str, Any]:
    """What came of the runs with faults of one sort."""
    done = output(what)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def void(reason: str) -> dict[str, Any]:
    return {"ended": True, "status": 2, "outcome": "VOID", "reasons": [f"{reason}; log: the.log"]}


def test_without_a_fault_the_mesh_that_is_played_passes() -> None:
    told = played("faults_of_the_cluster_client")[""]
    assert (told["ended"], told["status"], told["outcome"]) == (True, 0, "PASS")


@pytest.mark.parametrize("error", ["TypeError", "ClusterError"])
@pytest.mark.parametrize("method", sorted({*METHODS} - NOT_OF_A_RUN))
def test_a_fault_in_any_call_of_the_cluster_client_ends_the_run_as_void(method: str, error: str) -> None:
    told = played("faults_of_the_cluster_client")[f"{method} {error}"]
    words = f"TypeError: {method} is broken" if error == "TypeError" else f"{method} is refused"
    assert told | void(words) == told


@pytest.mark.parametrize("listener", LISTENERS)
def test_a_fault_in_any_listener_ends_the_run_with_exit_status_2(listener: str) -> None:
    told = played("faults_of_hooks")
    assert set(told) == {f"on_{name}" for name in LISTENERS}, "every listener is tried"
    if listener in ("arguments", "init"):
        assert told[f"on_{listener}"] == {"ended": True, "status": 2}
    else:
        assert told[f"on_{listener}"] | void(f"TypeError: on_{listener} is broken") == told[f"on_{listener}"]


@pytest.mark.parametrize("name", entry.names())
def test_an_expectation_that_cannot_be_read_ends_the_run_as_void(name: str) -> None:
    told = played("faults_of_expectations")[f"{name} read"]
    assert told | void("TypeError: read is broken") == told


@pytest.mark.parametrize("part", ["pods", "applied_by", "label"])
def test_a_fault_in_any_part_of_a_question_ends_the_run_as_void(part: str) -> None:
    found = {name: told for name, told in played("faults_of_expectations").items() if name.endswith(f" {part}")}
    assert len(found) == len({type(entry.load(name).question) for name in entry.names()}), "every kind of question"
    for name, told in found.items():
        assert told | void(f"TypeError: {part} is broken") == told, name


def test_no_more_is_sent_than_a_run_may_send_even_if_nobody_watches_it() -> None:
    told = played("nobody_watches")
    assert told["ended"] is False, "nothing in the process ends it; the guard does"
    assert told["outcome"] == "INCONCLUSIVE"
    assert 200 <= told["sent"] <= 230


def test_a_run_that_hangs_is_ended_in_its_time() -> None:
    told = played("hangs")
    assert (told["status"], told["outcome"]) == (2, "VOID")
    assert told["reasons"][0].startswith("interrupted for it did not end in its time after ")
    assert told["seconds"] < 6
