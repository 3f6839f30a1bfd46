"""Calls greeter with names for which it is UNAVAILABLE until the third, and until the sixth, attempt."""

from loadtests.clients.http import Fetch
from loadtests.entries.question import ROUTING, ResponseCheck
from loadtests.rules.retries import grpc_attempted
from loadtests.samples.greeter import SAY_HELLO, code_and_attempt, through_caller

WANTED = {"third attempt": 3, "sixth attempt": 6}

QUESTION = ResponseCheck(
    namespace="greeter",
    kinds=ROUTING,
    expectation=grpc_attempted,
    classes={
        name: {"call": SAY_HELLO, "wanted": wanted, **through_caller(f"/ask/wanting-{wanted}")}
        for name, wanted in WANTED.items()
    },
)
TRAFFIC = {
    name: Fetch(f"/ask/wanting-{wanted}", "greeter.lab.internal", label=code_and_attempt) for name, wanted in WANTED.items()
}
