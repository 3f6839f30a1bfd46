"""Asks the gateway for a host name of its own; details must answer, and nobody else."""

from dataclasses import dataclass
from typing import Any

from loadtests.entries.question import Split
from loadtests.verdict import ERROR

HOST = "books.lab.internal"
QUESTION = Split(
    virtual_service="ingress-reachability",
    app="details",
    classes={"outside": {"headers": {}, "uri": "/details/0", "method": "GET", "authority": HOST}},
    callers="istio-ingressgateway",
)


@dataclass(frozen=True)
class AskForDetails:
    """One book's details by the public host name."""

    def start(self, client: Any) -> None:
        """Nothing to prepare."""

    def visit(self, client: Any) -> str:
        """The service that answered: details' answer has an author, and the id that was asked for."""
        with client.get("/details/0", headers={"Host": HOST}, name="details by host", catch_response=True) as response:
            if response.status_code != 200 or "author" not in (response.json() or {}):
                response.failure(f"HTTP {response.status_code}, or not details' answer")
                return ERROR
            return "details"


TRAFFIC = {"outside": AskForDetails()}
