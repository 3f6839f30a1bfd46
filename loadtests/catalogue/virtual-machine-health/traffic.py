"""A pod calls a virtual machine that falls ill again and again: while its health check fails, nobody may call it."""

from loadtests.clients.http import Returns
from loadtests.entries.question import ResponseCheck
from loadtests.rules.machines import RESTORED, restored
from loadtests.samples.machine import BY_POD, CHECK_SECONDS, KINDS, MACHINE, connected, presence

QUESTION = ResponseCheck(
    namespace="machine",
    kinds=KINDS,
    expectation=restored,
    classes={
        "falls ill": {
            **MACHINE, "app": "machine", "authority": "machine:8080", "uri": "/ailing", "caller": {"app": "pod"},
            "health": ("/health", 8080), "within": CHECK_SECONDS,
        },
    },
    margin=0.1,
    requires=(connected,),
)  # fmt: skip
TRAFFIC = {"falls ill": Returns("/call/machine/ailing", BY_POD, label=presence, returned=RESTORED, seconds=90)}
