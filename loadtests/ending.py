"""Ends a process, whatever else it does: on a signal, when whoever asked for it is gone, or when its time is up.

A thread of its own waits for all three, outside of gevent, so that nothing in the process can hold it up or swallow a signal.
What must not stop half-way is finished first.
"""

from __future__ import annotations

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
PATIENCE_SECONDS = 20.0
"""How long what must not stop half-way may take; with a cluster that answers it is less than a second."""
works_for: list[int] = []
"""Processes that this one works for, beside those above it."""
_begun: list[object] = []
_start, _sleep = get_original("_thread", "start_new_thread"), get_original("time", "sleep")


def heeded() -> set[signal.Signals]:
    """Signals that end a process; what its caller has chosen to ignore (nohup, a background job) it ignores as well."""
    return {s for s in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP) if signal.getsignal(s) != signal.SIG_IGN}


def hold_signals() -> None:
    """Keep signals until a guard takes them. For the main thread, before there are others: each takes what it does not hold."""
    signal.pthread_sigmask(signal.SIG_BLOCK, heeded())


@contextlib.contextmanager
def unbroken() -> Iterator[None]:
    """What must not stop half-way: a :class:`Guard` of this process waits for its end."""
    token = object()
    _begun.append(token)
    try:
        yield
    finally:
        _begun.remove(token)


def callers() -> list[psutil.Process]:
    """The processes that this one works for: those of its session above it, and the one that began the session."""
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
    """End everything that this process has started."""
    with contextlib.suppress(psutil.Error):
        for child in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.Error):
                child.kill()


class Guard:
    """Ends this process.

    :param last_word: says why it ends, where that is to be read, and returns the exit status; called in the guard's thread
    :param overdue: why the process has to end by now; empty while it need not
    :param follow: whether it ends with the processes that it works for
    """

    def __init__(self, last_word: Callable[[str], int], overdue: Callable[[], str] = lambda: "", follow: bool = True) -> None:
        """Note whom the process works for, and which signals it heeds."""
        self.last_word = last_word
        self.overdue = overdue
        self.callers = callers() if follow else []
        self.orphan = not all(psutil.pid_exists(pid) for pid in works_for)
        self.terminal: Any = None

    def start(self) -> Guard:
        """Watch from now on."""
        if sys.stdin and sys.stdin.isatty():
            # Locust reads single keys, and would leave the terminal so.
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
            return "for the command that began it has ended"
        return self.overdue()

    def end(self, reason: str) -> None:
        """Say it, and end."""
        until = time.monotonic() + PATIENCE_SECONDS
        while _begun and time.monotonic() < until:
            _sleep(0.02)
        status = 2
        with contextlib.suppress(Exception):  # any: nobody is left to hear of it, and the process has to end
            status = self.last_word(reason)
        self.leave(status)

    def leave(self, status: int) -> None:
        """End the process and what it has started."""
        with contextlib.suppress(Exception):  # any, likewise
            end_children()
            forget_credentials()
            if self.terminal:
                termios.tcsetattr(sys.stdin.fileno(), termios.TCSANOW, self.terminal)
        os._exit(status)


def forget_credentials() -> None:
    """Remove the client's certificate and key: the kubernetes package keeps them in files until Python exits by itself."""
    if module := sys.modules.get("kubernetes.config.kube_config"):
        module._cleanup_temp_files()


def guarded(main: Callable[[], int], state: Callable[[], str] = lambda: "nothing more was done") -> int:
    """Exit status of a program's ``main``: 2 where it is interrupted, or ends with an error that nobody foresaw.

    By itself, Python would end with the status of a verdict FAIL, or of a refusal.

    :param state: what has been done so far, in words
    """

    def last_word(reason: str) -> int:
        os.write(2, f"interrupted {reason}; {state()}\n".encode())
        return 2

    Guard(last_word).start()
    try:
        return main()
    except Exception as error:  # any: see above
        print(f"{type(error).__name__}: {' '.join(str(error).split())}; {state()}", file=sys.stderr)
        return 2
    finally:
        sys.stdout.flush()
