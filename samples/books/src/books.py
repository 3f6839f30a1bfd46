"""Stand-in for the books API that Bookinfo's details v2 calls: /books/v1/volumes?q=isbn:NUMBER, plain on 8080, TLS on 8443.

The publisher that it names is how it was asked, over http or over https. TLS needs /tls/tls.crt and /tls/tls.key; without
them only the plain port is served.
"""

from __future__ import annotations

import json
import ssl
import threading
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

CERTIFICATE, KEY = Path("/tls/tls.crt"), Path("/tls/tls.key")
HANDSHAKE_SECONDS = 5

Answer = tuple[int, dict[str, Any]]


def volume(isbn: str, how: str) -> dict[str, Any]:
    """One volume in the API's format."""
    identifiers = [{"type": "ISBN_10", "identifier": isbn}, {"type": "ISBN_13", "identifier": f"978{isbn}"}]
    return {
        "authors": ["William Shakespeare"], "publisher": how, "publishedDate": "2003", "pageCount": 80, "printType": "BOOK",
        "language": "en", "industryIdentifiers": identifiers,
    }  # fmt: skip


def answer(target: str, how: str) -> Answer:
    """The response to one request that arrived ``how``."""
    parts = urlsplit(target)
    if parts.path == "/health":
        return 200, {}
    asked = parse_qs(parts.query).get("q", [""])[0]
    if parts.path != "/books/v1/volumes" or not asked.startswith("isbn:"):
        return 404, {"error": "no such path; there is /books/v1/volumes?q=isbn:NUMBER"}
    return 200, {"totalItems": 1, "items": [{"volumeInfo": volume(asked.removeprefix("isbn:"), how)}]}


class Handler(BaseHTTPRequestHandler):
    """Serve ``answer`` over HTTP."""

    protocol_version = "HTTP/1.1"
    # Headers and body are two writes: the second must not wait for the acknowledgement of the first (40 ms).
    disable_nagle_algorithm = True

    def __init__(self, how: str, *arguments: Any) -> None:
        """Serve one connection that arrived ``how``."""
        self.how = how
        super().__init__(*arguments)

    def do_GET(self) -> None:
        """Respond to a GET; the API is read-only."""
        status, content = answer(self.path, self.how)
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002 - named by the base class
        """Log nothing: details' sidecar has the access log."""


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
        try:
            with self.tls.wrap_socket(request, server_side=True) as secured:
                secured.settimeout(None)
                super().finish_request(secured, client_address)
        except OSError:
            return  # the client spoke no TLS, did not trust the certificate, or disconnected


if __name__ == "__main__":
    if CERTIFICATE.exists():
        secure = Server(("", 8443), partial(Handler, "over https"))
        secure.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        secure.tls.load_cert_chain(CERTIFICATE, KEY)
        threading.Thread(target=secure.serve_forever, daemon=True).start()
    Server(("", 8080), partial(Handler, "over http")).serve_forever()
