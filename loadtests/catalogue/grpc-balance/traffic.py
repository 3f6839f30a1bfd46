"""Rows of twelve gRPC calls over one connection: does each of the three greeters get its turn?"""

from loadtests.clients.http import Fetch
from loadtests.entries.question import ROUTING, ResponseCheck
from loadtests.rules.resilience import balanced
from loadtests.samples.echo import turns
from loadtests.samples.greeter import CALLED, SAY_HELLO, through_caller

ROW, PODS = 12, 3
URI = f"/hello/{ROW}"

QUESTION = ResponseCheck(
    namespace="greeter",
    kinds=ROUTING,
    expectation=balanced,
    classes={"row of calls": {**CALLED, "call": SAY_HELLO, "row": ROW, "pods": PODS, **through_caller(URI)}},
)
TRAFFIC = {"row of calls": Fetch(URI, "greeter.lab.internal", label=turns(ROW, PODS))}
