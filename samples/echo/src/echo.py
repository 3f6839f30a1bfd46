"""One HTTP service for many purposes: the path makes it answer, fail, delay or call others.

    /                      200, and what arrived: pod, version, method, path, headers (several of one name joined by commas)
    /status/503            that status
    /slow/300              200 after 300 ms
    /attempts/3            503 until the third attempt with the same x-request-id; every response reports the attempt
    /late/3                the same, but the first attempts are a second late instead of failing
    /call/NAME/PATH        calls the service NAME in TARGETS and reports its response
    /calls/12/NAME/PATH    calls it 12 times in sequence and reports every status, pod, and trace id (empty without one)
    /paced/12/NAME/PATH    the same with a pause after each call
    /outage/6/NAME/SERVICE  6 calls each before, while, and after the pods of SERVICE fail; reports every status and pod
    /fails/SERVICE         503 from pods of SERVICE, 200 from others
    /ejections/NAME        how many times this pod's sidecar has ejected a pod of NAME
    /authorize/PATH        decides for proxies: 200 if AUTHORIZED lists the x-user, 403 if not, 401 without an x-user
    /burst/10/NAME/PATH    calls it 10 times at once; also reports how many its sidecar rejected (by Envoy's statistics)
    /websocket/PATH        a WebSocket: every text message comes back with the pod; 426 without an upgrade

Every response has the header x-lab-version: VERSION. With /tls/tls.crt and /tls/tls.key it serves the same on port 8443 by TLS.
Environment: TARGETS (JSON, name -> URL), VERSION, FAULTY (the status of every response except /health),
AUTHORIZED (JSON, list of users).
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import re
import ssl
import struct
import threading
import time
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urlsplit

import requests

POD = os.environ.get("HOSTNAME", "?")
VERSION = os.environ.get("VERSION", "")
FAULTY = int(os.environ.get("FAULTY", "0"))
TARGETS: dict[str, str] = json.loads(os.environ.get("TARGETS", "{}"))
AUTHORIZED: list[str] = json.loads(os.environ.get("AUTHORIZED", "[]"))
FORWARDED = ("authorization", "x-request-id", "x-user")
MOST_CALLS = 50
PAUSE_SECONDS = 0.03
START_SECONDS = 0.05
EJECTION_SECONDS = 0.1
"""A sidecar ejects a pod within this time after its failure."""
RETURN_SECONDS = 6.0
CERTIFICATE, KEY = Path("/tls/tls.crt"), Path("/tls/tls.key")
HANDSHAKE_SECONDS = 5
KEPT_REQUESTS = 10_000
ACCEPTED_WITH = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
"""What a server appends to the client's key to accept a WebSocket (RFC 6455)."""
TEXT, CLOSE, PING, PONG = 0x1, 0x8, 0x9, 0xA
"""Opcodes of WebSocket frames."""
FINAL, MASKED, LENGTH = 0x80, 0x80, 0x7F
NORMAL, PROTOCOL_ERROR, UNACCEPTABLE, NO_TEXT, TOO_LONG = 1000, 1002, 1003, 1007, 1009
"""Codes with which a WebSocket is closed."""
LONGEST_MESSAGE = 65_536
IDLE_SECONDS = 60

Answer = tuple[int, dict[str, Any]]
_attempts: OrderedDict[str, int] = OrderedDict()
_attempts_lock = threading.Lock()
_one_at_a_time = threading.Lock()


def attempt(request_id: str) -> int:
    """Number of this attempt of one request, from 1; a proxy's retries keep its x-request-id."""
    with _attempts_lock:
        number = _attempts[request_id] = _attempts.pop(request_id, 0) + 1
        while len(_attempts) > KEPT_REQUESTS:
            _attempts.popitem(last=False)
        return number


def call(url: str, method: str, headers: dict[str, str], session: requests.Session | None = None) -> dict[str, Any]:
    """One call in full: a JSON body as data, others as text; status 0 if no response arrived.

    With a session, its connection is reused.
    """
    try:
        response = (session or requests).request(method, url, headers=headers, timeout=20)
    except requests.RequestException as error:
        return {"status": 0, "error": type(error).__name__}
    is_json = response.headers.get("Content-Type") == "application/json"
    body: Any = response.json() if is_json else response.text[:200]
    return {"status": response.status_code, "body": body, "overloaded": "x-envoy-overloaded" in response.headers}


def counted(statistic: str) -> int:
    """Sum of matching statistics in this pod's own sidecar."""
    statistics = requests.get("http://127.0.0.1:15000/stats", params={"filter": f"outbound.*{statistic}"}, timeout=5).text
    return sum(int(number) for number in re.findall(r": (\d+)$", statistics, re.MULTILINE))


def overflows() -> int:
    """Requests that this pod's own sidecar has rejected so far because a pool was full."""
    return counted("upstream_rq_pending_overflow")


