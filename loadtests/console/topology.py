"""Call graph of a namespace: its services, and the mesh's metrics for each call, beside the share that the rules declare."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from loadtests.console import changes
from loadtests.mesh.cluster import Cluster, ClusterError
from loadtests.rules.asked import answered, route_of
from loadtests.rules.calls import Call, Caller
from loadtests.rules.expectations import NoExpectationError, NotModelledError, Objects, of_kind
from loadtests.rules.subsets import reached
from loadtests.rules.view import View, viewed

PROMETHEUS_SERVICE = "prometheus:9090"
PROMETHEUS = f"/api/v1/namespaces/telemetry/services/{PROMETHEUS_SERVICE}/proxy/api/v1/query"
PAST_SECONDS, STEP_SECONDS = 1800, 30
"""How far an edge's rates reach back, and how far they are apart."""
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
    expected: float | None
    """Share that a VirtualService declares for requests that match no condition; None without such a rule."""
    errors: float
    """Share of failed requests (5xx or no response), fraction of 1."""
    p99: float | None
    """99th percentile of the response time, in milliseconds."""
    mtls: bool
    """Whether the other end presented a mesh identity."""
    blocked: bool
    """Whether no rule allows the requested host."""


@dataclass(frozen=True)
class Version:
    """A version of a service that has pods."""

    name: str
    """Service and version, as in ``Edge.target``."""
    service: str
    version: str
    """Empty if the service's pods have no such label."""
    expected: float | None
    """As in ``Edge.expected``."""


@dataclass(frozen=True)
class Graph:
    """A namespace's services and calls."""

    versions: tuple[Version, ...]
    edges: tuple[Edge, ...]
    notice: str = ""
    """Why there are no metrics; empty if there are."""


@dataclass(frozen=True)
class Rates:
    """An edge's requests over time; connections if blocked below HTTP."""

    times: tuple[float, ...]
    """Seconds of the epoch, ``STEP_SECONDS`` apart."""
    rates: tuple[float, ...]
    """Per second."""
    errors: tuple[float, ...]
    """Those of them that failed (5xx or no response)."""


def name_of(service: str, version: str) -> str:
    """A node's name."""
    return f"{service} {version}".strip()


def expected_shares(objects: Objects, namespace: str) -> dict[tuple[str, str], float]:
    """(service, version) -> share of the namespace's requests without headers of their own, as its rules declare it.

    Services whose shares depend on who calls, or on what is not modelled, have none.
    """
    found: dict[tuple[str, str], float] = {}
    for service in of_kind(objects, "Service"):
        for port in service["spec"].get("ports", []):
            caller = Caller(namespace, all_labels=False)
            for key, share in _shares_of(viewed(objects), Call(service["metadata"]["name"], port["port"], caller)).items():
                found[key] = found.get(key, 0.0) + share
    return found


def _shares_of(objects: Sequence[View], call: Call) -> dict[tuple[str, str], float]:
    found: dict[tuple[str, str], float] = {}
    try:
        asked = route_of(objects, call)
        sent = answered(asked.taken)
        for one in sent.destinations:
            versions = reached(objects, sent, one)
            if len(versions) > 1:
                return {}
            for version in versions - {""}:
                key = (one.host.partition(".")[0], version)
                found[key] = found.get(key, 0.0) + one.share
    except (NoExpectationError, NotModelledError):
        return {}
    conditions = asked.condition
    return {} if conditions is not None and conditions.unread() else found


def edges(rates: Series, quantiles: Series, expected: Mapping[tuple[str, str], float], namespace: str) -> list[Edge]:
    """The calls that leave or enter a namespace, by caller and called version, busiest first.

    :param rates: answers to ``RATE`` and ``CONNECTIONS``
    :param quantiles: answer to ``P99``
    """
    slow = {_ends(s["metric"]): float(s["value"][1]) for s in quantiles}
    found: dict[tuple[str, ...], Edge] = {}
    for series in rates:
        labels, rate = series["metric"], float(series["value"][1])
        if not _concerns(labels, namespace):
            continue
        ends = _ends(labels)
        service, version = labels.get("destination_service_name", ""), labels.get("destination_version", "")
        blocked = service == BLOCKED
        p99 = slow.get(ends)
        source, target = _names(labels)
        made = found.get(ends) or Edge(
            source=source, target=target, service=service, version=version, rate=0.0, share=0.0,
            expected=expected.get((service, version)), errors=0.0,
            p99=p99 if p99 is not None and not math.isnan(p99) else None,
            mtls=False, blocked=blocked,
        )  # fmt: skip
        failed = _failed(labels)
        mtls = made.mtls or labels.get("destination_principal", "").startswith("spiffe://")
        found[ends] = replace(made, rate=made.rate + rate, errors=made.errors + (rate if failed else 0.0), mtls=mtls)
    totals: dict[tuple[str, str], float] = {}
    for edge in found.values():
        totals[(edge.source, edge.service)] = totals.get((edge.source, edge.service), 0.0) + edge.rate
    done = [replace(e, share=e.rate / totals[(e.source, e.service)], errors=e.errors / e.rate) for e in found.values()]
    return sorted(done, key=lambda e: (-e.rate, e.source, e.target))


