"""Clients of WebSockets through the gateway: some messages on one connection, and silence between them."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import websocket

from loadtests.verdict import ERROR

TIMEOUT_SECONDS = 10.0
Exchanged = Sequence[tuple[str, str]]
"""Each message with the reply to it."""


@contextmanager
def connected(gateway: str, host: str, path: str) -> Iterator[Any]:
    """A WebSocket through the gateway.

    :raises websocket.WebSocketException: if the upgrade is refused
    """
    to = urlsplit(gateway)
    # By a socket of our own: the package would use a proxy of the environment, and its close() swallows the exception with
    # which Locust stops a user.
    with socket.create_connection((to.hostname or "", to.port or 80), TIMEOUT_SECONDS) as tcp:
        yield websocket.create_connection(f"ws://{host}{path}", TIMEOUT_SECONDS, socket=tcp, suppress_origin=True)


def exchanged(connection: Any, message: str) -> str:
    """The reply to a message.

    :raises websocket.WebSocketException: if the connection ends instead
    """
    connection.send(message)
    reply = connection.recv()
    if not reply:  # what arrived is a frame that closes
        raise websocket.WebSocketConnectionClosedException
    return str(reply)


def reported(client: Any, name: str, converse: Callable[[], str]) -> str:
    """The outcome of what is done on one connection, which is one request to Locust; ``ERROR`` without a response."""
    started, failed = time.monotonic(), None
    try:
        outcome = converse()
    except websocket.WebSocketBadStatusException as error:
        outcome = f"HTTP {error.status_code}"
    except websocket.WebSocketConnectionClosedException:
        outcome = "closed early"
    except (websocket.WebSocketException, OSError, ValueError, KeyError, TypeError) as error:
        outcome, failed = ERROR, error
    client.environment.events.request.fire(
        request_type="WebSocket", name=name, response_length=0, exception=failed, context={},
        response_time=(time.monotonic() - started) * 1000,
    )  # fmt: skip
    return outcome


@dataclass(frozen=True)
class Conversation:
    """One connection on which messages are sent, each after the reply to the one before.

    :param label: turns all messages with their replies into an outcome
    """

    path: str
    host: str
    messages: int
    label: Callable[[Exchanged], str]

    def start(self, client: Any) -> None:
        """Nothing to prepare."""

    def visit(self, client: Any) -> str:
        """The outcome; the status if the upgrade is refused; ``ERROR`` without a response."""
        return reported(
            client, f"websocket {self.host}{self.path}", lambda: self.label(self._exchanged(client.environment.host))
        )

    def _exchanged(self, gateway: str) -> list[tuple[str, str]]:
        """The messages with their replies.

        :raises websocket.WebSocketException: if the upgrade is refused, or the connection ends early
        """
        with connected(gateway, self.host, self.path) as connection:
            found = [(message, exchanged(connection, message)) for message in map("message {}".format, range(self.messages))]
            connection.send_close()
            connection.recv_frame()
            return found


@dataclass(frozen=True)
class Silence:
    """One connection on which messages are sent now and then, to see when it is closed.

    :param seconds: how long the client stays
    :param silence: between two messages
    """

    path: str
    host: str
    seconds: float
    silence: float

    def start(self, client: Any) -> None:
        """Nothing to prepare."""

    def visit(self, client: Any) -> str:
        """``3 s of silence, then closed``, or ``open after 5 s``; otherwise as a conversation has it."""
        return reported(client, f"websocket {self.host}{self.path}", lambda: self._endured(client.environment.host))

    def _endured(self, gateway: str) -> str:
        with connected(gateway, self.host, self.path) as connection:
            end = time.monotonic() + self.seconds
            while True:
                exchanged(connection, "message")
                asked = time.monotonic()
                if self._closes(connection, min(self.silence, end - asked)):
                    return f"{time.monotonic() - asked:.0f} s of silence, then closed"
                if time.monotonic() >= end:
                    return f"open after {self.seconds:.0f} s"

    def _closes(self, connection: Any, seconds: float) -> bool:
        """Whether the other side closes the connection in the time; it sends nothing unasked."""
        connection.settimeout(seconds)
        try:
            connection.recv()
        except websocket.WebSocketTimeoutException:
            connection.settimeout(TIMEOUT_SECONDS)
            return False
        except (websocket.WebSocketConnectionClosedException, ConnectionError):
            pass
        return True
