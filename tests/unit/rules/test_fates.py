"""What becomes of calls to services of any kind, in the words of the caller's access log."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from loadtests.rules.calls import Call, Caller
from loadtests.rules.expectations import NoExpectationError, NotModelledError
from loadtests.rules.fates import Fate, Place, fate_of
from loadtests.rules.view import not_modelled, viewed
from tests.unit.rules.test_responses import PODS, SERVICES, SUBSETS, TO, virtual_service

CALL = Call("ratings:9080", 9080, Caller("bookinfo"), "/a")
WHOLE = "ratings.bookinfo:9080"
WEIGHTS = (("v1", 90), ("v2", 10), ("v3", 0))


def fate(*routes: dict[str, Any], call: Call = CALL, around: Any = (SUBSETS, *SERVICES, *PODS)) -> Fate:
    views = viewed([virtual_service(*routes), *around])
    found = fate_of(views, call)
    assert not_modelled(views) == ()
    return found


@pytest.mark.parametrize(
    ("route", "shares"),
    [
        (TO, {WHOLE: 1.0}),
        (
            {"route": [{"destination": {"host": "ratings", "subset": s}, "weight": w} for s, w in WEIGHTS]},
            {f"{WHOLE} v1": 0.9, f"{WHOLE} v2": 0.1},
        ),
        ({"redirect": {"uri": "/b", "authority": "c"}}, {"HTTP 301 to http://c/b": 1.0}),
        ({"redirect": {"redirectCode": 302}}, {"HTTP 302 to http://ratings:9080/a": 1.0}),
        ({"directResponse": {"status": 503, "body": {"string": "not\n now"}}}, {"HTTP 503 by the proxy: not now": 1.0}),
        ({"directResponse": {"status": 204}}, {"HTTP 204 by the proxy": 1.0}),
        ({**TO, "fault": {"abort": {"httpStatus": 500, "percentage": {"value": 20}}}}, {WHOLE: 0.8, "HTTP 500 injected": 0.2}),
        ({**TO, "fault": {"abort": {"httpStatus": 500, "percentage": {"value": 100}}}}, {"HTTP 500 injected": 1.0}),
        (
            {**TO, "fault": {"delay": {"fixedDelay": "2s", "percentage": {"value": 50}}}},
            {WHOLE: 0.5, f"{WHOLE} after 2 s": 0.5},
        ),
    ],
    ids=lambda value: str(value)[:50],
)  # fmt: skip
def test_a_route_says_what_becomes_of_a_call(route: dict[str, Any], shares: dict[str, float]) -> None:
    assert fate(route).shares == pytest.approx(shares)


def test_who_would_answer_calls_that_are_all_aborted_has_no_bearing() -> None:
    aborted = {"route": [{"destination": {"host": "ratings", "subset": "v9"}}], "timeout": "1s"}
    every = {"abort": {"httpStatus": 500, "percentage": {"value": 100}}}
    spec = {
        "hosts": ["msgd.example"], "location": "MESH_EXTERNAL", "resolution": "DNS",
        "ports": [{"number": 80, "name": "http", "protocol": "HTTP"}],
    }  # fmt: skip
    entry = {"kind": "ServiceEntry", "metadata": {"name": "msgd", "namespace": "billing", "uid": "e"}, "spec": spec}
    found = fate({**aborted, "fault": every}, around=(SUBSETS, *SERVICES, *PODS, entry))
    assert (found.shares, found.places, len(found.unseen)) == ({"HTTP 500 injected": 1.0}, {}, 1)
    with pytest.raises(NoExpectationError, match="v9"):
        fate({**aborted, "fault": {"abort": {"httpStatus": 500, "percentage": {"value": 99}}}})


def test_a_direct_responses_text_is_not_sent_to_head() -> None:
    route = {"directResponse": {"status": 503, "body": {"string": "no"}}}
    assert fate(route, call=replace(CALL, method="HEAD")).shares == {"HTTP 503 by the proxy": 1.0}


def test_a_destination_is_reached_at_the_pods_that_service_and_subset_select() -> None:
    route = {"route": [{"destination": {"host": "ratings", "subset": "v1"}}]}
    assert fate(route).places == {f"{WHOLE} v1": Place("bookinfo", {"app": "ratings", "version": "v1"})}


def test_what_outcomes_do_not_show_is_named() -> None:
    found = fate({**TO, "timeout": "1s", "rewrite": {"uri": "/b"}, "mirror": {"host": "reviews"}, "retries": {"attempts": 1}})
    assert {path.rpartition(".")[2] for path in found.unseen} == {"timeout", "uri", "mirror", "retries"}
    assert found.copied == {"reviews.bookinfo:9080"}


@pytest.mark.parametrize(
    "route",
    [
        {"redirect": {"uri": "/b"}, "fault": {"abort": {"httpStatus": 500, "percentage": {"value": 20}}}},
        {**TO, "fault": {"abort": {"grpcStatus": "UNAVAILABLE", "percentage": {"value": 20}}}},
        {
            **TO,
            "fault": {
                "abort": {"httpStatus": 500, "percentage": {"value": 20}},
                "delay": {"fixedDelay": "2s", "percentage": {"value": 50}},
            },
        },
        {**TO, "unheard": "of"},
    ],
    ids=str,
)
def test_what_is_not_modelled_is_never_guessed(route: dict[str, Any]) -> None:
    views = viewed([virtual_service(route), SUBSETS, *SERVICES, *PODS])
    try:
        fate_of(views, CALL)
    except NotModelledError:
        return
    assert not_modelled(views)


@pytest.mark.parametrize(
    ("policy", "known"),
    [
        ({"loadBalancer": {"simple": "RANDOM"}}, True),
        ({"tls": {"mode": "ISTIO_MUTUAL"}}, True),
        ({"tls": {"mode": "SIMPLE"}}, False),
        ({"tls": {"mode": "DISABLE"}}, False),
        ({"connectionPool": {"http": {"http1MaxPendingRequests": 1}}}, False),
        ({"outlierDetection": {"consecutive5xxErrors": 1}}, False),
    ],
    ids=str,
)
def test_policies_that_may_reject_requests_are_not_modelled(policy: dict[str, Any], known: bool) -> None:
    spec: dict[str, Any] = {**SUBSETS["spec"], "trafficPolicy": policy}
    views = viewed([virtual_service(TO), {**SUBSETS, "spec": spec}, *SERVICES, *PODS])
    fate_of(views, CALL)
    assert (not_modelled(views) == ()) is known


def test_a_destination_outside_the_cluster_is_not_modelled() -> None:
    entry = {
        "kind": "ServiceEntry", "metadata": {"name": "out", "namespace": "bookinfo"},
        "spec": {"hosts": ["out.side"], "ports": [{"number": 9080, "protocol": "HTTP"}], "resolution": "DNS"},
    }  # fmt: skip
    with pytest.raises(NotModelledError, match=r"out\.side is a host of a ServiceEntry"):
        fate({"route": [{"destination": {"host": "out.side"}}]}, around=(entry, *SERVICES, *PODS))


def test_a_rule_beside_another_one_for_the_same_host_is_broken() -> None:
    views = viewed(
        [virtual_service(TO), virtual_service(TO, name="b") | {"spec": {"hosts": ["ratings"], "http": [TO]}}, *SERVICES]
    )
    with pytest.raises(NoExpectationError, match="are both for ratings"):
        fate_of(views, CALL)


@pytest.mark.parametrize(
    ("route", "authority", "response", "unseen"),
    [
        ({**TO, "rewrite": {"authority": "b"}}, "b", {}, []),
        ({**TO, "headers": {"request": {"set": {"Host": "b", "x-a": "c"}}}}, "b", {}, ["set"]),
        ({**TO, "headers": {"response": {"set": {"X-A": "b"}, "remove": ["x-c"]}}}, None, {"x-a": "b", "x-c": None}, []),
        ({**TO, "headers": {"response": {"set": {"x-a": "%PROTOCOL%"}, "add": {"x-b": "c"}}}}, None, {}, ["set", "add"]),
        ({**TO, "headers": {"response": {"set": {"server": "b"}}}}, None, {}, ["set"]),
    ],
    ids=str,
)
def test_what_callers_can_see_of_changes_is_expected(
    route: dict[str, Any], authority: str | None, response: dict[str, str | None], unseen: list[str]
) -> None:
    found = fate(route)
    assert (found.authority, found.response) == (authority, response)
    assert {path.rpartition(".")[2] for path in found.unseen} == set(unseen)


def test_where_destinations_change_headers_as_well_none_is_expected() -> None:
    own = {"route": [{**TO["route"][0], "headers": {"response": {"set": {"x-a": "c"}}}}]}
    assert fate({**own, "headers": {"response": {"set": {"x-a": "b"}}}}).response == {}
