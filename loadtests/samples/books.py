"""The books sample for entries: how to ask details for a book, and how to read how it called the API."""

from __future__ import annotations

from typing import Any

from loadtests.clients.http import Fetch, status
from loadtests.entries.question import LEADING, ResponseCheck, through
from loadtests.rules.calls import Call, Caller
from loadtests.rules.egress import book_fetched

HOST = "books.outside.internal"
TO_API = Call(HOST, 80, Caller("books", {"app": "details"}, all_labels=False), "/books/v1/volumes")


def call_received(response: Any) -> str:
    """Status, and how the API was called, as reported by the API."""
    publisher = response.json().get("publisher", "")
    return f"{status(response)} {publisher}".rstrip()


BOOK_FETCHED = ResponseCheck(
    namespace="books",
    kinds=LEADING,
    expectation=book_fetched,
    classes={
        "details": {
            "call": TO_API,
            "address": "api.books.svc.cluster.local",
            "plain": 8080,
            "secure": 8443,
            **through("books/volumes", "volumes.lab.internal", "details", "/details/0", port=9080),
        }
    },
)
"""Whether details gets a book from the external API, and how its sidecar calls it."""
FETCH = Fetch("/details/0", "volumes.lab.internal", label=call_received)
