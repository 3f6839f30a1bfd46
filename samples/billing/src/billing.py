"""The billing chain, one program for its three services: svca (/pay) -> svcb (/notify) -> msgd (/send).

ROLE selects the service; NEXT is the URL of the next hop. msgd, the last hop, counts what it receives per run and reports it
under /received/RUN; witness forwards that path to msgd. If a hop fails, the whole call gets 500 and the response names the
hop.
"""

from __future__ import annotations

import json
import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import requests

ROLE = os.environ["ROLE"]
NEXT = os.environ.get("NEXT", "")
VERSION = os.environ.get("VERSION", "")
PATHS = {"svca": "pay", "svcb": "notify", "msgd": "send", "witness": "received"}
KEPT_RUNS = 1000

Answer = tuple[int, dict[str, Any]]
_received: dict[str, int] = {}
_lock = threading.Lock()


def received(run: str, more: int) -> int:
    """What msgd has received in one run, after adding ``more`` requests."""
    with _lock:
        if more and len(_received) >= KEPT_RUNS:
            _received.pop(next(iter(_received)))
        number = _received.get(run, 0) + more
        if more:
            _received[run] = number
        return number


def ask_next(run: str, query: str, request_id: str) -> Answer:
    """The next hop's response, with this hop's version; 500 with the name of the hop if it failed."""
    try:
        response = requests.get(f"{NEXT}/{run}{query}", headers={"x-request-id": request_id} if request_id else {}, timeout=5)
    except requests.RequestException as error:
        return 500, {"failed": NEXT, "why": type(error).__name__, ROLE: VERSION}
    try:
        content = dict(response.json())
    except ValueError:
        return 500, {"failed": NEXT, "why": f"HTTP {response.status_code}", ROLE: VERSION}
    return 200 if response.ok else 500, {**content, ROLE: VERSION}


def answer(path: str, request_id: str, by: str) -> Answer:
    """The response to one request; the path is /pay/RUN, /notify/RUN, /send/RUN or /received/RUN, ``by`` a gateway's header."""
    path, _, query = path.partition("?")
    verb, _, run = path.strip("/").partition("/")
    if verb == "health":
        return 200, {ROLE: VERSION}
    if verb == "received" and ROLE == "msgd":
        return 200, {"received": received(run, 0)}
    if verb != PATHS[ROLE]:
        return 404, {"failed": ROLE, "why": f"no such path; there is /{PATHS[ROLE]}/RUN"}
    if ROLE == "msgd":
        return 200, {"sent": run, "number": received(run, 1), **({"by": by} if by else {})}
    return ask_next(run, f"?{query}" if query else "", request_id)


class Handler(BaseHTTPRequestHandler):
    """Serve ``answer`` over HTTP."""

    protocol_version = "HTTP/1.1"
    # Headers and body are two writes: the second must not wait for the acknowledgement of the first (40 ms).
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        """Respond to a GET; nothing else is sent."""
        status, content = answer(self.path, self.headers.get("x-request-id", ""), self.headers.get("x-by", ""))
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002 - named by the base class
        """Log nothing: msgd's log is its count."""


class Server(ThreadingHTTPServer):
    """Accept many connections at once."""

    daemon_threads = True
    request_queue_size = 256


if __name__ == "__main__":
    Server(("", int(os.environ["PORT"])), Handler).serve_forever()
