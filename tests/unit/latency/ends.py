"""``python -m tests.unit.latency.ends``: how make latency ends for each of ``ROWS``.

It runs in a process of its own, because importing Locust replaces the threads that pytest's workers wait by.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
from typing import Any
from unittest import mock

from loadtests import ending
from loadtests.latency.statistics import Step
from loadtests.mesh.cluster import Cluster, ClusterError

FIGURES = {"p50": 1.0, "p90": 1.0, "p99": 1.0, "p99.9": 1.0, "max": 1.0}
MET, MISSED = (Step(20.0, 20, errors, 20.0, 0, FIGURES, FIGURES, FIGURES) for errors in (0, 20))
FAILED = "20 of 20 requests failed"
FIND = ["--find", "--p99", "9"]
# Arguments; what is measured (steps, why it failed, if the generator was saturated), an error, or None for nothing; status.
ROWS: list[tuple[list[str], Any, int]] = [
    ([], ([MET], "", False), 0),
    ([], ([MISSED], FAILED, False), 1),
    (FIND, ([MET, MISSED], FAILED, False), 0),
    (FIND, ([MISSED], FAILED, False), 1),
    ([], ([MET], "", True), 2),
    ([], ([MISSED], FAILED, True), 2),
    (["--rate", "0"], None, 1),
    (["--hops", "none", "--kubeconfig", "none"], None, 1),
    ([], ClusterError("GET /version: refused"), 2),
    ([], TypeError("not foreseen"), 2),
]


def end(arguments: list[str], measured: Any) -> tuple[int, str]:
    """The exit status, and what is on the error output."""
    from loadtests.latency import open_loop

    def run(*_: Any) -> Any:
        if isinstance(measured, Exception):
            raise measured
        return measured

    sys.argv = ["open_loop", "http://127.0.0.1:9/", *arguments]
    said = io.StringIO()
    patched = mock.patch.object(open_loop, "run", run) if measured else contextlib.nullcontext()
    with patched, contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
        return ending.guarded(open_loop.main), said.getvalue()


def main() -> None:
    """Print a status and a text for each row, as JSON."""
    vars(ending)["Guard"] = lambda *_, **__: type("Nobody", (), {"start": lambda self: None})()  # it would end this process
    setattr(Cluster, "items", lambda *_, **__: [])  # noqa: B010 - no hop is found
    print(json.dumps([end(arguments, measured) for arguments, measured, _ in ROWS]))


if __name__ == "__main__":
    main()