def burst(count: int, url: str, method: str, headers: dict[str, str]) -> list[int]:
    """Statuses of several calls at once: every connection is open before the first request is sent.

    The first request gets a head start: the proxy counts it as pending until its own upstream connection is open.
    """
    target = urlsplit(url)
    connections = [HTTPConnection(target.hostname or "", target.port or 80, timeout=20) for _ in range(count)]
    for connection in connections:
        connection.connect()

    def send(connection: HTTPConnection) -> int:
        connection.request(method, target.path, headers=headers)
        with connection.getresponse() as response:
            response.read()
            return response.status

    try:
        with ThreadPoolExecutor(max_workers=count) as pool:
            first = pool.submit(send, connections[0])
            time.sleep(START_SECONDS)
            others = pool.map(send, connections[1:])  # all are sent now; results are read later
            return [first.result(), *others]
    finally:
        for connection in connections:
            connection.close()


def row(count: int, url: str, method: str, headers: dict[str, str], pause: float) -> list[dict[str, Any]]:
    """Several calls in sequence over one connection, ``pause`` seconds apart."""
    results = []
    with requests.Session() as session:
        for _ in range(count):
            results.append(call(url, method, headers, session))
            time.sleep(pause)
    return results


def many(how: str, count: int, url: str, method: str, headers: dict[str, str]) -> Answer:
    """Results of several calls; no other calls run in between."""
    with _one_at_a_time:
        if how == "burst":
            before = overflows()
            return 200, {"statuses": burst(count, url, method, headers), "rejected": overflows() - before}
        results = row(count, url, method, headers, PAUSE_SECONDS if how == "paced" else 0.0)
    traces = [body.get("headers", {}).get("x-b3-traceid", "") for body in bodies_of(results)]
    return 200, {**reported(results), "traces": traces}


