"""The client of WebSockets: which outcome it reports, and what Locust records."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from loadtests.clients.websocket import Conversation, Exchanged, Silence
from loadtests.verdict import ERROR
from tests.unit import programs


@pytest.fixture
def program() -> ModuleType:
    """The sample that serves WebSockets."""
    return programs.load("samples/echo/src/echo.py")


@pytest.fixture
def port(program: ModuleType) -> Iterator[int]:
    with program.Server(("127.0.0.1", 0), program.Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


def visited(port: int, path: str = "/websocket/any", messages: int = 3, label: Any = None) -> tuple[str, list[dict[str, Any]]]:
    """The outcome of one visit, and the requests that were reported."""
    reported: list[dict[str, Any]] = []
    events = SimpleNamespace(request=SimpleNamespace(fire=lambda **request: reported.append(request)))
    client = SimpleNamespace(environment=SimpleNamespace(host=f"http://127.0.0.1:{port}", events=events))
    traffic = Conversation(path, "websocket.lab.internal", messages, label or (lambda exchanged: f"{len(exchanged)} replies"))
    traffic.start(client)
    return traffic.visit(client), reported


def test_all_messages_go_over_one_connection(port: int) -> None:
    seen: list[Exchanged] = []

    def label(exchanged: Exchanged) -> str:
        seen.append(exchanged)
        return "returned"

    outcome, (request,) = visited(port, label=label)
    assert (outcome, request["exception"], request["request_type"]) == ("returned", None, "WebSocket")
    assert [sent for sent, _ in seen[0]] == ["message 0", "message 1", "message 2"]
    assert all(f'"message": "{sent}"' in reply for sent, reply in seen[0])


def test_a_proxy_of_the_environment_is_not_used(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    assert visited(port)[0] == "3 replies"


def test_a_refused_upgrade_is_an_outcome(program: ModuleType, port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program, "FAULTY", 403)
    outcome, (request,) = visited(port)
    assert (outcome, request["exception"]) == ("HTTP 403", None)


def test_a_connection_that_ends_between_messages_is_an_outcome(
    program: ModuleType, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(payload: bytes) -> bytes:
        raise program.CloseError(1001)

    monkeypatch.setattr(program, "reply_to", refuse)
    assert visited(port)[0] == "closed early"
    monkeypatch.setattr(program, "converse", lambda reader, writer: None)
    assert visited(port)[0] == "closed early"


def test_no_response_and_an_unreadable_one_are_errors(port: int) -> None:
    def label(exchanged: Exchanged) -> str:
        raise KeyError("pod")

    for outcome, (request,) in (visited(1), visited(port, label=label)):
        assert outcome == ERROR
        assert request["exception"] is not None


@pytest.mark.parametrize(
    ("kept_seconds", "silence", "outcome"),
    [
        (0.6, 2.0, "1 s of silence, then closed"),
        (0.6, 0.2, "open after 2 s"),
        (5.0, 2.0, "open after 2 s"),
        (0.0, 2.0, "closed early"),
    ],
)
def test_a_silent_connection(
    kept_seconds: float, silence: float, outcome: str, program: ModuleType, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    if kept_seconds:
        monkeypatch.setattr(program, "IDLE_SECONDS", kept_seconds)
    else:
        monkeypatch.setattr(program, "converse", lambda reader, writer: None)
    found: list[dict[str, Any]] = []
    events = SimpleNamespace(request=SimpleNamespace(fire=lambda **request: found.append(request)))
    client = SimpleNamespace(environment=SimpleNamespace(host=f"http://127.0.0.1:{port}", events=events))
    traffic = Silence("/websocket/idle", "echo.lab.internal", 2.0, silence)
    traffic.start(client)
    assert traffic.visit(client) == outcome
    assert [(request["name"], request["exception"]) for request in found] == [
        ("websocket echo.lab.internal/websocket/idle", None)
    ]
