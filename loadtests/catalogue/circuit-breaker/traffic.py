"""Bursts of ten calls at once to a slow echo; how many client's own proxy turned away is read from its statistics."""

from typing import Any

from loadtests.clients.http import Fetch
from loadtests.entries.question import Contract
from loadtests.rules.resilience import pooled

BURST = 10


def told(response: Any) -> str:
    """Calls that were answered, and those that the proxy counted as overflow of its pool."""
    answer = response.json()
    return f"{answer['statuses'].count(200)} of {BURST} served, {answer['turned_away']} turned away"


QUESTION = Contract(
    namespace="echo",
    kinds=("destinationrules.networking.istio.io",),
    promise=pooled,
    about_rate=True,
    classes={"burst": {"destination_rule": "echo", "burst": BURST}},
    margin=0.15,
)
TRAFFIC = {"burst": Fetch(f"/burst/{BURST}/echo/slow/200", "client.lab.internal", label=told)}
