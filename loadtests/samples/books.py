"""The books sample as entries see it: how to ask details for a book, and what its answer tells of the way to the API."""

from __future__ import annotations

from typing import Any

from loadtests.clients.http import Fetch, status
from loadtests.entries.question import Contract
from loadtests.rules.egress import book_fetched

HOST = "books.outside.internal"


def way(response: Any) -> str:
    """Status, and how the API was asked, as it says itself."""
    publisher = response.json().get("publisher", "")
    return f"{status(response)} {publisher}".rstrip()


BOOK_FETCHED = Contract(
    namespace="books",
    kinds=("serviceentries.networking.istio.io", "destinationrules.networking.istio.io"),
    promise=book_fetched,
    classes={"details": {"host": HOST, "port": 80, "destination_rule": "books"}},
)
"""Whether details is told of a book by the API outside the mesh, and how its sidecar asks."""
FETCH = Fetch("/details/0", "volumes.lab.internal", label=way)
