"""Bookinfo as entries see it: how to log in, and whose reviews an answer shows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from loadtests.clients.http import Fetch
from loadtests.entries.question import Split
from loadtests.verdict import ERROR

REVIEWS_CLASSES = {"anonymous": {"headers": {}, "uri": "/reviews/0", "method": "GET", "port": 9080}}
REVIEWS_SPLIT = Split(virtual_service="reviews", app="reviews", classes=REVIEWS_CLASSES, callers="productpage")
"""Which versions of reviews answer those who have not logged in."""


def log_in(client: Any, user: str) -> None:
    """Log in through the page: productpage drops an ``end-user`` header that a client sends itself."""
    if user:
        client.post("/login", data={"username": user, "passwd": user}, name="login", allow_redirects=False)


@dataclass(frozen=True)
class UserFetch(Fetch):
    """One request of a user who has logged in, or of nobody."""

    user: str = ""

    def start(self, client: Any) -> None:
        """Log in when there is a user."""
        log_in(client, self.user)

    def name(self) -> str:
        """With the user, for the rules tell users apart."""
        return f"{super().name()} as {self.user or 'anonymous'}"


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