def rates_of(series: Series, source: str, target: str, namespace: str, end: float) -> Rates:
    """The rates of one edge; 0 where the mesh has measured nothing.

    :param series: answers to ``RATE`` and ``CONNECTIONS`` over time: ``metric`` and ``values`` (time, number as text)
    :param end: the latest time, in seconds of the epoch
    """
    times = [end - PAST_SECONDS + number * STEP_SECONDS for number in range(PAST_SECONDS // STEP_SECONDS + 1)]
    rates, errors = [0.0] * len(times), [0.0] * len(times)
    for one in series:
        labels = one["metric"]
        if not _concerns(labels, namespace) or _names(labels) != (source, target):
            continue
        for time_, value in one["values"]:
            number = round((float(time_) - times[0]) / STEP_SECONDS)
            if 0 <= number < len(times):
                rates[number] += float(value)
                errors[number] += float(value) if _failed(labels) else 0.0
    return Rates(tuple(times), tuple(rates), tuple(errors))


def _concerns(labels: Mapping[str, str], namespace: str) -> bool:
    return namespace in (labels.get("source_workload_namespace"), labels.get("destination_service_namespace"))


def _names(labels: Mapping[str, str]) -> tuple[str, str]:
    """An edge's ``source`` and ``target``."""
    service, version = labels.get("destination_service_name", ""), labels.get("destination_version", "")
    return (
        name_of(labels.get("source_canonical_service", "unknown"), labels.get("source_version", "")),
        labels.get("destination_service", "?") if service == BLOCKED else name_of(service, version),
    )


def _failed(labels: Mapping[str, str]) -> bool:
    return labels.get("destination_service_name") == BLOCKED or labels.get("response_code", "").startswith(("0", "5"))


def _ends(labels: Mapping[str, str]) -> tuple[str, ...]:
    # Blocked hosts share one name; the requested host tells them apart. Quantiles do not have it.
    asked = labels.get("destination_service", "") if labels.get("destination_service_name") == BLOCKED else ""
    names = [labels.get(name, "") for name in ENDS.split(", ")]
    return (*names, asked)


def versions_of(objects: Objects, expected: Mapping[tuple[str, str], float]) -> list[Version]:
    """The versions of all services that select pods, sorted by name."""
    there = [p for p in of_kind(objects, "Pod") if not p["metadata"].get("deletionTimestamp")]
    found = changes.services_of(of_kind(objects, "Service"), there)
    return [
        Version(name_of(s.name, version), s.name, version, expected.get((s.name, version)))
        for s in found
        if s.pods
        for version in s.versions or ("",)
    ]


def read(cluster: Cluster) -> Graph:
    """The services of the cluster's namespace, and the current calls.

    :raises ClusterError: if the cluster does not respond
    """
    objects = cluster.items("virtualservices.networking.istio.io", "destinationrules.networking.istio.io", "services", "pods")
    expected = expected_shares(objects, cluster.namespace)
    versions = tuple(versions_of(objects, expected))
    try:
        rates, refused, quantiles = (
            cluster.ask(PROMETHEUS, query=expression)["data"]["result"] for expression in (RATE, CONNECTIONS, P99)
        )
    except ClusterError as error:
        return Graph(versions, (), f"no metrics ({error}); run: make telemetry")
    return Graph(versions, tuple(edges([*rates, *refused], quantiles, expected, cluster.namespace)))


def read_rates(cluster: Cluster, source: str, target: str) -> Rates:
    """The rates of one edge of the cluster's namespace until now.

    :raises ClusterError: if the cluster does not respond, or has no metrics
    """
    end = float(int(time.time()))
    span = {"start": str(end - PAST_SECONDS), "end": str(end), "step": str(STEP_SECONDS)}
    found: list[Mapping[str, Any]] = []
    try:
        for expression in (RATE, CONNECTIONS):
            found += cluster.ask(f"{PROMETHEUS}_range", query=expression, **span)["data"]["result"]
    except ClusterError as error:
        raise ClusterError(f"no metrics ({error}); run: make telemetry") from error
    return rates_of(found, source, target, cluster.namespace, end)
