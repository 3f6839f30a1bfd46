"""Rows of ten requests, one user and token bucket per row, on a path with a limit and on one without."""

from loadtests.clients.http import Row
from loadtests.entries.question import ROUTING, ResponseCheck
from loadtests.rules.resilience import limited
from loadtests.samples.echo import CALLED, by_users

ROW = 10
LIMIT = {**CALLED, "row": ROW}
QUESTION = ResponseCheck(
    namespace="echo",
    kinds=(*ROUTING, "envoyfilters.networking.istio.io", "deployments.apps"),
    expectation=limited,
    about_rate=True,
    classes={
        "limited path": {**LIMIT, "call": by_users("echo", "/limited")},
        "free path": {**LIMIT, "call": by_users("echo", "/free")},
    },
    margin=0.1,
)
TRAFFIC = {
    "limited path": Row("/limited", "echo.lab.internal", count=ROW),
    "free path": Row("/free", "echo.lab.internal", count=ROW),
}
