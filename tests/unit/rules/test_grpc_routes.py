"""Expectations for GRPCRoutes."""

from __future__ import annotations

from typing import Any

import pytest

from loadtests.entries.question import ResponseCheck
from loadtests.rules.expectations import NoExpectationError
from loadtests.rules.grpc_routes import grpc_shared
from loadtests.verdict import Expected
from tests.unit.rules import test_ingress

HOST, PARENT = test_ingress.HOST, test_ingress.PARENT
REQUEST: dict[str, Any] = {
    "gateway": ("istio-system", "ingress"), "authority": HOST, "uri": "/lab.Greeter/Hello", "headers": {"x-who": "me"},
    "answers": ("s", "t"),
}  # fmt: skip


def route(name: str, *rules: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {**test_ingress.route(name, *rules, **more), "kind": "GRPCRoute"}


def to(service: str, *matches: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A rule with a single backend."""
    return {"backendRefs": [{"name": service, "port": 80}], **({"matches": list(matches)} if matches else {}), **more}


def method(service: str | None = None, name: str | None = None, **more: Any) -> dict[str, Any]:
    """As the API server completes it."""
    found = {"type": "Exact", "service": service, "method": name}
    return {"method": {key: value for key, value in found.items() if value}, **more}


def regular(service: str | None = None, name: str | None = None) -> dict[str, Any]:
    """A match by regular expressions."""
    return {"method": {**method(service, name)["method"], "type": "RegularExpression"}}


def headers(*pairs: tuple[str, str]) -> list[dict[str, str]]:
    return [{"type": "Exact", "name": name, "value": value} for name, value in pairs]


def expected(*objects: dict[str, Any], **request: Any) -> Expected:
    given = [*test_ingress.BASE, *objects]
    return ResponseCheck((), grpc_shared, {"call": {**REQUEST, **request}}).expect(given).expected


def backends(*weights: tuple[str, int | None]) -> dict[str, Any]:
    """A rule with the backends' weights, if they have any."""
    named = [{"name": name, "port": 80, **({"weight": weight} if weight is not None else {})} for name, weight in weights]
    return {"backendRefs": named}


GREETER, HELLO = method("lab.Greeter"), method("lab.Greeter", "Hello")
WHO = headers(("X-Who", "me"))


@pytest.mark.parametrize(
    ("match", "taken"),
    [
        ({}, True),
        (GREETER, True),
        (HELLO, True),
        (method(name="Hello"), True),
        (method("lab.Greete"), False),
        (method("lab"), False),
        (method("lab.greeter"), False),
        (method("lab.Greeter", "Bye"), False),
        (method(name="Hell"), False),
        (method("lab.Other", "Hello"), False),
        ({"method": {"service": "lab.Greeter"}}, True),
        ({"headers": WHO}, True),
        ({"headers": headers(("x-who", "you"))}, False),
        ({"headers": headers(("x-other", "me"))}, False),
        ({"headers": headers(("x-who", "me"), ("x-other", "me"))}, False),
        ({"headers": [{"type": "RegularExpression", "name": "x-who", "value": "m."}]}, True),
        ({"headers": [{"type": "RegularExpression", "name": "x-who", "value": "m"}]}, False),
        (method("lab.Greeter", headers=headers(("x-who", "you"))), False),
        (regular("lab.*"), True),
        (regular("Greeter"), False),
        (regular("lab.*", "Hel+o"), True),
        (regular("lab.*", "Hel"), False),
        (regular(name="Hel+o"), True),
        (regular(name="Hel"), False),
    ],
)
def test_which_calls_a_match_takes(match: dict[str, Any], taken: bool) -> None:
    found = expected(route("r", to("s", match)))
    assert (found.broken, found.unknown) == ((), {})
    assert found.shares["call"] == ({"s": 1.0} if taken else {"UNIMPLEMENTED": 1.0})


@pytest.mark.parametrize(
    "routes",
    [
        # The longest service, then the longest method, then the most headers; in any order.
        [route("a", to("t", GREETER), to("s", HELLO))],
        [route("a", to("s", HELLO), to("t", GREETER))],
        [route("a", to("t", method(name="Hello")), to("s", GREETER))],
        [route("a", to("t"), to("s", method(name="Hello")))],
        [route("a", to("t", GREETER), to("s", method("lab.Greeter", headers=WHO)))],
        [route("a", to("t", method("lab.Greeter", headers=WHO)), to("s", HELLO))],
        [route("a", to("t", {"headers": WHO}), to("s", GREETER))],
        [route("a", to("t"), to("s", {"headers": WHO}))],
        # Of several matches of a rule, the one that holds counts.
        [route("a", to("t", GREETER), to("s", method("lab.Other", "Other"), HELLO))],
        # A match that does not hold is passed over, whatever it ranks.
        [route("a", to("t", method("lab.Greeter", "Hello", headers=headers(("x-who", "you")))), to("s", GREETER))],
        # Of equal ones: the older route, then the name, then the order.
        [route("a", to("t", HELLO), made="2026-02-01"), route("b", to("s", HELLO), made="2026-01-01")],
        [route("b", to("t", HELLO)), route("a", to("s", HELLO))],
        [route("a", to("s", HELLO), to("t", HELLO))],
        # Over several routes, too.
        [route("a", to("t", GREETER), made="2026-01-01"), route("b", to("s", HELLO), made="2026-02-01")],
        # Only routes for the most specific host, of this Gateway.
        [route("a", to("t", HELLO), hosts=["*.lab"]), route("b", to("s"))],
        [route("a", to("t", HELLO), hosts=["b.lab"]), route("b", to("s"), hosts=["*.lab"])],
        [route("a", to("t", HELLO), parents=[{**PARENT, "name": "other"}]), route("b", to("s"))],
        [route("a", to("t", HELLO), parents=[{"group": "", "kind": "Service", "name": "s"}]), route("b", to("s"))],
        [{**route("a", to("t", HELLO), hosts=["b.lab"]), "kind": "HTTPRoute"}, route("b", to("s"))],
        # A rule without matches comes after one whose match asks for nothing; expressions come last of all that ask for a path.
        [route("a", to("t"), to("s", {}))],
        [route("a", to("t", regular("lab.*", "Hello")), to("s", GREETER))],
        [route("a", to("t", regular("lab.*")), to("s", regular("lab.*", "Hello")))],
        [route("a", to("t", {"headers": WHO}), to("s", regular(name="H.*o")))],
        # What has no bearing may be anything.
        [route("a", to("t", GREETER, timeouts={"request": "1s"}), to("s", HELLO))],
        [route("a", to("s", HELLO, name="first"))],
    ],
)
def test_precedence(routes: list[dict[str, Any]]) -> None:
    found = expected(*routes)
    assert (found.broken, found.unknown) == ((), {})
    assert found.shares["call"] == {"s": 1.0}


@pytest.mark.parametrize(
    ("rule", "shares"),
    [
        (backends(("s", 8), ("t", 2)), {"s": 0.8, "t": 0.2}),
        (backends(("s", 3), ("t", None)), {"s": 0.75, "t": 0.25}),
        (backends(("s", None), ("t", 0)), {"s": 1.0}),
        (backends(("s", 1), ("s", 2), ("t", 1)), {"s": 0.75, "t": 0.25}),
        (backends(("s", 1), ("other", 0)), {"s": 1.0}),
    ],
)
def test_shares_of_backends(rule: dict[str, Any], shares: dict[str, float]) -> None:
    found = expected(route("r", rule))
    assert (found.broken, found.unknown) == ((), {})
    assert found.shares["call"] == pytest.approx(shares)


REMOVES = {"type": "RequestHeaderModifier", "requestHeaderModifier": {"remove": ["a"]}}
FILTERED = {"backendRefs": [{"name": "s", "port": 80, "filters": [REMOVES]}]}
ELSEWHERE = {"backendRefs": [{"name": "s", "port": 80, "namespace": "other"}]}
OF_KIND = {"backendRefs": [{"name": "s", "kind": "Hostname", "group": "networking.istio.io"}]}


@pytest.mark.parametrize(
    ("objects", "path"),
    [
        ([route("r", to("s", filters=[REMOVES]))], "GRPCRoute r: spec.rules[0].filters[0]"),
        ([route("r", to("s"), to("s", HELLO, filters=[REMOVES]))], "GRPCRoute r: spec.rules[1].filters[0]"),
        ([route("r", FILTERED)], "GRPCRoute r: spec.rules[0].backendRefs[0].filters[0]"),
        ([route("r", ELSEWHERE)], "GRPCRoute r: spec.rules[0].backendRefs[0].namespace"),
        ([route("r", OF_KIND)], "GRPCRoute r: spec.rules[0].backendRefs"),
        (
            [route("r", to("t", GREETER, filters=[{"type": "ExtensionRef"}]), to("s", HELLO))],
            "GRPCRoute r: spec.rules[0].filters",
        ),
        ([route("r", to("other"))], "GRPCRoute r: spec.rules[0].backendRefs[0].name"),
        ([route("r", {})], "GRPCRoute r: spec.rules[0].backendRefs"),
        ([route("r", backends(("s", 0)))], "GRPCRoute r: spec.rules[0].backendRefs"),
        ([route("r", to("s", sessionPersistence={"type": "Cookie"}))], "GRPCRoute r: spec.rules[0].sessionPersistence"),
        # Of these routes, istiod may drop every rule.
        ([route("r", to("s"), to("t", GREETER, filters=[{"type": "ExtensionRef"}]))], "GRPCRoute r: spec.rules[1].filters"),
        ([route("r", to("s"), to("t", GREETER, filters=[{"type": "RequestMirror"}]))], "GRPCRoute r: spec.rules[1].filters"),
        (
            [route("r", to("s", {"headers": headers(("content-type", "application/grpc"))}))],
            "GRPCRoute r: spec.rules[0].matches[0].headers[0]",
        ),
        ([route("r", to("s")), test_ingress.route("h", to("s"))], "HTTPRoute h: spec.parentRefs"),
        ([route("r", to("s")), test_ingress.route("h", to("s"), hosts=["*.lab"])], "HTTPRoute h: spec.parentRefs"),
    ],
)
def test_what_is_not_modelled_is_named(objects: list[dict[str, Any]], path: str) -> None:
    found = expected(*objects)
    assert (found.broken, found.shares) == ((), {})
    assert any(one.startswith(path) for one in found.unknown["call"])


def test_a_host_without_a_route_is_left_to_other_rules() -> None:
    for routes in ([], [route("r", to("s"), hosts=["b.lab"])], [route("r", to("s"), parents=[{**PARENT, "name": "other"}])]):
        with pytest.raises(NoExpectationError, match=r"no GRPCRoute of Gateway istio-system/ingress is for a\.lab"):
            grpc_shared([*test_ingress.BASE, *routes], REQUEST)
