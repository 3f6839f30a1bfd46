"""Runs on several machines when one of them is lost."""

from __future__ import annotations

import subprocess
import sys

from loadtests.run.workers import Workers
from tests.unit.test_inputs import PROJECT


def test_a_lost_worker_is_reported_once_with_what_it_may_not_have_reported() -> None:
    workers = Workers()
    assert workers.look({"one": 0, "two": 0}, 21) == []
    assert workers.look({"one": 10, "two": 10}, 21) == []
    assert (workers.uncounted, workers.remarks) == (0, ())
    assert workers.look({"one": 10}, 21) == ["two"]
    assert workers.look({"one": 20}, 21) == [], "reported once"
    assert (workers.uncounted, workers.remarks) == (210, ("worker two was lost: up to 210 of its requests are not counted",))


def test_one_that_comes_later_may_be_lost_as_well() -> None:
    workers = Workers()
    workers.look({"one": 10}, 1.5)
    workers.look({"one": 7, "late": 3}, 1.5)
    assert workers.look({}, 1.5) == ["late", "one"]
    assert workers.lost == {"late": 5, "one": 15}, "by its highest number of users"


VOID = """
from types import SimpleNamespace
from loadtests.run.mesh_run import MeshRun
worker, master = MeshRun(SimpleNamespace()), MeshRun(SimpleNamespace())
worker.void.append("a client failed")
worker.count("all", "pod")
master.add(worker.take())
print(master.void, master.tally.counts, worker.take()["void"])
"""


def test_what_made_a_run_void_on_a_worker_does_so_on_the_master() -> None:
    # In a separate process: Locust patches the one that imports it.
    done = subprocess.run([sys.executable, "-c", VOID], cwd=PROJECT, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "['a client failed'] {'all': {'pod': 1}} []"
