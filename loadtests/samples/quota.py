"""The quota sample for entries: how rows of responses are read."""

from __future__ import annotations

from collections import Counter
from typing import Any

from loadtests.rules.quotas import statuses


def by_status(responses: list[Any]) -> str:
    """How many requests in a row got each status."""
    return statuses(Counter(int(response.status_code) for response in responses))
