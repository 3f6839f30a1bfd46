"""How answers of the echo sample are distinguished, and what the sample answers itself."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import threading
from collections.abc import Iterator, Sequence
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from websocket import ABNF, WebSocket, create_connection

from loadtests.clients.secure import SecureFetch
from loadtests.mesh.credentials import Authority
from loadtests.rules.responses import CLOSED
from loadtests.samples import echo
from tests.unit import programs


def answer(status: int, body: Any) -> SimpleNamespace:
    return SimpleNamespace(json=lambda: {"caller": "client-1", "status": status, "body": body})


@pytest.mark.parametrize(
    ("status", "body", "service", "text"),
    [
        (200, {"pod": "pool-5d8f7-x2x"}, "pool", "HTTP 200"),
        (200, {"pod": "shaky-v-faulty-5d8f7-x2x"}, "shaky-v-faulty", "HTTP 200"),
        (503, "Closed for maintenance.", "HTTP 503", "HTTP 503 Closed for maintenance."),
        (410, "", "HTTP 410", "HTTP 410"),
        (403, "RBAC: access denied", "HTTP 403", "HTTP 403 RBAC: access denied"),
    ],
)
def test_what_a_caller_reports(status: int, body: Any, service: str, text: str) -> None:
    assert echo.called_service(answer(status, body)) == service
    assert echo.called_text(answer(status, body)) == text


def row(*answers: tuple[int, str]) -> dict[str, list[Any]]:
    return {"statuses": [status for status, _ in answers], "pods": [pod for _, pod in answers]}


NEAR, FAR, FAILED = (200, "echo-5d8f7-x2x"), (200, "pool-5d8f7-x2x"), (503, "echo-5d8f7-x2x")


@pytest.mark.parametrize(
    ("before", "during", "after", "outcome"),
    [
        ([NEAR, NEAR], [FAILED, FAR], [NEAR, NEAR], "1 of 2 failed; echo, then pool, then echo"),
        ([NEAR, FAR], [FAILED, FAILED], [FAR, FAR], "2 of 2 failed; echo and pool, then nobody, then pool"),
        ([FAILED], [FAR, (500, "")], [(0, ""), NEAR], "0 of 2 failed; HTTP 503, then HTTP 500 and pool, then echo and refused"),
    ],
)  # fmt: skip
def test_who_took_over(before: list[Any], during: list[Any], after: list[Any], outcome: str) -> None:
    rows = {"before": row(*before), "during": row(*during), "after": row(*after)}
    response = SimpleNamespace(json=lambda: rows)
    assert echo.taken_over(response) == outcome


@pytest.mark.parametrize(
    ("pods", "messages", "outcome"),
    [
        (("pool-5d8f7-x2x", "pool-5d8f7-x2x"), ("a", "b"), "pool"),
        (("pool-5d8f7-x2x", "pool-5d8f7-y3y"), ("a", "b"), "several pods"),
        (("pool-5d8f7-x2x", "pool-5d8f7-x2x"), ("b", "a"), "other messages"),
    ],
)
def test_who_returned_the_messages_of_a_websocket(pods: Sequence[str], messages: Sequence[str], outcome: str) -> None:
    replies = [json.dumps({"pod": pod, "message": message}) for pod, message in zip(pods, messages, strict=True)]
    assert echo.conversed(list(zip(("a", "b"), replies, strict=True))) == outcome


@pytest.fixture(scope="module")
def program() -> ModuleType:
    """The sample's own program."""
    return programs.load("samples/echo/src/echo.py")


