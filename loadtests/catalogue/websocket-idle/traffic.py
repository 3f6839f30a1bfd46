"""Opens WebSockets to echo: one client stays silent after a message, another one sends a message every second."""

from loadtests.clients.websocket import Silence
from loadtests.entries.question import ROUTING, ResponseCheck, enters
from loadtests.rules.websockets import closed_when_silent
from loadtests.samples.echo import CALLED, GATEWAY, UPGRADE

HOST, URI, SECONDS = "echo.lab.internal", "/websocket/idle", 4
SILENCES = {"silent": 4, "a message every second": 1}

QUESTION = ResponseCheck(
    namespace="echo",
    kinds=(*ROUTING, "envoyfilters.networking.istio.io", "deployments.apps"),
    promise=closed_when_silent,
    classes={
        name: {**CALLED, "call": enters(HOST, GATEWAY, URI, headers=UPGRADE), "seconds": SECONDS, "silence": silence}
        for name, silence in SILENCES.items()
    },
    about_time=True,
    margin=0.1,
)
TRAFFIC = {name: Silence(URI, HOST, SECONDS, silence) for name, silence in SILENCES.items()}
