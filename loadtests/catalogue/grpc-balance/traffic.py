"""Rows of twelve gRPC calls over one connection: whether each of the three greeters has had its turn."""

from loadtests.echo import turns
from loadtests.entry import Fetch
from loadtests.question import Contract
from loadtests.resilience import balanced

ROW, PODS = 12, 3

QUESTION = Contract(
    namespace="greeter",
    kinds=("destinationrules.networking.istio.io",),
    promise=balanced,
    classes={"row of calls": {"destination_rule": "greeter", "row": ROW, "pods": PODS}},
)
TRAFFIC = {"row of calls": Fetch(f"/hello/{ROW}", "greeter.lab.internal", label=turns(ROW, PODS))}
