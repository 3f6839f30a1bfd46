"""Rows of twelve calls from client to the three pods of pool: whether each pod has had its turn."""

from typing import Any

from loadtests.entry import Fetch
from loadtests.question import Contract
from loadtests.resilience import balanced

ROW, PODS = 12, 3


def told(response: Any) -> str:
    """Whether all pods had as many calls."""
    pods = response.json()["pods"]
    return "in turn" if sorted(pods.count(p) for p in set(pods)) == [ROW // PODS] * PODS else "not in turn"


QUESTION = Contract(
    namespace="echo",
    kinds=("destinationrules.networking.istio.io",),
    promise=balanced,
    classes={"row of calls": {"destination_rule": "pool", "row": ROW, "pods": PODS}},
)
TRAFFIC = {"row of calls": Fetch(f"/calls/{ROW}/pool/", "client.lab.internal", label=told)}
