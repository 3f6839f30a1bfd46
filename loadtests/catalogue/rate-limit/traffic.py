"""Rows of ten requests, one user and token bucket per row, on a path with a limit and on one without."""

from loadtests.clients.http import Row
from loadtests.entries.question import Contract
from loadtests.rules.resilience import limited
from loadtests.samples.echo import CALLED

ROW = 10
LIMIT = {**CALLED, "row": ROW}
QUESTION = Contract(
    namespace="echo",
    kinds=("envoyfilters.networking.istio.io", "deployments.apps"),
    promise=limited,
    about_rate=True,
    classes={"limited path": {**LIMIT, "uri": "/limited"}, "free path": {**LIMIT, "uri": "/free"}},
    margin=0.1,
)
TRAFFIC = {
    "limited path": Row("/limited", "echo.lab.internal", count=ROW),
    "free path": Row("/free", "echo.lab.internal", count=ROW),
}
