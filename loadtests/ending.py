"""Ends a process reliably: on a signal, when its caller is gone, or when its time is up.

A separate thread outside gevent waits for all three, so that nothing in the process can block it or swallow a signal. Work that
must not stop half-way is finished first, unless it takes too long: the last word then says that it was not.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import sys
import termios
import time
from collections.abc import Callable, Iterator
from typing import Any

import psutil
from gevent.monkey import get_original

TICK_SECONDS = 0.5
PATIENCE_SECONDS = 1.5
"""Limit for work that must not stop half-way; with a responsive cluster, it takes less than a second.

With a tick before it, by which a process notices that its caller has ended, an interrupt ends everything within two seconds.
"""
works_for: list[int] = []
"""Callers of this process, in addition to its ancestors."""
_begun: list[object] = []
_leaving: list[Callable[[], None]] = []
_start, _sleep = get_original("_thread", "start_new_thread"), get_original("time", "sleep")


def heeded() -> set[signal.Signals]:
    """Signals that end a process, except those that its caller ignores (nohup, a background job)."""
    return {s for s in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP) if signal.getsignal(s) != signal.SIG_IGN}


def hold_signals() -> None:
    """Block signals until a guard receives them. Call this in the main thread before others start: they inherit the mask."""
    signal.pthread_sigmask(signal.SIG_BLOCK, heeded())


@contextlib.contextmanager
def unbroken() -> Iterator[None]:
    """Mark work that must not stop half-way: a :class:`Guard` in this process waits for its end."""
    token = object()
    _begun.append(token)
    try:
        yield
    finally:
        _begun.remove(token)


def callers() -> list[psutil.Process]:
    """The processes that this one works for: its ancestors in the same session, and the one that started the session."""
    found = [psutil.Process(pid) for pid in works_for if psutil.pid_exists(pid)]
    for process in psutil.Process().parents():
        found.append(process)
        try:
            if os.getsid(process.pid) != os.getsid(0):
                break
        except OSError:
            break
    return found


def gone(process: psutil.Process) -> bool:
    """Whether a process has ended."""
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.Error:
        return True


def end_children() -> None:
    """Kill all descendants of this process."""
    with contextlib.suppress(psutil.Error):
        for child in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.Error):
                child.kill()


def on_leaving(do: Callable[[], None]) -> None:
    """Have something done when this process ends, by itself or by a :class:`Guard`: then in the guard's thread."""
    if not _leaving:
        atexit.register(take_leave)
    _leaving.append(do)


def take_leave() -> None:
    """Do what is to be done in the end, once."""
    while _leaving:
        _leaving.pop()()


class Guard:
    """Ends this process.

    :param last_word: reports why the process ends and returns its exit status; called in the guard's thread
    :param overdue: why the process must end now; empty while it may continue
    :param follow: whether the process ends with its callers
    """

    def __init__(self, last_word: Callable[[str], int], overdue: Callable[[], str] = lambda: "", follow: bool = True) -> None:
        """Record the process's callers."""
        self.last_word = last_word
        self.overdue = overdue
        self.callers = callers() if follow else []
        self.orphan = not all(psutil.pid_exists(pid) for pid in works_for)
        self.terminal: Any = None

    def start(self) -> Guard:
        """Start watching."""
        if sys.stdin and sys.stdin.isatty():
            # Locust switches the terminal to reading single keys, and would leave it in that mode.
            self.terminal = termios.tcgetattr(sys.stdin.fileno())
        hold_signals()
        _start(self._watch, ())
        return self

    def _watch(self) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        while not (reason := self._reason()):
            pass
        self.end(reason)

    def _reason(self) -> str:
        """Why to end; empty after a moment without a reason."""
        if got := signal.sigtimedwait(heeded(), TICK_SECONDS):
            return f"by {signal.Signals(got.si_signo).name}"
        if self.orphan or any(gone(process) for process in self.callers):
            return "because the command that started it has ended"
        return self.overdue()

    def end(self, reason: str) -> None:
        """Finish protected work, report the reason, and end."""
        until = time.monotonic() + PATIENCE_SECONDS
        while _begun and time.monotonic() < until:
            _sleep(0.02)
        status = 2
        with contextlib.suppress(Exception):  # any: nobody is left to handle it, and the process must end
            status = self.last_word(reason)
        self.leave(status)

    def leave(self, status: int) -> None:
        """End the process and its descendants."""
        with contextlib.suppress(Exception):  # any, as above
            end_children()
            take_leave()
            forget_credentials()
            if self.terminal:
                termios.tcsetattr(sys.stdin.fileno(), termios.TCSANOW, self.terminal)
        os._exit(status)


def forget_credentials() -> None:
    """Remove the client's certificate and key, which the kubernetes package keeps in files until Python exits normally."""
    if module := sys.modules.get("kubernetes.config.kube_config"):
        module._cleanup_temp_files()


def guarded(
    main: Callable[[], int],
    state: Callable[[], str] = lambda: "nothing more was done",
    clean: Callable[[], None] = lambda: None,
    status: int = 2,
) -> int:
    """Exit status of a program's ``main``: 2 if it ends with an unexpected error.

    Python's own status would be 1, which means FAIL or refused.

    :param state: describes what has been done so far
    :param clean: removes what must not stay if it is interrupted; called in the guard's thread
    :param status: if it is interrupted; 0 for what serves until then
    """

    def last_word(reason: str) -> int:
        os.write(2, f"interrupted {reason}; {state()}\n".encode())
        clean()
        return status

    Guard(last_word).start()
    try:
        return main()
    except Exception as error:  # any: see above
        print(f"{type(error).__name__}: {' '.join(str(error).split())}; {state()}", file=sys.stderr)
        return 2
    finally:
        sys.stdout.flush()
