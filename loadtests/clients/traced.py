"""A client that looks up its own calls in Zipkin: which of them left a trace, and whether the trace is complete."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import gevent

from loadtests.mesh.cluster import Cluster
from loadtests.mesh.requirements import Program
from loadtests.rules.traces import NOT_TRACED, trace_of
from loadtests.verdict import ERROR

ZIPKIN, PORT = Program("telemetry", "zipkin", "run make telemetry"), 9411
"""Where traces are looked up; its Service has the same name."""
REPORT_SECONDS = 7.0
"""Proxies report spans every five seconds."""
LATE_SECONDS = 15.0
"""A span that has not been reported by then is lost."""
POLL_SECONDS = 1.0
PARTIAL = " (with a span that has no parent)"


def outcome_of(spans: Sequence[Mapping[str, Any]]) -> str:
    """A trace in words: service and side of each span, and whether they belong together.

    :param spans: in Zipkin's format, version 2
    """
    found = trace_of((span["localEndpoint"]["serviceName"], span.get("kind", "?")) for span in spans)
    ids = {span["id"] for span in spans}
    return found + (PARTIAL if any(span.get("parentId", span["id"]) not in ids for span in spans) else "")


@dataclass(frozen=True)
class TracedRow:
    """A row of calls that a service makes for one request; each call is an outcome.

    The answer reports the id of each call's trace (``traces``), as the callee received it.

    :param spans: how many a complete trace has
    """

    path: str
    host: str
    spans: int = 2

    def start(self, client: Any) -> None:
        """Find the cluster."""
        client.cluster = Cluster(client.environment.parsed_options.kubeconfig, ZIPKIN.namespace)

    def visit(self, client: Any) -> Sequence[str]:
        """The trace of each call, as soon as all are complete or late; ``ERROR`` without a response.

        :raises ClusterError: if Zipkin cannot be asked
        """
        name, headers = f"{self.host}{self.path}", {"Host": self.host}
        with client.get(self.path, headers=headers, name=name, catch_response=True) as response:
            if response.status_code != 200:
                response.failure(f"HTTP {response.status_code}")
                return [ERROR]
            response.success()
            ids = [str(one) for one in response.json()["traces"]]
        gevent.sleep(REPORT_SECONDS)
        until = time.monotonic() + LATE_SECONDS - REPORT_SECONDS
        while True:
            traces = self._found(client.cluster, ids)
            whole = all(len(spans) >= self.spans for spans in traces.values())
            if whole or time.monotonic() > until:
                return [outcome_of(traces[one]) if one in traces else NOT_TRACED for one in ids]
            gevent.sleep(POLL_SECONDS)

    def _found(self, cluster: Cluster, ids: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
        """Id of a trace -> its spans; without those that Zipkin does not have."""
        known = [one for one in ids if one]
        if not known:
            return {}
        path = f"/api/v1/namespaces/{ZIPKIN.namespace}/services/{ZIPKIN.name}:{PORT}/proxy/api/v2/traceMany"
        traces: Any = cluster.ask(path, traceIds=",".join(known))
        return {spans[0]["traceId"]: spans for spans in traces if spans}
