"""Requests a separate host name from the gateway; only details may answer."""

from dataclasses import dataclass
from typing import Any

from loadtests.entries.question import Split
from loadtests.verdict import ERROR

HOST = "books.lab.internal"
QUESTION = Split(
    app="details",
    classes={"outside": {"host": HOST, "uri": "/details/0", "port": 8080, "gateway": "bookinfo/ingress-reachability"}},
    callers="istio-ingressgateway",
)


@dataclass(frozen=True)
class AskForDetails:
    """Reads one book's details through the public host name."""

    def start(self, client: Any) -> None:
        """Nothing to prepare."""

    def visit(self, client: Any) -> str:
        """The service that answered: a response from details has an author and the requested id."""
        with client.get("/details/0", headers={"Host": HOST}, name="details by host", catch_response=True) as response:
            if response.status_code != 200 or "author" not in (response.json() or {}):
                response.failure(f"HTTP {response.status_code}, or not details' answer")
                return ERROR
            return "details"


TRAFFIC = {"outside": AskForDetails()}
