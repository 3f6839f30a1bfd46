"""Each hop's figures in a time span: throughput, errors and latency from its proxy's access log, CPU cores from the kubelet.

A hop is one version of an app with all its pods. A store reached over TCP is a hop too; each connection counts as a request.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from loadtests.latency.statistics import Hop, quantiles
from loadtests.mesh.cluster import Cluster

# The access log line for an inbound request or connection: start, status, flags, duration.
LINE = re.compile(r'^\[(\S+)\] "[^"]*" (\d+) (\S+) \S+ \S+ "[^"]*" \d+ \d+ (\d+) .* inbound\|\d+\|\| ', re.MULTILINE)
PROXY = "istio-proxy"


@dataclass(frozen=True)
class Use:
    """CPU seconds that one container has used up to a moment (seconds of the epoch)."""

    at: float
    seconds: float


def requests_of(log: str, since: float, until: float) -> list[tuple[float, bool]]:
    """Duration in seconds of each request that began in the span, and whether it failed.

    :param log: lines in the format that role istio sets
    :param since: seconds of the epoch, on the node's clock; ``until`` likewise
    """
    return [
        (int(milliseconds) / 1000, int(status) >= 500 or (status == "0" and flags != "-"))
        for begun, status, flags, milliseconds in LINE.findall(log)
        if since <= datetime.fromisoformat(begun).timestamp() < until
    ]


def uses_of(summary: Mapping[str, Any], namespace: str) -> dict[tuple[str, str], Use]:
    """(pod, container) -> CPU time, from a kubelet's ``/stats/summary``."""
    return {
        (pod["podRef"]["name"], container["name"]): Use(
            datetime.fromisoformat(container["cpu"]["time"]).timestamp(), container["cpu"]["usageCoreNanoSeconds"] / 1e9
        )
        for pod in summary.get("pods", [])
        if pod["podRef"]["namespace"] == namespace
        for container in pod.get("containers", [])
        if "usageCoreNanoSeconds" in container.get("cpu", {})
    }


def cores(
    before: Mapping[tuple[str, str], Use], after: Mapping[tuple[str, str], Use], pods: Iterable[str], proxy: bool
) -> float | None:
    """Cores used by the pods' workloads, or their proxies, between two samples; None if the kubelet has only one."""
    total = 0.0
    for pod, container in after:
        if pod in pods and (container == PROXY) is proxy:
            first, last = before.get((pod, container)), after[pod, container]
            if first is None or last.at <= first.at:
                return None
            total += (last.seconds - first.seconds) / (last.at - first.at)
    return round(total, 3)


def hop_of(name: str, taken: Sequence[tuple[float, bool]], seconds: float, used: tuple[float | None, float | None]) -> Hop:
    """Figures of one hop from its requests in a span of ``seconds``."""
    times = [t for t, _ in taken]
    return Hop(
        name=name, requests=len(taken), errors=sum(failed for _, failed in taken), rate=round(len(taken) / seconds, 2),
        latency=quantiles(times), in_flight=round(sum(times) / seconds, 2), cores=used[0], proxy_cores=used[1],
    )  # fmt: skip


class Watch:
    """Watches the hops in one namespace, over any number of spans from ``begin`` to ``end``."""

    def __init__(self, cluster: Cluster) -> None:
        """Find the pods with a proxy, by app and version.

        :raises ClusterError: if the cluster does not respond
        """
        self.cluster = cluster
        self.hops: dict[str, list[str]] = {}
        nodes = set()
        for pod in cluster.items("pods"):
            containers = pod["spec"].get("initContainers", []) + pod["spec"]["containers"]
            labels = pod["metadata"].get("labels", {})
            if pod["status"].get("phase") == "Running" and any(c["name"] == PROXY for c in containers):
                name = " ".join(filter(None, (labels.get("app", pod["metadata"]["name"]), labels.get("version"))))
                self.hops.setdefault(name, []).append(pod["metadata"]["name"])
                nodes.add(pod["spec"]["nodeName"])
        self.nodes = sorted(nodes)
        self.before: dict[tuple[str, str], Use] = {}

    def uses(self) -> dict[tuple[str, str], Use]:
        """CPU time of every container in the namespace so far."""
        found: dict[tuple[str, str], Use] = {}
        for node in self.nodes:
            found |= uses_of(self.cluster.ask(f"/api/v1/nodes/{node}/proxy/stats/summary"), self.cluster.namespace)
        return found

    def begin(self) -> None:
        """Begin a span."""
        self.before = self.uses()

    def end(self, since: float, until: float) -> list[Hop]:
        """Figures of each active hop since ``begin``, for requests that began from ``since`` to ``until`` (epoch seconds)."""
        after, found = self.uses(), []
        asked_from = datetime.fromtimestamp(since - 1, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        for name, pods in sorted(self.hops.items()):
            taken = [
                request
                for pod in pods
                for request in requests_of(
                    self.cluster.kubectl("logs", pod, "--container", PROXY, "--since-time", asked_from), since, until
                )
            ]
            if taken:
                used = cores(self.before, after, pods, False), cores(self.before, after, pods, True)
                found.append(hop_of(name, taken, until - since, used))
        return found
