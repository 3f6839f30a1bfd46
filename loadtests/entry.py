"""Catalogue entries: one folder each, found by name; nothing else lists them."""

from __future__ import annotations

import difflib
import importlib.util
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from loadtests.question import Question
from loadtests.verdict import ERROR

CATALOGUE = Path(__file__).parent / "catalogue"


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


def names() -> list[str]:
    """All entries, sorted."""
    return sorted(folder.name for folder in CATALOGUE.iterdir() if (folder / "traffic.py").exists())


def load(name: str) -> Entry:
    """The entry ``name``.

    :raises KeyError: with near matches, if there is none
    """
    if name not in names():
        near = difflib.get_close_matches(name, names(), n=3, cutoff=0.4) or names()
        raise KeyError(f"ENTRY: {name!r} was given; no such entry; near: {', '.join(near)}")
    spec = importlib.util.spec_from_file_location(f"loadtests.catalogue.{name}", CATALOGUE / name / "traffic.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return Entry(name, module.QUESTION, module.TRAFFIC)


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
        """The outcome; ``ERROR`` when no answer came."""
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
            return f"{self.label(response)}{seconds}"


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
