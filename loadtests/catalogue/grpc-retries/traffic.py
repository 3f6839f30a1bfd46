"""Calls greeter with names for which it is UNAVAILABLE until the third, and until the sixth, attempt."""

from loadtests.clients.http import Fetch
from loadtests.entries.question import Contract
from loadtests.rules.resilience import grpc_attempted
from loadtests.samples.greeter import code_and_attempt

WANTED = {"third attempt": 3, "sixth attempt": 6}

QUESTION = Contract(
    namespace="greeter",
    kinds=("virtualservices.networking.istio.io",),
    promise=grpc_attempted,
    classes={name: {"virtual_service": "greeter", "wanted": wanted} for name, wanted in WANTED.items()},
)
TRAFFIC = {
    name: Fetch(f"/ask/wanting-{wanted}", "greeter.lab.internal", label=code_and_attempt) for name, wanted in WANTED.items()
}
