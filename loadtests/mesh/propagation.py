"""Waits until proxies have the rules that are in the cluster now, whatever kind of rule it is.

istiod pushes snapshots: a proxy that has an object has everything that was there before it. So a sentinel is written after the
rules, named after their generation, and the proxies are searched for it. It is a cluster that nothing calls: every proxy has
clusters, and they come first in a push. Listeners and routes of the same push follow them, so once the first sentinel has
arrived, a second one takes its place: the clusters of its push come after everything of the push before.

Proxies of the rules' own namespace get it by an EnvoyFilter, which applies to them alone and which no Sidecar can hide. Those
of another namespace (gateways) get it by a ServiceEntry that is exported there, for whoever may write rules in one namespace
must not write Envoy's configuration in another.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from loadtests.mesh.cluster import Cluster, ClusterError, RefusedByServerError, path_of

NAME = "istio-lab-sentinel"
"""Of the EnvoyFilter and the ServiceEntry, or what their names begin with."""
DOMAIN = "sentinel.istio-lab.internal"
KINDS = {"EnvoyFilter": "envoyfilters.networking.istio.io", "ServiceEntry": "serviceentries.networking.istio.io"}
"""What brings sentinels to proxies: kind -> as kubectl lists it."""
MANAGER = "istio-lab"
# istiod waits for 100 ms of quiet before it pushes.
LOOK_SECONDS = 0.3
Proxy = tuple[str, str]
"""Namespace and pod."""


@dataclass(frozen=True)
class Look:
    """What one look at the proxies found."""

    stale: tuple[Proxy, ...]
    """Those that do not have the rules yet, or could not be asked."""
    error: str = ""
    """Why one of them could not be asked; empty if all could."""


def sentinels_of(generation: str, proxies: Iterable[Proxy]) -> tuple[str, str]:
    """Names of the two sentinels of one generation of rules, in their order.

    Of these proxies alone: the second one means nothing to a proxy that was not asked for the first.
    """
    first, second = (hashlib.sha256(f"{generation} {sorted(proxies)} {turn}".encode()).hexdigest()[:16] for turn in (1, 2))
    return f"{first}.{DOMAIN}", f"{second}.{DOMAIN}"


def carriers(sentinel: str, own: str, namespaces: Iterable[str], name: str) -> list[dict[str, Any]]:
    """The objects, all in namespace ``own``, that bring a sentinel to the proxies of ``namespaces``."""
    metadata, here = {"name": name, "namespace": own}, set(namespaces)
    found: list[dict[str, Any]] = []
    if own in here:
        cluster = {"name": sentinel, "type": "STATIC", "connect_timeout": "1s"}
        patch = {"applyTo": "CLUSTER", "match": {"context": "ANY"}, "patch": {"operation": "ADD", "value": cluster}}
        api = {"apiVersion": "networking.istio.io/v1alpha3", "kind": "EnvoyFilter"}
        found.append({**api, "metadata": metadata, "spec": {"configPatches": [patch]}})
    if others := sorted(here - {own}):
        spec = {
            "hosts": [sentinel], "exportTo": others, "location": "MESH_EXTERNAL", "resolution": "STATIC",
            "ports": [{"number": 80, "name": "http", "protocol": "HTTP"}], "endpoints": [{"address": "127.0.0.1"}],
        }  # fmt: skip
        found.append({"apiVersion": "networking.istio.io/v1", "kind": "ServiceEntry", "metadata": metadata, "spec": spec})
    return found


def _path(carrier: Mapping[str, Any]) -> str:
    return f"{path_of(KINDS[carrier['kind']], carrier['metadata']['namespace'])}/{carrier['metadata']['name']}"


def _is_there(cluster: Cluster, carrier: Mapping[str, Any], sentinel: str) -> bool:
    try:
        return sentinel in json.dumps(cluster.ask(_path(carrier))["spec"])
    except RefusedByServerError as error:
        if error.code == 404:
            return False
        raise


def has_proxy(pod: Mapping[str, Any]) -> bool:
    """Whether a pod has a sidecar, or is a gateway."""
    return any(part["name"] == "istio-proxy" for part in pod["spec"].get("initContainers", []) + pod["spec"]["containers"])


def proxies_of(cluster: Cluster, wanted: Iterable[tuple[str, str]]) -> list[Proxy]:
    """The running proxies.

    :param wanted: (namespace, label ``app`` of the pods); an app of '' means all of the namespace
    """
    found = []
    for namespace, app in wanted:
        for pod in cluster.items("pods", namespace=namespace):
            meant = not app or pod["metadata"].get("labels", {}).get("app") == app
            ending = pod["metadata"].get("deletionTimestamp") or pod["status"].get("phase") != "Running"
            if meant and not ending and has_proxy(pod):
                found.append((namespace, pod["metadata"]["name"]))
    return found


def search(cluster: Cluster, proxies: Sequence[Proxy], sentinel: str) -> Look:
    """Look for a sentinel in each proxy."""
    pattern = f".*{sentinel.partition('.')[0]}.*"

    def ask(proxy: Proxy) -> str | None:
        """None if the proxy has it; else why it could not be asked, or nothing."""
        namespace, pod = proxy
        try:
            dump = cluster.proxy_dump(pod, namespace, resource="dynamic_active_clusters", name_regex=pattern)
            return None if dump.get("configs") else ""
        except ClusterError as error:
            return str(error)

    with ThreadPoolExecutor(max_workers=8) as pool:
        asked = list(zip(proxies, pool.map(ask, proxies), strict=True))
    return Look(tuple(proxy for proxy, why in asked if why is not None), next((why for _, why in asked if why), ""))


def look(cluster: Cluster, generation: str, proxies: Sequence[Proxy], name: str = NAME) -> Look:
    """Which of ``proxies`` do not have the rules of ``generation`` yet; writes the sentinel whose turn it is.

    Which turn that is stands in the cluster alone, so two who wait for the same rules do not hinder each other.

    :param name: of the objects that bring the sentinel
    :raises ClusterError: if the cluster does not answer, or refuses to have the sentinel written
    """
    namespaces = [namespace for namespace, _ in proxies]
    first, second = sentinels_of(generation, proxies)
    bearing = {sentinel: carriers(sentinel, cluster.namespace, namespaces, name) for sentinel in (first, second)}

    def written(sentinel: str) -> bool:
        return all(_is_there(cluster, carrier, sentinel) for carrier in bearing[sentinel])

    def write(sentinel: str) -> Look:
        for carrier in bearing[sentinel]:
            cluster.write("PATCH", _path(carrier), carrier, fieldManager=MANAGER, force="true")
        return Look(tuple(proxies))

    if written(second):
        return search(cluster, proxies, second)
    if not written(first):
        return write(first)
    found = search(cluster, proxies, first)
    return found if found.stale else write(second)


def wait(cluster: Cluster, generation: str, wanted: Iterable[tuple[str, str]], seconds: float) -> list[str]:
    """Wait until every proxy has the rules of ``generation``; in words, which still do not when the time is up.

    :param wanted: as :func:`proxies_of` has it
    :raises ClusterError: if the cluster does not answer, or a proxy could not be asked until the time was up
    """
    until, proxies = time.monotonic() + seconds, proxies_of(cluster, wanted)
    if not proxies:
        return ["there is no proxy that could have the rules"]
    while (found := look(cluster, generation, proxies)).stale:
        if time.monotonic() > until:
            if found.error:
                raise ClusterError(found.error)
            return [f"the proxy of {pod} in {namespace} does not have the rules yet" for namespace, pod in found.stale]
        time.sleep(LOOK_SECONDS)
    return []
