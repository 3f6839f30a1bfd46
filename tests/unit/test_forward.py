"""Port forwarding for a gateway without an address: which process is the forward, and which ports it gets."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
from websocket import ABNF, WebSocket

from scripts import forward
from tests import kubeconfig


def test_a_forward_is_recognized_by_its_command_not_its_id(tmp_path: Path) -> None:
    assert forward.running(tmp_path) == 0
    (tmp_path / "forward.pid").write_text(f"{os.getpid()}\n")  # after a reboot, the id belongs to another process
    assert forward.running(tmp_path) == 0
    (tmp_path / "forward.pid").write_text("none\n")
    assert forward.running(tmp_path) == 0
    script = "import time; time.sleep(60)"
    (tmp_path / "it.py").write_text(script)
    with subprocess.Popen([sys.executable, str(tmp_path / "it.py"), "run", str(tmp_path)], start_new_session=True) as process:
        (tmp_path / "forward.pid").write_text(f"{process.pid}\n")
        assert forward.running(tmp_path) == process.pid
        assert forward.running(tmp_path.parent) == 0
        forward.stop(tmp_path)
        assert process.wait(timeout=10) != 0
    assert not (tmp_path / "forward.pid").exists()
    assert forward.stop(tmp_path) == 0, "a stopped forward is not stopped again"


def test_a_forward_that_ignores_sigterm_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forward, "SECONDS_TO_STOP", 0.3)
    script = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(60)"
    (tmp_path / "it.py").write_text(script)
    command = [sys.executable, str(tmp_path / "it.py"), "run", str(tmp_path)]
    with subprocess.Popen(command, start_new_session=True, stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()  # from now on, it ignores SIGTERM
        (tmp_path / "forward.pid").write_text(f"{process.pid}\n")
        forward.stop(tmp_path)
        assert process.wait(timeout=10) == -signal.SIGKILL


def test_ports_are_kept_unless_one_is_taken() -> None:
    kept = forward.chosen([])
    assert len(set(kept)) == len(forward.PORTS)
    assert forward.chosen(kept) == kept
    with socket.create_server(("127.0.0.1", kept[1])):
        assert kept[1] not in forward.chosen(kept)


def test_a_failed_forward_reports_why_and_leaves_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert forward.start(tmp_path, kubeconfig.written(tmp_path, 9)) == 1
    errors = capsys.readouterr().err
    assert "the gateway's ports are not forwarded: " in errors
    assert "Connection refused" in errors
    assert sorted(p.name for p in tmp_path.iterdir()) == ["kubeconfig", "log"]


@dataclass(frozen=True)
class Tunnel:
    """A client whose connection is forwarded, and the API server's end of the WebSocket that carries it."""

    client: socket.socket
    server: socket.socket
    said: list[str]

    def frame(self, channel: int, data: bytes) -> bytes:
        return bytes(ABNF.create_frame(bytes([channel]) + data, ABNF.OPCODE_BINARY).format())


@pytest.fixture
def tunnel() -> Iterator[Tunnel]:
    ours, theirs = socket.socketpair()
    channel = WebSocket()
    channel.sock, channel.connected = ours, True
    said: list[str] = []
    listening = socket.create_server(("127.0.0.1", 0))
    serving = (listening, lambda: channel, lambda error: said.append(str(error)))
    threading.Thread(target=forward.serve, args=serving, daemon=True).start()
    with socket.create_connection(listening.getsockname()) as client, theirs:
        client.settimeout(10)
        theirs.settimeout(10)
        made = Tunnel(client, theirs, said)
        # The first message on the data channel and on the error channel is the port.
        theirs.sendall(made.frame(0, b"\x90\x1f") + made.frame(1, b"\x90\x1f"))
        yield made


def test_data_flows_in_both_directions(tunnel: Tunnel) -> None:
    tunnel.client.sendall(b"question")
    sent = WebSocket()
    sent.sock, sent.connected = tunnel.server, True
    assert sent.recv_data(True) == (ABNF.OPCODE_BINARY, b"\0question")
    tunnel.server.sendall(tunnel.frame(0, b"ans") + tunnel.frame(0, b"wer"))
    assert b"".join(tunnel.client.recv(1) for _ in range(6)) == b"answer"


def test_data_right_before_the_end_is_not_lost(tunnel: Tunnel) -> None:
    whole = os.urandom(3_000_000)
    frames = b"".join(tunnel.frame(0, whole[i : i + 60_000]) for i in range(0, len(whole), 60_000))
    threading.Thread(
        target=tunnel.server.sendall, args=(frames + ABNF.create_frame(b"", ABNF.OPCODE_CLOSE).format(),), daemon=True
    ).start()
    got = b""
    while data := tunnel.client.recv(65536):
        got += data
        time.sleep(0.001)  # a client slower than the pod
    assert got == whole
    assert tunnel.said == []


def test_a_pod_that_resets_a_connection_resets_the_clients(tunnel: Tunnel) -> None:
    tunnel.server.sendall(tunnel.frame(1, b"read: connection reset by peer"))
    with pytest.raises(ConnectionResetError):
        tunnel.client.recv(1)
    assert tunnel.said == ["read: connection reset by peer"]


class Silent(BaseHTTPRequestHandler):
    """An API server that answers what is listed, and takes every other request without a word."""

    answers: ClassVar[dict[str, dict[str, Any]]] = {}

    def do_GET(self) -> None:
        answer = self.answers.get(self.path.partition("?")[0].rpartition("/")[2])
        if answer is None:
            threading.Event().wait(20)
            return
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


SERVICE: dict[str, Any] = {"spec": {"selector": {"app": "gateway"}, "ports": [{"port": 80, "targetPort": 8080}]}}
POD: dict[str, Any] = {
    "metadata": {"name": "gateway-1"},
    "status": {"conditions": [{"type": "Ready", "status": "True"}]},
}


@pytest.mark.parametrize(
    "answers", [{}, {forward.SERVICE: SERVICE}, {forward.SERVICE: SERVICE, "pods": {"items": [POD]}}],
    ids=["of the Service", "of the pods", "of a connection"],
)  # fmt: skip
def test_an_api_server_without_a_word_is_not_waited_for(
    answers: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forward, "SECONDS_TO_CONNECT", 0.5)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Answering", (Silent,), {"answers": answers}))
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    began = time.monotonic()
    with pytest.raises(OSError, match="timed out"):
        forward.Gateway(kubeconfig.written(tmp_path, server.server_port)).connect(80)
    assert time.monotonic() - began < 10
    server.shutdown()


def test_a_tunnel_that_cannot_be_opened_is_reported() -> None:
    said: list[str] = []

    def none() -> forward.Channel:
        raise OSError("no pod of istio-ingressgateway is ready")

    listening = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=forward.serve, args=(listening, none, lambda e: said.append(str(e))), daemon=True).start()
    with socket.create_connection(listening.getsockname()) as client, pytest.raises(ConnectionResetError):
        client.recv(1)
    assert said == ["no pod of istio-ingressgateway is ready"]
