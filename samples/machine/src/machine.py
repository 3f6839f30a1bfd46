"""A program for a virtual machine and for the pods around it; it answers, calls others, and fails its health check on request.

    /                  200: who answers, since when it is ill, and the headers that arrived
    /call/NAME/PATH    calls the service NAME on port 8080 and reports its response
    /ailing            the same as /, and the program falls ill, unless it was so a moment ago; it recovers when nobody calls it
    /health            200; 503 while it is ill

Environment: APP, the name by which it answers.
"""

from __future__ import annotations

import json
import math
import os
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import requests

APP = os.environ["APP"]
ALONE_SECONDS, LONGEST_SECONDS = 3.0, 60.0
"""It recovers when nobody has called it for so long, or after so long in any case."""
WELL_SECONDS = 4.0
"""How long it stays well at least."""
REPORTED = 200
"""How many characters of a text that another service has sent are reported."""

Answer = tuple[int, dict[str, Any]]


class Health:
    """Whether the program is ill, by a clock that only goes forward."""

    def __init__(self) -> None:
        """It is well, and has been."""
        self.fell = self.called = -math.inf

    def _recovers(self) -> float:
        return min(self.called + ALONE_SECONDS, self.fell + LONGEST_SECONDS)

    def ail(self, now: float) -> None:
        """A call by which it falls ill if it has been well for a while, and by which it does not recover yet if it is ill."""
        if now < self._recovers():
            self.called = now
        elif now >= self._recovers() + WELL_SECONDS:
            self.fell = self.called = now

    def ill_for(self, now: float) -> float:
        """Seconds since it fell ill; 0 while it is well."""
        return now - self.fell if now < self._recovers() else 0.0


_health = Health()
_lock = threading.Lock()


def call(url: str) -> dict[str, Any]:
    """One call: its status and its body, as data if it is JSON; status 0 and the kind of error without a response."""
    try:
        response = requests.get(url, timeout=10)
    except requests.RequestException as error:
        # requests calls it a ConnectionError whether there was a connection or not; what it wraps tells.
        return {"status": 0, "error": type(error.args[0] if error.args else error).__name__}
    is_json = response.headers.get("Content-Type") == "application/json"
    return {"status": response.status_code, "body": response.json() if is_json else response.text[:REPORTED]}


def answer(path: str, headers: dict[str, str]) -> Answer:
    """The response to one request."""
    verb, _, rest = path.strip("/").partition("/")
    if verb == "call":
        name, _, asked = rest.partition("/")
        return 200, call(f"http://{name}:8080/{asked}")
    with _lock:
        now = time.monotonic()
        if verb == "ailing":
            _health.ail(now)
        ill_for = _health.ill_for(now)
    if verb == "health":
        return 503 if ill_for else 200, {"ill_seconds": ill_for}
    return (404 if verb not in ("", "ailing") else 200), {"app": APP, "ill_seconds": ill_for, "headers": headers}


class Handler(BaseHTTPRequestHandler):
    """Serve ``answer`` over HTTP."""

    protocol_version = "HTTP/1.1"
    # Headers and body are two writes: the second must not wait for the acknowledgement of the first (40 ms).
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        """Respond to a GET; nothing else is sent."""
        status, content = answer(self.path, {name.lower(): value for name, value in self.headers.items()})
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """The proxies log every request."""


if __name__ == "__main__":
    ThreadingHTTPServer(("", 8080), Handler).serve_forever()
