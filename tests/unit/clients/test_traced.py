"""The client that looks its calls up in Zipkin."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import gevent
import pytest

from loadtests.clients import traced
from loadtests.clients.traced import PARTIAL, TracedRow, outcome_of
from loadtests.rules.traces import NOT_TRACED
from loadtests.verdict import ERROR

ROW = TracedRow("/calls/3/echo/", "client.lab")
WHOLE = "client.echo CLIENT, echo.echo SERVER"
Span = dict[str, Any]


def span(trace: str, service: str, kind: str, number: str = "1", **more: str) -> Span:
    return {"traceId": trace, "id": number, "kind": kind, "localEndpoint": {"serviceName": f"{service}.echo"}, **more}


def whole(trace: str) -> list[Span]:
    return [span(trace, "client", "CLIENT"), span(trace, "echo", "SERVER")]


class Client:
    """Calls nothing; what Zipkin has at each look is played."""

    def __init__(self, ids: list[str], *looks: list[list[Span]], status: int = 200) -> None:
        self.ids, self.status, self.failures = ids, status, list[str]()
        self.looks, self.asked, self.slept = list(looks), list[str](), list[float]()
        self.cluster = self

    @contextmanager
    def get(self, path: str, headers: dict[str, str], **_: Any) -> Iterator[Any]:
        assert (path, headers) == (ROW.path, {"Host": ROW.host})
        body = {"traces": self.ids}
        yield SimpleNamespace(
            status_code=self.status, json=lambda: body, success=lambda: None, failure=self.failures.append
        )  # fmt: skip

    def ask(self, path: str, traceIds: str) -> list[list[Span]]:  # noqa: N803 - Zipkin's own name
        assert path == "/api/v1/namespaces/telemetry/services/zipkin:9411/proxy/api/v2/traceMany"
        self.asked.append(traceIds)
        return self.looks.pop(0) if len(self.looks) > 1 else self.looks[0]


def visited(client: Client, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setattr(gevent, "sleep", client.slept.append)
    return list(ROW.visit(client))


def test_each_call_is_an_outcome(monkeypatch: pytest.MonkeyPatch) -> None:
    client = Client(["a", "b", "c"], [whole("c"), whole("a")])
    assert visited(client, monkeypatch) == [WHOLE, NOT_TRACED, WHOLE]
    assert client.asked == ["a,b,c"]
    assert client.slept == [traced.REPORT_SECONDS]


def test_a_span_that_comes_late_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    client = Client(["a", "b", "c"], [whole("a")[:1]], [whole("a")[1:]], [whole("a")])
    assert visited(client, monkeypatch) == [WHOLE, NOT_TRACED, NOT_TRACED]
    assert len(client.asked) == 3


def test_a_span_that_does_not_come_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traced, "LATE_SECONDS", traced.REPORT_SECONDS)
    client = Client(["a"], [whole("a")[:1]])
    assert visited(client, monkeypatch) == ["client.echo CLIENT"]


def test_calls_without_a_trace_id_are_not_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    client = Client(["", "", ""], [])
    assert visited(client, monkeypatch) == [NOT_TRACED] * 3
    assert client.asked == []


def test_without_a_response_nothing_is_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    client = Client([], [], status=503)
    assert visited(client, monkeypatch) == [ERROR]
    assert (client.failures, client.asked) == (["HTTP 503"], [])


@pytest.mark.parametrize(
    ("spans", "outcome"),
    [
        (whole("a"), WHOLE),
        (whole("a")[1:], "echo.echo SERVER"),
        ([span("a", "client", "CLIENT"), span("a", "echo", "SERVER", "2", parentId="1")], WHOLE),
        ([span("a", "client", "CLIENT"), span("a", "echo", "SERVER", "2", parentId="3")], f"{WHOLE}{PARTIAL}"),
        ([*whole("a"), span("a", "echo", "CLIENT", "2", parentId="1")], f"client.echo CLIENT, echo.echo CLIENT, {WHOLE[20:]}"),
    ],
)
def test_a_trace_in_words(spans: list[Span], outcome: str) -> None:
    assert outcome_of(spans) == outcome
