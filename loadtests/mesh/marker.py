"""Tells when every proxy has what is in the cluster now, whatever kind of rule it is.

istiod pushes snapshots: a proxy that knows an object has all that was there before it. So the rules' generation is written
into the host of a ServiceEntry, after the rules, and the proxies are searched for that host. Nothing calls it.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

from loadtests.mesh.cluster import Cluster, ClusterError

NAME = "istio-lab-marker"
"""Of the ServiceEntry, or what its name begins with."""
DOMAIN = "marker.istio-lab.internal"
# Threads of a proxy take what it has got a moment later; at a gateway, listeners and routes follow the clusters.
SETTLE_SECONDS = 1.0


def host_of(generation: str) -> str:
    """The marker's host for one generation of rules."""
    return f"{hashlib.sha256(generation.encode()).hexdigest()[:16]}.{DOMAIN}"


def put(cluster: Cluster, host: str, name: str = NAME) -> None:
    """Write the marker, unless it is there already."""
    spec = {
        "hosts": [host], "exportTo": ["*"], "location": "MESH_EXTERNAL", "resolution": "STATIC",
        "ports": [{"number": 80, "name": "http", "protocol": "HTTP"}], "endpoints": [{"address": "127.0.0.1"}],
    }  # fmt: skip
    marker = {
        "apiVersion": "networking.istio.io/v1", "kind": "ServiceEntry",
        "metadata": {"name": name, "namespace": cluster.namespace}, "spec": spec,
    }  # fmt: skip
    cluster.kubectl("apply", "--filename", "-", stdin=json.dumps(marker))


def injected(cluster: Cluster, proxies: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """(namespace, pod) of the running proxies that are meant; an app of '' means all of the namespace."""
    found = []
    for namespace, app in proxies:
        for pod in cluster.items("pods", namespace=namespace):
            containers = pod["spec"].get("initContainers", []) + pod["spec"]["containers"]
            ours = not app or pod["metadata"].get("labels", {}).get("app") == app
            going = pod["metadata"].get("deletionTimestamp") or pod["status"].get("phase") != "Running"
            if ours and not going and any(c["name"] == "istio-proxy" for c in containers):
                found.append((namespace, pod["metadata"]["name"]))
    return found


def without(cluster: Cluster, host: str, pods: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Those of ``pods`` whose proxies do not know ``host`` yet."""

    def lacks(pod: tuple[str, str]) -> bool:
        # Routes are the last part of a push, so a sidecar that has the marker's has the listeners before it; a gateway has no
        # route for it.
        resource = "dynamic_active_clusters" if pod[0] == "istio-system" else "dynamic_route_configs"
        try:
            return host not in json.dumps(cluster.proxy_dump(pod[1], resource, pod[0]))
        except (ClusterError, ValueError):
            return True

    with ThreadPoolExecutor(max_workers=8) as pool:
        return [pod for pod, late in zip(pods, pool.map(lacks, pods), strict=True) if late]


def wait(cluster: Cluster, generation: str, proxies: Iterable[tuple[str, str]], seconds: float) -> list[str]:
    """Wait until every proxy has the rules of ``generation``; in words, which still do not when the time is up."""
    host, until = host_of(generation), time.monotonic() + seconds
    put(cluster, host)
    late = injected(cluster, proxies)
    if not late:
        return ["no proxy is there that could hold the rules"]
    while late := without(cluster, host, late):
        if time.monotonic() > until:
            return [f"the proxy of {pod} in {namespace} has not taken the rules in force" for namespace, pod in late]
        time.sleep(0.5)
    time.sleep(SETTLE_SECONDS)
    return []
