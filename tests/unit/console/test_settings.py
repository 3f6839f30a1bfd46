"""The settings page's conversion from rules to a form and back, on the catalogue's own rules."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
import yaml

from loadtests.console import drafts, effects, settings
from loadtests.entries import entry
from loadtests.entries.policy import LABEL
from loadtests.mesh.writes import Change
from loadtests.rules.expectations import Objects

REVIEWS = settings.Service("reviews", "bookinfo", {"app": "reviews"}, ("v1", "v2", "v3"))
ECHO = settings.Service("echo", "echo", {"app": "echo"}, ())


def rules(name: str, mark: str | None = "policy", namespace: str = "bookinfo") -> Objects:
    """An entry's rules in the API server's format."""
    found = [o for o in yaml.safe_load_all((entry.CATALOGUE / name / "policy.yaml").read_text()) if o]
    for o in found:
        o["metadata"] |= {"namespace": namespace, "uid": "1", "managedFields": [{"manager": "kubectl"}]}
        o["metadata"] |= {"labels": {LABEL: f"{name}.{mark}"}} if mark else {}
    return found


def edited(objects: Objects, service: settings.Service = REVIEWS, **parts: Any) -> list[Change]:
    """The changes that a form with other ``parts`` requests, passed through JSON as from a browser."""
    return drafts.changes(objects, service, json.loads(json.dumps(settings.read(objects, service) | parts)))


def routes(objects: Objects, service: settings.Service = REVIEWS, **fields: Any) -> list[dict[str, Any]]:
    """The form's routes, with other values in the first."""
    first, *rest = settings.read(objects, service)["routes"]
    return [first | fields, *rest]


@pytest.mark.parametrize("name", entry.names())
def test_an_unchanged_form_changes_nothing(name: str) -> None:
    namespace = entry.load(name).question.namespace
    objects = rules(name, namespace=namespace)
    for service in ("reviews", "ratings", "productpage", "echo", "shaky", "client", "greeter", "msgd", "svcb"):
        assert edited(objects, settings.Service(service, namespace, {"app": service}, ("v1", "v2", "v3"))) == []


def test_weights_are_moved_and_nothing_else() -> None:
    objects = rules("reviews-80-20")
    assert settings.read(objects, REVIEWS)["routes"][0]["weights"] == {"v1": 80, "v3": 20}
    (change,) = edited(objects, routes=routes(objects, weights={"v1": 50, "v3": 50}))
    wanted = copy.deepcopy(change.before)
    assert wanted is not None
    for route in wanted["spec"]["http"][0]["route"]:
        route["weight"] = 50
    wanted["metadata"]["labels"] = {LABEL: drafts.MINE}
    assert change.after == wanted
    assert change.back().after == change.before


def test_a_version_without_a_subset_gets_one() -> None:
    objects = rules("mirror")  # its DestinationRule has v1 and v3
    changes = edited(objects, routes=routes(objects, weights={"v1": 90, "v2": 10}))
    specs = {c.object["kind"]: c.object["spec"] for c in changes}
    assert specs["DestinationRule"]["subsets"][-1] == {"name": "v2", "labels": {"version": "v2"}}
    assert specs["VirtualService"]["http"][0]["mirrorPercentage"] == {"value": 10}


