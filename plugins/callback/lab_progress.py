"""Callback ``lab_progress``: what a playbook is at, how long its phases took, and the exit status that says how it ended."""

from __future__ import annotations

import atexit
import os
import re
import threading
import time
from collections.abc import Callable, Iterable
from functools import partial, reduce
from itertools import pairwise
from operator import or_
from pathlib import Path
from typing import Any

from ansible.plugins.callback import CallbackBase
from ansible.template import Templar

DOCUMENTATION = """
name: lab_progress
type: aggregate
short_description: Progress of long tasks, and a table of phase times
description:
  - A task that runs for more than 20 s is named again with its time, so that nobody wonders whether it hangs.
  - Where a task has a variable whose name ends with _progress_log, the lines that this file receives meanwhile are shown.
  - Where it has one whose name ends with _progress_status, the line that this file has at the moment stands for the task.
  - Where it has one whose name ends with _progress_compile, how far a Go compile is, by this log of it, stands for the task.
  - A phase is a play; the table at the end lists those in which a task ran.
  - With LAB_OUTPUT=brief, each phase is one line with its time once it ends, and on a terminal what it is at until then.
  - ansible-playbook ends with 1 where the last failure is a refusal or a verdict that is FAIL; with 2 after any other failure,
    and where the last play did nothing; with 0 otherwise.
author: istio-lab developers
"""
PERIOD_SECONDS = 20.0
TERMINAL_SECONDS = 0.25
"""How often a terminal shows what a playbook is at, which costs a line of a file nothing."""
REFUSED = 1
FAILED = 2
"""Exit statuses, as scripts/run.py has them."""
NOTHING = re.compile(r"\b(nothing|no bundle) was \w+\.?$")
"""How every refusal of this project ends."""


def status_of(action: str, message: str) -> int:
    """The exit status that a failed task stands for.

    :param action: its module or action; of a verdict it is an assertion
    """
    judged = action == "ansible.builtin.assert" and re.search(r"\bFAIL\b", message)
    return REFUSED if judged or NOTHING.search(message.strip()) else FAILED


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


def status_in(file: Path | None) -> str:
    """The line that a file has at the moment; '' where there is none yet."""
    try:
        return " ".join(file.read_text(errors="replace").split()) if file else ""
    except OSError:
        return ""


def program_of(path: str) -> str:
    """What the program of a Go package is called: etcd's package is server."""
    return re.sub(r"(/server)?/v\d+$", "", path).rpartition("/")[2]


class Packages:
    """What the programs of a Go compile consist of.

    A set of packages is an integer with a bit for each: their sets of dependencies are large.

    :param text: a line STAGE=PACKAGES... for each stage, then one for each package, with what it imports, those that are
        imported first
    """

    def __init__(self, text: str) -> None:
        self.stages: dict[str, list[str]] = {}
        self.needed: dict[str, int] = {}
        """Package -> itself and all that it depends on."""
        for line in text.splitlines():
            name, *others = line.split()
            stage, is_stage, first = name.partition("=")
            if is_stage:
                self.stages[stage] = [first, *others]
            else:
                self.needed[name] = 1 << len(self.needed) | self.union(others)

    def union(self, names: Iterable[str]) -> int:
        """Packages and all that they depend on."""
        return reduce(or_, (self.needed.get(name, 0) for name in names), 0)


class Compile:
    """How far a Go compile is, by the log of build.sh (role binaries) and the list of packages beside it.

    The compiler names each package as it begins with it, but none that Go's cache has; what a named one needs is compiled.
    """

    def __init__(self, log: Path) -> None:
        self._log, self._read = log, 0
        self._packages: Packages | None = None
        self._stage = self._last = ""
        self._compiled = 0

    def status(self) -> str:
        """In one line; '' as long as it is not known."""
        if self._packages is None:
            try:
                self._packages = Packages(self._log.with_suffix(".packages").read_text())
            except OSError:
                return ""
        new, self._read = lines_since(self._log, self._read)
        for line in new:
            self._take(self._packages, line)
        if not self._stage:
            return ""
        programs, needed = self._packages.stages[self._stage], self._packages.needed
        # Programs are compiled one after the other, so the first one that needs a package is the one that it is compiled for.
        last = needed.get(self._last, 0)
        at = next((name for name in programs if needed.get(name, 0) & last == last), programs[0])
        return f"compiling {program_of(at)}, {self._compiled.bit_count():,} of {len(needed):,} packages"

    def _take(self, packages: Packages, line: str) -> None:
        """One line of the log: a stage begins, or a package."""
        if begun := re.match(r"compiling (\S+) from ", line):
            names = list(packages.stages)
            self._stage, self._last = (begun[1], "") if begun[1] in names else ("", "")
            before = names[: names.index(begun[1])] if self._stage else []
            self._compiled = packages.union(p for name in before for p in packages.stages[name])
        elif line in packages.needed:
            self._last = line
            self._compiled |= packages.needed[line]


