"""The program that sends, run as it runs in a pod."""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from loadtests.judge.lines import Answer
from loadtests.judge.probes import Sender
from loadtests.mesh.cluster import ClusterError
from loadtests.mesh.credentials import Authority


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        seen = "; ".join(f"{name}: {value}" for name, value in self.headers.items())
        self.send_response(302 if self.path == "/away" else 200)
        if self.path == "/away":
            self.send_header("Location", "http://else.where/")
        self.end_headers()
        self.wfile.write(f"{self.path} {seen}".encode())

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class calls it so
        pass


@pytest.fixture
def port() -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()


@pytest.fixture
def sender() -> Iterator[Sender]:
    one = Sender(None)
    yield one
    one.stop()


def test_answers_come_in_the_order_of_the_requests_with_the_headers_that_were_given(port: int, sender: Sender) -> None:
    asked = [("127.0.0.1", port, "GET", path, {"Host": "a:1", "x-request-id": "m"}, "") for path in ("/b?c=d", "/away")]
    answers = sender.send(asked, 100.0)
    assert answers[1].headers["location"] == "http://else.where/"
    assert [replace(one, headers={}) for one in answers] == [
        Answer(200, "", "/b?c=d Host: a:1; x-request-id: m"),
        Answer(302, "http://else.where/", "/away Host: a:1; x-request-id: m"),
    ]


def test_a_request_without_an_answer_says_why(sender: Sender) -> None:
    (answer,) = sender.send([("127.0.0.1", 1, "GET", "/", {}, "")], 100.0)
    assert answer.status == 0
    assert answer.text.startswith("ConnectionRefusedError")


def test_a_request_with_a_server_name_is_sent_over_tls_whatever_the_certificate(sender: Sender, tmp_path: Path) -> None:
    made = Authority.new("nobody's").issue("other.example", "server")
    (tmp_path / "pem").write_bytes(made["tls.key"] + made["tls.crt"])
    context, asked = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), list[str | None]()
    context.load_cert_chain(tmp_path / "pem")
    context.sni_callback = lambda connection, name, context: asked.append(name)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    (answer,) = sender.send([("127.0.0.1", server.server_port, "GET", "/a", {"Host": "shop.example"}, "shop.example")], 100.0)
    server.shutdown()
    assert (answer.status, answer.text, asked) == (200, "/a Host: shop.example", ["shop.example"])


def test_a_connection_tells_this_sides_address(port: int, sender: Sender) -> None:
    first, second = sender.send([("127.0.0.1", port, "TCP", "", {}, ""), ("127.0.0.1", 1, "TCP", "", {}, "")], 100.0)
    host, number = first.text.rsplit(":", 1)
    assert (first.status, host, number.isdecimal(), number != str(port)) == (200, "127.0.0.1", True, True)
    assert (second.status, second.text[:22]) == (0, "ConnectionRefusedError")


def test_requests_are_sent_at_the_rate(port: int, sender: Sender) -> None:
    sender.send([("127.0.0.1", port, "GET", "/", {"Host": "a"}, "")], 100.0)
    begun = time.monotonic()
    sender.send([("127.0.0.1", port, "GET", "/", {"Host": "a"}, "")] * 11, 20.0)
    assert 0.5 <= time.monotonic() - begun < 2


def test_a_sender_that_has_ended_is_an_error(port: int, sender: Sender) -> None:
    sender.stop()
    with pytest.raises(ClusterError, match="the probe has ended"):
        sender.send([("127.0.0.1", port, "GET", "/", {}, "")], 1.0)