def test_the_page_creates_missing_rules() -> None:
    asked = {"weights": {"v1": 100}, "header": "end-user", "header_value": "jason", "delay": 7, "delay_percent": 50,
             "abort": 500, "timeout": 0.5, "retries": 2, "retry_timeout": 1.5, "retry_on": "5xx", "mirror": "v3",
             "mirror_percent": 25, "uri_prefix": "/reviews", "method": "GET"}  # fmt: skip
    changes = edited([], routes=[asked], destination={"connections": 1, "eject_after": 3, "eject_time": 2})
    specs = {c.object["kind"]: c.object["spec"] for c in changes}
    assert [c.before for c in changes] == [None, None]
    assert specs["VirtualService"] == {
        "hosts": ["reviews"],
        "http": [{
            "match": [{"uri": {"prefix": "/reviews"}, "method": {"exact": "GET"}, "headers": {"end-user": {"exact": "jason"}}}],
            "fault": {"delay": {"fixedDelay": "7s", "percentage": {"value": 50}}, "abort": {"httpStatus": 500}},
            "timeout": "0.5s",
            "retries": {"attempts": 2, "perTryTimeout": "1.5s", "retryOn": "5xx"},
            "mirror": {"subset": "v3", "host": "reviews"}, "mirrorPercentage": {"value": 25},
            "route": [{"destination": {"host": "reviews", "subset": "v1"}, "weight": 100}],
        }],
    }  # fmt: skip
    assert specs["DestinationRule"] == {
        "host": "reviews",
        "trafficPolicy": {
            "connectionPool": {"tcp": {"maxConnections": 1}},
            "outlierDetection": {"consecutive5xxErrors": 3, "baseEjectionTime": "2s"},
        },
        "subsets": [{"name": "v1", "labels": {"version": "v1"}}, {"name": "v3", "labels": {"version": "v3"}}],
    }
    # Reading the new rules gives the requested values, and removing them all leaves nothing.
    objects = [c.after for c in changes if c.after]
    again = settings.read(objects, REVIEWS)
    assert {key: again["routes"][0][key] for key in asked} == asked
    nothing = dict.fromkeys(again["destination"])
    gone = edited(objects, routes=[], destination=nothing)
    assert {c.object["kind"]: c.after and c.after["spec"] for c in gone} == {
        "VirtualService": None,
        "DestinationRule": {"host": "reviews", "subsets": specs["DestinationRule"]["subsets"]},
    }


def test_dependent_fields_are_removed_with_the_one_they_need() -> None:
    (made,) = edited([], routes=[{"weights": {"": 100}, "delay": 2, "delay_percent": 10}])
    objects = [made.after or {}]
    (change,) = edited(objects, routes=routes(objects, delay=None))
    assert change.after is not None
    assert change.after["spec"]["http"] == [{"route": [{"destination": {"host": "reviews"}, "weight": 100}]}]


def test_fields_that_the_form_does_not_know_are_kept() -> None:
    objects = rules("reviews-80-20")
    spec = next(o for o in objects if o["kind"] == "VirtualService")["spec"]
    spec["exportTo"] = ["."]
    spec["http"][0] |= {
        "match": [{"uri": {"regex": "/r.*"}}, {"port": 9080}],
        "rewrite": {"uri": "/x"},
        "mirror": {"host": "echo"},
        "mirrorPercentage": {"value": 5},
    }
    assert settings.read(objects, REVIEWS)["routes"][0]["kept"]
    (change,) = edited(objects, routes=routes(objects, timeout=3))
    assert change.after is not None
    assert change.after["spec"] == {**spec, "http": [{**spec["http"][0], "timeout": "3s"}]}


def test_routes_are_reordered_added_and_removed() -> None:
    objects = rules("reviews-by-user")
    jason, others = settings.read(objects, REVIEWS)["routes"]
    assert (jason["header"], jason["header_value"], others["header"]) == ("end-user", "jason", None)
    (change,) = edited(objects, routes=[others, {"weights": {"v1": 100}}])
    assert change.before is not None
    assert change.after is not None
    assert change.after["spec"]["http"][0] == change.before["spec"]["http"][1]
    assert len(change.after["spec"]["http"]) == 2


def test_other_kinds_of_rule_come_and_go() -> None:
    asked: dict[str, Any] = {
        "rate": {"rate_requests": 5, "rate_seconds": 60}, "mtls": {"mtls": "STRICT"},
        "callers": ["cluster.local/ns/echo/sa/client"], "egress": [{"host": "*.example.com", "port": 443, "protocol": "TLS"}],
    }  # fmt: skip
    made = edited([], ECHO, **asked)
    objects = [c.after for c in made if c.after]
    assert {o["kind"] for o in objects} == {"EnvoyFilter", "PeerAuthentication", "AuthorizationPolicy", "ServiceEntry"}
    assert {o["metadata"]["namespace"] for o in objects} == {"echo"}
    assert all(o["metadata"]["labels"] == {LABEL: "console"} for o in objects)
    again = settings.read(objects, ECHO)
    assert {key: again[key] for key in asked} == asked
    nobody = edited(objects, ECHO, callers=[])
    assert [c.after and c.after["spec"]["rules"] for c in nobody] == [[]]
    gone = edited(objects, ECHO, rate=dict.fromkeys(asked["rate"]), mtls={"mtls": ""}, callers=None, egress=[])
    assert [c.after for c in gone] == [None] * 4