class Screen:
    """The terminal in brief: a line for each phase that has ended, and the current activity where the terminal can show it."""

    def __init__(self, lock: threading.RLock) -> None:
        """Take the terminal.

        :param lock: Ansible's, which it holds while it writes a line, and so while rich, which has the terminal, takes locks of
            its own. It is taken first here, too: otherwise two threads would wait for each other.
        """
        # Here, for they are needed in brief only.
        from rich.console import Console
        from rich.live import Live
        from rich.spinner import Spinner

        self._lock, self._console = lock, Console(highlight=False, soft_wrap=True)
        self._spinner = Spinner("dots", style="status.spinner")
        # Without a thread of its own, which would not know that lock.
        live = Live(self._spinner, console=self._console, auto_refresh=False, transient=True)
        self._live = live if self._console.is_terminal else None
        if self._live:
            self._live.start()

    @property
    def lives(self) -> bool:
        """Whether it shows the current activity."""
        return self._live is not None

    def at(self, phase: str, task: str, seconds: float) -> None:
        """Show the current activity."""
        if self._live:
            room = max(20, self._console.width - len(phase) - 20)
            shown = task if len(task) <= room else f"{task[: room - 3]}..."
            with self._lock:
                self._spinner.update(text=f"{escaped(phase)}: [dim]{escaped(shown)}, {seconds:.0f} s[/dim]")
                self._live.refresh()

    def line(self, text: str, style: str = "") -> None:
        """Print a line above it."""
        with self._lock:
            self._console.print(escaped(text), style=style or None)

    def phase(self, name: str, seconds: float, good: bool) -> None:
        """Print a phase that has ended."""
        mark = "[green]✓[/green]" if good else "[red]✗[/red]"
        with self._lock:
            self._console.print(f"{mark} {escaped(name):<50} {seconds:7.1f} s")

    def end(self) -> None:
        """Leave the terminal as it was."""
        if self._live:
            with self._lock:
                self._live.stop()


def escaped(text: str) -> str:
    """A text without meaning to rich's markup."""
    return text.replace("[", r"\[")


