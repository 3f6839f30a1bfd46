"""Subsets by pod labels: which version responds, regardless of the subset's name."""

from __future__ import annotations

from typing import Any

import pytest

from loadtests.entries.question import Split
from loadtests.rules import responses
from loadtests.rules.calls import Call, Caller
from loadtests.rules.expectations import NoExpectationError, NotModelledError, Rules, generation
from loadtests.rules.view import not_modelled, viewed
from tests.unit import pods

SPLIT = Split("reviews", {"anonymous": {"port": 9080}}, "productpage")
CALL = Call("reviews", 9080, Caller("bookinfo", {"app": "productpage"}))
WHERE = "DestinationRule of reviews.bookinfo.svc.cluster.local: spec.subsets[0].labels"


def rule(kind: str, name: str = "reviews", **spec: Any) -> dict[str, Any]:
    metadata = {"name": name, "namespace": "bookinfo", "uid": f"{kind}/{name}", "generation": 1}
    return {"kind": kind, "metadata": metadata, "spec": spec}


def leg(subset: str, weight: int) -> dict[str, Any]:
    return {"destination": {"host": "reviews", **({"subset": subset} if subset else {})}, "weight": weight}


def objects(
    legs: dict[str, int], subsets: dict[str, dict[str, str]], *there: dict[str, Any], **route: Any
) -> list[dict[str, Any]]:
    service = rule("Service", ports=[{"name": "http", "port": 9080}], selector={"app": "reviews"})
    return [
        service,
        rule("VirtualService", hosts=["reviews"], http=[{"route": [leg(*one) for one in legs.items()], **route}]),
        rule("DestinationRule", host="reviews", subsets=[{"name": n, "labels": labels} for n, labels in subsets.items()]),
        *(there or pods.versions("reviews", "v1", "v2", "v3")),
    ]


def judged(*given: Any, **more: Any) -> Rules:
    return SPLIT.expect(objects(*given, **more))


V1, V2 = {"version": "v1"}, {"version": "v2"}
CANARY: dict[str, dict[str, str]] = {"stable": V1, "canary": V2}


@pytest.mark.parametrize(
    ("legs", "subsets", "shares"),
    [
        ({"stable": 90, "canary": 10}, CANARY, {"v1": 0.9, "v2": 0.1}),
        # Subsets named after the wrong versions.
        ({"v1": 75, "v2": 25}, {"v1": V2, "v2": V1}, {"v2": 0.75, "v1": 0.25}),
        # Overlapping subsets.
        ({"stable": 50, "canary": 30, "old": 20}, {**CANARY, "old": V1}, {"v1": 0.7, "v2": 0.3}),
        ({"stable": 1, "canary": 0}, CANARY, {"v1": 1.0, "v2": 0.0}),
        # A subset without traffic needs no pods.
        ({"stable": 1, "nobody": 0}, {**CANARY, "nobody": {"version": "v9"}}, {"v1": 1.0}),
        ({"": 1}, CANARY, {"": 1.0}),
        ({"": 1, "canary": 0}, CANARY, {"": 1.0}),
    ],
)
def test_shares_are_by_the_versions_of_pods(
    legs: dict[str, int], subsets: dict[str, dict[str, str]], shares: dict[str, float]
) -> None:
    found = judged(legs, subsets).expected
    assert (found.broken, found.unknown) == ((), {})
    assert dict(found.shares["anonymous"]) == pytest.approx(shares)


