"""Callback ``lab_progress``: says every 20 s which task still runs, and at the end how long each phase took."""

from __future__ import annotations

import re
import threading
import time
from pathlib import Path
from typing import Any

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: lab_progress
type: aggregate
short_description: Progress of long tasks, and a table of phase times
description:
  - A task that runs for more than 20 s is named again with its time, so that nobody wonders whether it hangs.
  - Of one whose name ends with "log FILE", the lines that the file receives meanwhile are shown.
  - A phase is a play; the table at the end lists them.
author: istio-lab developers
"""
PERIOD_SECONDS = 20.0


def phase_table(phases: list[tuple[str, float]]) -> list[str]:
    """Lines of the closing table; ``phases`` are (name, seconds) in order."""
    width = max((len(name) for name, _ in phases), default=0)
    lines = [f"{name:<{width}}  {seconds:7.1f} s" for name, seconds in phases]
    return [*lines, f"{'in all':<{width}}  {sum(s for _, s in phases):7.1f} s"]


def lines_since(log: Path, start: int) -> tuple[list[str], int]:
    """Whole lines of a file from byte ``start`` on, and where they end."""
    if not log.exists():
        return [], start
    with log.open("rb") as file:
        file.seek(start)
        whole = file.read().rpartition(b"\n")[0]
    return whole.decode(errors="replace").splitlines(), start + len(whole) + (1 if whole else 0)


class CallbackModule(CallbackBase):
    """One timer thread beside Ansible's own output."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "lab_progress"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self) -> None:
        super().__init__()
        self._phases: list[tuple[str, float]] = []
        # Host -> the task that it is at, and since when: lanes of a play are at different ones.
        self._tasks: dict[str, tuple[str, float]] = {}
        # Log -> how much of it has been shown, or was there before.
        self._shown: dict[Path, int] = {}
        self._ended = threading.Event()
        threading.Thread(target=self._tick, daemon=True).start()

    def _tick(self) -> None:
        while not self._ended.wait(PERIOD_SECONDS):
            for host, (name, started) in list(self._tasks.items()):
                if time.monotonic() - started > PERIOD_SECONDS:
                    lane = "" if host == "localhost" else f"[{host}] "
                    self._display.display(f"... {lane}{name}: {time.monotonic() - started:.0f} s", color="cyan")
            for log, shown in list(self._shown.items()):
                new, self._shown[log] = lines_since(log, shown)
                for line in new:
                    self._display.display(f"    {line}", color="cyan")

    def v2_playbook_on_play_start(self, play: Any) -> None:
        """A new phase."""
        self._phases.append((play.get_name(), time.monotonic()))

    def v2_runner_on_start(self, host: Any, task: Any) -> None:
        """The task to speak of."""
        self._tasks[host.get_name()] = (task.get_name(), time.monotonic())
        if found := re.search(r"\blog (/\S+)$", task.get_name()):
            log = Path(found[1])
            self._shown = {log: log.stat().st_size if log.exists() else 0}

    def _leaves(self, result: Any, ignore_errors: bool = False) -> None:
        self._tasks.pop(result.host.get_name(), None)

    v2_runner_on_ok = v2_runner_on_failed = v2_runner_on_unreachable = v2_runner_on_skipped = _leaves

    def v2_playbook_on_stats(self, stats: Any) -> None:
        """The table."""
        self._ended.set()
        ends = [start for _, start in self._phases[1:]] + [time.monotonic()]
        self._display.banner("PHASE TIMES")
        for line in phase_table([(name, end - start) for (name, start), end in zip(self._phases, ends, strict=True)]):
            self._display.display(line)
