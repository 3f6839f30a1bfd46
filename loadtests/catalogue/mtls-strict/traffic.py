"""Calls echo from client, which has a sidecar, and from legacy, which has none."""

from loadtests.entry import Fetch, called
from loadtests.question import Contract
from loadtests.security import encrypted

QUESTION = Contract(
    namespace="echo",
    kinds=("peerauthentications.security.istio.io",),
    promise=encrypted,
    classes={
        "with a sidecar": {"peer_authentication": "default", "sidecar": True},
        "without a sidecar": {"peer_authentication": "default", "sidecar": False},
    },
)
TRAFFIC = {
    "with a sidecar": Fetch("/call/echo/", "client.lab.internal", label=called),
    "without a sidecar": Fetch("/call/echo/", "legacy.lab.internal", label=called),
}
