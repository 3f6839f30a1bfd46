"""A client of WebSockets through the gateway: some messages on one connection."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import websocket

from loadtests.verdict import ERROR

TIMEOUT_SECONDS = 10.0
Exchanged = Sequence[tuple[str, str]]
"""Each message with the reply to it."""


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
        name, started, failed = f"websocket {self.host}{self.path}", time.monotonic(), None
        try:
            outcome = self.label(self._exchanged(client.environment.host))
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

    def _exchanged(self, gateway: str) -> list[tuple[str, str]]:
        """The messages with their replies.

        :raises websocket.WebSocketException: if the upgrade is refused, or the connection ends early
        """
        to = urlsplit(gateway)
        # By a socket of our own: the package would use a proxy of the environment, and its close() swallows the exception with
        # which Locust stops a user.
        with socket.create_connection((to.hostname or "", to.port or 80), TIMEOUT_SECONDS) as tcp:
            connection: Any = websocket.create_connection(
                f"ws://{self.host}{self.path}", TIMEOUT_SECONDS, socket=tcp, suppress_origin=True
            )
            found = []
            for message in (f"message {number}" for number in range(self.messages)):
                connection.send(message)
                reply = connection.recv()
                if not reply:  # what arrived is a frame that closes
                    raise websocket.WebSocketConnectionClosedException
                found.append((message, str(reply)))
            connection.send_close()
            connection.recv_frame()
            return found
