"""Hops: figures from an access log and a kubelet for one time span, and their charts."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime
from xml.etree import ElementTree

from loadtests.latency import chart, hops, statistics
from loadtests.latency.statistics import Request

TAIL = '- - "-" 0 412 {ms} {ms} "-" "python" "id" "reviews:9080" "10.1.2.3:9080" {cluster} 127.0.0.6:1 10.1.2.3:9080 - default'
BEGAN = 1_795_000_000.0


def line(
    at: float, ms: int, request: str = "GET /reviews/0 HTTP/1.1", status: str = "200 -", cluster: str = "inbound|9080||"
) -> str:
    moment = datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return f'[{moment}] "{request}" {status} via_upstream {TAIL.format(ms=ms, cluster=cluster).removeprefix("- ")}'


def test_requests_that_arrived_in_the_span_are_read() -> None:
    log = "\n".join([
        "2026-11-22 info a line of the agent's",
        line(BEGAN - 1, 5), line(BEGAN + 1, 20), line(BEGAN + 2, 30, status="503 UF"), line(BEGAN + 10, 40),
        line(BEGAN + 3, 99, cluster="outbound|9080|v1|ratings"),
        line(BEGAN + 4, 7, request="- - -", status="0 -", cluster="inbound|3306||"),
        line(BEGAN + 5, 8, request="- - -", status="0 UF,URX", cluster="inbound|3306||"),
    ])  # fmt: skip
    taken = hops.requests_of(log, BEGAN, BEGAN + 10)
    assert taken == [(0.02, False), (0.03, True), (0.007, False), (0.008, True)]
    hop = hops.hop_of("reviews v1", taken, 10, (0.5, None))
    assert (hop.requests, hop.errors, hop.rate, hop.in_flight) == (4, 2, 0.4, round(0.065 / 10, 2))
    assert (hop.latency["p50"], hop.latency["max"], hop.cores, hop.proxy_cores) == (8, 30, 0.5, None)


def summary(at: str, app: float, proxy: float) -> dict[str, object]:
    def container(name: str, seconds: float) -> dict[str, object]:
        return {"name": name, "cpu": {"time": at, "usageCoreNanoSeconds": int(seconds * 1e9)}}

    pod = {"podRef": {"name": "a", "namespace": "x"}, "containers": [container("app", app), container("istio-proxy", proxy)]}
    return {"pods": [pod, {**pod, "podRef": {"name": "a", "namespace": "y"}}, {"podRef": {"name": "b", "namespace": "x"}}]}


def test_cores_are_of_the_workload_or_of_its_proxy() -> None:
    before = hops.uses_of(summary("2026-11-22T01:00:00Z", 10, 4), "x")
    after = hops.uses_of(summary("2026-11-22T01:00:20Z", 15, 5), "x")
    assert set(after) == {("a", "app"), ("a", "istio-proxy")}
    assert (hops.cores(before, after, ["a"], False), hops.cores(before, after, ["a"], True)) == (0.25, 0.05)
    assert hops.cores(before, before, ["a"], False) is None, "the kubelet has no new sample"
    assert hops.cores({}, after, ["a"], False) is None, "the pod is new"


def test_the_report_draws_the_whole_path_and_each_hop() -> None:
    hop = hops.hop_of("reviews <v1>", [(0.02, False)], 10, (0.5, None))
    steps = [statistics.summary(rate, [Request(0, 0, 0.02, False)], 0) for rate in (10.0, 12.5)]
    watched = [statistics.Step(**{**vars(s), "hops": (hop,)}) for s in steps]
    assert len(chart.pictures(steps)) == 2
    pictures = chart.pictures(watched)
    assert len(pictures) == 7
    for picture in pictures:
        ElementTree.fromstring(picture)  # noqa: S314 - our own chart
        assert not re.search(r'(href|src)="(?!#)|url\(|@import', picture), "nothing is loaded from elsewhere"
    page = chart.page("http://127.0.0.1/x?<y>", watched, watched[:1], "p99 is 3 ms, more than 2 ms", 2)
    assert "reviews &lt;v1&gt;" in page
    assert "x?&lt;y&gt;" in page
    assert "12.5 requests/s: p99 is 3 ms" in page
    assert "The highest rate that met it: 10.0 requests/s." in page
    assert not math.isnan(steps[0].achieved)