def bodies_of(results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The bodies of answers; empty where the body is no JSON object."""
    return [answer["body"] if isinstance(answer.get("body"), dict) else {} for answer in results]


def reported(results: list[dict[str, Any]]) -> dict[str, list[Any]]:
    """Statuses of answers, and the pods that gave them; '' where the answer names none."""
    return {
        "statuses": [answer["status"] for answer in results],
        "pods": [body.get("pod", "") for body in bodies_of(results)],
    }


def outage(count: int, url: str, service: str) -> dict[str, dict[str, list[Any]]]:
    """Results of calls before, while, and after the pods of a service fail; no other calls run in between."""

    def called(path: str, times: int, pause: float = PAUSE_SECONDS) -> dict[str, list[Any]]:
        return reported(row(times, f"{url}/{path}", "GET", {}, pause))

    with _one_at_a_time:
        found = {"before": called("", count), "during": called(f"fails/{service}", count, EJECTION_SECONDS)}
        until = time.monotonic() + RETURN_SECONDS
        while service not in map(service_of, called("", 1)["pods"]) and time.monotonic() < until:
            pass
        return {**found, "after": called("", count)}


def service_of(pod: str) -> str:
    """The service that a pod is of: its name without what the Deployment adds."""
    return pod.rsplit("-", 2)[0]


def answer(method: str, path: str, headers: dict[str, str]) -> Answer:
    """The response to one request."""
    parts = path.split("?")[0].strip("/").split("/")
    content = {"pod": POD, "version": VERSION, "method": method, "path": path}
    if parts[0] == "health":
        return 200, content
    if FAULTY:
        return FAULTY, content
    forwarded = {name: headers[name] for name in FORWARDED if name in headers}
    match parts:
        case ["status", status]:
            return int(status), content
        case ["authorize", *_]:
            user = headers.get("x-user")
            return (401 if user is None else 200 if user in AUTHORIZED else 403), content
        case ["websocket", *_]:
            return 426, content
        case ["slow", milliseconds]:
            time.sleep(min(int(milliseconds), 10_000) / 1000)
        case ["attempts" | "late" as how, wanted]:
            number = attempt(headers.get("x-request-id", ""))
            early = number < int(wanted)
            if early and how == "late":
                time.sleep(1)
            return (503 if early and how == "attempts" else 200), {**content, "attempt": number}
        case ["call", name, *rest] if name in TARGETS:
            return 200, {"caller": POD, **call(f"{TARGETS[name]}/{'/'.join(rest)}", method, forwarded)}
        case ["fails", service, *_]:
            return (503 if service == service_of(POD) else 200), content
        case ["calls" | "paced" | "burst" | "outage", count, *_] if int(count) > MOST_CALLS:
            return 400, {"error": f"at most {MOST_CALLS} calls"}
        case ["outage", count, name, service] if name in TARGETS:
            return 200, outage(int(count), TARGETS[name], service)
        case ["calls" | "paced" | "burst" as how, count, name, *rest] if name in TARGETS:
            # Drop the request id: the sidecar generates a new one for each call.
            own = {key: value for key, value in forwarded.items() if key != "x-request-id"}
            return many(how, int(count), f"{TARGETS[name]}/{'/'.join(rest)}", method, own)
        case ["ejections", name] if name in TARGETS:
            return 200, {"ejections": counted(rf"{name}\..*outlier_detection\.ejections_enforced_total")}
        case ["call" | "calls" | "paced" | "burst" | "ejections" | "outage", *_]:
            return 404, {"error": f"no such target; there are {', '.join(TARGETS)}"}
    return 200, {**content, "headers": headers}


class CloseError(Exception):
    """A WebSocket has to be closed; its argument is the code."""


def read_frame(stream: BinaryIO) -> tuple[int, bytes]:
    """Opcode and payload of a client's next frame; an end of the stream counts as a frame that closes.

    :raises CloseError: if a frame is unmasked, too long, or only a part of a message
    """
    head = stream.read(2)
    if len(head) < 2:
        return CLOSE, b""
    first, second = head
    length = second & LENGTH
    if length > 125:
        size = 2 if length == 126 else 8
        length = int.from_bytes(stream.read(size), "big")
    if not second & MASKED:
        raise CloseError(PROTOCOL_ERROR)
    if length > LONGEST_MESSAGE:
        raise CloseError(TOO_LONG)
    if not first & FINAL:
        raise CloseError(UNACCEPTABLE)
    mask, payload = stream.read(4), stream.read(length)
    return first & 0xF, bytes(byte ^ mask[n % 4] for n, byte in enumerate(payload))


def frame(opcode: int, payload: bytes) -> bytes:
    """A server's frame, which is not masked."""
    length = len(payload)
    if length <= 125:
        head = struct.pack("!BB", FINAL | opcode, length)
    elif length < 65_536:
        head = struct.pack("!BBH", FINAL | opcode, 126, length)
    else:
        head = struct.pack("!BBQ", FINAL | opcode, 127, length)
    return head + payload


def reply_to(payload: bytes) -> bytes:
    """The reply to one text message.

    :raises CloseError: if it is not UTF-8
    """
    try:
        return json.dumps({"pod": POD, "version": VERSION, "message": payload.decode()}).encode()
    except UnicodeDecodeError:
        raise CloseError(NO_TEXT) from None


def converse(reader: BinaryIO, writer: BinaryIO) -> None:
    """Return every text message of a WebSocket with the pod's name until the client closes it."""
    try:
        while True:
            opcode, payload = read_frame(reader)
            if opcode == CLOSE:
                raise CloseError(NORMAL)
            if opcode == TEXT:
                writer.write(frame(TEXT, reply_to(payload)))
            elif opcode == PING:
                writer.write(frame(PONG, payload))
            elif opcode != PONG:
                raise CloseError(UNACCEPTABLE)
    except CloseError as reason:
        writer.write(frame(CLOSE, struct.pack("!H", reason.args[0])))


class Handler(BaseHTTPRequestHandler):
    """Serve ``answer`` over HTTP, and WebSockets."""

    protocol_version = "HTTP/1.1"
    # Headers and body are two writes: the second must not wait for the acknowledgement of the first (40 ms).
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        """Respond alike to every method."""
        if self.path.startswith("/websocket") and self.headers.get("Upgrade", "").lower() == "websocket" and not FAULTY:
            self.upgrade()
            return
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        try:
            headers = {name.lower(): ", ".join(self.headers.get_all(name, [])) for name in self.headers}
            status, content = answer(self.command, self.path, headers)
        except ValueError as error:
            status, content = 400, {"error": str(error)}
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Lab-Version", VERSION)
        self.end_headers()
        self.wfile.write(body)

    def upgrade(self) -> None:
        """Accept a WebSocket, and serve it until it is closed."""
        key = self.headers.get("Sec-WebSocket-Key", "")
        accepted = hashlib.sha1(f"{key}{ACCEPTED_WITH}".encode(), usedforsecurity=False).digest()
        self.send_response(101)
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        self.send_header("Sec-WebSocket-Accept", base64.b64encode(accepted).decode())
        self.end_headers()
        self.close_connection = True
        self.connection.settimeout(IDLE_SECONDS)
        with contextlib.suppress(OSError):
            converse(self.rfile, self.wfile)

    def do_POST(self) -> None:
        """Respond alike to every method."""
        self.do_GET()

    def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002 - named by the base class
        """Log nothing: the sidecar has the access log."""


class Server(ThreadingHTTPServer):
    """Accept many connections at once; TLS handshakes run in the connection's own thread."""

    daemon_threads = True
    request_queue_size = 256
    tls: ssl.SSLContext | None = None

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Serve one connection."""
        if self.tls is None:
            super().finish_request(request, client_address)
            return
        request.settimeout(HANDSHAKE_SECONDS)
        # A client that speaks no TLS, does not trust the certificate, or disconnects.
        with contextlib.suppress(OSError), self.tls.wrap_socket(request, server_side=True) as secured:
            secured.settimeout(None)
            super().finish_request(secured, client_address)


if __name__ == "__main__":
    if CERTIFICATE.exists():
        secure = Server(("", 8443), Handler)
        secure.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        secure.tls.load_cert_chain(CERTIFICATE, KEY)
        threading.Thread(target=secure.serve_forever, daemon=True).start()
    Server(("", int(os.environ.get("PORT", "8080"))), Handler).serve_forever()
