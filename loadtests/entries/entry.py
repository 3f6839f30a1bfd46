"""Catalogue entries: one folder each, found by name; nothing else lists them."""

from __future__ import annotations

import argparse
import difflib
import importlib.util
import json
import sys
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import gevent

from loadtests.entries.question import Question
from loadtests.mesh.cluster import Cluster
from loadtests.rules.security import REFUSED
from loadtests.verdict import ERROR

CATALOGUE = Path(__file__).parents[1] / "catalogue"


class Traffic(Protocol):
    """How one traffic class behaves."""

    def start(self, client: Any) -> None:
        """Prepare the client (log in, say); called once for each user."""

    def visit(self, client: Any) -> str:
        """One request; the name of the pod that answered, or ``ERROR``."""


@dataclass(frozen=True)
class Entry:
    """One catalogue entry: the question, and how to send each traffic class."""

    name: str
    question: Question
    traffic: dict[str, Traffic]
    prepare: Callable[[Cluster], bool] | None = None
    """Makes what the rules need beside them, unless it is there; tells whether it did."""


def names() -> list[str]:
    """All entries, sorted."""
    return sorted(folder.name for folder in CATALOGUE.iterdir() if (folder / "traffic.py").exists())


def load(name: str) -> Entry:
    """The entry ``name``.

    :raises KeyError: with near matches, if there is none
    """
    if name not in names():
        near = difflib.get_close_matches(name, names(), n=3, cutoff=0.4) or names()
        raise KeyError(f"{name} was given; accepted: an entry of the catalogue, such as {', '.join(near)}")
    spec = importlib.util.spec_from_file_location(f"loadtests.catalogue.{name}", CATALOGUE / name / "traffic.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return Entry(name, module.QUESTION, module.TRAFFIC, getattr(module, "PREPARE", None))


def log_in(client: Any, user: str) -> None:
    """Log in through the page: productpage drops an ``end-user`` header that a client sends itself."""
    if user:
        client.post("/login", data={"username": user, "passwd": user}, name="login", allow_redirects=False)


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
    user: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    label: Callable[[Any], str] = status
    timed: bool = False

    def start(self, client: Any) -> None:
        """Log in when there is a user."""
        log_in(client, self.user)

    def visit(self, client: Any) -> str:
        """The outcome; ``ERROR`` when no answer came, or one that ``label`` cannot read."""
        headers = dict(self.headers) | ({"Host": self.host} if self.host else {})
        name = f"{self.method} {self.host}{self.path} as {self.user or 'anonymous'}"
        started = time.monotonic()
        with client.request(
            self.method, self.path, headers=headers, name=name, allow_redirects=False, catch_response=True
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


def called(response: Any) -> str:
    """What a caller of the echo sample was told: its status, or ``refused`` when no answer came."""
    status = response.json()["status"]
    return f"HTTP {status}" if status else REFUSED


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


@dataclass(frozen=True)
class ReadReviews:
    """Reads book 0's reviews through the gateway; logs in first when there is a user."""

    user: str = ""
    path: str = "/api/v1/products/0/reviews"
    headers: Mapping[str, str] = field(default_factory=dict)

    def start(self, client: Any) -> None:
        """Log in when there is a user."""
        log_in(client, self.user)

    def visit(self, client: Any) -> str:
        """The pod that served the reviews."""
        with client.get(
            self.path, headers=dict(self.headers), name=f"reviews as {self.user or 'anonymous'}", catch_response=True
        ) as response:
            if response.status_code != 200:
                response.failure(f"HTTP {response.status_code}")
                return ERROR
            try:
                return str(response.json()["podname"])
            except (ValueError, KeyError, TypeError):
                response.failure("an answer without podname")
                return ERROR


REVIEWS_CLASSES = {"anonymous": {"headers": {}, "uri": "/reviews/0", "method": "GET"}}


def main() -> int:
    """``python -m loadtests.entries.entry [NAME]``: one entry, or all of them, as JSON with what applying them needs."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("name", nargs="?")
    name = parser.parse_args().name
    try:
        found = [load(n) for n in ([name] if name else names())]
    except KeyError as error:
        print(error.args[0], file=sys.stderr)
        return 1
    told = [{"name": e.name, "namespace": e.question.namespace, "alone": e.question.alone} for e in found]
    print(json.dumps(told[0] if name else told))
    return 0


if __name__ == "__main__":
    sys.exit(main())
