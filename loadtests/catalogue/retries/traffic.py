"""Calls echo through client on paths that fail or are late at first; echo itself counts the attempts."""

from typing import Any

from loadtests.clients.http import Fetch
from loadtests.entries.question import ROUTING, ResponseCheck
from loadtests.rules.retries import attempted
from loadtests.samples.echo import by_client, through


def outcome(response: Any) -> str:
    """Status, and the attempt that returned it."""
    answer = response.json()
    body = answer.get("body")
    return f"HTTP {answer['status']}" + (f" at attempt {body['attempt']}" if isinstance(body, dict) else "")


QUESTION = ResponseCheck(
    namespace="echo",
    kinds=ROUTING,
    expectation=attempted,
    about_rate=True,
    classes={
        "fails twice": {"call": by_client("echo", "/attempts/3"), "wanted": 3, **through("client", "/call/echo/attempts/3")},
        "fails always": {
            "call": by_client("echo", "/attempts/99"),
            "wanted": 99,
            **through("client", "/call/echo/attempts/99"),
        },
        "late once": {
            "call": by_client("echo", "/late/2"),
            "wanted": 2,
            "late_seconds": 1.0,
            **through("client", "/call/echo/late/2"),
        },
    },
)
TRAFFIC = {
    "fails twice": Fetch("/call/echo/attempts/3", "client.lab.internal", label=outcome),
    "fails always": Fetch("/call/echo/attempts/99", "client.lab.internal", label=outcome),
    "late once": Fetch("/call/echo/late/2", "client.lab.internal", label=outcome),
}
