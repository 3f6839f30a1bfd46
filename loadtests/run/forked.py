"""Headless Locust runs, each in a process that is forked from one which has imported Locust and the client libraries.

To import them takes more CPU time than most runs do. ``multiprocessing`` starts that one process with the first run, and it
ends with the process that asked for it.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Sequence
from pathlib import Path

CONTEXT = multiprocessing.get_context("forkserver")
# Locust first: it patches the standard library for gevent.
CONTEXT.set_forkserver_preload([
    "loadtests.run.__main__", "loadtests.run.hooks", "loadtests.run.users",
    # Its classes by their modules, for the package itself imports them only when they are first asked for.
    "kubernetes.client.api.core_v1_api", "kubernetes.config", "kubernetes.stream",
])  # fmt: skip
TOO_LONG = 124
"""Exit status of a run that was ended for taking too long, as timeout(1) has it."""


def _main(options: Sequence[str], output: Path, caller: int) -> None:
    """What the forked process does: Locust's own command line, its output in a file."""
    opened = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    os.dup2(opened, 1)
    os.dup2(opened, 2)
    from locust.main import main

    from loadtests import ending

    sys.argv = ["locust", *options]
    ending.works_for.append(caller)
    try:
        main()
    finally:
        # A forked process does not exit in the way in which Python runs what was registered for its exit.
        ending.forget_credentials()


def run_locust(options: Sequence[str], output: Path, seconds: float) -> int:
    """Run Locust to its end.

    :param options: of its command line
    :param output: file that receives what it prints
    :param seconds: after which it is ended
    :return: its exit status; ``TOO_LONG`` if it was ended
    """
    run = CONTEXT.Process(target=_main, args=(list(options), output, os.getpid()))
    run.start()
    run.join(seconds)
    if run.exitcode is None:
        run.kill()
        run.join()
        return TOO_LONG
    return run.exitcode
