"""The way to a gateway that has no address: ports of 127.0.0.1, forwarded to its pod until they are given up.

``forward.py start STATE KUBECONFIG`` writes STATE/gateway.json and prints ``started`` or ``kept``; ``forward.py stop STATE``
prints ``stopped`` where one ran. Between the two a process of its own (``run``) forwards. ``kubectl port-forward`` would end,
with every connection that it has, as soon as the gateway resets one: as it does when it refuses a client. Here each connection
goes to the API server by itself, and the pod is looked for again when it has gone.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import selectors
import signal
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Protocol

# Ports of the Service, by the names that gateway.json has for them.
PORTS = {"http": 80, "https": 443, "tcp": 31400}
SECONDS_TO_START = 30.0
SECONDS_TO_STOP = 10.0
PAUSE_SECONDS = 0.2
# For a gateway's pod to be replaced, and for an answer of the API server; a client that waits longer than this has given up.
SECONDS_TO_CONNECT = 10.0
NAMESPACE, SERVICE = "istio-system", "istio-ingressgateway"
CHUNK = 65536
DATA = 0
"""The channel of a forward's bytes."""
BINARY, CLOSE = 2, 8
"""Opcodes of WebSocket frames (RFC 6455)."""


def running(state: Path) -> int:
    """The process id of this lab's forward, 0 when there is none: an id alone may be another's after a reboot."""
    try:
        pid = int((state / "forward.pid").read_text())
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except (OSError, ValueError):
        return 0
    return pid if [b"run", os.fsencode(state)] == words[2:4] else 0


def chosen(kept: Iterable[int]) -> list[int]:
    """A free port for each of PORTS: those that were ``kept``, unless somebody has taken one meanwhile."""
    with contextlib.ExitStack() as stack:
        try:
            held = [stack.enter_context(socket.create_server(("127.0.0.1", port))) for port in kept]
        except OSError:
            held = []
        while len(held) < len(PORTS):
            held.append(stack.enter_context(socket.create_server(("127.0.0.1", 0))))
        return [server.getsockname()[1] for server in held]


def listens(port: int) -> bool:
    """Whether somebody listens on a port of 127.0.0.1; a connection would be handed on."""
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError:
        return True
    return False


def start(state: Path, kubeconfig: str) -> int:
    """0 when the gateway's ports are there, with what was done on standard output; else 1, and why on standard error."""
    file = state / "gateway.json"
    before = json.loads(file.read_text()) if file.exists() else {}
    ours = before.get("by") == "port-forward"
    if ours and running(state):
        print("kept")
        return 0
    ports = chosen([int(before[name].rpartition(":")[2]) for name in PORTS] if ours else [])
    log = state / "log/forward.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a") as output:
        command = [sys.executable, str(Path(__file__).resolve()), "run", str(state), kubeconfig, *map(str, ports)]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True)
    (state / "forward.pid").write_text(f"{process.pid}\n")
    until = time.monotonic() + SECONDS_TO_START
    while not all(map(listens, ports)):
        if process.poll() is not None or time.monotonic() > until:
            stop(state)
            last = (log.read_text().strip().splitlines() or ["it printed nothing"])[-1]
            print(f"the gateway's ports are not forwarded: {last}; log: {log}", file=sys.stderr)
            return 1
        time.sleep(0.2)
    at = {name: f"127.0.0.1:{port}" for name, port in zip(PORTS, ports, strict=True)}
    partial = file.with_suffix(".partial")
    partial.touch(mode=0o600)
    partial.write_text(json.dumps({**at, "http": f"http://{at['http']}", "by": "port-forward"}) + "\n")
    partial.replace(file)
    print("started")
    return 0


def stop(state: Path) -> int:
    """0; the forward is a process group of its own, which is gone at the end."""
    if pid := running(state):
        until = time.monotonic() + SECONDS_TO_STOP
        os.killpg(pid, signal.SIGTERM)
        while running(state):
            if time.monotonic() > until:
                os.killpg(pid, signal.SIGKILL)
            time.sleep(0.05)
        print("stopped")
    (state / "forward.pid").unlink(missing_ok=True)
    return 0


class Gateway:
    """The gateway's pod, by the API server."""

    def __init__(self, kubeconfig: str) -> None:
        """Read the ports of the Service.

        :raises OSError: if the cluster does not answer, or there is no such Service
        """
        # Here, for its import takes a while, and start and stop do without it.
        from kubernetes import client, config

        settings = client.Configuration()
        settings.retries = False  # a server that hangs would be waited for four times as long
        made = config.new_client_from_config(kubeconfig, client_configuration=settings)  # type: ignore[no-untyped-call] # the package is typed in part
        self.client, self.api = made, client.CoreV1Api(made)
        spec = self._asked(self.api.read_namespaced_service, SERVICE, NAMESPACE).spec
        self.selector = ",".join(f"{key}={value}" for key, value in spec.selector.items())
        self.ports = {port.port: int(port.target_port) for port in spec.ports}
        """Of the Service -> of its pods."""
        self.pod = ""
        """The one that took the last connection."""

    @staticmethod
    def _asked(call: Callable[..., Any], *arguments: str, **options: str) -> Any:
        from kubernetes.client import ApiException
        from urllib3.exceptions import HTTPError

        try:
            return call(*arguments, **options, _request_timeout=SECONDS_TO_CONNECT)
        except (ApiException, HTTPError) as error:
            raise OSError(str(getattr(error, "reason", None) or error)) from error

    def find(self) -> str:
        """A pod that takes requests.

        :raises OSError: if there is none, or the cluster does not answer
        """
        for pod in self._asked(self.api.list_namespaced_pod, NAMESPACE, label_selector=self.selector).items:
            conditions = pod.status.conditions or []
            if not pod.metadata.deletion_timestamp and any(c.type == "Ready" and c.status == "True" for c in conditions):
                return str(pod.metadata.name)
        raise OSError(f"no pod of {SERVICE} is ready")

    def connect(self, port: int) -> Channel:
        """A connection to one port of the Service; whether the pod takes it shows in what comes.

        :raises OSError: if there is no way to a pod for as long as a client may wait
        """
        from kubernetes.stream.ws_client import create_websocket, get_websocket_url
        from websocket import WebSocketException

        until = time.monotonic() + SECONDS_TO_CONNECT
        while True:
            try:
                self.pod = pod = self.pod or self.find()
                path = f"/api/v1/namespaces/{NAMESPACE}/pods/{pod}/portforward"
                query = [("ports", str(self.ports[port]))]
                asked = self.client.param_serialize("GET", path, query_params=query, auth_settings=["BearerToken"])
                url, headers = get_websocket_url(asked[1]), asked[2]  # type: ignore[no-untyped-call] # typed in part
                return promptly(functools.partial(create_websocket, self.client.configuration, url, headers))
            except (OSError, WebSocketException) as error:
                self.pod = ""
                if time.monotonic() > until:
                    raise OSError(" ".join(str(error).split())[:200]) from error
                time.sleep(PAUSE_SECONDS)


