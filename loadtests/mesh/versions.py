"""What runs in the cluster, as it says itself: locally built images carry the names of official ones."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

from loadtests.mesh.cluster import Cluster, ClusterError
from loadtests.mesh.propagation import proxies_of

NODE = "bootstrap.node"
MASK = f"{NODE}.user_agent_build_version,{NODE}.extensions"


def build_of(dump: Mapping[str, Any]) -> str:
    """An Envoy's version, source revision and origin: ``1.40.0 (9e5580933739, upstream's build)``; '' if it does not say.

    :param dump: its ``config_dump`` with ``MASK``
    """
    node: Mapping[str, Any] = next(
        (c["bootstrap"]["node"] for c in dump.get("configs", []) if c.get("bootstrap", {}).get("node")), {}
    )
    build, extensions = node.get("user_agent_build_version", {}), node.get("extensions", [])
    revision = build.get("metadata", {}).get("revision.sha", "")
    if not (build.get("version") and revision and extensions):
        return ""
    number = ".".join(str(build["version"].get(part, 0)) for part in ("major_number", "minor_number", "patch"))
    # Istio's builds have extensions of their own (istio.alpn, istio_stats); they are compiled in, so they cannot be hidden.
    origin = "Istio's build" if "istio" in json.dumps(extensions) else "upstream's build, without Istio's filters"
    return f"{number} ({revision[:12]}, {origin})"


def images_of(pods: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Container -> the images that run under its name, each with the digest that the container runtime gives it."""
    found: dict[str, set[str]] = {}
    for pod in pods:
        status = pod.get("status", {})
        for container in (*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])):
            digest = container.get("imageID", "").rpartition("@")[2]
            found.setdefault(container["name"], set()).add(f"{container['image']} {digest}".strip())
    return {name: ", ".join(sorted(images)) for name, images in sorted(found.items())}


def running(cluster: Cluster, applied_by: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Versions of Kubernetes, Envoy and the images in the cluster's namespace; what cannot be found out is left out.

    :param applied_by: (namespace, label ``app``) of the pods whose proxies apply the rules; one of them is asked
    """
    found: dict[str, str] = {}
    with contextlib.suppress(ClusterError, KeyError):
        found["kubernetes"] = cluster.ask("/version")["gitVersion"]
    with contextlib.suppress(ClusterError):
        for namespace, pod in proxies_of(cluster, applied_by)[:1]:
            if build := build_of(cluster.proxy_dump(pod, namespace, mask=MASK)):
                found["envoy"] = build
    with contextlib.suppress(ClusterError):
        found |= images_of(cluster.items("pods"))
    return found
