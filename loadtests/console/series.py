"""Several entries, judged one after another: each one's rules are applied, and a run is led until it has its verdict."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import gevent
from gevent import Greenlet

from loadtests.entries import entry, policy
from loadtests.mesh.cluster import ClusterError
from loadtests.reports.report import Progress

if TYPE_CHECKING:
    from locust.env import Environment

LOOK_SECONDS = 0.5
RUN_SECONDS = 600.0
"""Longer than a run lasts, which ends by itself: --max-seconds, and what comes before and after it."""
IDLE = ("ready", "stopped", "missing")
"""States of Locust's runner without an active run."""
STOPPED = "stopped"
ACTIVE = "a series of entries is active: stop it first"


@dataclass(frozen=True)
class Done:
    """An entry whose turn is over."""

    entry: str
    outcome: str | None
    """None if there was no run."""
    reason: str


@dataclass
class Series:
    """The entries that were asked for last."""

    environment: Environment
    progress: Callable[[], Progress]
    """Of the latest run."""
    put: Callable[[str], Any]
    """Applies an entry's rules."""
    waiting: list[str] = field(default_factory=list)
    current: str = ""
    done: list[Done] = field(default_factory=list)
    stopped: bool = False
    """Whether somebody has stopped it."""
    leader: Greenlet | None = None
    starter: Greenlet | None = None

    @property
    def active(self) -> bool:
        """Whether there is something to come."""
        return self.leader is not None and not self.leader.dead

    def shown(self) -> dict[str, Any]:
        """Its state as JSON values."""
        done = [asdict(one) for one in self.done]
        return {"active": self.active, "current": self.current, "waiting": self.waiting, "done": done, "stopped": self.stopped}

    def start(self, names: Sequence[str]) -> None:
        """Judge these entries, in this order."""
        self.waiting, self.current, self.done, self.stopped = list(names), "", [], False
        self.leader = gevent.spawn(self.lead)

    def stop(self) -> None:
        """Start no more entries; the active run is Locust's own to stop."""
        # Rules that are being applied are applied completely, so what leads is not killed.
        self.stopped = True
        if self.active and self.starter is not None:
            self.starter.kill()

    def lead(self) -> None:
        """Judge one entry after another."""
        while self.waiting:
            self.current = self.waiting.pop(0)
            self.done.append(Done(self.current, None, STOPPED) if self.stopped else self.judge(self.current))
            self.current = ""

    def judge(self, name: str) -> Done:
        """Apply one entry's rules, and lead a run until it has its verdict."""
        try:
            self.put(name)
        except (KeyError, policy.RefusedError, ClusterError) as error:
            return Done(name, None, str(error.args[0]))
        if self.stopped:
            return Done(name, None, STOPPED)
        options = self.environment.parsed_options
        options.entry, before = name, self.progress().epoch
        self.starter = gevent.spawn(self.environment.runner.start, options.num_users or 20, float(options.spawn_rate or 20))
        until = time.monotonic() + RUN_SECONDS
        while not (self.progress().epoch > before and self.progress().finished and self.environment.runner.state in IDLE):
            if self.stopped:
                return Done(name, None, STOPPED)
            if time.monotonic() > until:
                self.environment.runner.stop()
                return Done(name, None, f"the run did not end within {RUN_SECONDS:g} s")
            gevent.sleep(LOOK_SECONDS)
        verdict = self.progress().verdict
        return Done(name, str(verdict.outcome), "; ".join(verdict.reasons))


def names_in(given: Any) -> list[str]:
    """The entries that a request names.

    :raises ValueError: if one is no entry of the catalogue, is named twice, or none is
    """
    names = given.get("entries") if isinstance(given, dict) else None
    known = entry.names()
    if not isinstance(names, list) or not names or any(name not in known or names.count(name) > 1 for name in names):
        raise ValueError(f"entries: {names!r} was given; accepted: a list of entries of the catalogue, each at most once")
    return names
