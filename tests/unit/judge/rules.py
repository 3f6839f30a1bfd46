"""A namespace ``shop`` with two services, for plans."""

from __future__ import annotations

from typing import Any

from tests.unit import pods


def virtual_service(name: str, *routes: dict[str, Any], namespace: str = "shop", age: int = 0, **spec: Any) -> dict[str, Any]:
    """A VirtualService for the host of its name.

    :param age: seconds since the oldest rule was created, for the order
    """
    metadata = {
        "name": name, "namespace": namespace, "uid": f"{namespace}/{name}", "generation": 1,
        "creationTimestamp": f"2026-01-01T00:00:{age:02}Z",
    }  # fmt: skip
    return {"kind": "VirtualService", "metadata": metadata, "spec": {"hosts": [name], "http": list(routes), **spec}}


def service(name: str, *ports: tuple[str, int]) -> dict[str, Any]:
    """A Service whose pods have its name as their label ``app``.

    :param ports: name and number of each; one for HTTP, if there are none
    """
    given = [{"name": n, "port": p} for n, p in ports or [("http", 9080)]]
    metadata = {"name": name, "namespace": "shop", "uid": name, "resourceVersion": "1"}
    return {"kind": "Service", "metadata": metadata, "spec": {"ports": given, "selector": {"app": name}}}


def to(*subsets: tuple[str, int], host: str = "reviews") -> dict[str, Any]:
    """A route to subsets by weight; to the whole service, if there are none."""
    if not subsets:
        return {"route": [{"destination": {"host": host}}]}
    return {"route": [{"destination": {"host": host, "subset": s}, "weight": w} for s, w in subsets]}


SUBSETS = {
    "kind": "DestinationRule",
    "metadata": {"name": "reviews", "namespace": "shop", "uid": "d", "generation": 1},
    "spec": {"host": "reviews", "subsets": [{"name": v, "labels": {"version": v}} for v in ("v1", "v2", "v3")]},
}
PODS = [*pods.versions("reviews", "v1", "v2", "v3", namespace="shop"), *pods.versions("ratings", "v1", namespace="shop")]
AROUND = [SUBSETS, service("reviews"), service("ratings"), *PODS]
"""Everything but VirtualServices."""
JASON = {"match": [{"headers": {"end-user": {"exact": "jason"}}}]}
