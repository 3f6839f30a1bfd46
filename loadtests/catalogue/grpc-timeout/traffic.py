"""Calls greeter with a name that it answers at once, and one that it answers after three seconds."""

from loadtests.clients.http import Fetch
from loadtests.entries.question import ROUTING, ResponseCheck
from loadtests.rules.retries import grpc_timed_out
from loadtests.samples.greeter import SAY_HELLO, in_time, through_caller

SECONDS = {"at once": 0, "late": 3}

QUESTION = ResponseCheck(
    namespace="greeter",
    kinds=ROUTING,
    expectation=grpc_timed_out,
    about_time=True,
    classes={
        name: {"call": SAY_HELLO, "seconds": seconds, **through_caller(f"/ask/late-{seconds}")}
        for name, seconds in SECONDS.items()
    },
)
TRAFFIC = {
    name: Fetch(f"/ask/late-{seconds}", "greeter.lab.internal", label=in_time, timed=True) for name, seconds in SECONDS.items()
}