def test_a_bucket_refills_completely() -> None:
    (change,) = edited([], ECHO, rate={"rate_requests": 5, "rate_seconds": 0.5})
    bucket = settings.fetch(change.object["spec"], settings.BUCKET)
    assert bucket == {"max_tokens": 5, "tokens_per_fill": 5, "fill_interval": "0.5s"}


def test_rules_of_other_owners_are_not_overwritten() -> None:
    objects = rules("reviews-80-20", mark=None)
    assert settings.locks(objects, REVIEWS) == {"routes": "kubectl", "destination": "kubectl"}
    with pytest.raises(settings.RefusedError, match="VirtualService reviews belongs to kubectl; the lab does not overwrite it"):
        edited(objects, routes=routes(objects, weights={"v1": 50, "v3": 50}))
    with pytest.raises(settings.RefusedError, match="DestinationRule reviews belongs to kubectl"):
        edited(objects, destination={"connections": 1})
    with pytest.raises(settings.RefusedError, match="VirtualService reviews belongs to kubectl"):
        edited(objects, routes=[])


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"weights": {"v1": 50, "v3": 40}}, r"routes\[0\].weights: they sum to 90; accepted: a sum of 100"),
        ({"weights": {"v1": 50, "v9": 50}}, r"weights: 'v9' was given; accepted: v1, v2, v3"),
        ({"weights": {"v1": 120, "v3": -20}}, "weights: 120 was given for v1; accepted: integer from 0 to 100"),
        ({"weights": {"v1": 50.5, "v3": 49.5}}, "weights: 50.5 was given for v1"),
        ({"weights": {"v1": True, "v3": 99}}, "weights: True was given for v1"),
        ({"weights": {}}, "weights: they sum to 0"),
        ({"timeout": "soon"}, r"routes\[0\].timeout: 'soon' was given; accepted: seconds from 0.001 to 3600"),
        ({"timeout": -1}, "timeout: -1 was given"),
        ({"retries": 1.5}, "retries: 1.5 was given; accepted: integer from 0 to 20"),
        ({"retries": float("nan")}, "retries: nan was given"),
        ({"timeout": float("inf")}, "timeout: inf was given"),
        ({"abort": 99}, "abort: 99 was given; accepted: integer from 200 to 599"),
        ({"delay": 1, "delay_percent": 101}, "delay_percent: 101 was given; accepted: percent from 0 to 100"),
        ({"method": "FETCH"}, "method: 'FETCH' was given; accepted: one of GET"),
        ({"header": "End User"}, "header: 'End User' was given"),
        ({"mirror": "v9"}, "mirror: 'v9' was given; accepted: v1, v2, v3"),
        ({"uri_prefix": "/" * 201}, "uri_prefix: "),
    ],
)
def test_an_invalid_route_is_refused(parts: dict[str, Any], words: str) -> None:
    objects = rules("reviews-80-20")
    with pytest.raises(settings.RefusedError, match=words):
        edited(objects, routes=routes(objects, **parts))


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"destination": {"pending": 0}}, "destination.pending: 0 was given; accepted: integer from 1 to"),
        ({"rate": {"rate_requests": 5}}, "rate.rate_seconds: nothing was given"),
        ({"mtls": {"mtls": "MUTUAL"}}, "mtls.mtls: 'MUTUAL' was given; accepted: one of STRICT, PERMISSIVE, DISABLE"),
        ({"callers": "everybody"}, "callers: 'everybody' was given; accepted: a list of principals"),
        ({"egress": [{"host": "a b", "port": 80, "protocol": "HTTP"}]}, r"egress\[0\].host: 'a b' was given"),
        ({"egress": [{"host": "example.com", "port": 0, "protocol": "HTTP"}]}, r"egress\[0\].port: 0 was given"),
        ({"egress": [{"host": "example.com", "port": 80}]}, r"egress\[0\].protocol: nothing was given for example.com"),
        ({"egress": ["example.com"]}, r"egress\[0\].host: '' was given"),
        ({"routes": ["v1"]}, "the form: unexpected content was given"),
        ({"routes": "v1"}, "the form: unexpected content was given"),
    ],
)
def test_invalid_settings_are_refused(parts: dict[str, Any], words: str) -> None:
    with pytest.raises(settings.RefusedError, match=words):
        edited([], **parts)


