"""A client that looks up its own requests in the access log of the proxy that served them."""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any

import gevent
from gevent.queue import Empty, Queue

from loadtests.mesh import observed
from loadtests.mesh.cluster import Cluster, ClusterError
from loadtests.rules.logs import NOTHING, line_of
from loadtests.verdict import ERROR

LATE_SECONDS = 10.0
"""A line that is not in the log by then does not come: proxies write every second."""


def _read(log: Generator[str], found: Queue[str | ClusterError]) -> None:
    """Hand on lines of a log, or why there are none any more."""
    with contextlib.closing(log):
        try:
            for line in log:
                found.put(line)
        except ClusterError as error:
            found.put(error)


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
        """All lines of the row, as soon as that of its last request is there; ``ERROR`` without a response.

        :raises ClusterError: if a log cannot be read
        """
        agent, found = f"lab-{uuid.uuid4().hex}", Queue[str | ClusterError]()
        logs = [observed.following(client.cluster, pod) for pod in client.pods]
        # With a line that was there before, the log is known to be followed.
        for log in logs:
            next(log)
        readers = [gevent.spawn(_read, log, found) for log in logs]
        try:
            if not self._sent(client, agent):
                return ERROR
            return "; ".join(map(line_of, self._logged(found, agent))) or NOTHING
        finally:
            gevent.killall(readers)

    def _sent(self, client: Any, agent: str) -> bool:
        """Whether each request of the row was answered."""
        headers = {"Host": self.host, "User-Agent": agent}
        for method, path in self.row:
            with client.request(
                method, path, headers=headers, name=f"{method} {self.host}{path}", allow_redirects=False, catch_response=True
            ) as response:
                if not response.status_code:
                    response.failure("no response")
                    return False
                response.success()
        return True

    def _logged(self, found: Queue[str | ClusterError], agent: str) -> list[dict[str, str]]:
        """The lines of the row; those that are there once the last one is too late, if it does not come."""
        until, lines = time.monotonic() + LATE_SECONDS, list[dict[str, str]]()
        # Proxies write their lines in order, so once the last one is there, no other one follows.
        while not lines or lines[-1]["uri"] != self.row[-1][1]:
            try:
                line = found.get(timeout=max(0.0, until - time.monotonic()))
            except Empty:
                break
            if isinstance(line, ClusterError):
                raise line
            fields = observed.fields_of(line, agent)
            if fields:
                lines.append(fields)
        return lines
