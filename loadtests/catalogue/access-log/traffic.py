"""Sends rows of requests that succeed and fail, and looks each row up in the access log of echo's proxy."""

from loadtests.clients.logged import LoggedRow
from loadtests.entries.question import LEADING, ResponseCheck
from loadtests.rules.logs import logged
from loadtests.rules.workloads import BY_GATEWAY
from loadtests.samples.echo import CALLED, GATEWAY

HOST = "echo.lab.internal"
ROW = (("GET", "/status/200", 200), ("POST", "/status/404", 404), ("GET", "/status/201", 201), ("GET", "/status/500", 500))
QUESTION = ResponseCheck(
    namespace="echo",
    kinds=(*LEADING, "telemetries.telemetry.istio.io", "deployments.apps"),
    expectation=logged,
    classes={"row of requests": {**CALLED, **BY_GATEWAY, "gateway": GATEWAY, "authority": HOST, "row": ROW}},
    proxies=(("echo", "echo"),),
    margin=0.1,
)
TRAFFIC = {"row of requests": LoggedRow(HOST, [(method, path) for method, path, _ in ROW], "echo", "echo")}
