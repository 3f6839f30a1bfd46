"""Opens WebSockets to echo: one client stays silent after a message, another one sends a message every second."""

from loadtests.clients.websocket import Silence
from loadtests.entries.question import ROUTING, ResponseCheck, enters
from loadtests.rules.websockets import closed_when_silent
from loadtests.samples.echo import CALLED, GATEWAY, UPGRADE

HOST, URI = "echo.lab.internal", "/websocket/idle"
CLIENTS = {"silent": {"seconds": 9, "silence": 9}, "a message every second": {"seconds": 5, "silence": 1}}

QUESTION = ResponseCheck(
    namespace="echo",
    kinds=(*ROUTING, "envoyfilters.networking.istio.io", "deployments.apps"),
    expectation=closed_when_silent,
    classes={name: {**CALLED, "call": enters(HOST, GATEWAY, URI, headers=UPGRADE), **times} for name, times in CLIENTS.items()},
    margin=0.15,
)
TRAFFIC = {name: Silence(URI, HOST, **times) for name, times in CLIENTS.items()}
