"""Running pods, as far as readers of rules look at them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any


def pod(name: str, labels: Mapping[str, str], namespace: str = "bookinfo") -> dict[str, Any]:
    """One pod."""
    metadata = {"name": name, "namespace": namespace, "labels": dict(labels)}
    return {"kind": "Pod", "metadata": metadata, "status": {"phase": "Running", "podIPs": [{"ip": "10.244.0.9"}]}}


def versions(app: str, *names: str, namespace: str = "bookinfo") -> list[dict[str, Any]]:
    """A pod of each version of an app."""
    return [pod(f"{app}-{version}", {"app": app, "version": version}, namespace) for version in names]


def of_workloads(objects: Iterable[Mapping[str, Any]], namespace: str) -> list[dict[str, Any]]:
    """A pod of each Deployment and StatefulSet."""
    return [
        pod(f"{o['metadata']['name']}-0", o["spec"]["template"]["metadata"]["labels"], namespace)
        for o in objects
        if o["kind"] in ("Deployment", "StatefulSet")
    ]
