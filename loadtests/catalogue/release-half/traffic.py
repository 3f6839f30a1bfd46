"""Pays, and counts which release of svcb handled the call."""

from loadtests.entries.question import Contract
from loadtests.rules.egress import released
from loadtests.samples.billing import PAY, paid, release

QUESTION = Contract(
    namespace="billing",
    kinds=("virtualservices.networking.istio.io", "destinationrules.networking.istio.io"),
    promise=released,
    classes={
        "pay": {"virtual_service": "svcb", "destination_rule": "svcb", "uri": "/notify/load", "method": "GET", "headers": {}}
    },
    margin=0.1,
)
TRAFFIC = {"pay": paid(PAY, release)}
