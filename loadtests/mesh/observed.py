"""What the mesh did: which version answered, by the answer itself and by the counters of the pods' own proxies."""

from __future__ import annotations

import re
from collections.abc import Generator, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any, TypeVar

from loadtests.mesh.cluster import Cluster
from loadtests.verdict import ERROR

Said = TypeVar("Said")

# A line of the access log that tells of a request which the proxy handed to its own workload: the time at which it began.
LOGGED = re.compile(r"^\[(\S+)\] .* inbound\|\d+\|\| ", re.MULTILINE)
# The fields of any line of the access log in that format that the verdict on a log looks at.
LINE = re.compile(
    r'^\[\S+\] "(?P<method>\S+) (?P<uri>\S+) \S+" (?P<status>\d+) (?P<flags>\S+) .* '
    r'"(?P<agent>[^"]*)" "[^"]*" "(?P<authority>[^"]*)" "[^"]*" (?P<cluster>\S+) \S+ \S+ \S+ \S+ \S+$'
)
# A request is logged once it has ended, in the order of the ends.
LOG_REACH_SECONDS = 10.0
TIME_BYTES = 40
"""As many as a timestamp has at the most, and the blank after it."""
# Proxies write their access logs once a second.
LOG_FLUSH_SECONDS = 1.5
INBOUND = re.compile(r'^envoy_cluster_upstream_rq_total\{(?=[^}]*cluster_name="inbound\|)[^}]*\}\s+(\d+)', re.MULTILINE)


def versions_by_pod(pods: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Pod name -> its label ``version``."""
    return {p["metadata"]["name"]: p["metadata"].get("labels", {}).get("version", "") for p in pods}


def by_version(
    counts: Mapping[str, Mapping[str, int]], versions: Mapping[str, str], whole_service: bool
) -> dict[str, dict[str, int]]:
    """Counts by class and pod as counts by class and version.

    :param whole_service: the rule names no subsets; every answer then counts for the service, version ''
    """
    result: dict[str, dict[str, int]] = {}
    for traffic_class, pods in counts.items():
        line = result.setdefault(traffic_class, {})
        for pod, n in pods.items():
            version = pod if pod == ERROR else "" if whole_service else versions.get(pod, f"unknown pod {pod}")
            line[version] = line.get(version, 0) + n
    return result


def inbound_requests(metrics: str) -> int:
    """Requests that a proxy handed to its own workload, from its statistics in Prometheus's text format."""
    return sum(int(n) for n in INBOUND.findall(metrics))


def arrived_of(sent: int, counted: int, loose: int, share: float) -> int:
    """How many of ``sent`` requests arrived, where the far end cannot be asked in the same moment as the clients.

    :param counted: what the far end has counted
    :param loose: how many of those may be requests that clients do not count: of the moments in which it was asked
    :param share: expected share of requests that arrive
    :return: where none may arrive, all that did; else, within what is loose, the number that fits the declaration best, so that
        what is loose rejects no true one (it weighs the less the longer a run is)
    """
    return counted if share <= 0 else min(counted, max(counted - loose, round(share * sent)))


def pods_of(cluster: Cluster, app: str) -> dict[str, str]:
    """Running pods of an app -> version."""
    pods = [p for p in cluster.items("pods") if p["metadata"].get("labels", {}).get("app") == app]
    return versions_by_pod(p for p in pods if p["status"].get("phase") == "Running")


def of_app(pods: Mapping[str, Said], app: str) -> dict[str, Said]:
    """Those of ``pods`` whose Deployment is named after ``app``."""
    return {pod: version for pod, version in pods.items() if pod.startswith(f"{app}-")}


def mesh_counts(cluster: Cluster, versions: Mapping[str, str]) -> dict[str, int]:
    """Requests that arrived at each pod since its proxy started, as the proxies count them."""
    # All at once: what goes on meanwhile is counted by them and not by clients.
    with ThreadPoolExecutor(max_workers=8) as pool:
        counted = pool.map(lambda pod: inbound_requests(cluster.proxy_metrics(pod)), versions)
        return dict(zip(versions, counted, strict=True))


def logged_since(log: str, since: float) -> int:
    """Requests that a proxy handed to its own workload and that began at ``since`` or later, from its access log.

    :param log: lines in the format that role istio pins
    :param since: seconds of the epoch, by the node's clock
    """
    return sum(datetime.fromisoformat(time_of).timestamp() >= since for time_of in LOGGED.findall(log))


def begins_before(log: str, since: float) -> bool:
    """Whether a log reaches back so far: not if the kubelet has begun a new file since.

    :param log: the beginning of the file, with the kubelet's timestamps
    """
    time_of = log.partition(" ")[0]
    return bool(time_of) and datetime.fromisoformat(time_of).timestamp() < since


def _log_of(cluster: Cluster, pod: str, **query: str) -> str:
    """The log of a pod's proxy, or the part that the query asks for."""
    path = f"/api/v1/namespaces/{cluster.namespace}/pods/{pod}/log"
    return cluster.read(path, container="istio-proxy", **query).decode(errors="replace")


def logged_requests(cluster: Cluster, pods: Iterable[str], since: float) -> dict[str, int]:
    """Requests that arrived at each pod since ``since`` (seconds of the epoch), by its proxy's access log.

    :return: nothing if one of the logs does not reach back so far
    """
    asked_from = datetime.fromtimestamp(since - LOG_REACH_SECONDS, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    found = {}
    for pod in pods:
        if not begins_before(_log_of(cluster, pod, timestamps="true", limitBytes=str(TIME_BYTES)), since):
            return {}
        found[pod] = logged_since(_log_of(cluster, pod, sinceTime=asked_from), since)
    return found


def fields_of(line: str, agent: str) -> dict[str, str] | None:
    """Fields of a line of an access log, in the format that role istio pins, if it tells of a client, by its user agent."""
    found = LINE.match(line)
    return found.groupdict() if found and found["agent"] == agent else None


def following(cluster: Cluster, pod: str) -> Generator[str]:
    """Lines of the log of a pod's proxy as they come; the first one is the last that was there before.

    The kubelet looks for a line's time from the beginning of the file, and for the last line at its end only.

    :raises ClusterError: if the cluster does not answer, or ends the answer
    """
    path = f"/api/v1/namespaces/{cluster.namespace}/pods/{pod}/log"
    return cluster.lines(path, container="istio-proxy", follow="true", tailLines="1")
