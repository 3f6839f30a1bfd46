"""A run ends with VOID if anything fails: with the error's message and where to read more."""

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
NOT_OF_A_RUN = {"kubectl", "lines", "there"}
"""Methods of the cluster client that only the console, the preparation of a run, or a client of its own calls (``lines``)."""
NO_FAULT_OF_A_RUN = {("istioctl", "ClusterError")}
"""What only remarks need: a run is judged without them."""
LISTENERS = [
    "arguments", "init", "test_start", "test_stop", "quitting", "user_error", "report_to_master", "worker_report",
]  # fmt: skip


@functools.cache
def output(what: str) -> subprocess.CompletedProcess[str]:
    """Output of the simulated mesh, in a separate process, because Locust patches the standard library."""
    with tempfile.TemporaryDirectory() as results:
        command = [sys.executable, "-m", "tests.unit.run.played_mesh", what, results]
        return subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False, timeout=120)


def played(what: str) -> dict[str, Any]:
    """Results of the runs with one sort of fault."""
    done = output(what)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def void(reason: str) -> dict[str, Any]:
    return {"ended": True, "status": 2, "outcome": "VOID", "reasons": [f"{reason}; log: the.log"]}


def test_without_a_fault_the_mesh_that_is_played_passes() -> None:
    result = played("faults_of_the_cluster_client")[""]
    assert (result["ended"], result["status"], result["outcome"]) == (True, 0, "PASS")


@pytest.mark.parametrize("error", ["TypeError", "ClusterError"])
@pytest.mark.parametrize("method", sorted({*METHODS} - NOT_OF_A_RUN))
def test_a_fault_in_any_call_of_the_cluster_client_ends_the_run_as_void(method: str, error: str) -> None:
    result = played("faults_of_the_cluster_client")[f"{method} {error}"]
    if (method, error) in NO_FAULT_OF_A_RUN:
        assert (result["outcome"], result["remarks"]) == ("PASS", [f"Istio's analyzer was not asked: {method} is refused"])
        return
    words = f"TypeError: {method} is broken" if error == "TypeError" else f"{method} is refused"
    assert result | void(words) == result


def test_a_limited_account_judges_and_says_that_rules_of_other_namespaces_were_not_read() -> None:
    result = played("by_a_limited_account")
    remark = "rules of other namespaces than bookinfo and istio-system were not read and may apply as well: GET /apis: HTTP 403"
    assert (result["outcome"], result["remarks"]) == ("PASS", [remark])


@pytest.mark.parametrize("listener", LISTENERS)
def test_a_fault_in_any_listener_ends_the_run_with_exit_status_2(listener: str) -> None:
    result = played("faults_of_hooks")
    assert set(result) == {f"on_{name}" for name in LISTENERS}, "every listener is tested"
    if listener in ("arguments", "init"):
        assert result[f"on_{listener}"] == {"ended": True, "status": 2}
    else:
        assert result[f"on_{listener}"] | void(f"TypeError: on_{listener} is broken") == result[f"on_{listener}"]


@pytest.mark.parametrize("name", entry.names())
def test_an_expectation_that_cannot_be_read_ends_the_run_as_void(name: str) -> None:
    result = played("faults_of_expectations")[f"{name} read"]
    assert result | void("TypeError: read is broken") == result


@pytest.mark.parametrize("part", ["pods", "applied_by", "label"])
def test_a_fault_in_any_part_of_a_question_ends_the_run_as_void(part: str) -> None:
    found = {name: result for name, result in played("faults_of_expectations").items() if name.endswith(f" {part}")}
    assert len(found) == len({type(entry.load(name).question) for name in entry.names()}), "every kind of question"
    for name, result in found.items():
        assert result | void(f"TypeError: {part} is broken") == result, name


@pytest.mark.parametrize("moment", ["missing from the start", "gone at the end"])
def test_a_run_without_what_its_question_requires_is_void_and_names_it(moment: str) -> None:
    ends = played("without_what_is_required")
    assert ends["there"]["outcome"] == "PASS"
    assert ends[moment] | void("the machine is missing") == ends[moment]


def test_a_rule_that_is_edited_makes_a_run_void_that_nobody_watches() -> None:
    end = played("edited_while_it_is_watched")
    edited = "DestinationRule bookinfo/reviews, Service bookinfo/reviews, VirtualService bookinfo/reviews"
    reasons = [f"a rule was edited while the run watched: {edited}"]
    assert end | {"ended": True, "status": 2, "outcome": "VOID", "reasons": reasons} == end


def test_no_more_is_sent_than_a_run_may_send_even_if_nobody_watches_it() -> None:
    result = played("nobody_watches")
    assert result["ended"] is False, "nothing else in the process ends it, only the guard"
    assert result["outcome"] == "INCONCLUSIVE"
    assert 200 <= result["sent"] <= 230


def test_a_run_that_hangs_is_ended_in_its_time() -> None:
    result = played("hangs")
    assert (result["status"], result["outcome"]) == (2, "VOID")
    assert result["reasons"][0].startswith("interrupted for it did not end in its time after ")
    assert result["seconds"] < 6
