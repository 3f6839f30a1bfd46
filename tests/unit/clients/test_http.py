"""The client that waits for a service to go away and come back: which outcome it reports."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from loadtests.clients.http import ANSWERS, AWAY, Returns
from loadtests.verdict import ERROR


def visited(seen: Sequence[str], seconds: float = 5) -> str:
    """The outcome of a visit that sees one after another of these, the last one again and again; '' is no response."""
    left = iter(seen)

    @contextmanager
    def request(method: str, path: str, **_: Any) -> Any:
        assert (method, path) == ("GET", "/ailing")
        now = next(left, seen[-1])
        noted = {"failure": lambda _: None, "success": lambda: None}
        yield SimpleNamespace(status_code=200 if now else 0, text=now, headers={}, **noted)

    traffic = Returns("/ailing", "a.lab", lambda response: str(response.text), "it came back", seconds, poll_seconds=0.001)
    traffic.start(None)
    return traffic.visit(SimpleNamespace(request=request))


@pytest.mark.parametrize(
    ("seen", "outcome"),
    [
        ([ANSWERS, ANSWERS, AWAY, AWAY, ANSWERS], "it came back"),
        ([AWAY, ANSWERS, AWAY, ANSWERS], "it came back"),
        ([ANSWERS, "called while it is ill", AWAY, ANSWERS], "called while it is ill"),
        ([ANSWERS, AWAY, "HTTP 403"], "HTTP 403"),
        ([ANSWERS, ""], ERROR),
    ],
)
def test_what_a_visit_sees(seen: list[str], outcome: str) -> None:
    assert visited(seen) == outcome


@pytest.mark.parametrize(
    ("seen", "outcome"),
    [([AWAY], "never answers"), ([ANSWERS], "does not go away"), ([AWAY, ANSWERS, AWAY], "does not return")],
)
def test_what_a_visit_has_waited_for_in_vain(seen: list[str], outcome: str) -> None:
    assert visited(seen, seconds=0.05) == outcome