@pytest.fixture
def port(program: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    monkeypatch.setattr(program, "AUTHORIZED", ["ann"])
    monkeypatch.setattr(program, "VERSION", "v1")
    with program.Server(("127.0.0.1", 0), program.Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


def ask(port: int, path: str, *headers: tuple[str, str]) -> tuple[HTTPResponse, dict[str, Any]]:
    connection = HTTPConnection("127.0.0.1", port, timeout=30)
    connection.putrequest("GET", path)
    for name, value in headers:
        connection.putheader(name, value)
    connection.endheaders()
    response = connection.getresponse()
    found: dict[str, Any] = json.loads(response.read())
    connection.close()
    return response, found


def test_headers_of_one_name_are_all_reported(port: int) -> None:
    response, answer = ask(port, "/", ("X-Lab-Added", "client"), ("x-lab-added", "route"), ("x-lab-set", "a"))
    assert (answer["headers"]["x-lab-added"], answer["headers"]["x-lab-set"]) == ("client, route", "a")
    assert response.headers["x-lab-version"] == "v1"


@pytest.mark.parametrize(("headers", "status"), [([], 401), ([("x-user", "eve")], 403), ([("x-user", "ann")], 200)])
def test_whom_the_authorizer_allows(port: int, headers: list[tuple[str, str]], status: int) -> None:
    assert ask(port, "/authorize/private/1", *headers)[0].status == status


def test_only_json_is_reported_as_data(program: ModuleType, port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    assert program.call(f"http://127.0.0.1:{port}/", "GET", {})["body"]["path"] == "/"
    monkeypatch.setattr(program.Handler, "send_header", lambda self, name, value: None)
    answer = program.call(f"http://127.0.0.1:{port}/", "GET", {"Connection": "close"})
    assert isinstance(answer["body"], str)


def test_an_outage_is_over_once_a_pod_of_the_service_answers(
    program: ModuleType, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(program, "POD", "echo-5d8f7-x2x")
    monkeypatch.setattr(program, "PAUSE_SECONDS", 0.0)
    monkeypatch.setitem(program.TARGETS, "here", f"http://127.0.0.1:{port}")
    pods = ["echo-5d8f7-x2x"] * 2
    status, found = program.answer("GET", "/outage/2/here/echo", {})
    assert (status, found) == (200, {
        "before": {"statuses": [200, 200], "pods": pods},
        "during": {"statuses": [503, 503], "pods": pods},
        "after": {"statuses": [200, 200], "pods": pods},
    })  # fmt: skip
    monkeypatch.setattr(program, "RETURN_SECONDS", 0.0)
    other = program.answer("GET", "/outage/2/here/pool", {})[1]
    assert (other["during"]["statuses"], other["after"]["pods"]) == ([200, 200], pods)
    assert program.answer("GET", "/outage/51/here/echo", {})[0] == 400
    assert program.answer("GET", "/outage/2/there/echo", {})[0] == 404


def test_a_row_reports_the_traces_that_the_callee_saw(program: ModuleType, port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(program.TARGETS, "here", f"http://127.0.0.1:{port}")
    assert program.answer("GET", "/calls/2/here/", {})[1]["traces"] == ["", ""]
    traced = {"status": 200, "body": {"headers": {"x-b3-traceid": "a"}}}
    monkeypatch.setattr(program, "row", lambda *_: [traced, {"status": 0, "error": "Timeout"}])
    assert program.answer("GET", "/calls/2/here/", {})[1] == {"statuses": [200, 0], "pods": ["", ""], "traces": ["a", ""]}


@pytest.fixture
def tcp(port: int) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", port), 5) as made:
        yield made


@pytest.fixture
def conversation(tcp: socket.socket) -> WebSocket:
    return create_connection("ws://echo.lab/websocket/any", 5, socket=tcp)


# Each of them has its length in another form.
@pytest.mark.parametrize("length", [0, 125, 126, 60_000])
def test_a_websocket_returns_messages_of_any_length(conversation: WebSocket, length: int) -> None:
    for text in ("a" * length, "\u00e9" * (length // 2)):
        conversation.send(text)
        assert json.loads(conversation.recv())["message"] == text


def test_a_reply_may_be_longer_than_any_message(conversation: WebSocket) -> None:
    text = "\u00e9" * 30_000  # escaped in JSON
    conversation.send(text)
    assert json.loads(conversation.recv())["message"] == text


def test_a_websocket_answers_pings_and_a_closing_client(conversation: WebSocket) -> None:
    conversation.ping("here")
    assert conversation.recv_data(control_frame=True) == (ABNF.OPCODE_PONG, b"here")
    conversation.send_close()
    assert conversation.recv_data(control_frame=True) == (ABNF.OPCODE_CLOSE, (1000).to_bytes(2, "big"))


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        (b"\x81\x01a", 1002),  # not masked
        (b"\x82\x81\0\0\0\0a", 1003),  # binary
        (b"\x01\x81\0\0\0\0a", 1003),  # a part of a message
        (b"\x81\xff\0\0\0\0\0\x01\0\x01", 1009),  # longer than what is accepted
        (b"\x81\x81\0\0\0\0\xff", 1007),  # not UTF-8
    ],
)
def test_a_websocket_is_closed_with_the_reason(conversation: WebSocket, tcp: socket.socket, frame: bytes, code: int) -> None:
    tcp.sendall(frame)
    assert conversation.recv_data(control_frame=True) == (ABNF.OPCODE_CLOSE, code.to_bytes(2, "big"))


def test_the_websockets_path_wants_an_upgrade(port: int) -> None:
    assert ask(port, "/websocket/any")[0].status == 426


def test_the_sample_serves_by_tls_and_its_client_verifies_the_certificate(program: ModuleType, tmp_path: Path) -> None:
    authority, other = Authority.new("one"), Authority.new("other")
    issued = authority.issue("*.sni.lab.internal", "server")
    for name, content in issued.items():
        (tmp_path / name).write_bytes(content)
    server = program.Server(("127.0.0.1", 0), program.Handler)
    server.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.tls.load_cert_chain(tmp_path / "tls.crt", tmp_path / "tls.key")
    threading.Thread(target=server.serve_forever, daemon=True).start()

    def visited(host: str, trusted: Authority, port: int) -> str:
        client: Any = SimpleNamespace(
            tls=ssl.create_default_context(cadata=trusted.pem.decode()),
            environment=SimpleNamespace(
                parsed_options=SimpleNamespace(gateway_https=f"127.0.0.1:{port}"),
                events=SimpleNamespace(request=SimpleNamespace(fire=lambda **_: None)),
            ),
        )
        return SecureFetch(host, "sni-ca", "/", "echo", label=lambda response: response.json()["path"]).visit(client)

    try:
        port = server.server_address[1]
        assert visited("any.sni.lab.internal", authority, port) == "/"
        assert visited("any.sni.lab.internal", other, port) == "the client refused the certificate"
        assert visited("sni.lab.internal", authority, port) == "the client refused the certificate"
        with socket.create_connection(("127.0.0.1", port)) as plain, contextlib.suppress(ConnectionResetError):
            plain.sendall(b"GET / HTTP/1.1\r\n\r\n")
            assert b"HTTP/1.1" not in plain.recv(100)
    finally:
        server.shutdown()
        server.server_close()
    with socket.create_server(("127.0.0.1", 0)) as closing:

        def close() -> None:
            closing.accept()[0].close()

        threading.Thread(target=close, daemon=True).start()
        assert visited("any.sni.lab.internal", authority, closing.getsockname()[1]) == CLOSED
