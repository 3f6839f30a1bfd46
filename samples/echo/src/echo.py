"""One HTTP service for many parts: it answers, fails, dawdles and calls others, as the path says.

    /                      200, and what arrived: pod, version, method, path, headers
    /status/503            that status
    /slow/300              200 after 300 ms
    /attempts/3            503 until the third attempt with the same x-request-id; every answer tells the attempt
    /late/3                the same, but the first attempts come a second late instead of failing
    /call/NAME/PATH        calls the service NAME of TARGETS and tells its answer
    /calls/12/NAME/PATH    calls it so often, one after another, and tells every status and pod
    /paced/12/NAME/PATH    the same with a pause after each call
    /ejections/NAME        how often its own sidecar has ejected a pod of NAME so far
    /burst/10/NAME/PATH    calls it so often at once; tells also how many its own sidecar turned away (Envoy's statistics)

Environment: TARGETS (JSON, name -> URL), VERSION, FAULTY (a status that every answer but /health has).
"""

from __future__ import annotations

import json
import os
import re
import threading
import time
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

import requests

POD = os.environ.get("HOSTNAME", "?")
VERSION = os.environ.get("VERSION", "")
FAULTY = int(os.environ.get("FAULTY", "0"))
TARGETS: dict[str, str] = json.loads(os.environ.get("TARGETS", "{}"))
FORWARDED = ("authorization", "x-request-id", "x-user")
MOST_CALLS = 50
PAUSE_SECONDS = 0.03
START_SECONDS = 0.05
KEPT_REQUESTS = 10_000

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
    """One call, told in full; status 0 when no answer came. With a session, its connection is used again."""
    try:
        response = (session or requests).request(method, url, headers=headers, timeout=20)
    except requests.RequestException as error:
        return {"status": 0, "error": type(error).__name__}
    try:
        body: Any = response.json()
    except ValueError:
        body = response.text[:200]
    return {"status": response.status_code, "body": body, "overloaded": "x-envoy-overloaded" in response.headers}


def counted(statistic: str) -> int:
    """Sum of the statistics of this pod's own sidecar whose names match."""
    told = requests.get("http://127.0.0.1:15000/stats", params={"filter": f"outbound.*{statistic}"}, timeout=5).text
    return sum(int(number) for number in re.findall(r": (\d+)$", told, re.MULTILINE))


def overflows() -> int:
    """Requests that this pod's own sidecar turned away so far because a pool was full."""
    return counted("upstream_rq_pending_overflow")


def burst(count: int, url: str, method: str, headers: dict[str, str]) -> list[int]:
    """Statuses of several calls at once: every connection is there before the first request is sent.

    The first has a start: the proxy counts it as one that waits until its own connection to the other side stands.
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
            others = pool.map(send, connections[1:])  # all are sent now; results come as they are asked for
            return [first.result(), *others]
    finally:
        for connection in connections:
            connection.close()


def row(count: int, url: str, method: str, headers: dict[str, str], pause: float) -> list[dict[str, Any]]:
    """Several calls, one after another over one connection, ``pause`` seconds apart."""
    told = []
    with requests.Session() as session:
        for _ in range(count):
            told.append(call(url, method, headers, session))
            time.sleep(pause)
    return told


def many(how: str, count: int, url: str, method: str, headers: dict[str, str]) -> Answer:
    """Several calls, told together; nobody else's fall between them."""
    if count > MOST_CALLS:
        return 400, {"error": f"at most {MOST_CALLS} calls"}
    with _one_at_a_time:
        if how == "burst":
            before = overflows()
            return 200, {"statuses": burst(count, url, method, headers), "turned_away": overflows() - before}
        told = row(count, url, method, headers, PAUSE_SECONDS if how == "paced" else 0.0)
    pods = [answer["body"].get("pod", "") if isinstance(answer.get("body"), dict) else "" for answer in told]
    return 200, {"statuses": [answer["status"] for answer in told], "pods": pods}


def answer(method: str, path: str, headers: dict[str, str]) -> Answer:
    """What to say to one request."""
    parts = path.split("?")[0].strip("/").split("/")
    told = {"pod": POD, "version": VERSION, "method": method, "path": path}
    if parts[0] == "health":
        return 200, told
    if FAULTY:
        return FAULTY, told
    forwarded = {name: headers[name] for name in FORWARDED if name in headers}
    match parts:
        case ["status", status]:
            return int(status), told
        case ["slow", milliseconds]:
            time.sleep(min(int(milliseconds), 10_000) / 1000)
        case ["attempts" | "late" as how, wanted]:
            number = attempt(headers.get("x-request-id", ""))
            early = number < int(wanted)
            if early and how == "late":
                time.sleep(1)
            return (503 if early and how == "attempts" else 200), {**told, "attempt": number}
        case ["call", name, *rest] if name in TARGETS:
            return 200, {"caller": POD, **call(f"{TARGETS[name]}/{'/'.join(rest)}", method, forwarded)}
        case ["calls" | "paced" | "burst" as how, count, name, *rest] if name in TARGETS:
            # A request id of its own for each call: the sidecar gives it.
            own = {key: value for key, value in forwarded.items() if key != "x-request-id"}
            return many(how, int(count), f"{TARGETS[name]}/{'/'.join(rest)}", method, own)
        case ["ejections", name] if name in TARGETS:
            return 200, {"ejections": counted(rf"{name}\..*outlier_detection\.ejections_enforced_total")}
        case ["call" | "calls" | "paced" | "burst" | "ejections", *_]:
            return 404, {"error": f"no such target; there are {', '.join(TARGETS)}"}
    return 200, {**told, "headers": headers}


class Handler(BaseHTTPRequestHandler):
    """HTTP around ``answer``."""

    protocol_version = "HTTP/1.1"
    # Headers and body are two writes: the second shall not wait until the first has been acknowledged (40 ms).
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        """Any method is answered alike."""
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        try:
            status, told = answer(self.command, self.path, {name.lower(): value for name, value in self.headers.items()})
        except ValueError as error:
            status, told = 400, {"error": str(error)}
        body = json.dumps(told).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        """Any method is answered alike."""
        self.do_GET()

    def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002 - as the base class names it
        """Silent: the sidecar has the access log."""


class Server(ThreadingHTTPServer):
    """Many connections at once."""

    daemon_threads = True
    request_queue_size = 256


if __name__ == "__main__":
    Server(("", int(os.environ.get("PORT", "8080"))), Handler).serve_forever()
