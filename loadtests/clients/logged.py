"""A client that looks up its own requests in the access log of the proxy that served them."""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gevent

from loadtests.mesh import observed
from loadtests.mesh.cluster import Cluster
from loadtests.rules.logs import NOTHING, line_of
from loadtests.verdict import ERROR

LATE_SECONDS = 10.0
"""A line that is not in the log by then does not come: proxies write every second."""
LOOK_SECONDS = 0.5


@dataclass(frozen=True)
class LoggedRow:
    """A row of requests that carry a name of their own as their user agent; the outcome is what the log has under it.

    :param row: method and path of each request
    :param app: label ``app`` of the pods whose proxies are asked
    """

    host: str
    row: Sequence[tuple[str, str]]
    namespace: str
    app: str

    def start(self, client: Any) -> None:
        """Find the pods."""
        client.cluster = Cluster(client.environment.parsed_options.kubeconfig, self.namespace)
        client.pods = sorted(observed.pods_of(client.cluster, self.app))

    def visit(self, client: Any) -> str:
        """All lines of the row, as soon as that of its last request is there; ``ERROR`` without a response."""
        agent = f"lab-{uuid.uuid4().hex}"
        for method, path in self.row:
            headers = {"Host": self.host, "User-Agent": agent}
            with client.request(
                method, path, headers=headers, name=f"{method} {self.host}{path}", allow_redirects=False, catch_response=True
            ) as response:
                if not response.status_code:
                    response.failure("no response")
                    return ERROR
                response.success()
        until, lines = time.monotonic() + LATE_SECONDS, list[dict[str, str]]()
        # Proxies write their lines in order, so once the last one is there, no other one follows.
        while time.monotonic() < until and (not lines or lines[-1]["uri"] != self.row[-1][1]):
            gevent.sleep(LOOK_SECONDS)
            lines = [line for pod in client.pods for line in observed.lines_of(client.cluster, pod, agent, 2 * LATE_SECONDS)]
        return "; ".join(map(line_of, lines)) or NOTHING
