"""Sends requests and tells what came back: a program of Python's standard library only, which runs wherever there is a Python.

It reads one batch a line from standard input, and writes one line for each: the answers in the order of the requests. It ends
with its input.

A batch is ``{"rate": 50, "requests": [[address, port, method, path, {header: value}, server name], ...]}``; with a server
name, the request is sent over TLS, and whatever certificate comes is accepted. An answer is
``[status, location, text, {header: value}]``, with names in lower case; without one, the status is 0, and the text says why.
Instead of a method, TCP stands for a connection without a request: the text is then this side's address.
"""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

SECONDS = 40
"""How long a request may take; no rule that is planned for delays one longer."""
CHARACTERS = 500
"""How much of an answer is read."""
AT_ONCE = 64
CONNECTION, HELD_SECONDS = "TCP", 0.5
TRUSTING = ssl.create_default_context()
TRUSTING.check_hostname, TRUSTING.verify_mode = False, ssl.CERT_NONE
"""What is asked is who answers, and not whose certificate that is."""


def connect(address: str, port: int) -> list[Any]:
    """A connection that is held for a moment: its proxy connects to a destination meanwhile, or fails to."""
    try:
        with socket.create_connection((address, port), SECONDS) as made:
            host, number = made.getsockname()[:2]
            time.sleep(HELD_SECONDS)
            return [200, "", f"[{host}]:{number}" if ":" in host else f"{host}:{number}", {}]
    except OSError as error:
        return [0, "", f"{type(error).__name__}: {error}"]


def ask(due: float, request: list[Any]) -> list[Any]:
    """One request on a connection of its own."""
    address, port, method, path, headers, server_name = request
    time.sleep(max(0.0, due - time.monotonic()))
    if method == CONNECTION:
        return connect(address, port)
    connection = http.client.HTTPConnection(address, port, timeout=SECONDS)
    try:
        if server_name:
            plain = socket.create_connection((address, port), SECONDS)
            connection.sock = TRUSTING.wrap_socket(plain, server_hostname=server_name)
        connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        for name, value in headers.items():
            connection.putheader(name, value)
        connection.endheaders()
        answer = connection.getresponse()
        text = answer.read(CHARACTERS).decode(errors="replace")
        received = {name.lower(): answer.getheader(name, "") for name in answer.headers}
        return [answer.status, answer.getheader("Location", ""), text, received]
    except (OSError, http.client.HTTPException, ValueError) as error:
        return [0, "", f"{type(error).__name__}: {error}"]
    finally:
        connection.close()


def main() -> None:
    """Answer batches until there is no more input."""
    with ThreadPoolExecutor(max_workers=AT_ONCE) as pool:
        for line in sys.stdin:
            batch = json.loads(line)
            start = time.monotonic()
            dues = [start + number / batch["rate"] for number, _ in enumerate(batch["requests"])]
            print(json.dumps(list(pool.map(ask, dues, batch["requests"]))), flush=True)
