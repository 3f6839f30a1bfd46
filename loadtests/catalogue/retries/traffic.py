"""Calls echo through client on paths that fail or are late at first; echo itself counts the attempts."""

from typing import Any

from loadtests.clients.http import Fetch
from loadtests.entries.question import ROUTING, Contract
from loadtests.rules.calls import Call, Caller
from loadtests.rules.retries import attempted


def told(response: Any) -> str:
    """Status, and the attempt that returned it."""
    answer = response.json()
    body = answer.get("body")
    return f"HTTP {answer['status']}" + (f" at attempt {body['attempt']}" if isinstance(body, dict) else "")


def called(uri: str) -> Call:
    """A call that client makes."""
    return Call("echo:8080", 8080, Caller("echo", {"app": "client"}, all_labels=False), uri)


QUESTION = Contract(
    namespace="echo",
    kinds=ROUTING,
    promise=attempted,
    about_rate=True,
    classes={
        "fails twice": {"call": called("/attempts/3"), "wanted": 3},
        "fails always": {"call": called("/attempts/99"), "wanted": 99},
        "late once": {"call": called("/late/2"), "wanted": 2, "late_seconds": 1.0},
    },
)
TRAFFIC = {
    "fails twice": Fetch("/call/echo/attempts/3", "client.lab.internal", label=told),
    "fails always": Fetch("/call/echo/attempts/99", "client.lab.internal", label=told),
    "late once": Fetch("/call/echo/late/2", "client.lab.internal", label=told),
}
