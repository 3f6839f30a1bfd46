"""Where calls go when a rule looks at the place of caller and pods."""

from __future__ import annotations

from typing import Any

import pytest

from loadtests.rules.calls import Call, Caller
from loadtests.rules.expectations import BrokenPromiseError, NotModelledError, Shares
from loadtests.rules.localities import distance, is_in, near, place_of
from loadtests.rules.view import not_modelled, viewed

A, B, FAR = "lab.a.1", "lab.b.1", "other.c.1"
DETECTED: dict[str, Any] = {"outlierDetection": {"consecutive5xxErrors": 5}}


def pod(app: str, place: str | None, **labels: str) -> dict[str, Any]:
    where = {} if place is None else {"istio-locality": place}
    metadata = {"name": f"{app}-1", "namespace": "echo", "labels": {"app": app, **where, **labels}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "status": {"phase": "Running"}}


def shares(
    setting: dict[str, Any] | None, places: dict[str, str | None], caller: str | None = A, **policy: Any
) -> tuple[Shares, list[str]]:
    """The promise, and what is left unread of the rules."""
    balancer = policy.pop("loadBalancer", {}) | ({} if setting is None else {"localityLbSetting": setting})
    rule = {
        "apiVersion": "networking.istio.io/v1", "kind": "DestinationRule", "metadata": {"name": "s", "namespace": "echo"},
        "spec": {"host": "s", "trafficPolicy": {**({"loadBalancer": balancer} if balancer else {}), **policy}},
    }  # fmt: skip
    service = {
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "s", "namespace": "echo"},
        "spec": {"selector": {"of": "s"}, "ports": [{"name": "http", "port": 8080}]},
    }  # fmt: skip
    objects = viewed([rule, service, pod("client", caller), *(pod(app, place, of="s") for app, place in places.items())])
    call = Call("s:8080", 8080, Caller("echo", {"app": "client"}, all_labels=False))
    found = near(objects, {"namespace": "echo", "app": "s", "port": 8080, "call": call})
    return found, list(not_modelled(objects))


def by_weight(**weights: int) -> dict[str, Any]:
    return {"distribute": [{"from": "lab/a/*", "to": {place.replace("_", "/"): weight for place, weight in weights.items()}}]}


@pytest.mark.parametrize(
    ("setting", "places", "expected"),
    [
        (by_weight(lab_a=70, lab_b=30), {"near": A, "far": B}, {"near": 0.7, "far": 0.3}),
        # What is sent where no pod is, the others get.
        (by_weight(lab_a=50, lab_b=20, other=30), {"near": A, "far": B}, {"near": 5 / 7, "far": 2 / 7}),
        (by_weight(lab_b=100), {"near": A, "far": B}, {"far": 1.0}),
        ({"enabled": True}, {"near": A, "far": B}, {"near": 1.0}),
        ({"enabled": True}, {"far": B, "farther": FAR}, {"far": 1.0}),
        ({"failover": [{"from": "lab", "to": "other"}]}, {"far": "third.d.1", "there": FAR}, {"there": 1.0}),
        ({"failover": [{"from": "x", "to": "third"}]}, {"far": B, "farther": FAR}, {"far": 1.0}),
    ],
)
def test_shares_of_places(setting: dict[str, Any], places: dict[str, str | None], expected: Shares) -> None:
    found, unread = shares(setting, places, **DETECTED)
    assert found == pytest.approx(expected)
    assert unread == []


def test_pods_of_one_place_share_its_calls_if_the_load_balancer_is_fair() -> None:
    fair: dict[str, Any] = {"loadBalancer": {"simple": "ROUND_ROBIN"}}
    found, unread = shares(by_weight(lab_a=80, lab_b=20), {"one": A, "two": A, "far": B}, **fair)
    assert found == pytest.approx({"one": 0.4, "two": 0.4, "far": 0.2})
    assert unread == []
    with pytest.raises(NotModelledError, match=r"loadBalancer\.simple"):
        shares(by_weight(lab_a=80, lab_b=20), {"one": A, "two": A, "far": B})


@pytest.mark.parametrize("setting", [None, {"enabled": False}])
def test_a_rule_that_says_nothing_of_places_promises_nothing(setting: dict[str, Any] | None) -> None:
    with pytest.raises(BrokenPromiseError, match="says nothing about localities"):
        shares(setting, {"near": A}, **DETECTED)


def test_without_outlier_detection_nothing_stays_near() -> None:
    with pytest.raises(BrokenPromiseError, match="has no outlierDetection"):
        shares({"enabled": True}, {"near": A, "far": B})


@pytest.mark.parametrize(
    ("setting", "places", "caller", "words"),
    [
        (by_weight(lab_a=70, lab_b=30), {"near": A, "far": None}, A, "the place of far"),
        (by_weight(lab_a=70, lab_b=30), {"near": A, "far": B}, None, "the place of client"),
        (by_weight(lab_a=70, lab_b=30), {"near": A, "far": B}, B, r"localityLbSetting\.distribute"),
        (by_weight(lab=70, lab_b=30), {"near": A, "far": B}, A, r"distribute\[0\]\.to"),
        (by_weight(lab=100), {"near": A, "far": B}, A, r"distribute\[0\]\.to"),
        (by_weight(lab_a=100, lab_b=0), {"near": A, "far": B}, A, r"distribute\[0\]\.to"),
        ({"failoverPriority": ["zone"]}, {"near": A, "far": B}, A, "failoverPriority"),
        ({"enabled": True}, {"far": B, "other": "lab.c.1"}, A, "several places are equally near"),
    ],
)
def test_what_is_not_known(setting: dict[str, Any], places: dict[str, str | None], caller: str | None, words: str) -> None:
    with pytest.raises(NotModelledError, match=words):
        shares(setting, places, caller, **DETECTED)


def test_what_nobody_has_read_stays_unread() -> None:
    _, unread = shares(by_weight(lab_a=100), {"near": A}, loadBalancer={"warmup": {"duration": "10s"}})
    assert unread == ["DestinationRule s: spec.trafficPolicy.loadBalancer.warmup.duration"]


def test_places_by_their_labels() -> None:
    assert place_of({"istio-locality": "lab.a.1"}) == ("lab", "a", "1")
    assert place_of({"istio-locality": "lab/a.1"}) == ("lab", "a.1", "")
    assert place_of({"topology.istio.io/locality": "lab.b", "istio-locality": "lab.a"}) == ("lab", "b", "")
    assert place_of({"topology.istio.io/locality": ""}) is None
    assert [is_in(("lab", "a", "1"), pattern) for pattern in ("*", "lab", "lab/*", "lab/a/1", "lab/*/2", "lab/b", "x")] == [
        True, True, True, True, False, False, False,
    ]  # fmt: skip
    places = [("lab", "a", "1"), ("lab", "a", "2"), ("lab", "b", "1"), ("x", "a", "1")]
    assert [distance(("lab", "a", "1"), place) for place in places] == [0, 1, 2, 3]
