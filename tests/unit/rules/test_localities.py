"""Where calls go when a rule looks at the place of caller and pods."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from loadtests.rules import resilience
from loadtests.rules.calls import Call, Caller
from loadtests.rules.expectations import NoExpectationError, NotModelledError, Shares
from loadtests.rules.localities import distance, is_in, near, place_of
from loadtests.rules.responses import Request
from loadtests.rules.view import View, not_modelled, viewed

A, B, FAR = "lab.a.1", "lab.b.1", "other.c.1"
DETECTED: dict[str, Any] = {"outlierDetection": {"consecutive5xxErrors": 5}}


def pod(app: str, place: str | None, **labels: str) -> dict[str, Any]:
    where = {} if place is None else {"istio-locality": place}
    metadata = {"name": f"{app}-1", "namespace": "echo", "labels": {"app": app, **where, **labels}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "status": {"phase": "Running"}}


def shares(
    setting: dict[str, Any] | None,
    places: dict[str, str | None],
    caller: str | None = A,
    read: Callable[[Sequence[View], Request], Shares] = near,
    retries: dict[str, Any] | None = None,
    **policy: Any,
) -> tuple[Shares, list[str]]:
    """The expectation, and what is left unread of the rules.

    :param places: app -> where its pod is; of several pods of an app, what is behind a colon counts for nothing
    """
    balancer = policy.pop("loadBalancer", {}) | ({} if setting is None else {"localityLbSetting": setting})
    rule = {
        "apiVersion": "networking.istio.io/v1", "kind": "DestinationRule", "metadata": {"name": "s", "namespace": "echo"},
        "spec": {"host": "s", "trafficPolicy": {**({"loadBalancer": balancer} if balancer else {}), **policy}},
    }  # fmt: skip
    service = {
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "s", "namespace": "echo"},
        "spec": {"selector": {"of": "s"}, "ports": [{"name": "http", "port": 8080}]},
    }  # fmt: skip
    route = {"retries": retries, "route": [{"destination": {"host": "s"}}]}
    virtual = {
        "apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": {"name": "s", "namespace": "echo"},
        "spec": {"hosts": ["s"], "http": [route]},
    }  # fmt: skip
    pods = [pod("client", caller), *(pod(app.partition(":")[0], place, of="s") for app, place in places.items())]
    objects = viewed([rule, service, *([] if retries is None else [virtual]), *pods])
    call = Call("s:8080", 8080, Caller("echo", {"app": "client"}, all_labels=False))
    found = read(objects, {"namespace": "echo", "app": "s", "port": 8080, "call": call, "row": 6, "seconds": 6})
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
    with pytest.raises(NoExpectationError, match="says nothing about localities"):
        shares(setting, {"near": A}, **DETECTED)


def test_without_outlier_detection_nothing_stays_near() -> None:
    with pytest.raises(NoExpectationError, match="has no outlierDetection"):
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


SOON: dict[str, Any] = {"consecutive5xxErrors": 2, "interval": "0.1s", "baseEjectionTime": "500ms", "maxEjectionPercent": 100}
HERE: dict[str, Any] = {"enabled": True}


Places = dict[str, str | None]
Rule = dict[str, Any]


def failover(places: Places, setting: Rule = HERE, retries: Rule | None = None, **detection: Any) -> str:
    """What is expected of an outage."""
    found, unread = shares(
        setting, places, read=resilience.failed_over, retries=retries, outlierDetection={**SOON, **detection},
        loadBalancer={"simple": "LEAST_REQUEST"},
    )  # fmt: skip
    assert unread == []
    (outcome,) = found
    return outcome


@pytest.mark.parametrize(
    ("places", "setting", "detection", "outcome"),
    [
        ({"near": A, "far": B}, HERE, {}, "at most 2 of 6 failed; near, then far, then near"),
        ({"near": A, "far": B, "far:2": B}, HERE, {}, "at most 2 of 6 failed; near, then far, then near"),
        ({"near": A, "farther": FAR, "far": B}, HERE, {}, "at most 2 of 6 failed; near, then far, then near"),
        (
            {"near": A, "far": "third.d.1", "there": FAR}, {"failover": [{"from": "lab", "to": "other"}]}, {},
            "at most 2 of 6 failed; near, then there, then near",
        ),
        ({"near": A, "far": B}, HERE, {"consecutive5xxErrors": 0}, "6 of 6 failed; near, then nobody, then near"),
        ({"near": A, "far": B}, HERE, {"maxEjectionPercent": 50}, "at most 2 of 6 failed; near, then far, then near"),
        ({"near": A, "far": B}, HERE, {"maxEjectionPercent": 49}, "6 of 6 failed; near, then nobody, then near"),
        ({"near": A, "far": B}, HERE, {"consecutiveGatewayErrors": 1}, "at most 1 of 6 failed; near, then far, then near"),
    ],
)  # fmt: skip
def test_who_takes_over(places: Places, setting: Rule, detection: Rule, outcome: str) -> None:
    assert failover(places, setting, **detection) == outcome


@pytest.mark.parametrize(
    ("places", "setting", "detection", "words"),
    [
        ({"near": A, "near:2": A, "far": B}, HERE, {}, "several pods are in the nearest place"),
        ({"near": A, "far": B, "other": B}, HERE, {}, "several apps in the one that takes over"),
        ({"near": A, "far": B, "other": "lab.c.1"}, HERE, {}, "several places are equally near"),
        ({"near": A, "far": B}, by_weight(lab_a=100), {}, "distribute"),
        ({"near": A, "far": B}, HERE, {"minHealthPercent": 10}, "minHealthPercent"),
        ({"near": A, "far": B}, HERE, {"consecutive5xxErrors": 6}, "consecutive5xxErrors"),
        ({"near": A, "far": B}, HERE, {"baseEjectionTime": "2s"}, "baseEjectionTime"),
        ({"near": A, "far": B}, HERE, {"retries": {"attempts": 2, "retryOn": "5xx"}}, "retries"),
    ],
)
def test_a_failover_that_is_not_known(places: Places, setting: Rule, detection: Rule, words: str) -> None:
    with pytest.raises(NotModelledError, match=words):
        failover(places, setting, **detection)


def test_nobody_takes_over_without_another_place() -> None:
    with pytest.raises(NoExpectationError, match="no pod is in a place that could take over"):
        failover({"near": A})
    with pytest.raises(NoExpectationError, match="says nothing about localities"):
        failover({"near": A, "far": B}, {"enabled": False})


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