def promptly(connect: Callable[[], Channel]) -> Channel:
    """A connection by a call that itself sets no limit to how long a server may keep silent; one that comes late is closed.

    :raises TimeoutError: if none comes for as long as a client may wait
    """
    made: Future[Channel] = Future()

    def ask() -> None:
        try:
            made.set_result(connect())
        except Exception as error:  # any: it is raised where the connection is waited for
            made.set_exception(error)

    def close(late: Future[Channel]) -> None:
        if late.exception() is None:
            late.result().close()

    threading.Thread(target=ask, daemon=True).start()
    try:
        return made.result(SECONDS_TO_CONNECT)
    except TimeoutError as error:
        made.add_done_callback(close)
        raise TimeoutError(f"timed out: the API server did not answer within {SECONDS_TO_CONNECT:g} s") from error


class Channel(Protocol):
    """What ``pump`` needs of a WebSocket that the API server speaks its port-forward protocol on (v4.channel.k8s.io)."""

    sock: socket.socket

    def recv_data_frame(self, control_frame: bool) -> tuple[int, Any]:
        """The next frame: opcode, and an object with its ``data``."""

    def send_binary(self, payload: bytes) -> int:
        """Send a frame."""

    def close(self) -> None:
        """Say that this was all."""


def pump(client: socket.socket, pod: Channel) -> None:
    """Hand on what comes from either side, until one has ended; not by the package's own forward, which drops what came last.

    :raises OSError: if the pod refused the connection, or reset it; the message is the node's
    """
    begun = set()
    with selectors.DefaultSelector() as ready:
        ready.register(client, selectors.EVENT_READ)
        ready.register(pod.sock, selectors.EVENT_READ)
        while True:
            # What TLS has read already, no selector sees.
            held = isinstance(pod.sock, ssl.SSLSocket) and pod.sock.pending() > 0
            readable = {pod.sock} if held else {key.fileobj for key, _ in ready.select()}
            if pod.sock in readable:
                opcode, frame = pod.recv_data_frame(True)
                if opcode == CLOSE:
                    return
                # A frame's first byte is its channel, of data or of errors; the first frame on each tells the port.
                if opcode == BINARY and frame.data[0] not in begun:
                    begun.add(frame.data[0])
                elif opcode == BINARY and frame.data[0] == DATA:
                    client.sendall(frame.data[1:])
                elif opcode == BINARY:
                    raise OSError(frame.data[1:].decode(errors="replace"))
            if client in readable:
                if not (data := client.recv(CHUNK)):
                    return
                pod.send_binary(bytes([DATA]) + data)


def reset(client: socket.socket) -> None:
    """End a connection so that the client sees a reset, not an end."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


def serve(server: socket.socket, connect: Callable[[], Channel], say: Callable[[OSError], None]) -> None:
    """Take connections, and hand each on by one of its own; a pod that resets one resets the client's."""
    from websocket import WebSocketException

    def one(client: socket.socket) -> None:
        try:
            pod = connect()
        except OSError as error:
            say(error)
            return reset(client)
        # The client's end first: that of a WebSocket waits for an answer.
        with contextlib.closing(pod), client:
            try:
                pump(client, pod)
            except (OSError, WebSocketException) as error:
                say(OSError(str(error)))
                reset(client)

    while True:
        client, _ = server.accept()
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=one, args=(client,), daemon=True).start()


def run(kubeconfig: str, ports: list[str]) -> int:
    """Forwards, for as long as the kubeconfig is there: a lab's folder that is removed takes its forward along."""
    try:
        gateway = Gateway(kubeconfig)
    except OSError as error:
        print(error, file=sys.stderr)
        return 1
    for here, there in zip(ports, PORTS.values(), strict=True):
        server, connect = socket.create_server(("127.0.0.1", int(here))), functools.partial(gateway.connect, there)

        def say(error: OSError, port: int = there) -> None:
            print(time.strftime("%H:%M:%S"), f"port {port}: {error}", file=sys.stderr, flush=True)

        threading.Thread(target=serve, args=(server, connect, say), daemon=True).start()
    while Path(kubeconfig).exists():
        time.sleep(PAUSE_SECONDS)
    return 0


def main() -> int:
    """The exit status of what the first argument asks for."""
    verb, state, *rest = sys.argv[1:]
    if verb == "start":
        return start(Path(state), rest[0])
    return run(rest[0], rest[1:]) if verb == "run" else stop(Path(state))


if __name__ == "__main__":
    sys.exit(main())
