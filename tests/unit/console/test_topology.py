"""The topology's services and calls, from objects and Prometheus series."""

from __future__ import annotations

from typing import Any

import pytest

from loadtests.console import topology
from loadtests.console.topology import Edge, Version, edges, expected_shares, versions_of
from loadtests.mesh.cluster import Cluster, ClusterError
from tests.unit import pods

PRINCIPAL = "spiffe://cluster.local/ns/bookinfo/sa/bookinfo-reviews"
ENDS = {
    "source_canonical_service": "productpage", "source_version": "v1", "source_workload_namespace": "bookinfo",
    "destination_service_name": "reviews", "destination_service_namespace": "bookinfo",
}  # fmt: skip


def series(value: str, **labels: str) -> dict[str, Any]:
    return {"metric": {**ENDS, **labels}, "value": [0, value]}


def test_shares_errors_and_times_of_each_version() -> None:
    rates = [
        series("6", destination_version="v1", response_code="200", destination_principal=PRINCIPAL),
        series("1", destination_version="v3", response_code="200", destination_principal=PRINCIPAL),
        series("1", destination_version="v3", response_code="503"),
    ]
    slow = [series("42.5", destination_version="v1"), series("NaN", destination_version="v3")]
    first, second = edges(rates, slow, {("reviews", "v1"): 0.8, ("reviews", "v3"): 0.2}, "bookinfo")
    assert first == Edge("productpage v1", "reviews v1", "reviews", "v1", 6.0, 0.75, 0.8, 0.0, 42.5, True, False)
    assert second == Edge("productpage v1", "reviews v3", "reviews", "v3", 2.0, 0.25, 0.2, 0.5, None, True, False)


def test_a_host_that_no_rule_allows_has_its_requested_name() -> None:
    blocked = {"destination_service_name": "BlackHoleCluster", "destination_service_namespace": "", "response_code": "502"}
    rates = [series("1", destination_service=host, **blocked) for host in ("a.example", "b.example")]
    found = edges(rates, [], {}, "bookinfo")
    assert [(e.target, e.blocked, e.errors, e.mtls) for e in found] == [
        ("a.example", True, 1.0, False),
        ("b.example", True, 1.0, False),
    ]


def test_a_connection_that_is_blocked_below_http_is_a_blocked_edge() -> None:
    refused = series(
        "2", destination_service_name="BlackHoleCluster", destination_service="10.0.0.9:9997", destination_service_namespace=""
    )
    (edge,) = edges([refused], [], {}, "bookinfo")
    assert (edge.target, edge.blocked, edge.errors, edge.rate) == ("10.0.0.9:9997", True, 1.0, 2.0)


def test_an_edges_rates_over_time_have_a_value_for_each_step() -> None:
    end = 1_800_000_000.0

    def past(values: list[tuple[int, str]], **labels: str) -> dict[str, Any]:
        return {"metric": {**ENDS, **labels}, "values": [[end - ago, value] for ago, value in values]}

    found = [
        past([(60, "4"), (0, "6")], destination_version="v3", response_code="200"),
        past([(0, "1.5")], destination_version="v3", response_code="503"),
        past([(0, "9")], destination_version="v1", response_code="200"),
        past([(0, "9")], destination_version="v3", response_code="200", source_canonical_service="other"),
        past([(topology.PAST_SECONDS + 60, "9")], destination_version="v3", response_code="200"),
    ]
    rates = topology.rates_of(found, "productpage v1", "reviews v3", "bookinfo", end)
    assert len(rates.times) == len(rates.rates) == len(rates.errors) == 61
    assert (rates.times[0], rates.times[-1]) == (end - 1800, end)
    assert (rates.rates[-3:], sum(rates.rates)) == ((4.0, 0.0, 7.5), 11.5)
    assert (rates.errors[-3:], sum(rates.errors)) == ((0.0, 0.0, 1.5), 1.5)
    assert sum(topology.rates_of(found, "productpage v1", "reviews v3", "elsewhere", end).rates) == 0


