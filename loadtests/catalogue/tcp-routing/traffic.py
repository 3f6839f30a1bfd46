"""Opens one connection per request to reviews through the gateway's TCP port, and reads which version answered."""

from typing import Any

from loadtests.clients.secure import TcpFetch
from loadtests.entries.question import GATEWAY, ROUTING, ResponseCheck, enters
from loadtests.rules.responses import connected


def version(response: Any) -> str:
    """The version in the name of the pod that answered: reviews-v1-..."""
    return str(response.json()["podname"]).split("-")[1]


QUESTION = ResponseCheck(
    kinds=ROUTING,
    expectation=connected,
    classes={"connection": {"call": enters("*", "bookinfo/tcp", port=31400)}},
    proxies=(GATEWAY,),
)
TRAFFIC = {"connection": TcpFetch("/reviews/0", version)}
