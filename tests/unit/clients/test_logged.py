"""The client that looks its requests up in the access log."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from loadtests.clients import logged
from loadtests.clients.logged import LoggedRow
from loadtests.mesh import observed
from loadtests.mesh.cluster import Cluster
from loadtests.rules.logs import NOTHING
from loadtests.verdict import ERROR

ROW = LoggedRow("a.lab", [("GET", "/a"), ("POST", "/b")], "echo", "echo")


class Client:
    """Sends nothing; the log of its only pod is played."""

    def __init__(self, logs: list[list[str]], status: int = 404) -> None:
        self.agents: list[str] = []
        self.logs, self.status, self.failures = logs, status, list[str]()
        self.cluster, self.pods = Cluster("none", "echo"), ["echo-1"]

    @contextmanager
    def request(self, method: str, path: str, headers: dict[str, str], **_: Any) -> Iterator[Any]:
        self.agents.append(headers["User-Agent"])
        yield SimpleNamespace(status_code=self.status, success=lambda: None, failure=self.failures.append)

    def lines(self, _: Cluster, pod: str, agent: str, seconds: float) -> list[dict[str, str]]:
        assert pod == "echo-1"
        assert seconds > logged.LATE_SECONDS, "the log reaches back to the first request"
        assert set(self.agents) == {agent}, "one name for the row, and only for it"
        paths = self.logs.pop(0) if len(self.logs) > 1 else self.logs[0]
        there = {"method": "GET", "status": "404", "flags": "-", "cluster": "c", "authority": "a.lab"}
        return [{**there, "uri": path} for path in paths]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logged, "LATE_SECONDS", 0.2)
    monkeypatch.setattr(logged, "LOOK_SECONDS", 0.01)


@pytest.mark.parametrize(
    ("logs", "outcome"),
    [
        ([["/b"]], "GET /b 404 - c a.lab"),
        ([[], ["/a"], ["/a", "/b"], ["/never"]], "GET /a 404 - c a.lab; GET /b 404 - c a.lab"),
        # The last line does not come: what is there once it is too late counts.
        ([[], ["/a"]], "GET /a 404 - c a.lab"),
        ([[]], NOTHING),
    ],
)
def test_a_row_is_looked_up_until_its_last_line_is_there(
    logs: list[list[str]], outcome: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = Client(logs)
    monkeypatch.setattr(observed, "lines_of", client.lines)
    assert ROW.visit(client) == outcome


def test_without_a_response_nothing_is_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(observed, "lines_of", None)
    client = Client([], status=0)
    assert ROW.visit(client) == ERROR
    assert client.failures == ["no response"]