def test_rates_are_asked_of_the_metrics_or_it_says_how_to_get_them() -> None:
    asked: list[tuple[str, dict[str, str]]] = []

    class Metrics(Cluster):
        def ask(self, path: str, **query: str) -> dict[str, Any]:
            asked.append((path, query))
            return {"data": {"result": []}}

    rates = topology.read_rates(Metrics("kubeconfig", "bookinfo"), "productpage v1", "reviews v3")
    assert [path for path, _ in asked] == [f"{topology.PROMETHEUS}_range"] * 2
    assert {float(q["end"]) - float(q["start"]) for _, q in asked} == {topology.PAST_SECONDS}
    assert float(asked[0][1]["end"]) == rates.times[-1]

    class Without(Cluster):
        def ask(self, path: str, **query: str) -> dict[str, Any]:
            raise ClusterError("HTTP 404")

    with pytest.raises(ClusterError, match=r"no metrics \(HTTP 404\); run: make telemetry"):
        topology.read_rates(Without("kubeconfig", "bookinfo"), "productpage v1", "reviews v3")


def test_other_namespaces_are_left_out() -> None:
    elsewhere = series("1", source_workload_namespace="echo", destination_service_namespace="echo", response_code="200")
    enters = series("1", source_workload_namespace="istio-system", destination_version="v1", response_code="200")
    assert [e.version for e in edges([elsewhere, enters], [], {}, "bookinfo")] == ["v1"]


def rule(kind: str, **spec: Any) -> dict[str, Any]:
    return {"kind": kind, "metadata": {"name": "reviews", "namespace": "bookinfo"}, "spec": spec}


@pytest.mark.parametrize("host", ["reviews", "reviews.bookinfo.svc.cluster.local"])
def test_expected_shares_apply_to_requests_that_match_no_condition(host: str) -> None:
    to = [{"destination": {"host": host, "subset": s}, "weight": w} for s, w in (("old", 70), ("new", 30))]
    marked = {
        "match": [{"headers": {"end-user": {"exact": "jason"}}}],
        "route": [{"destination": {"host": host, "subset": "new"}}],
    }
    subsets = [{"name": "old", "labels": {"version": "v1"}}, {"name": "new", "labels": {"version": "v3"}}]
    objects = [
        rule("VirtualService", hosts=[host], http=[marked, {"route": to}]),
        rule("Service", ports=[{"name": "http", "port": 9080}], selector={"app": "reviews"}),
        rule("DestinationRule", host=host, subsets=subsets),
        *pods.versions("reviews", "v1", "v3"),
    ]
    assert expected_shares(objects, "bookinfo") == {("reviews", "v1"): 0.7, ("reviews", "v3"): 0.3}
    assert expected_shares(objects[:2], "bookinfo") == {}
    marked["match"] = [{"sourceLabels": {"app": "ratings"}}]
    assert expected_shares(objects, "bookinfo") == {}, "nobody knows whose requests they are"


def test_services_without_traffic_have_their_versions() -> None:
    objects = [
        rule("Service", ports=[{"name": "http", "port": 9080}], selector={"app": "reviews"}),
        rule("Service", ports=[], selector={"app": "nobody"}),
        *pods.versions("reviews", "v1", "v3"),
    ]
    assert versions_of(objects, {("reviews", "v1"): 0.8}) == [
        Version("reviews v1", "reviews", "v1", 0.8),
        Version("reviews v3", "reviews", "v3", None),
    ]
    objects[2]["metadata"]["deletionTimestamp"] = "now"
    assert [v.version for v in versions_of(objects, {})] == ["v3"]
    assert versions_of([objects[0], {**objects[3], "metadata": {"labels": {"app": "reviews"}}}], {}) == [
        Version("reviews", "reviews", "", None)
    ]


def test_without_metrics_the_services_are_there_and_the_reason_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(cluster: Cluster, path: str, **query: str) -> None:
        raise ClusterError("HTTP 404")

    objects = [rule("Service", ports=[], selector={"app": "reviews"}), *pods.versions("reviews", "v1")]
    monkeypatch.setattr(Cluster, "items", lambda *_: objects)
    monkeypatch.setattr(Cluster, "ask", refused)
    found = topology.read(Cluster("none", "bookinfo"))
    assert (found.edges, found.notice) == ((), "no metrics (HTTP 404); run: make telemetry")
    assert [v.name for v in found.versions] == ["reviews v1"]
