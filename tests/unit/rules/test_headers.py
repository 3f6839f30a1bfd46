"""What routes make of headers, and which of it is not modelled."""

from __future__ import annotations

from typing import Any

import pytest
from geventhttpclient.header import Headers

from loadtests.entries.question import ROUTING, ResponseCheck
from loadtests.rules import responses
from loadtests.rules.calls import Call, Caller
from loadtests.rules.headers import text_of
from loadtests.verdict import Expected

CALL = Call("ratings", 9080, Caller("bookinfo"), headers={"x-lab-a": "client", "end-user": "jason"})
PORTS = {"ports": [{"port": 9080, "name": "http"}]}
SERVICES = [
    {"kind": "Service", "metadata": {"name": name, "uid": name, "generation": 1}, "spec": PORTS}
    for name in ("ratings", "reviews")
]


def to(host: str = "ratings", weight: int | None = None, **headers: Any) -> dict[str, Any]:
    found: dict[str, Any] = {"destination": {"host": host}} | ({} if weight is None else {"weight": weight})
    return found | ({"headers": headers} if headers else {})


def expected(*destinations: dict[str, Any], expectation: Any = responses.headers_changed, **route: Any) -> Expected:
    spec = {"hosts": ["ratings"], "http": [{**route, **({"route": list(destinations)} if destinations else {})}]}
    rule = {"kind": "VirtualService", "metadata": {"name": "ratings", "uid": "v", "generation": 1}, "spec": spec}
    request = {"call": CALL, "prefix": "x-lab-", "returned": {"x-lab-v": "1"}, "characters": 8}
    return ResponseCheck(ROUTING, expectation, {"call": request}).expect([rule, *SERVICES]).expected


def outcomes(*destinations: dict[str, Any], **route: Any) -> dict[str, float]:
    found = expected(*destinations, **route)
    assert (found.broken, found.unknown) == ((), {})
    return dict(found.shares["call"])


@pytest.mark.parametrize(
    ("changes", "received"),
    [
        ({}, "x-lab-a: client"),
        ({"set": {"x-lab-a": "r"}}, "x-lab-a: r"),
        ({"add": {"x-lab-a": "r"}}, "x-lab-a: client, r"),
        ({"remove": ["x-lab-a"]}, "none"),
        ({"remove": ["X-Lab-A"]}, "none"),
        ({"set": {"X-Lab-B": "r"}}, "x-lab-a: client; x-lab-b: r"),
        # Removed, then set, then added.
        ({"remove": ["x-lab-a"], "add": {"x-lab-a": "r"}}, "x-lab-a: r"),
        ({"set": {"x-lab-a": "r"}, "add": {"x-lab-a": "s"}}, "x-lab-a: r, s"),
    ],
)
def test_changes_of_a_route(changes: dict[str, Any], received: str) -> None:
    found = outcomes(to(), headers={"request": changes})
    assert found == {f"ratings received {received}; returned x-lab-v: 1": 1.0}


def test_changes_of_responses() -> None:
    found = outcomes(to(response={"remove": ["x-lab-v"]}), headers={"response": {"add": {"x-lab-w": "r"}}})
    assert found == {"ratings received x-lab-a: client; returned x-lab-w: r": 1.0}


def test_a_lone_destination_has_the_last_word_and_of_several_the_route_has() -> None:
    own, route = {"set": {"x-lab-a": "own"}}, {"request": {"set": {"x-lab-a": "route"}}}
    assert list(outcomes(to(request=own), headers=route)) == ["ratings received x-lab-a: own; returned x-lab-v: 1"]
    assert outcomes(to(weight=1, request=own), to("reviews", 3), headers=route) == {
        "ratings received x-lab-a: route; returned x-lab-v: 1": 0.25,
        "reviews received x-lab-a: route; returned x-lab-v: 1": 0.75,
    }
    # What a destination removes, the route may still add; a lone destination removes before anything is added.
    gone, more = {"remove": ["x-lab-a"]}, {"request": {"add": {"x-lab-a": "route"}}}
    for destinations in ([to(request=gone)], [to(weight=1, request=gone), to("reviews", 0)]):
        assert list(outcomes(*destinations, headers=more)) == ["ratings received x-lab-a: route; returned x-lab-v: 1"]
    # One level sets before it adds, whoever of the two says so.
    assert list(outcomes(to(request={"set": {"x-lab-a": "own"}}), headers=more)) == [
        "ratings received x-lab-a: own, route; returned x-lab-v: 1"
    ]


def test_destinations_with_the_same_outcome_are_one() -> None:
    assert outcomes(to(weight=1), to(weight=1)) == {"ratings received x-lab-a: client; returned x-lab-v: 1": 1.0}


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"set": {"x-lab-a": "%PROTOCOL%"}}, "spec.http[0].headers.request.set.x-lab-a"),
        ({"set": {"x-lab-a": ""}}, "spec.http[0].headers.request.set.x-lab-a"),
        ({"set": {"Host": "other"}}, "spec.http[0].headers.request.set.Host"),
        ({"set": {":authority": "other"}}, "spec.http[0].headers.request.set.:authority"),
        ({"remove": ["user-agent"]}, "spec.http[0].headers: user-agent"),
        ({"add": {"x-other": "1"}}, "spec.http[0].headers: x-other"),
    ],
)
def test_what_is_not_modelled(changes: dict[str, Any], path: str) -> None:
    assert expected(to(), headers={"request": changes}).unknown == {"call": (f"VirtualService ratings: {path}",)}
    of_one = expected(to(weight=1, request=changes), to("reviews", 1)).unknown
    assert len(of_one["call"]) == 1
    assert expected(to(weight=1), to("reviews", 0, request=changes)).unknown == {}


def test_other_fields_of_the_route_are_unknown() -> None:
    assert expected(to(), timeout="1s").unknown == {"call": ("VirtualService ratings: spec.http[0].timeout",)}


def test_headers_in_words() -> None:
    sent = [("X-Lab-B", "2"), ("x-lab-a", "1"), ("x-lab-b", "3"), ("Server", "x")]
    assert text_of(sent, "x-lab-") == "x-lab-a: 1; x-lab-b: 2, 3"
    assert text_of([("Server", "x")], "x-lab-") == "none"
    assert text_of(Headers(sent).items(), "x-lab-") == "x-lab-a: 1; x-lab-b: 2, 3", "as Locust's client has them"


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        ({"status": 503, "body": {"string": "Closed."}}, "HTTP 503 Closed."),
        ({"status": 503, "body": {"string": "Closed until Monday."}}, "HTTP 503 Closed u"),
        ({"status": 410}, "HTTP 410"),
        ({"status": 200, "body": {"bytes": "T3Blbg=="}}, "HTTP 200 Open"),
    ],
)
def test_the_text_of_direct_responses(answer: dict[str, Any], outcome: str) -> None:
    assert expected(expectation=responses.responded, directResponse=answer).shares["call"] == {outcome: 1.0}


def test_without_a_direct_response_the_service_answers() -> None:
    assert expected(to(), expectation=responses.responded).shares["call"] == {"HTTP 200": 1.0}
    for more in ({"fault": {"abort": {"httpStatus": 500, "percentage": {"value": 1}}}}, {"timeout": "1s"}):
        assert expected(to(), expectation=responses.responded, **more).unknown
    changes = {"response": {"set": {"a": "b"}}}
    assert expected(expectation=responses.responded, directResponse={"status": 200}, headers=changes).unknown
