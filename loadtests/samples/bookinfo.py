"""Bookinfo for entries: how to log in, and which pod served the reviews."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from loadtests.clients.http import Fetch
from loadtests.entries.question import Split
from loadtests.rules.calls import Call, Caller
from loadtests.verdict import ERROR

REVIEWS_CLASSES = {"anonymous": {"headers": {}, "uri": "/reviews/0", "method": "GET", "port": 9080}}
REVIEWS_SPLIT = Split(app="reviews", classes=REVIEWS_CLASSES, callers="productpage")
"""Which versions of reviews answer anonymous users."""


def call(host: str, uri: str, user: str = "", caller: str = "productpage") -> Call:
    """A call of one service of Bookinfo to another one, for a user or for nobody."""
    headers = {"end-user": user} if user else {}
    return Call(f"{host}:9080", 9080, Caller("bookinfo", {"app": caller}, all_labels=False), uri, headers=headers)


def log_in(client: Any, user: str) -> None:
    """Log in through the page, because productpage drops an ``end-user`` header sent by the client."""
    if user:
        client.post("/login", data={"username": user, "passwd": user}, name="login", allow_redirects=False)


@dataclass(frozen=True)
class UserFetch(Fetch):
    """One request as a logged-in user, or anonymously."""

    user: str = ""

    def start(self, client: Any) -> None:
        """Log in if there is a user."""
        log_in(client, self.user)

    def name(self) -> str:
        """The name with the user, because the rules distinguish users."""
        return f"{super().name()} as {self.user or 'anonymous'}"


@dataclass(frozen=True)
class ReadReviews:
    """Reads the reviews of book 0 through the gateway; logs in first if there is a user."""

    user: str = ""
    path: str = "/api/v1/products/0/reviews"
    headers: Mapping[str, str] = field(default_factory=dict)

    def start(self, client: Any) -> None:
        """Log in if there is a user."""
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
                response.failure("no podname in the response")
                return ERROR
