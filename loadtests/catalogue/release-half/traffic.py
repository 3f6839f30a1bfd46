"""Pays, and counts which release of svcb took the call."""

from loadtests.billing import PAY, paid, release
from loadtests.egress import released
from loadtests.question import Contract

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
