"""Rows of twelve calls from client to the three pods of pool: does each pod get its turn?"""

from loadtests.clients.http import Fetch
from loadtests.entries.question import ROUTING, ResponseCheck
from loadtests.rules.resilience import balanced
from loadtests.samples.echo import CALLED, by_client, through, turns

ROW, PODS = 12, 3
URI = f"/calls/{ROW}/pool/"

QUESTION = ResponseCheck(
    namespace="echo",
    kinds=ROUTING,
    expectation=balanced,
    about_rate=True,
    classes={
        "row of calls": {**CALLED, "app": "pool", "call": by_client("pool"), "row": ROW, "pods": PODS, **through("client", URI)}
    },
)
TRAFFIC = {"row of calls": Fetch(URI, "client.lab.internal", label=turns(ROW, PODS))}
