"""Bookinfo for entries: how to log in, and which pod served the reviews."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from loadtests.clients.http import Fetch, status
from loadtests.entries.question import Split, between, through
from loadtests.rules.calls import Call, Caller
from loadtests.verdict import ERROR

SESSION = "session"
"""The cookie that productpage sets once somebody is logged in."""
NAMESPACE, PORT = "bookinfo", 9080
REVIEWS_PATH, RATINGS_PATH = "/api/v1/products/0/reviews", "/api/v1/products/0/ratings"
PAGE_SECONDS, REVIEWS_ATTEMPTS = 3.0, 2
"""How long productpage waits for any service, and how often it tries reviews; the others it tries once."""
RATINGS_SECONDS = {"v2": 10.0, "v3": 2.5}
"""How long each version of reviews waits for ratings; v1 does not ask for them."""
AT_ONCE = 2.0
"""Seconds that ratings may take without productpage giving up on reviews."""


def call(host: str, uri: str, user: str = "", caller: str = "productpage", headers: Mapping[str, str] | None = None) -> Call:
    """A call of one service of Bookinfo to another one, for a user or for nobody; services forward the user's cookie."""
    given = {**({"end-user": user} if user else {}), **(headers or {})}
    pods = Caller(NAMESPACE, {"app": caller}, all_labels=False)
    return Call(f"{host}:{PORT}", PORT, pods, uri, headers=given, varied=frozenset(("cookie",) if user else ()))


def by_page(uri: str, user: str = "", headers: Mapping[str, str] | None = None) -> dict[str, Any]:
    """How a request gets to productpage, for a user or for nobody: a part of the request about a call that follows from it."""
    varied = ("cookie",) if user else ()
    return through("bookinfo/bookinfo-gateway", "", "productpage", uri, port=PORT, headers=headers or {}, varied=varied)


def from_page(app: str, uri: str, **more: Any) -> dict[str, Any]:
    """A hop from productpage to another service, which is one more of ``through``."""
    return between(NAMESPACE, "productpage", "bookinfo-productpage", app, uri, PORT, **more)


def follows(made: Call, within: float = AT_ONCE) -> dict[str, Any]:
    """A call that follows from another one, and fails without changing the answer, unless it takes longer."""
    return {"call": made, "app": made.name, "namespace": NAMESPACE, "port": PORT, "within": within}


def reviewed(user: str = "", headers: Mapping[str, str] | None = None) -> dict[str, Any]:
    """A request for reviews: the call that productpage makes, with the hop before it and the one after it."""
    asked = call("reviews", "/reviews/0", user, headers=headers)
    ratings = call("ratings", "/ratings/0", user, "reviews", headers)
    seen = {"headers": asked.headers, "uri": asked.uri, "method": asked.method, "port": asked.port, "varied": asked.varied}
    return {**seen, **by_page(REVIEWS_PATH, user, headers), "onward": (follows(ratings),)}


REVIEWS_CLASSES = {"anonymous": reviewed()}
REVIEWS_SPLIT = Split(app="reviews", classes=REVIEWS_CLASSES, callers="productpage")
"""Which versions of reviews answer anonymous users."""


def log_in(client: Any, user: str) -> str:
    """Log in through the page unless the client is logged in, because productpage drops an ``end-user`` header of a client's.

    A visit without its login would be somebody else's, and would be judged by what the rules declare for this user.

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
    path: str = REVIEWS_PATH
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
