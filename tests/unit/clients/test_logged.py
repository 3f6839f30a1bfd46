"""The client that looks its requests up in the access log."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import gevent
import pytest

from loadtests.clients import logged
from loadtests.clients.logged import LoggedRow
from loadtests.mesh import observed
from loadtests.mesh.cluster import ClusterError
from loadtests.rules.logs import NOTHING
from loadtests.verdict import ERROR

ROW = LoggedRow("a.lab", [("GET", "/a"), ("POST", "/b")], "echo", "echo")


LINE = (
    '[2026-11-26T10:00:01.000Z] "GET {path} HTTP/1.1" 404 - via_upstream - "-" 0 98 3 2 "10.1.1.1" "{agent}" "i" "a.lab" '
    '"10.244.0.8:80" c 127.0.0.6:37 10.244.0.8:8080 10.244.0.1:0 outbound default'
)


class Client:
    """Sends nothing; the logs of its pods are played, and have a line of each path once both requests were sent."""

    def __init__(self, *logs: list[str], status: int = 404) -> None:
        self.agents: list[str] = []
        self.status, self.failures = status, list[str]()
        self.pods = [f"echo-{number}" for number in range(len(logs))]
        self.logs, self.closed = dict(zip(self.pods, logs, strict=True)), list[str]()
        self.cluster = self

    @contextmanager
    def request(self, method: str, path: str, headers: dict[str, str], **_: Any) -> Iterator[Any]:
        self.agents.append(headers["User-Agent"])
        yield SimpleNamespace(status_code=self.status, success=lambda: None, failure=self.failures.append)

    def following(self, _: Any, pod: str) -> Generator[str]:
        try:
            assert not self.agents, "the log is followed before the first request is sent"
            yield "2026-11-26T10:00:00Z info a line that was there before"
            while len(self.agents) < len(ROW.row):
                gevent.sleep(0.01)
            assert len(set(self.agents)) == 1, "one name for the row"
            yield LINE.format(path="/b", agent="another client")
            for path in self.logs[pod]:
                if path == "ended":
                    raise ClusterError("the answer has ended")
                yield LINE.format(path=path, agent=self.agents[0])
            gevent.sleep(60)
        finally:
            self.closed.append(pod)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logged, "LATE_SECONDS", 0.2)


def visited(client: Client, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(observed, "following", client.following)
    try:
        return ROW.visit(client)
    finally:
        assert sorted(client.closed) == client.pods, "no log is followed any more"


@pytest.mark.parametrize(
    ("logs", "outcome"),
    [
        ([["/b", "/never"]], "GET /b 404 - c a.lab"),
        ([["/a", "/b"]], "GET /a 404 - c a.lab; GET /b 404 - c a.lab"),
        ([["/a"], ["/b"]], "GET /a 404 - c a.lab; GET /b 404 - c a.lab"),
        # The last line does not come: what is there once it is too late counts.
        ([["/a"]], "GET /a 404 - c a.lab"),
        ([[]], NOTHING),
    ],
)
def test_a_row_is_looked_up_until_its_last_line_is_there(
    logs: list[list[str]], outcome: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert visited(Client(*logs), monkeypatch) == outcome


def test_a_log_that_ends_is_no_outcome(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ClusterError, match="has ended"):
        visited(Client(["/a", "ended"]), monkeypatch)


def test_without_a_response_nothing_is_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    client = Client(["/a", "/b"], status=0)
    assert visited(client, monkeypatch) == ERROR
    assert client.failures == ["no response"]
