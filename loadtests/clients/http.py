"""Clients of plain HTTP through the gateway: one request, a row of requests, a number that grows."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import gevent

from loadtests.verdict import ERROR


def status(response: Any) -> str:
    """``HTTP 200``; with the target where the answer is a redirect."""
    to = response.headers.get("Location") if response.status_code in (301, 302, 303, 307, 308) else None
    return f"HTTP {response.status_code}" + (f" to {to}" if to else "")


@dataclass(frozen=True)
class Fetch:
    """One request through the gateway, whose outcome is what ``label`` makes of the answer.

    :param host: host name to ask the gateway for; empty for the gateway's own address
    :param timed: whether the outcome tells the time as well, in whole seconds (a window of half a second both ways)
    """

    path: str
    host: str = ""
    method: str = "GET"
    headers: Mapping[str, str] = field(default_factory=dict)
    label: Callable[[Any], str] = status
    timed: bool = False

    def start(self, client: Any) -> None:
        """Nothing to prepare."""

    def name(self) -> str:
        """What Locust's statistics call the request."""
        return f"{self.method} {self.host}{self.path}"

    def visit(self, client: Any) -> str:
        """The outcome; ``ERROR`` when no answer came, or one that ``label`` cannot read."""
        headers = dict(self.headers) | ({"Host": self.host} if self.host else {})
        started = time.monotonic()
        with client.request(
            self.method, self.path, headers=headers, name=self.name(), allow_redirects=False, catch_response=True
        ) as response:
            if not response.status_code:
                response.failure("no answer")
                return ERROR
            # What the rules ask for is no failure: the verdict tells right from wrong.
            response.success()
            seconds = f" after {time.monotonic() - started:.0f} s" if self.timed else ""
            try:
                return f"{self.label(response)}{seconds}"
            except (ValueError, KeyError, TypeError) as error:
                response.failure(f"HTTP {response.status_code}: {type(error).__name__}: {error}")
                return ERROR


def answers(responses: list[Any]) -> str:
    """How many of a row were answered with 200."""
    return f"{sum(r.status_code == 200 for r in responses)} of {len(responses)} answered"


@dataclass(frozen=True)
class Row:
    """A row of quick requests by a user whom nobody else is: a name of its own in the header ``x-user``.

    :param label: outcome of the whole row
    """

    path: str
    host: str
    count: int
    label: Callable[[list[Any]], str] = answers

    def start(self, client: Any) -> None:
        """Nothing to prepare."""

    def visit(self, client: Any) -> str:
        """The outcome of one row; ``ERROR`` when one of its requests was not answered at all."""
        headers = {"Host": self.host, "x-user": uuid.uuid4().hex}
        responses = []
        for _ in range(self.count):
            with client.get(self.path, headers=headers, name=f"{self.host}{self.path}", catch_response=True) as response:
                if not response.status_code:
                    response.failure("no answer")
                    return ERROR
                response.success()
                responses.append(response)
        return self.label(responses)


@dataclass(frozen=True)
class Grows:
    """Whether a number that the service tells grows once more within ``seconds``."""

    path: str
    host: str
    value: Callable[[Any], int]
    seconds: float
    poll_seconds: float = 0.5

    def start(self, client: Any) -> None:
        """Nothing to prepare."""

    def visit(self, client: Any) -> str:
        """``grows``, ``does not grow``; ``ERROR`` when no answer came."""
        until, first = time.monotonic() + self.seconds, None
        while time.monotonic() < until:
            with client.get(
                self.path, headers={"Host": self.host}, name=f"{self.host}{self.path}", catch_response=True
            ) as told:
                if told.status_code != 200:
                    told.failure(f"HTTP {told.status_code}")
                    return ERROR
                told.success()
                now = self.value(told)
            first = now if first is None else first
            if now > first > 0:
                return "grows"
            gevent.sleep(self.poll_seconds)
        return "does not grow"
