"""Many users, each with their own header: does a user always reach the pod that answered first?"""

from typing import Any

from loadtests.clients.http import Row
from loadtests.entries.question import ROUTING, ResponseCheck
from loadtests.rules.resilience import stuck
from loadtests.samples.echo import CALLED, by_users

ROW, PODS = 6, 3


def outcome(responses: list[Any]) -> str:
    """Whether one pod sent all responses."""
    return "one pod" if len({r.json()["pod"] for r in responses}) == 1 else "several pods"


QUESTION = ResponseCheck(
    namespace="echo",
    kinds=ROUTING,
    expectation=stuck,
    classes={"user": {**CALLED, "app": "pool", "call": by_users("pool"), "header": "x-user", "row": ROW, "pods": PODS}},
)
TRAFFIC = {"user": Row("/", "pool.lab.internal", count=ROW, label=outcome)}
