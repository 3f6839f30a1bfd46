"""Bursts of ten concurrent calls to a slow echo; the statistics of client's own proxy show how many it rejected."""

from typing import Any

from loadtests.clients.http import Fetch
from loadtests.entries.question import ROUTING, ResponseCheck
from loadtests.rules.resilience import pooled
from loadtests.samples.echo import CALLED, by_client, through

BURST = 10
URI = f"/burst/{BURST}/echo/slow/200"


def outcome(response: Any) -> str:
    """Calls that were answered, and calls that the proxy counted as pool overflow."""
    answer = response.json()
    return f"{answer['statuses'].count(200)} of {BURST} served, {answer['rejected']} rejected"


QUESTION = ResponseCheck(
    namespace="echo",
    kinds=ROUTING,
    expectation=pooled,
    about_rate=True,
    classes={"burst": {**CALLED, "call": by_client("echo", "/slow/200"), "burst": BURST, **through("client", URI)}},
    margin=0.2,
)
TRAFFIC = {"burst": Fetch(URI, "client.lab.internal", label=outcome)}