def test_weights_that_nobody_changed_stay_whatever_they_sum_to() -> None:
    objects = rules("reviews-80-20")
    for leg, weight in zip(objects[-1]["spec"]["http"][0]["route"], (4, 1), strict=True):
        leg["weight"] = weight
    assert settings.read(objects, REVIEWS)["routes"][0]["weights"] == {"v1": 4, "v3": 1}
    (change,) = edited(objects, routes=routes(objects, timeout=2))
    assert change.after is not None
    assert [leg["weight"] for leg in change.after["spec"]["http"][0]["route"]] == [4, 1]
    with pytest.raises(settings.RefusedError, match="a sum of 100"):
        edited(objects, routes=routes(objects, weights={"v1": 3, "v3": 1}))


def test_fields_that_the_form_does_not_know_are_named_and_stay() -> None:
    objects = rules("reviews-80-20")
    assert settings.unknown_fields(objects, REVIEWS) == []
    subsets, routing = objects
    routing["spec"]["exportTo"] = ["."]
    routing["spec"]["http"][0] |= {
        "corsPolicy": {"maxAge": "1s"},
        "timeout": "1s",
        "mirror": {"host": "reviews", "subset": "v3"},
    }
    subsets["spec"]["trafficPolicy"] = {"loadBalancer": {"simple": "RANDOM"}, "connectionPool": {"tcp": {"maxConnections": 1}}}
    named = [
        "VirtualService reviews: spec.http[0].corsPolicy.maxAge", "VirtualService reviews: spec.exportTo[0]",
        "DestinationRule reviews: spec.trafficPolicy.loadBalancer.simple",
    ]  # fmt: skip
    assert sorted(settings.unknown_fields(objects, REVIEWS)) == sorted(named)
    changed = edited(objects, routes=routes(objects, timeout=2), destination=settings.read(objects, REVIEWS)["destination"])
    (after,) = [c.after for c in changed if c.after]
    assert (after["spec"]["exportTo"], after["spec"]["http"][0]["corsPolicy"]) == (["."], {"maxAge": "1s"})
    assert settings.unknown_fields(rules("reviews-80-20", mark=None), REVIEWS) == []


@pytest.mark.parametrize(
    ("route", "destination", "warnings"),
    [
        ({}, {}, []),
        ({"delay": 1, "delay_percent": 50}, {}, []),
        ({"delay": 1}, {}, ["routes[0].delay: without delay_percent it affects no request"]),
        ({"abort": 503}, {}, ["routes[0].abort: without abort_percent it affects no request"]),
        (
            {"abort": 503, "abort_percent": 1, "retries": 2, "timeout": 3}, {},
            [f"routes[0].{name}: no effect beside a fault on the same route" for name in ("timeout", "retries")],
        ),
        ({"retries": 2, "retry_on": "5xx"}, {}, []),
        ({"retries": 0}, {}, []),
        (
            {"retries": 2}, {},
            ["routes[0].retries: without retry_on they cover connect-failure, refused-stream, unavailable and cancelled only; "
             "a plain error status, such as 503, is not retried"],
        ),
        ({"mirror": "v1", "mirror_percent": 0}, {}, ["routes[0].mirror: mirror_percent is 0, so nothing is mirrored"]),
        (
            {}, {"eject_after": 3},
            ["destination.eject_after: no effect, because 10 % (eject_percent) of 2 pods is less than one pod"],
        ),
        ({}, {"eject_after": 3, "eject_percent": 50}, []),
        ({}, {"eject_percent": 10}, []),
    ],
)  # fmt: skip
def test_settings_without_effect_are_warned_of(route: dict[str, Any], destination: dict[str, Any], warnings: list[str]) -> None:
    service = settings.Service("shaky", "echo", {"app": "shaky"}, (), 2)
    assert list(effects.without_effect(service, {"routes": [route], "destination": destination})) == warnings


def test_one_pod_is_never_ejected_by_less_than_all() -> None:
    one = settings.Service("ratings", "bookinfo", {"app": "ratings"}, ("v1",), 1)
    asked = {"routes": [], "destination": {"eject_after": 3, "eject_percent": 50}}
    (warning,) = effects.without_effect(one, asked)
    assert "50 % (eject_percent) of 1 pod is less than one pod" in warning
