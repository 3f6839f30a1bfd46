"""Call graph of a namespace: the mesh's metrics for each call, beside the share that the rules declare."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from loadtests.mesh.cluster import Cluster
from loadtests.rules.declared import Objects, of_kind, route_for, shares_of, weights
from loadtests.rules.view import View

PROMETHEUS_SERVICE = "prometheus:9090"
PROMETHEUS = f"/api/v1/namespaces/telemetry/services/{PROMETHEUS_SERVICE}/proxy/api/v1/query"
BLOCKED = "BlackHoleCluster"
WINDOW = "30s"
ENDS = "source_canonical_service, source_version, source_workload_namespace, destination_service_name, destination_version"
RATE = (
    f"sum by ({ENDS}, destination_service, destination_service_namespace, destination_principal, response_code)"
    f' (rate(istio_requests_total{{reporter="source"}}[{WINDOW}])) > 0'
)
CONNECTIONS = (
    f"sum by ({ENDS}, destination_service, destination_service_namespace)"
    f' (rate(istio_tcp_connections_opened_total{{reporter="source",destination_service_name="{BLOCKED}"}}[{WINDOW}])) > 0'
)
"""Only connections that no rule allows; the mesh does not split the others."""
P99 = (
    f"histogram_quantile(0.99, sum by (le, {ENDS})"
    f' (rate(istio_request_duration_milliseconds_bucket{{reporter="source"}}[{WINDOW}])))'
)

Series = Iterable[Mapping[str, Any]]
"""Prometheus results: ``metric`` (labels) and ``value`` (time, number as text)."""


@dataclass(frozen=True)
class Edge:
    """One caller's requests to one version of a service in the last 30 seconds."""

    source: str
    """Service and version, such as ``reviews v2``; likewise ``target``, except for an external host."""
    target: str
    service: str
    version: str
    rate: float
    """Requests per second; connections per second if blocked below HTTP."""
    share: float
    """Share of this caller's requests to the service, fraction of 1."""
    declared: float | None
    """Share that a VirtualService declares for requests that match no condition; None without such a rule."""
    errors: float
    """Share of failed requests (5xx or no response), fraction of 1."""
    p99: float | None
    """99th percentile of the response time, in milliseconds."""
    mtls: bool
    """Whether the other end presented a mesh identity."""
    blocked: bool
    """Whether no rule allows the requested host."""


def name_of(service: str, version: str) -> str:
    """A node's name."""
    return f"{service} {version}".strip()


def declared_shares(objects: Objects) -> dict[tuple[str, str], float]:
    """(service, version) -> share of requests that match no condition, as VirtualServices and DestinationRules declare it.

    :param objects: the objects in one namespace
    """
    versions = {
        (rule["spec"]["host"].split(".")[0], subset["name"]): subset.get("labels", {}).get("version", "")
        for rule in of_kind(objects, "DestinationRule")
        for subset in rule["spec"].get("subsets", [])
    }
    found: dict[tuple[str, str], float] = {}
    for rule in of_kind(objects, "VirtualService"):
        route = route_for(rule["spec"].get("http", []), {"headers": {}}) or View({})
        for service in {d["destination"]["host"].split(".")[0] for d in route.get("route", [])}:
            for subset, share in shares_of(weights(route)).items():
                if version := versions.get((service, subset), ""):
                    found[(service, version)] = found.get((service, version), 0.0) + share
    return found


def edges(rates: Series, quantiles: Series, declared: Mapping[tuple[str, str], float], namespace: str) -> list[Edge]:
    """The calls that leave or enter a namespace, by caller and called version, busiest first.

    :param rates: answers to ``RATE`` and ``CONNECTIONS``
    :param quantiles: answer to ``P99``
    """
    slow = {_ends(s["metric"]): float(s["value"][1]) for s in quantiles}
    found: dict[tuple[str, ...], Edge] = {}
    for series in rates:
        labels, rate = series["metric"], float(series["value"][1])
        if namespace not in (labels.get("source_workload_namespace"), labels.get("destination_service_namespace")):
            continue
        ends = _ends(labels)
        service, version = labels.get("destination_service_name", ""), labels.get("destination_version", "")
        blocked = service == BLOCKED
        p99 = slow.get(ends)
        made = found.get(ends) or Edge(
            source=name_of(labels.get("source_canonical_service", "unknown"), labels.get("source_version", "")),
            target=labels.get("destination_service", "?") if blocked else name_of(service, version),
            service=service, version=version, rate=0.0, share=0.0, declared=declared.get((service, version)), errors=0.0,
            p99=p99 if p99 is not None and not math.isnan(p99) else None,
            mtls=False, blocked=blocked,
        )  # fmt: skip
        failed = blocked or labels.get("response_code", "").startswith(("0", "5"))
        mtls = made.mtls or labels.get("destination_principal", "").startswith("spiffe://")
        found[ends] = replace(made, rate=made.rate + rate, errors=made.errors + (rate if failed else 0.0), mtls=mtls)
    totals: dict[tuple[str, str], float] = {}
    for edge in found.values():
        totals[(edge.source, edge.service)] = totals.get((edge.source, edge.service), 0.0) + edge.rate
    done = [replace(e, share=e.rate / totals[(e.source, e.service)], errors=e.errors / e.rate) for e in found.values()]
    return sorted(done, key=lambda e: (-e.rate, e.source, e.target))


def _ends(labels: Mapping[str, str]) -> tuple[str, ...]:
    # Blocked hosts share one name; the requested host tells them apart. Quantiles do not have it.
    asked = labels.get("destination_service", "") if labels.get("destination_service_name") == BLOCKED else ""
    names = [labels.get(name, "") for name in ENDS.split(", ")]
    return (*names, asked)


def read(cluster: Cluster) -> list[Edge]:
    """The current edges of the cluster's namespace.

    :raises ClusterError: if the cluster or its Prometheus does not respond
    """
    rules = [
        {**rule, "kind": kind}
        for kind in ("VirtualService", "DestinationRule")
        for rule in cluster.ask(f"/apis/networking.istio.io/v1/namespaces/{cluster.namespace}/{kind.lower()}s")["items"]
    ]
    asked = (RATE, CONNECTIONS, P99)
    rates, refused, quantiles = (cluster.ask(PROMETHEUS, query=expression)["data"]["result"] for expression in asked)
    return edges([*rates, *refused], quantiles, declared_shares(rules), cluster.namespace)
