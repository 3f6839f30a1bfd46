"""Opens WebSockets through the gateway and sends messages on each; the replies name the pod that returned them."""

from loadtests.clients.websocket import Conversation
from loadtests.entries.question import GATEWAY, ROUTING, ResponseCheck, enters
from loadtests.rules.responses import fronted
from loadtests.samples.echo import UPGRADE, conversed

HOST, MESSAGES = "websocket.lab.internal", 5
PATHS = {"split": "/websocket/any", "a single destination": "/websocket/pool"}

QUESTION = ResponseCheck(
    namespace="echo",
    kinds=ROUTING,
    expectation=fronted,
    classes={name: {"call": enters(HOST, "echo/websocket", uri, headers=UPGRADE)} for name, uri in PATHS.items()},
    proxies=(("echo", "echo"), ("echo", "pool"), GATEWAY),
)
TRAFFIC = {name: Conversation(uri, HOST, MESSAGES, conversed) for name, uri in PATHS.items()}
