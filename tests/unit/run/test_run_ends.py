"""A run ends with VOID, whatever fails on the way: nothing else enforces its limits."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.test_inputs import PROJECT

# In a process of its own: Locust patches the standard library.
SCRIPT = """
import json, sys
from types import SimpleNamespace
import gevent
from loadtests.run import hooks
from loadtests.rules.declared import Rules
from loadtests.verdict import Declared

fails, results = sys.argv[1:]
hooks.WARM_UP_SECONDS = hooks.LOOK_SECONDS = 0.01
def refuse(*_): raise TypeError("not foreseen")
rules = Rules(Declared({"all": {"v1": 1.0}}), (), "generation")
calls = {
    "read": lambda cluster: rules, "pods": lambda cluster: {}, "wait_in_step": lambda *_: [], "counters": lambda *_: {},
    "server_count": lambda cluster: None, "logged": lambda *_: {}, "views": lambda sent: {},
    "label": lambda counts, pods, rules: counts,
}
question = SimpleNamespace(namespace="x", pace=5, **(calls | {fails: refuse}))
hooks.entry.load = lambda name: SimpleNamespace(question=question)
hooks.report.images = lambda run: {}
ended = gevent.event.Event()
runner = SimpleNamespace(target_user_count=1, user_count=1, quit=ended.set)
options = SimpleNamespace(entry="x", seed=1, kubeconfig="none", results=results, max_requests=10, max_seconds=10)
environment = SimpleNamespace(runner=runner, web_ui=None, parsed_options=options, process_exit_code=None)
environment.mesh = hooks.MeshRun(environment)
hooks.on_test_start(environment)
print(ended.wait(5))
hooks.on_quitting(environment)
print(environment.process_exit_code, environment.mesh.verdict.outcome, environment.mesh.verdict.reasons)
"""


@pytest.mark.parametrize("fails", ["read", "pods", "wait_in_step", "counters", "server_count", "label"])
def test_an_error_that_nobody_foresaw_ends_the_run_as_void(fails: str, tmp_path: Path) -> None:
    command = [sys.executable, "-c", SCRIPT, fails, str(tmp_path)]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.splitlines() == ["True", "2 VOID ('TypeError: not foreseen',)"], done.stdout + done.stderr
    assert json.loads((tmp_path / "x/verdict.json").read_text())["outcome"] == "VOID"
