"""Plain HTTP clients through the gateway: a request, a row of requests, a number that grows."""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import gevent
from gevent.lock import BoundedSemaphore

from loadtests.verdict import ERROR

_ONE_AT_A_TIME = BoundedSemaphore()


def status(response: Any) -> str:
    """``HTTP 200``; with the target if the response is a redirect."""
    to = response.headers.get("Location") if response.status_code in (301, 302, 303, 307, 308) else None
    return f"HTTP {response.status_code}" + (f" to {to}" if to else "")


@dataclass(frozen=True)
class Fetch:
    """One request through the gateway; ``label`` turns the response into an outcome.

    :param host: host name to send; empty for the gateway's own address
    :param timed: whether the outcome includes the duration, rounded to whole seconds
    :param in_turn: whether it is sent when that of another user of this process is answered: for what takes the server
        seconds, one after the other
    """

    path: str
    host: str = ""
    method: str = "GET"
    headers: Mapping[str, str] = field(default_factory=dict)
    label: Callable[[Any], str] = status
    timed: bool = False
    in_turn: bool = False

    def start(self, client: Any) -> None:
        """Nothing to prepare."""

    def name(self) -> str:
        """The request's name in Locust's statistics."""
        return f"{self.method} {self.host}{self.path}"

    def visit(self, client: Any) -> str:
        """The outcome; ``ERROR`` without a response, or if ``label`` cannot read it."""
        with _ONE_AT_A_TIME if self.in_turn else contextlib.nullcontext():
            return self._fetched(client)

    def _fetched(self, client: Any) -> str:
        headers = dict(self.headers) | ({"Host": self.host} if self.host else {})
        started = time.monotonic()
        with client.request(
            self.method, self.path, headers=headers, name=self.name(), allow_redirects=False, catch_response=True
        ) as response:
            if not response.status_code:
                response.failure("no response")
                return ERROR
            # An error status may be what the rules require; the verdict decides.
            response.success()
            seconds = f" after {time.monotonic() - started:.0f} s" if self.timed else ""
            try:
                return f"{self.label(response)}{seconds}"
            except (ValueError, KeyError, TypeError) as error:
                response.failure(f"HTTP {response.status_code}: {type(error).__name__}: {error}")
                return ERROR


def answers(responses: list[Any]) -> str:
    """How many requests in a row got 200."""
    return f"{sum(r.status_code == 200 for r in responses)} of {len(responses)} answered"


@dataclass(frozen=True)
class Row:
    """A row of quick requests by a unique user, named in the header ``x-user``.

    :param label: turns the whole row into an outcome
    """

    path: str
    host: str
    count: int
    label: Callable[[list[Any]], str] = answers

    def start(self, client: Any) -> None:
        """Nothing to prepare."""

    def visit(self, client: Any) -> str:
        """The outcome of one row; ``ERROR`` if one of its requests got no response."""
        headers = {"Host": self.host, "x-user": uuid.uuid4().hex}
        responses = []
        for _ in range(self.count):
            with client.get(self.path, headers=headers, name=f"{self.host}{self.path}", catch_response=True) as response:
                if not response.status_code:
                    response.failure("no response")
                    return ERROR
                response.success()
                responses.append(response)
        return self.label(responses)


@dataclass(frozen=True)
class Grows:
    """Whether a number that the service reports grows again within ``seconds``."""

    path: str
    host: str
    value: Callable[[Any], int]
    seconds: float
    poll_seconds: float = 0.5

    def start(self, client: Any) -> None:
        """Nothing to prepare."""

    def visit(self, client: Any) -> str:
        """``grows`` or ``does not grow``; ``ERROR`` without a response."""
        until, first = time.monotonic() + self.seconds, None
        while time.monotonic() < until:
            with client.get(
                self.path, headers={"Host": self.host}, name=f"{self.host}{self.path}", catch_response=True
            ) as response:
                if response.status_code != 200:
                    response.failure(f"HTTP {response.status_code}")
                    return ERROR
                response.success()
                now = self.value(response)
            first = now if first is None else first
            if now > first > 0:
                return "grows"
            gevent.sleep(self.poll_seconds)
        return "does not grow"


ANSWERS, AWAY = "answers", "away"


@dataclass(frozen=True)
class Returns:
    """Whether a service that answers goes away, and then answers again, within ``seconds``.

    :param label: turns a response into ``ANSWERS``, ``AWAY``, or an outcome that ends the visit
    :param returned: outcome of a service that did
    """

    path: str
    host: str
    label: Callable[[Any], str]
    returned: str
    seconds: float
    poll_seconds: float = 0.5

    def start(self, client: Any) -> None:
        """Nothing to prepare."""

    def visit(self, client: Any) -> str:
        """The outcome; ``ERROR`` without a response, or if ``label`` cannot read it."""
        until, waiting = time.monotonic() + self.seconds, [ANSWERS, AWAY, ANSWERS]
        fetch = Fetch(self.path, self.host, label=self.label)
        while time.monotonic() < until:
            seen = fetch.visit(client)
            if seen not in (ANSWERS, AWAY):
                return seen
            if seen == waiting[0]:
                waiting.pop(0)
            if not waiting:
                return self.returned
            gevent.sleep(self.poll_seconds)
        return {3: "never answers", 2: "does not go away", 1: "does not return"}[len(waiting)]
