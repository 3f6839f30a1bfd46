"""What the mesh did: which version answered, by the answer itself and by the counters of the pods' own proxies."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any, Protocol, TypeVar

from loadtests.mesh.cluster import Cluster
from loadtests.rules.declared import Route
from loadtests.verdict import ERROR

Said = TypeVar("Said")


class AboutCallers(Protocol):
    """What this module needs to know of a ``question.Split``."""

    @property
    def virtual_service(self) -> str:
        """Name of the VirtualService."""

    @property
    def callers(self) -> str:
        """Label ``app`` of the pods whose proxies apply it."""


# A line of the access log that tells of a request which the proxy handed to its own workload: the time at which it began.
LOGGED = re.compile(r"^\[(\S+)\] .* inbound\|\d+\|\| ", re.MULTILINE)
# Traffic that is not counted comes first, so a log that is whole has lines from before counting started.
LOG_REACH_SECONDS = 10.0
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
    :param share: declared share of requests that arrive
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
        told = pool.map(lambda pod: inbound_requests(cluster.proxy_metrics(pod)), versions)
        return dict(zip(versions, told, strict=True))


def logged_since(log: str, since: float) -> int | None:
    """Requests that a proxy handed to its own workload and that began at ``since`` or later, from its access log.

    :param log: lines in the format that role istio pins, from a while before ``since`` on
    :param since: seconds of the epoch, by the node's clock
    :return: None if the log does not reach back so far, for the kubelet has begun a new file meanwhile
    """
    begun = [datetime.fromisoformat(time_of).timestamp() for time_of in LOGGED.findall(log)]
    return None if begun and min(begun) >= since else sum(at >= since for at in begun)


def logged_requests(cluster: Cluster, pods: Iterable[str], since: float) -> dict[str, int]:
    """Requests that arrived at each pod since ``since`` (seconds of the epoch), by its proxy's access log.

    :return: nothing if one of the logs does not reach back so far
    """
    asked_from = datetime.fromtimestamp(since - LOG_REACH_SECONDS, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    found = {}
    for pod in pods:
        log = cluster.read(
            f"/api/v1/namespaces/{cluster.namespace}/pods/{pod}/log", container="istio-proxy", sinceTime=asked_from
        )
        counted = logged_since(log.decode(errors="replace"), since)
        if counted is None:
            return {}
        found[pod] = counted
    return found


def route_in_proxy(dump: Mapping[str, Any], virtual_service: str, namespace: str) -> tuple[Route, ...]:
    """The routes that a proxy holds for one VirtualService, as (subset, weight), in the proxy's order.

    :param dump: ``config_dump?resource=dynamic_route_configs``
    """
    owner = f"/namespaces/{namespace}/virtual-service/{virtual_service}"
    found: list[Route] = []
    for config in dump.get("configs", []):
        for host in config.get("route_config", {}).get("virtual_hosts", []):
            routes = [r for r in host.get("routes", []) if _owner(r).endswith(owner)]
            if routes:
                # Every port and alias of a service has a virtual host of its own, all alike: one tells enough.
                return tuple(_weights(r) for r in routes)
    return tuple(found)


def _owner(route: Mapping[str, Any]) -> str:
    metadata = route.get("metadata", {}).get("filter_metadata", {})
    return str(metadata.get("istio", {}).get("config", ""))


def _weights(route: Mapping[str, Any]) -> Route:
    action = route.get("route", {})
    if "weighted_clusters" in action:
        return tuple((c["name"].split("|")[2], c["weight"]) for c in action["weighted_clusters"]["clusters"])
    return ((action["cluster"].split("|")[2], 100),) if "cluster" in action else ()


def out_of_step(cluster: Cluster, question: AboutCallers, routes: tuple[Route, ...]) -> list[str]:
    """The callers' proxies that do not hold ``routes`` (yet), in words; empty once all of them do."""
    gateway = question.callers == "istio-ingressgateway"
    namespace = "istio-system" if gateway else cluster.namespace
    pods = [
        p for p in cluster.items("pods", namespace=namespace) if p["metadata"].get("labels", {}).get("app") == question.callers
    ]
    late = [] if pods else [f"no pod of {question.callers} is there"]
    for pod in pods:
        name = pod["metadata"]["name"]
        held = route_in_proxy(
            cluster.proxy_dump(name, "dynamic_route_configs", namespace), question.virtual_service, cluster.namespace
        )
        if distinct(held) != distinct(routes):
            late.append(f"the proxy of {name} routes {say(held)}; declared: {say(routes)}")
    return late


def wait_in_step(cluster: Cluster, question: AboutCallers, routes: tuple[Route, ...], seconds: float) -> list[str]:
    """Wait until every caller's proxy holds ``routes``; which ones still do not when the time is up."""
    until = time.monotonic() + seconds
    while (late := out_of_step(cluster, question, routes)) and time.monotonic() < until:
        time.sleep(0.5)
    return late


def distinct(routes: tuple[Route, ...]) -> tuple[Route, ...]:
    """Routes in a form to compare: no destinations of weight 0 (proxies drop them), no neighbours that are alike."""
    plain = [tuple(sorted(d for d in r if d[1])) for r in routes]
    return tuple(r for i, r in enumerate(plain) if i == 0 or r != plain[i - 1])


def say(routes: tuple[Route, ...]) -> str:
    """Routes in words."""
    return (
        " then ".join("/".join(f"{subset or 'all'} {weight}" for subset, weight in r) for r in routes) or "nothing of this rule"
    )
