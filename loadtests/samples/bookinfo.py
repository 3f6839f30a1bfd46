"""Bookinfo for entries: how to log in, and which pod served the reviews."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from loadtests.clients.http import Fetch, status
from loadtests.entries.question import Split
from loadtests.rules.calls import Call, Caller
from loadtests.verdict import ERROR

SESSION = "session"
"""The cookie that productpage sets once somebody is logged in."""
REVIEWS_CLASSES = {"anonymous": {"headers": {}, "uri": "/reviews/0", "method": "GET", "port": 9080}}
REVIEWS_SPLIT = Split(app="reviews", classes=REVIEWS_CLASSES, callers="productpage")
"""Which versions of reviews answer anonymous users."""


def call(host: str, uri: str, user: str = "", caller: str = "productpage") -> Call:
    """A call of one service of Bookinfo to another one, for a user or for nobody."""
    headers = {"end-user": user} if user else {}
    return Call(f"{host}:9080", 9080, Caller("bookinfo", {"app": caller}, all_labels=False), uri, headers=headers)


def log_in(client: Any, user: str) -> str:
    """Log in through the page unless the client is logged in, because productpage drops an ``end-user`` header of a client's.

    A visit without its login would be somebody else's, and would be judged by what the rules promise this user.

    :return: '' once the client is logged in, or needs no login; else what came of it
    """
    if not user or any(cookie.name == SESSION for cookie in client.cookiejar):
        return ""
    form = {"username": user, "passwd": user}
    response = client.post("/login", data=form, name="login", allow_redirects=False)
    if any(cookie.name == SESSION for cookie in client.cookiejar):
        return ""
    return f"login: {status(response)}" if response.status_code else ERROR


@dataclass(frozen=True)
class UserFetch(Fetch):
    """One request as a logged-in user, or anonymously."""

    user: str = ""

    def visit(self, client: Any) -> str:
        """The outcome, or that of the login where it did not work."""
        return log_in(client, self.user) or super().visit(client)

    def name(self) -> str:
        """The name with the user, because the rules distinguish users."""
        return f"{super().name()} as {self.user or 'anonymous'}"


@dataclass(frozen=True)
class ReadReviews:
    """Reads the reviews of book 0 through the gateway, as a logged-in user or anonymously."""

    user: str = ""
    path: str = "/api/v1/products/0/reviews"
    headers: Mapping[str, str] = field(default_factory=dict)

    def start(self, client: Any) -> None:
        """Nothing to prepare."""

    def visit(self, client: Any) -> str:
        """The pod that served the reviews."""
        if log_in(client, self.user):
            return ERROR
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
