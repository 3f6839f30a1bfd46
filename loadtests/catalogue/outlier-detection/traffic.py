"""Rows of twenty calls to two pods, one of which always fails: it must soon be ejected, and later be tried again."""

from typing import Any

from loadtests.clients.http import Fetch, Grows
from loadtests.entries.question import ROUTING, ResponseCheck
from loadtests.rules.resilience import ejected
from loadtests.samples.echo import CALLED, by_client, through

ROW, SECONDS = 20, 30
URI, EJECTIONS = f"/paced/{ROW}/shaky/", "/ejections/shaky"
SHAKY = {**CALLED, "app": "shaky", "call": by_client("shaky"), "row": ROW, "pods": 2, "seconds": SECONDS}


def outcome(response: Any) -> str:
    """Failed calls in a row."""
    return f"{response.json()['statuses'].count(503)} of {ROW} failed"


def ejections(response: Any) -> int:
    """Ejections that client's own proxy counts; a pod must return to the pool before it can be ejected again."""
    return int(response.json()["ejections"])


QUESTION = ResponseCheck(
    namespace="echo",
    kinds=ROUTING,
    expectation=ejected,
    about_rate=True,
    classes={
        "row of calls": {**SHAKY, **through("client", URI)},
        "taken back": {**SHAKY, "later": True, **through("client", EJECTIONS)},
    },
    margin=0.15,
)
TRAFFIC = {
    # With a pause after each call: a worker reports a failure to the proxy's main thread, which ejects the pod a moment later.
    "row of calls": Fetch(URI, "client.lab.internal", label=outcome),
    "taken back": Grows(EJECTIONS, "client.lab.internal", value=ejections, seconds=SECONDS),
}
