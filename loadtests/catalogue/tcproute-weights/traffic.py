"""Opens one connection per request through the gateway's TCP port; the health that is reported names the service."""

from typing import Any

from loadtests.clients.secure import TcpFetch
from loadtests.entries.question import BY_ROUTES, GATEWAY, ResponseCheck
from loadtests.rules.l4_routes import tcp_shared

SERVERS = {"details": "details", "ratings": "ratings"}


def answered_by(response: Any) -> str:
    """The service in ``Details is healthy``."""
    return str(response.json()["status"]).partition(" ")[0].lower()


QUESTION = ResponseCheck(
    kinds=BY_ROUTES,
    expectation=tcp_shared,
    classes={
        "connection": {
            "gateway": ("istio-system", "ingress"), "listener_set": ("bookinfo", "tcproute-weights"), "port": 31400,
            "servers": SERVERS,
        }
    },
    proxies=(GATEWAY,),
)  # fmt: skip
TRAFFIC = {"connection": TcpFetch("/health", answered_by)}
