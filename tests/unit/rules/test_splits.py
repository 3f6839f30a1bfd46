"""Reading expectations from rules."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from loadtests.entries.question import Split
from loadtests.mesh.observed import arrived_of, begins_before, by_version, inbound_requests, logged_requests, logged_since
from loadtests.rules.calls import Call, Caller
from loadtests.rules.conditions import holds
from loadtests.rules.expectations import Rules, differences
from loadtests.rules.layers import Layers, Part
from loadtests.rules.view import View
from loadtests.verdict import ERROR
from tests.unit import pods

QUESTION = Split("reviews", {"anonymous": {"headers": {}}, "jason": {"headers": {"end-user": "jason"}}}, "productpage")


SERVICE = {
    "kind": "Service", "metadata": {"name": "reviews", "uid": "s", "resourceVersion": "1"},
    "spec": {"ports": [{"name": "http", "port": 9080}], "selector": {"app": "reviews"}},
}  # fmt: skip


def expectation(question: Split, objects: list[dict[str, Any]]) -> Rules:
    return question.expect([*objects, SERVICE, *pods.versions("reviews", "v1", "v2", "v3")])


def destination_rule(*subsets: str) -> dict[str, Any]:
    return {
        "kind": "DestinationRule",
        "metadata": {"name": "reviews", "uid": "d", "generation": 1},
        "spec": {"host": "reviews", "subsets": [{"name": s, "labels": {"version": s}} for s in subsets]},
    }


def virtual_service(
    *routes: tuple[str, list[tuple[str, int | None]]], generation: int = 1, name: str = "reviews"
) -> dict[str, Any]:
    http = []
    for user, destinations in routes:
        route: dict[str, Any] = {
            "route": [
                {"destination": {"host": "reviews", "subset": s}} | ({} if w is None else {"weight": w})
                for s, w in destinations
            ]
        }
        if user:
            route["match"] = [{"headers": {"end-user": {"exact": user}}}]
        http.append(route)
    return {
        "kind": "VirtualService",
        "metadata": {"name": name, "uid": name, "generation": generation},
        "spec": {"hosts": ["reviews"], "http": http},
    }


def test_weights_become_shares() -> None:
    rules = expectation(QUESTION, [virtual_service(("", [("v1", 80), ("v3", 20)])), destination_rule("v1", "v3")])
    assert rules.expected.shares["anonymous"] == {"v1": 0.8, "v3": 0.2}
    assert rules.expected.broken == ()
    assert not rules.whole_service


def test_each_class_gets_the_first_route_that_matches_it() -> None:
    objects = [virtual_service(("jason", [("v2", None)]), ("", [("v1", None)])), destination_rule("v1", "v2")]
    shares = expectation(QUESTION, objects).expected.shares
    assert shares == {"jason": {"v2": 1.0}, "anonymous": {"v1": 1.0}}


@pytest.mark.parametrize(
    ("objects", "words"),
    [
        ([destination_rule("v1")], "anonymous: no VirtualService for reviews:9080 is applied"),
        ([virtual_service(("", [("v1", 0), ("v3", 0)])), destination_rule("v1", "v3")], "weights sum to 0"),
        (
            [virtual_service(("", [("v1", 80), ("v3", 20)])), destination_rule("v1")],
            "no DestinationRule of reviews has a subset v3",
        ),
        ([virtual_service(("jason", [("v1", None)])), destination_rule("v1")], "anonymous: reviews:9080 has no route for it"),
    ],
)
def test_an_expectation_that_cannot_be_met_is_broken(objects: list[dict[str, Any]], words: str) -> None:
    assert any(words in reason for reason in expectation(QUESTION, objects).expected.broken)


def test_an_edit_changes_the_generation_and_so_does_a_second_rule() -> None:
    base = [virtual_service(("", [("v1", 100)])), destination_rule("v1")]
    edited = [virtual_service(("", [("v1", 100)]), generation=2), destination_rule("v1")]
    second = [*base, virtual_service(("", [("v1", 100)]), name="other")]
    first, changed, more = (expectation(QUESTION, o).generation for o in (base, edited, second))
    assert differences(first, first) == ""
    assert differences(first, changed) == "VirtualService bookinfo/reviews"
    assert differences(first, more) == differences(more, first) == "VirtualService bookinfo/other"


def test_an_edit_elsewhere_counts_if_the_expectation_changes_by_it() -> None:
    def generation_if(exported: str) -> str:
        rule = virtual_service(("", [("v2", 100)]), name="elsewhere")
        rule["metadata"]["namespace"] = "elsewhere"
        rule["spec"] |= {"hosts": ["reviews.bookinfo.svc.cluster.local"], "exportTo": [exported]}
        return expectation(QUESTION, [virtual_service(("", [("v1", 100)])), destination_rule("v1", "v2"), rule]).generation

    assert differences(generation_if("."), generation_if("elsewhere")) == ""
    assert differences(generation_if("."), generation_if("*")) == "what is expected, by rules of other namespaces"


@pytest.mark.parametrize(
    ("condition", "request_", "expected"),
    [
        ({}, {}, True),
        ({"headers": {"end-user": {"exact": "jason"}}}, {"headers": {}}, False),
        ({"headers": {"end-user": {}}}, {"headers": {"end-user": "x"}}, True),
        ({"uri": {"prefix": "/rev"}}, {"uri": "/reviews/0"}, True),
        ({"uri": {"regex": "/reviews/[0-9]"}}, {"uri": "/reviews/0"}, True),
        ({"uri": {"regex": "/reviews"}}, {"uri": "/reviews/0"}, False),
        ({"method": {"exact": "POST"}}, {"method": "GET"}, False),
        ({"withoutHeaders": {"end-user": {"exact": "jason"}}}, {"headers": {"end-user": "jason"}}, False),
    ],
)
def test_matches_like_istio(condition: dict[str, Any], request_: dict[str, Any], expected: bool) -> None:
    part = Part(View(condition), View({"metadata": {"name": "reviews"}}))
    assert holds(Layers(part), Call("reviews", 9080, Caller("bookinfo"), **request_)) is expected


def test_counts_are_by_version_and_unknown_versions_stay_visible() -> None:
    counts = {"anonymous": {"reviews-v1-a": 2, "reviews-v1-b": 3, "gone": 1, ERROR: 4}}
    versions = {"reviews-v1-a": "v1", "reviews-v1-b": "v1"}
    assert by_version(counts, versions, False) == {"anonymous": {"v1": 5, "unknown pod gone": 1, ERROR: 4}}
    assert by_version(counts, versions, True) == {"anonymous": {"": 6, ERROR: 4}}


@pytest.mark.parametrize(
    ("counted", "loose", "share", "arrived"),
    [
        (560, 80, 0.5, 500),  # the surplus is within the uncertain part
        (620, 80, 0.5, 540),  # here, part of the surplus exceeds it
        (430, 80, 0.5, 430),  # the uncertain part can only be a surplus
        (1030, 80, 1.0, 1000),
        (3, 80, 0.0, 3),  # where none may arrive, each one counts
        (0, 80, 0.5, 0),
    ],
)
def test_uncertain_counts_at_the_callee_reject_no_true_declaration(
    counted: int, loose: int, share: float, arrived: int
) -> None:
    assert arrived_of(1000, counted, loose, share) == arrived


def test_an_access_log_has_what_arrived_since_a_time_if_it_reaches_back_that_far() -> None:
    def line(second: int, cluster: str) -> str:
        start = f'[2026-11-21T18:00:{second:02}.500Z] "GET /reviews/0 HTTP/1.1" 200 - via_upstream - "-" 0 358 12 11 "-" "-"'
        return (
            f'{start} "a1b2" "reviews:9080" "10.244.0.11:9080" {cluster} 127.0.0.6:1 10.244.0.11:9080 10.244.0.4:2 - default\n'
        )

    inbound, outbound = "inbound|9080||", "outbound|9080||ratings.bookinfo.svc.cluster.local"
    log = "2026-11-21T18:00:00.0Z\tinfo\tReadiness succeeded\n" + "".join(
        [line(1, inbound), line(2, inbound), line(2, outbound), line(3, inbound), line(4, outbound)]
    )
    since = datetime.fromisoformat("2026-11-21T18:00:02Z").timestamp()
    assert logged_since(log, since) == 2
    assert logged_since("", since) == 0


@pytest.mark.parametrize(
    ("beginning", "reaches"),
    [
        ("2026-11-22T12:00:00.123456789Z [2026-11", True),
        ("2026-11-22T12:00:01.000000000Z any line", False),
        ("2026-11-22T13:00:00.5+01:00 any line", True),
        ("", False),
    ],
)
def test_what_came_before_may_be_in_a_file_that_is_gone(beginning: str, reaches: bool) -> None:
    assert begins_before(beginning, datetime(2026, 11, 22, 12, 0, 1, tzinfo=UTC).timestamp()) is reaches


def test_a_pod_that_answered_nothing_before_counting_started_is_compared() -> None:
    since = datetime(2026, 11, 22, 12, 0, 1, tzinfo=UTC).timestamp()
    line = '[2026-11-22T12:00:02.000Z] "GET / HTTP/1.1" 200 - "10.0.0.1:9080" inbound|9080|| 10.0.0.1:9080\n'

    def read(path: str, **query: str) -> bytes:
        begins = "2026-11-22T12:00:03.1Z" if "new-file" in path else "2026-11-22T11:00:00.1Z"
        return f"{begins} info"[: int(query["limitBytes"])].encode() if "limitBytes" in query else line.encode()

    cluster: Any = SimpleNamespace(namespace="bookinfo", read=read)
    assert logged_requests(cluster, ["v1", "v2"], since) == {"v1": 1, "v2": 1}
    assert logged_requests(cluster, ["v1", "new-file"], since) == {}


def test_inbound_requests_exclude_outbound_ones() -> None:
    text = (
        'envoy_cluster_upstream_rq_total{cluster_name="inbound|9080||"} 12\n'
        'envoy_cluster_upstream_rq_total{cluster_name="outbound|9080||ratings"} 7\n'
        'envoy_cluster_upstream_rq_completed{cluster_name="inbound|9080||"} 11\n'
    )
    assert inbound_requests(text) == 12
