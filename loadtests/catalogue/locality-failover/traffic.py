"""Rows of calls to a service in two zones, before, while, and after the pod in the caller's zone fails."""

from loadtests.clients.http import Fetch
from loadtests.entries.question import ROUTING, ResponseCheck
from loadtests.rules.resilience import failed_over
from loadtests.samples.echo import by_client, taken_over, through

ROW, SECONDS = 4, 6
URI = f"/outage/{ROW}/near/echo"

QUESTION = ResponseCheck(
    namespace="echo",
    kinds=ROUTING,
    expectation=failed_over,
    about_rate=True,
    classes={
        "outage": {
            "namespace": "echo", "app": "near", "port": 8080, "call": by_client("near"), "row": ROW, "seconds": SECONDS,
            **through("client", URI),
        }
    },
    proxies=(("echo", "client"),),
    margin=0.25,
)  # fmt: skip
TRAFFIC = {"outage": Fetch(URI, "client.lab.internal", label=taken_over, in_turn=True)}
