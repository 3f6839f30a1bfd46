"""The books sample for entries: how to ask details for a book, and how to read how it called the API."""

from __future__ import annotations

from typing import Any

from loadtests.clients.http import Fetch, status
from loadtests.entries.question import Contract
from loadtests.rules.egress import book_fetched

HOST = "books.outside.internal"


def call_received(response: Any) -> str:
    """Status, and how the API was called, as reported by the API."""
    publisher = response.json().get("publisher", "")
    return f"{status(response)} {publisher}".rstrip()


BOOK_FETCHED = Contract(
    namespace="books",
    kinds=("serviceentries.networking.istio.io", "destinationrules.networking.istio.io"),
    promise=book_fetched,
    classes={"details": {"host": HOST, "port": 80, "destination_rule": "books"}},
)
"""Whether details gets a book from the external API, and how its sidecar calls it."""
FETCH = Fetch("/details/0", "volumes.lab.internal", label=call_received)
