"""Opens a connection for each request for reviews through the gateway's TCP port, and reads which version answered."""

from typing import Any

from loadtests.clients.secure import TcpFetch
from loadtests.entries.question import GATEWAY, Contract
from loadtests.rules.promises import connected


def version(response: Any) -> str:
    """Of the pod that answered, by its name: reviews-v1-..."""
    return str(response.json()["podname"]).split("-")[1]


QUESTION = Contract(
    kinds=("virtualservices.networking.istio.io", "destinationrules.networking.istio.io"),
    promise=connected,
    classes={"connection": {"virtual_service": "tcp", "port": 31400}},
    proxies=(GATEWAY,),
)
TRAFFIC = {"connection": TcpFetch("/reviews/0", version)}