ENDING = pods.pod("reviews-v9", {"app": "reviews", "version": "v9"})
ENDING["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
PENDING = {**pods.pod("reviews-v9", {"app": "reviews", "version": "v9"}), "status": {"phase": "Pending"}}


@pytest.mark.parametrize("pod", [ENDING, PENDING, pods.pod("other", {"app": "other", "version": "v9"})])
def test_a_subset_without_a_running_pod_of_its_service_gets_no_response(pod: dict[str, Any]) -> None:
    there = [*pods.versions("reviews", "v1"), pod]
    found = judged({"stable": 1, "gone": 1}, {"stable": V1, "gone": {"version": "v9"}}, *there).expected
    host = "reviews.bookinfo.svc.cluster.local"
    assert found.broken == (f"anonymous: subset gone of {host} selects no running pod, so calls to it get HTTP 503",)
    # The same in questions that are not about versions.
    seen = viewed(objects({"gone": 1}, {"gone": {"version": "v9"}}, *there))
    with pytest.raises(NoExpectationError, match="selects no running pod"):
        responses.aborted(seen, {"call": CALL})


@pytest.mark.parametrize(
    ("subset", "there"),
    [
        # The load balancer decides which version responds.
        ({"app": "reviews"}, ()),
        ({}, ()),
        ({}, (pods.pod("reviews", {"app": "reviews"}),)),
        # istiod adds labels for the pod's locality.
        ({"topology.kubernetes.io/zone": "a"}, ()),
        # Pods in a namespace that was not read.
        (V1, pods.versions("reviews", "v1", namespace="other")),
    ],
)
def test_unknown_pod_labels_are_not_guessed(subset: dict[str, str], there: Any) -> None:
    found = judged({"some": 1}, {"some": subset}, *there).expected
    assert (found.shares, found.unknown) == ({}, {"anonymous": (WHERE,)})


def test_endpoints_not_selected_by_labels_are_unknown() -> None:
    made = objects({"some": 1}, {"some": V1})
    del made[0]["spec"]["selector"]
    assert SPLIT.expect(made).expected.unknown == {"anonymous": (WHERE,)}


def test_a_split_between_a_subset_and_the_whole_service_is_not_judged_by_version() -> None:
    found = judged({"": 50, "canary": 50}, CANARY).expected
    assert found.unknown == {
        "anonymous": ("VirtualService reviews: spec.http[0].route: a part of the calls goes to all versions",)
    }


@pytest.mark.parametrize(
    ("subset", "arrived"),
    [({"version": "v3"}, 1.0), (V2, 0.0), ({"version": "v9"}, 0.0), ({"app": "reviews"}, None), ({}, None)],
)
def test_copies_arrive_at_the_pods_that_the_mirrors_labels_select(subset: dict[str, str], arrived: float | None) -> None:
    made = viewed(objects({"one": 1}, {"one": V1, "v3": subset}, mirror={"host": "reviews", "subset": "v3"}))
    request = {"call": CALL, "mirror": ("reviews", "v3"), "at_server": True}
    if arrived is None:
        with pytest.raises(NotModelledError, match=r"other pods than reviews v3|spec\.subsets\[1\]\.labels"):
            responses.mirrored(made, request)
    else:
        assert responses.mirrored(made, request).get("arrived", 0.0) == arrived
        assert not_modelled(made) == ()


def test_copies_to_a_whole_service_arrive_at_any_of_its_pods() -> None:
    made = viewed(objects({"one": 1}, {"one": V1}, mirror={"host": "reviews"}))
    with pytest.raises(NotModelledError, match="other pods than reviews v3 are sent copies as well"):
        responses.mirrored(made, {"call": CALL, "mirror": ("reviews", "v3"), "at_server": True})


def test_replaced_pods_are_no_edit_but_pods_of_another_version_are() -> None:
    def made(*there: dict[str, Any]) -> str:
        return generation(objects({"stable": 1}, CANARY, *there))

    before = made(pods.pod("a-1", {"app": "reviews", **V1, "pod-template-hash": "1"}))
    again = pods.pod("a-2", {"app": "reviews", **V1, "pod-template-hash": "2"})
    assert made(again) == made(again, pods.pod("a-3", {"app": "reviews", **V1})) == made(again, PENDING) == before
    assert made(again, pods.pod("b", {"app": "reviews", **V2})) != before