class CallbackModule(CallbackBase):
    """One timer thread beside Ansible's own output."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "lab_progress"
    CALLBACK_NEEDS_ENABLED = False  # who else may be enabled is the user's to say

    def __init__(self) -> None:
        super().__init__()
        self._phases: list[tuple[str, float]] = []
        self._printed = 0
        """How many of them the screen has shown as ended."""
        self._last: Any = None
        self._current: Any = None
        self._started = 0.0
        """When the current play has."""
        self._reached_last = False
        """Whether a task of the last play has begun."""
        self._failure = FAILED
        # Host -> the task that it is at, since when, and what tells how far it is: lanes of a play are at different ones.
        self._tasks: dict[str, tuple[str, float, Callable[[], str]]] = {}
        # Log -> how much of it has been shown, or was there before.
        self._shown: dict[Path, int] = {}
        self._ended = threading.Event()
        self._screen = (
            Screen(self._display._lock) if os.environ.get("LAB_OUTPUT") == "brief" and not self._display.verbosity else None
        )
        self._timer = threading.Thread(target=self._tick, daemon=True)
        self._timer.start()
        atexit.register(self._leave)

    def _leave(self) -> None:
        """End, however Ansible ends: with the thread, which could otherwise be stopped for good while it has the lock."""
        self._ended.set()
        self._timer.join()
        if self._screen:
            self._screen.end()

    def _tick(self) -> None:
        live = self._screen is not None and self._screen.lives
        while not self._ended.wait(TERMINAL_SECONDS if live else PERIOD_SECONDS):
            for host, (name, started, status) in list(self._tasks.items()):
                seconds, host_name = time.monotonic() - started, "" if host == "localhost" else f"[{host}] "
                if self._screen and live:
                    self._screen.at(self._phases[-1][0], f"{host_name}{status() or name}", seconds)
                elif seconds > PERIOD_SECONDS:
                    self._print(f"... {host_name}{status() or name}: {seconds:.0f} s")
            for log, shown in list(self._shown.items()):
                new, self._shown[log] = lines_since(log, shown)
                for line in new:
                    self._print(f"    {line}")

    def _print(self, line: str) -> None:
        if self._screen:
            self._screen.line(line, "cyan")
        else:
            self._display.display(line, color="cyan")

    def _end_phase(self, good: bool) -> None:
        """Print the phase that ends now, unless that was done."""
        if self._screen and len(self._phases) > self._printed:
            name, started = self._phases[-1]
            self._printed = len(self._phases)
            self._screen.phase(name, time.monotonic() - started, good)

    def v2_playbook_on_start(self, playbook: Any) -> None:
        """The phase that has to be reached."""
        self._last = playbook.get_plays()[-1]

    def v2_playbook_on_play_start(self, play: Any) -> None:
        """A new phase, once a task of it runs: a preflight that has nothing left to check is none."""
        self._end_phase(good=True)
        self._current, self._started = play, time.monotonic()

    def v2_runner_on_start(self, host: Any, task: Any) -> None:
        """The task to speak of."""
        if self._started:
            self._phases.append((self._current.get_name(), self._started))
            self._started = 0.0
        compiled = self._file_of(host, task, "_progress_compile")
        status = Compile(compiled).status if compiled else partial(status_in, self._file_of(host, task, "_progress_status"))
        self._tasks[host.get_name()] = (task.get_name(), time.monotonic(), status)
        self._reached_last = self._current._uuid == self._last._uuid
        if log := self._file_of(host, task, "_progress_log"):
            self._shown = {log: log.stat().st_size if log.exists() else 0}

    def _file_of(self, host: Any, task: Any, ending: str) -> Path | None:
        """The file that tells how a task goes on."""
        name = next((name for name in task.vars if name.endswith(ending)), None)
        if name is None:
            return None
        play = self._current
        variables = play.get_variable_manager().get_vars(play=play, host=host, task=task)
        return Path(Templar(loader=play.get_loader(), variables=variables).template(variables[name]))

    def _leaves(self, result: Any, ignore_errors: bool = False) -> None:
        self._tasks.pop(result.host.get_name(), None)

    v2_runner_on_ok = v2_runner_on_skipped = _leaves

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        """The kind of failure; a later one, as of a rescue that explains the first, takes its place."""
        self._leaves(result)
        if not ignore_errors:
            self._failure = status_of(result.task.resolved_action, str(result.result.get("msg", "")))

    def v2_runner_on_unreachable(self, result: Any) -> None:
        """As any failure."""
        self._leaves(result)
        self._failure = FAILED

    def v2_playbook_on_stats(self, stats: Any) -> None:
        """The table, and the exit status.

        :raises SystemExit: unless all went well; Ansible has one status for all failed tasks, and none for work not done
        """
        self._ended.set()
        good = not (stats.failures or stats.dark)
        self._end_phase(good)
        begun = pairwise([*self._phases, ("", time.monotonic())])
        phases = [(name, end - start) for (name, start), (_, end) in begun]
        if self._screen:
            self._screen.end()
            changed = sum(stats.changed.values())
            if good and self._reached_last:
                summary = f"changed={changed}" if changed else "changed=0: nothing was changed"
                self._screen.line(f"in all {sum(seconds for _, seconds in phases):.1f} s, {summary}")
        else:
            self._display.banner("PHASE TIMES")
            for line in phase_table(phases):
                self._display.display(line)
        if stats.failures or stats.dark:
            raise SystemExit(self._failure)
        if not self._reached_last:
            why = "no task here has a tag; leave out --tags and --skip-tags, unset ANSIBLE_RUN_TAGS and ANSIBLE_SKIP_TAGS"
            self._display.display(f"[ERROR]: not done: {self._last.get_name()}; {why}", color="red", stderr=True)
            raise SystemExit(FAILED)
