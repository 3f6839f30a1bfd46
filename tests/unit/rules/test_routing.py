"""Where calls go, by one rule or several, as istiod and Envoy route them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from loadtests.rules import actions
from loadtests.rules.calls import (
    Call,
    Caller,
    Destination,
    DirectResponse,
    Fault,
    Mesh,
    NoRoute,
    Redirect,
    Retries,
    Rewrite,
    Routed,
)  # fmt: skip
from loadtests.rules.expectations import NoExpectationError, NotModelledError
from loadtests.rules.routing import route_call
from loadtests.rules.view import not_modelled, viewed

Object = dict[str, Any]
STRANGE: Object = {"x-new": 1}


def thing(kind: str, name: str, namespace: str = "shop", created: str = "", /, **spec: Any) -> Object:
    return {"kind": kind, "metadata": {"name": name, "namespace": namespace, "creationTimestamp": created}, "spec": spec}


def service(name: str, namespace: str = "shop", /, *ports: Mapping[str, Any], **spec: Any) -> Object:
    return thing("Service", name, namespace, ports=list(ports) or [{"name": "http", "port": 80}], **spec)


def rule(name: str, *routes: Mapping[str, Any], hosts: Sequence[str] = ("reviews",), **more: Any) -> Object:
    made = thing("VirtualService", name, more.pop("namespace", "shop"), more.pop("created", ""), http=list(routes), **more)
    return {**made, "spec": made["spec"] | ({"hosts": list(hosts)} if hosts else {})}


def to(host: str, subset: str = "", weight: int | None = None, port: int | None = None) -> Object:
    target: Object = {"host": host} | ({"subset": subset} if subset else {}) | ({"port": {"number": port}} if port else {})
    return {"destination": target} | ({} if weight is None else {"weight": weight})


SUBSETS = [{"name": v, "labels": {"version": v}} for v in ("v1", "v2", "v3")]
REVIEWS = thing("DestinationRule", "reviews", host="reviews", subsets=SUBSETS)
SERVICES = [service("reviews"), service("details"), service("ratings", "other"), REVIEWS]
CALLER = Caller("shop", {"app": "page"})
CALL = Call("reviews", 80, CALLER)


def routed(*objects: Object, call: Call = CALL, mesh: Mesh | None = None) -> Routed:
    """The routing of a call; fails if any field was left unread."""
    seen = viewed([*SERVICES, *objects])
    found = route_call(seen, call, mesh)
    assert not_modelled(seen) == ()
    return found


def unread(*objects: Object, call: Call = CALL) -> tuple[str, ...]:
    seen = viewed([*SERVICES, *objects])
    route_call(seen, call)
    return not_modelled(seen)


def shares(found: Routed) -> dict[str, float]:
    """Abbreviated ``host/subset`` -> share."""
    assert found.no_route is None
    return {
        d.host.removesuffix(".svc.cluster.local").removesuffix(".shop") + (f"/{d.subset}" if d.subset else ""): d.share
        for d in found.destinations
    }


V1, V2, V3 = ({"route": [to("reviews", v)]} for v in ("v1", "v2", "v3"))


def when(route: Mapping[str, Any], **condition: Any) -> Object:
    return {**route, "match": [condition]}


def test_a_host_with_a_capital_is_no_more_specific_than_a_wildcard() -> None:
    """As in istiod, when both rules cover the same service: the older rule's routes come first."""
    wildcard = rule("a", V1, hosts=["*.shop.svc.cluster.local"], created="2026-01-01T00:00:00Z")
    capital = rule("b", V2, hosts=["Reviews.shop.svc.cluster.local"], created="2026-01-02T00:00:00Z")
    assert [d.subset for d in routed(wildcard, capital).destinations] == ["v1"]
    assert [d.subset for d in routed(capital).destinations] == ["v2"]


def test_without_a_rule_the_service_responds() -> None:
    found = routed()
    assert found.destinations == (Destination("reviews.shop.svc.cluster.local", "", 80, 1.0),)
    assert found.retries == Retries(
        2, None, ("connect-failure", "refused-stream", "unavailable", "cancelled", "retriable-status-codes")
    )


@pytest.mark.parametrize(
    "host", ["reviews", "reviews.shop", "reviews.shop.svc", "reviews.shop.svc.cluster.local", "Reviews:80"]
)
@pytest.mark.parametrize("name", ["reviews", "reviews.shop.svc.cluster.local", "*.shop.svc.cluster.local", "*"])
def test_names_of_a_service(host: str, name: str) -> None:
    assert shares(routed(rule("r", V2, hosts=[name]), call=replace(CALL, host=host))) == {"reviews/v2": 1.0}


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        ([4, None, 1], {"reviews/v1": 0.8, "reviews/v2": 0.0, "reviews/v3": 0.2}),
        ([10], {"reviews/v1": 1.0}),
        ([None], {"reviews/v1": 1.0}),
    ],
)
def test_weights(weights: list[int | None], expected: dict[str, float]) -> None:
    legs = [to("reviews", f"v{n}", weight) for n, weight in enumerate(weights, 1)]
    assert shares(routed(rule("r", {"route": legs}))) == pytest.approx(expected)


PRIVATE: Object = {"exportTo": ["."]}
OLD: Object = {"created": "2026-01-01T00:00:00Z"}
NEW: Object = {"created": "2026-01-02T00:00:00Z"}


@pytest.mark.parametrize(
    ("rules", "subset"),
    [
        # Only the oldest applies, regardless of its name; of equally old ones, the first by name.
        ([rule("a", V1, **NEW), rule("b", V2, **OLD)], "v2"),
        ([rule("b", V2), rule("a", V1)], "v1"),
        # A short name and the full name denote the same host.
        ([rule("a", V1), rule("b", V2, hosts=["reviews.shop.svc.cluster.local"])], "v1"),
        # A rule that is private to the namespace precedes exported ones.
        ([rule("a", V1, **OLD), rule("b", V2, **NEW, **PRIVATE)], "v2"),
        # The more specific host wins, regardless of age.
        ([rule("a", V1, hosts=["*.svc.cluster.local"], **OLD), rule("b", V2, **NEW)], "v2"),
        ([rule("a", V1, hosts=["*.svc.cluster.local"]), rule("b", V2, hosts=["*.shop.svc.cluster.local"])], "v2"),
        # A rule without a route for the caller does not apply.
        ([rule("a", when(V1, sourceLabels={"app": "x"})), rule("b", V2)], "v2"),
        ([rule("a", when(V1, port=81)), rule("b", V2)], "v2"),
        # A rule with a route for the caller does, even if that route does not match the call.
        ([rule("a", when(V1, uri={"exact": "/x"}), V3), rule("b", V2)], "v3"),
        # A wildcard does not replace a rule for the host whose routes are for other callers.
        ([rule("a", when(V1, port=81)), rule("b", V2, hosts=["*"])], ""),
        # Rules for a gateway, private to another namespace, and exported to nobody.
        ([rule("a", V1, gateways=["front"]), rule("b", V2)], "v2"),
        ([rule("a", V1, gateways=["front", "mesh"]), rule("b", V2)], "v1"),
        ([rule("a", V1, hosts=["reviews.shop.svc.cluster.local"], namespace="other", **PRIVATE), rule("b", V2)], "v2"),
        ([rule("a", V1, exportTo=["~"]), rule("b", V2)], "v2"),
        ([rule("a", V1, exportTo=["other"]), rule("b", V2)], "v2"),
        ([rule("a", V1, exportTo=["other", "shop"]), rule("b", V2)], "v1"),
        # A short name belongs to the rule's own namespace.
        ([rule("a", V1, namespace="other"), rule("b", V2)], "v2"),
    ],
)
def test_which_rule_applies(rules: list[Object], subset: str) -> None:
    assert shares(routed(*rules)) == {f"reviews/{subset}" if subset else "reviews": 1.0}


@pytest.mark.parametrize(
    ("condition", "taken"),
    [
        ({}, True),
        ({"uri": {"exact": "/a/b"}}, True),
        ({"uri": {"exact": "/A/b"}}, False),
        ({"uri": {"exact": "/A/b"}, "ignoreUriCase": True}, True),
        ({"uri": {"prefix": "/a"}}, True),
        ({"uri": {"regex": "/a/."}}, True),
        ({"uri": {"regex": "/a"}}, False),
        ({"uri": {"regex": "/A/."}, "ignoreUriCase": True}, False),
        ({"scheme": {"exact": "https"}}, False),
        ({"method": {"regex": "GET|HEAD"}}, True),
        ({"authority": {"prefix": "rev"}}, True),
        ({"authority": {"exact": "details"}}, False),
        ({"headers": {"X-User": {"exact": "jason"}}}, True),
        ({"headers": {"x-user": {}}}, True),
        ({"headers": {"x-user": {"regex": "*"}}}, True),
        ({"headers": {"x-other": {}}}, False),
        ({"headers": {"x-user": {}, "x-other": {"prefix": "a"}}}, False),
        ({"withoutHeaders": {"x-user": {}}}, False),
        ({"withoutHeaders": {"x-user": {"exact": "ann"}}}, True),
        ({"withoutHeaders": {"x-other": {"exact": "ann"}}}, True),
        ({"withoutHeaders": {"x-other": {"regex": ".*"}}}, False),
        ({"queryParams": {"full": {"exact": "yes"}}}, True),
        ({"queryParams": {"Full": {"exact": "yes"}}}, False),
        ({"queryParams": {"part": {}}}, False),
        ({"port": 80}, True),
        ({"port": 81}, False),
        ({"sourceLabels": {"app": "page"}}, True),
        ({"sourceLabels": {"app": "page", "tier": "front"}}, False),
        ({"sourceNamespace": "shop"}, True),
        ({"sourceNamespace": "other"}, False),
        ({"gateways": ["mesh", "front"]}, True),
        ({"gateways": ["front"]}, False),
        # With gateways, the caller's labels are ignored.
        ({"gateways": ["mesh"], "sourceLabels": {"app": "x"}}, True),
    ],
)
def test_conditions(condition: dict[str, Any], taken: bool) -> None:
    call = replace(CALL, uri="/a/b", headers={"x-user": "jason"}, query={"full": "yes"})
    found = routed(rule("r", when(V1, name="n", statPrefix="s", **condition), V2), call=call)
    assert shares(found) == {f"reviews/{'v1' if taken else 'v2'}": 1.0}


def test_a_condition_on_an_unknown_label_is_unknown() -> None:
    rules = [rule("r", when(V1, sourceLabels={"app": "page", "tier": "front"}), V2)]
    call = replace(CALL, caller=replace(CALLER, all_labels=False))
    assert unread(*rules, call=call) == ("VirtualService r: spec.http[0].match[0].sourceLabels.tier",)
    assert shares(routed(rule("r", when(V1, sourceLabels={"app": "x", "tier": "front"}), V2), call=call)) == {"reviews/v2": 1.0}


def test_a_condition_on_a_claim_is_unknown() -> None:
    with pytest.raises(NotModelledError, match=r"VirtualService r: spec.http\[0\].match\[0\].headers"):
        routed(rule("r", when(V1, headers={"@request.auth.claims.group": {"exact": "a"}}), V2))


def test_an_invalid_regular_expression() -> None:
    with pytest.raises(NoExpectationError, match="no regular expression"):
        routed(rule("r", when(V1, uri={"regex": "("}), V2))


def test_fields_of_the_chosen_route_that_are_not_modelled_are_named() -> None:
    assert unread(rule("r", {**V1, "x-new": 1})) == ("VirtualService r: spec.http[0].x-new",)
    assert unread(rule("r", when(V1, **STRANGE))) == ("VirtualService r: spec.http[0].match[0].x-new",)
    assert unread(rule("r", V1, **STRANGE)) == ("VirtualService r: spec.x-new",)
    # They do not matter in other rules, or in alternatives that are not needed.
    assert unread(rule("a", V1), rule("b", V2, **STRANGE)) == ()
    assert unread(rule("r", {**V1, "match": [{"x-new": 1}, {"method": {"exact": "GET"}}]}, {**V2, "x-new": 1})) == ()


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        (rule("r", {"route": [to("reviews", "v4")]}), "VirtualService r: no DestinationRule of reviews has a subset v4"),
        (rule("r", {"route": [to("ratings")]}), "VirtualService r: there is no service ratings"),
        (rule("r", {"route": [to("details", port=81)]}), "VirtualService r: details has no port 81"),
        (
            rule("r", {"route": [to("details", "", 0), to("reviews", "", 0)]}),
            r"VirtualService r: spec.http\[0\].route: weights sum to 0",
        ),
    ],
)
def test_contradictions(broken: Object, words: str) -> None:
    with pytest.raises(NoExpectationError, match=words):
        routed(broken)


@pytest.mark.parametrize("nowhere", [to("reviews", "v4", 0), to("nobody", "", 0), to("details", "", 0, port=81)])
def test_a_destination_with_weight_0_need_not_exist(nowhere: Object) -> None:
    assert shares(routed(rule("r", {"route": [to("reviews", "v1", 1), nowhere]}))) == {"reviews/v1": 1.0}


def test_a_host_of_another_namespace() -> None:
    assert shares(routed(rule("r", {"route": [to("ratings.other.svc.cluster.local")]}))) == {"ratings.other": 1.0}
    call = replace(CALL, host="ratings.other")
    assert shares(routed(rule("r", V1, hosts=["ratings.other.svc.cluster.local"]), call=call)) == {"reviews/v1": 1.0}
    assert routed(call=replace(CALL, host="ratings")).no_route == NoRoute.PASSTHROUGH


@pytest.mark.parametrize(("allow", "outcome"), [(True, NoRoute.PASSTHROUGH), (False, NoRoute.BLACKHOLE)])
def test_an_unknown_host(allow: bool, outcome: NoRoute) -> None:
    for port in (80, 81):
        assert routed(call=replace(CALL, host="a.example", port=port), mesh=Mesh(allow_any=allow)).no_route == outcome


def test_a_rule_without_a_route_for_the_call() -> None:
    assert routed(rule("r", when(V1, uri={"exact": "/x"}))).no_route == NoRoute.NOT_FOUND


def test_a_destination_keeps_the_port_of_the_call_unless_the_rule_sets_one() -> None:
    two = service("two", "shop", {"name": "http-a", "port": 80}, {"name": "grpc", "port": 90})
    ninety = service("ninety", "shop", {"name": "http", "port": 90})
    for port, host, call_port in ((None, "two", 90), (80, "two", 80)):
        found = routed(two, rule("r", {"route": [to(host, port=port)]}, hosts=["two"]), call=Call("two", 90, CALLER))
        assert [d.port for d in found.destinations] == [call_port]
    with pytest.raises(NoExpectationError, match="ninety has no port 80"):
        routed(ninety, rule("r", {"route": [to("ninety")]}))


@pytest.mark.parametrize(
    ("port", "objects", "expected"),
    [
        ({"name": "tcp", "port": 90}, [], {"db": 1.0}),
        ({"name": "mysql-x", "port": 90}, [], {"db": 1.0}),
        ({"name": "anything", "port": 3306}, [], {"db": 1.0}),
    ],
)
def test_connections_to_a_port_without_http(port: Object, objects: list[Object], expected: dict[str, float]) -> None:
    call = Call("db", port["port"], CALLER)
    http = rule("h", V1, hosts=["db"])
    assert shares(routed(service("db", "shop", port), http, *objects, call=call)) == expected
    assert routed(service("db", "shop", port), http, call=call).retries is None


def tcp(*routes: Mapping[str, Any], hosts: Sequence[str] = ("db",), **spec: Any) -> Object:
    made = rule("t", hosts=hosts, **spec)
    return {**made, "spec": {k: v for k, v in made["spec"].items() if k != "http"} | {"tcp": list(routes)}}


@pytest.mark.parametrize(
    ("condition", "taken"),
    [
        ({"port": 90}, True),
        ({"port": 91}, False),
        ({"sourceLabels": {"app": "page"}}, True),
        ({"sourceLabels": {"app": "x"}, "gateways": ["mesh"]}, False),
        ({"gateways": ["front"]}, False),
        ({"sourceNamespace": "other"}, False),
    ],
)
def test_tcp_routes(condition: dict[str, Any], taken: bool) -> None:
    database = service("db", "shop", {"name": "tcp", "port": 90})
    two = tcp({"match": [condition], "route": [to("reviews", "v1", 3, 80), to("reviews", "v2", 1, 80)]}, {"route": [to("db")]})
    found = shares(routed(database, two, call=Call("db", 90, CALLER)))
    assert found == ({"reviews/v1": 0.75, "reviews/v2": 0.25} if taken else {"db": 1.0})


@pytest.mark.parametrize(
    ("routes", "expected"),
    [
        ([(["db.shop.svc.cluster.local"], {}, "v1")], "v1"),
        ([(["*.cluster.local"], {}, "v1"), (["*.shop.svc.cluster.local"], {}, "v2")], "v2"),
        ([(["*.shop.svc.cluster.local"], {"port": 91}, "v1"), (["*.cluster.local"], {}, "v2")], "v2"),
        ([(["db.shop.svc.cluster.local"], {"sourceLabels": {"app": "x"}}, "v1")], None),
        ([(["db.shop.svc.cluster.local"], {}, "v1"), (["db.shop.svc.cluster.local"], {}, "v2")], "v1"),
    ],
)
def test_tls_routes(routes: list[tuple[list[str], Object, str]], expected: str | None) -> None:
    made = rule("t", hosts=["db"])
    led = [{"match": [{"sniHosts": sni, **when}], "route": [to("reviews", v, port=80)]} for sni, when, v in routes]
    by_name = {**made, "spec": {"hosts": ["db"], "tls": led}}
    call = Call("db.shop.svc.cluster.local", 90, CALLER, scheme="tls")
    found = routed(service("db", "shop", {"name": "tls", "port": 90}), by_name, call=call)
    assert shares(found) == ({f"reviews/{expected}": 1.0} if expected else {"db": 1.0})


def test_a_server_name_without_a_tls_route_is_unknown() -> None:
    made = rule("t", hosts=["db"])
    led = {"match": [{"sniHosts": ["other.example"]}], "route": [to("reviews", "v1", port=80)]}
    with pytest.raises(NotModelledError, match=r"VirtualService t: spec\.tls"):
        routed(
            service("db", "shop", {"name": "tls", "port": 90}), {**made, "spec": {"hosts": ["db"], "tls": [led]}},
            call=Call("db.shop.svc.cluster.local", 90, CALLER, scheme="tls"),
        )  # fmt: skip


def test_addresses_of_connections_are_unknown() -> None:
    route = {"match": [{"destinationSubnets": ["10.0.0.0/8"]}], "route": [to("db")]}
    with pytest.raises(NotModelledError, match=r"spec.tcp\[0\].match\[0\].destinationSubnets"):
        routed(service("db", "shop", {"name": "tcp", "port": 90}), tcp(route), call=Call("db", 90, CALLER))


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ({"abort": {"httpStatus": 500}}, Fault(http_status=500)),
        ({"abort": {"httpStatus": 500, "percentage": {}}}, Fault(http_status=500)),
        (
            {"abort": {"grpcStatus": "UNAVAILABLE", "percentage": {"value": 0.5}}},
            Fault(grpc_status="UNAVAILABLE", abort_share=0.005),
        ),
        ({"delay": {"fixedDelay": "1m1.5s", "percent": 20}}, Fault(delay=61.5, delay_share=0.2)),
        ({"delay": {"fixedDelay": "2s"}}, Fault(delay=2.0)),
        (
            {
                "delay": {"fixedDelay": "2s", "percentage": {"value": 100}},
                "abort": {"httpStatus": 503, "percentage": {"value": 50}},
            },
            Fault(2.0, 1.0, 503, None, 0.5),
        ),
    ],
)
def test_faults(fault: dict[str, Any], expected: Fault) -> None:
    assert routed(rule("r", {**V1, "fault": fault})).fault == expected


@pytest.mark.parametrize(
    ("retries", "expected"),
    [
        ({"attempts": 3, "perTryTimeout": "250ms", "backoff": "1s"}, Retries(3, 0.25, actions.RETRY_ON)),
        ({"attempts": 0, "retryOn": "5xx"}, Retries(0)),
        ({"perTryTimeout": "1s"}, Retries(0)),
        ({"attempts": 1, "retryOn": "5xx, 429"}, Retries(1, None, ("5xx", "retriable-status-codes", "429"))),
        ({"attempts": 1, "retryOn": "retriable-status-codes,503"}, Retries(1, None, ("retriable-status-codes", "503"))),
    ],
)
def test_retries(retries: dict[str, Any], expected: Retries) -> None:
    assert routed(rule("r", {**V1, "retries": retries})).retries == expected


def test_timeouts() -> None:
    assert [routed(rule("r", {**V1, **more})).timeout for more in ({"timeout": "1.5s"}, {"timeout": "0s"}, {})] == [
        1.5,
        None,
        None,
    ]


@pytest.mark.parametrize(
    ("mirrors", "expected"),
    [
        ({"mirror": {"host": "reviews", "subset": "v3"}}, [1.0]),
        ({"mirror": {"host": "reviews", "subset": "v3"}, "mirrorPercentage": {"value": 12.5}}, [0.125]),
        ({"mirror": {"host": "reviews", "subset": "v3"}, "mirrorPercentage": {}}, []),
        ({"mirror": {"host": "reviews", "subset": "v3"}, "mirrorPercent": 7}, [0.07]),
        ({"mirror": {"host": "reviews", "subset": "v3"}, "mirrorPercent": 0}, []),
        (
            {
                "mirrors": [
                    {"destination": {"host": "details"}},
                    {"destination": {"host": "details"}, "percentage": {"value": 5}},
                ]
            },
            [1.0, 0.05],
        ),
    ],
)
def test_mirrors(mirrors: dict[str, Any], expected: list[float]) -> None:
    assert [m.share for m in routed(rule("r", {**V1, **mirrors})).mirrors] == expected


@pytest.mark.parametrize(
    ("redirect", "expected"),
    [
        ({"uri": "/new"}, Redirect(301, None, "/new")),
        ({"authority": "b", "redirectCode": 308, "scheme": "https", "port": 443}, Redirect(308, "b", None, "https")),
        ({"derivePort": "FROM_REQUEST_PORT", "scheme": "https"}, Redirect(301, None, None, "https", 80)),
        ({"prefixRewrite": "/x"}, Redirect(301, None, "/x/b")),
    ],
)
def test_redirects(redirect: dict[str, Any], expected: Redirect) -> None:
    found = routed(rule("r", {"match": [{"uri": {"prefix": "/a"}}], "redirect": redirect}), call=replace(CALL, uri="/a/b"))
    assert (found.redirect, found.destinations, found.retries) == (expected, (), None)


def test_direct_responses() -> None:
    found = routed(rule("r", {"directResponse": {"status": 418, "body": {"string": "tea"}}}))
    assert (found.direct_response, found.destinations) == (DirectResponse(418, "tea"), ())
    encoded = rule("r", {"directResponse": {"status": 418, "body": {"bytes": "dGVh"}}})
    assert routed(encoded).direct_response == DirectResponse(418, "tea")


@pytest.mark.parametrize(
    ("condition", "change", "expected"),
    [
        ({"uri": {"prefix": "/a"}}, {"rewrite": {"uri": "/x"}}, Rewrite(None, "/x/b")),
        ({"uri": {"exact": "/a/b"}}, {"rewrite": {"uri": "/x"}}, Rewrite(None, "/x")),
        ({"uri": {"regex": "/a.*"}}, {"rewrite": {"uri": "/x"}}, Rewrite(None, "/x")),
        ({}, {"rewrite": {"uri": "/x/"}}, Rewrite(None, "/x/a/b")),
        (
            {},
            {"rewrite": {"uriRegexRewrite": {"match": "/(.)/(.)", "rewrite": "/\\2/\\1"}, "authority": "z"}},
            Rewrite("z", "/b/a"),
        ),
        (
            {},
            {"headers": {"request": {"set": {"Host": "z", "x": "y"}, "remove": ["q"]}, "response": {"add": {"a": "b"}}}},
            Rewrite("z"),
        ),
        ({}, {"headers": {"request": {"add": {"x": "y"}}}}, None),
    ],
)
def test_rewrites(condition: dict[str, Any], change: dict[str, Any], expected: Rewrite | None) -> None:
    found = routed(rule("r", {**V1, **change, "match": [condition]}), call=replace(CALL, uri="/a/b"))
    assert found.rewrite == expected


# -- delegates ----------------------------------------------------------------------------------------------------------------


def delegating(name: str = "d", namespace: str = "", **condition: Any) -> Object:
    to_whom = {"name": name} | ({"namespace": namespace} if namespace else {})
    return {"delegate": to_whom} | ({"match": [condition]} if condition else {})


@pytest.mark.parametrize(
    ("outer", "inner", "expected"),
    [
        ({"uri": {"prefix": "/a"}}, {"uri": {"prefix": "/a/b"}}, "v1"),
        ({"uri": {"prefix": "/a"}}, {"uri": {"exact": "/a/b"}}, "v1"),
        ({"uri": {"prefix": "/a/b"}}, {"uri": {"prefix": "/a"}}, "v2"),
        ({"uri": {"prefix": "/a"}}, {"method": {"exact": "GET"}}, "v1"),
        ({"uri": {"prefix": "/x"}}, {"method": {"exact": "GET"}}, "v2"),
        ({"uri": {"prefix": "/a"}}, {"uri": {"regex": "/a/.*"}}, "v2"),
        ({"headers": {"x-user": {}}}, {"headers": {"x-user": {"exact": "jason"}}}, "v2"),
        ({"headers": {"x-user": {"prefix": "j"}}}, {"headers": {"x-user": {"exact": "jason"}}}, "v1"),
        ({"sourceNamespace": "shop"}, {"uri": {"prefix": "/a"}}, "v2"),
        ({"port": 80}, {"port": 81}, "v2"),
        ({"gateways": ["mesh", "front"]}, {"gateways": ["mesh"]}, "v1"),
        ({}, {"uri": {"prefix": "/a"}}, "v1"),
    ],
)
def test_a_delegate_applies_within_the_route_that_refers_to_it(
    outer: dict[str, Any], inner: dict[str, Any], expected: str
) -> None:
    call = replace(CALL, uri="/a/b", headers={"x-user": "jason"})
    root = rule("r", delegating(**outer), V2)
    assert shares(routed(root, rule("d", when(V1, **inner), hosts=()), call=call)) == {f"reviews/{expected}": 1.0}


def test_what_a_delegate_inherits_and_what_it_sets_itself() -> None:
    root = rule("r", {**delegating(), "timeout": "1s", "retries": {"attempts": 7}})
    found = routed(root, rule("d", {**V1, "timeout": "2s"}, hosts=()))
    assert (found.timeout, found.retries and found.retries.attempts) == (2.0, 7)
    assert unread(root, rule("d", {**V1, "x-new": 1}, hosts=())) == ("VirtualService d: spec.http[0].x-new",)
    beside = rule("r", {**delegating(), "redirect": {"uri": "/no"}})
    assert unread(beside, rule("d", V1, hosts=())) == ("VirtualService r: spec.http[0].redirect.uri",)


@pytest.mark.parametrize(
    ("export", "expected"),
    [({}, "v1"), ({"exportTo": ["shop"]}, "v1"), ({"exportTo": ["."]}, "v2"), ({"exportTo": ["x"]}, "v2")],
)
def test_a_delegate_of_another_namespace(export: dict[str, Any], expected: str) -> None:
    elsewhere = rule("d", {"route": [to("reviews.shop.svc.cluster.local", "v1")]}, hosts=(), namespace="other", **export)
    assert shares(routed(rule("r", delegating(namespace="other"), V2), elsewhere)) == {f"reviews/{expected}": 1.0}
    assert shares(routed(rule("r", delegating("absent"), V2), elsewhere)) == {"reviews/v2": 1.0}


# -- Sidecars, ServiceEntries --------------------------------------------------------------------------------------------------


def sidecar(*hosts: str, name: str = "s", namespace: str = "shop", **spec: Any) -> Object:
    return thing("Sidecar", name, namespace, **({"egress": [{"hosts": list(hosts)}]} if hosts else {}), **spec)


BY_WILDCARD = rule("r", {"route": [to("ratings.other.svc.cluster.local")]}, hosts=["*.svc.cluster.local"])


@pytest.mark.parametrize(
    ("hosts", "known"),
    [
        (["./*"], True),
        (["*/*"], True),
        (["other/*"], False),
        (["shop/reviews.shop.svc.cluster.local"], True),
        (["./details.shop.svc.cluster.local"], False),
        (["*/*.shop.svc.cluster.local"], True),
        (["./*", "~/reviews.shop.svc.cluster.local"], False),
        (["./*", "~other/*"], True),
    ],
)
def test_hosts_that_a_sidecar_imports(hosts: list[str], known: bool) -> None:
    found = routed(sidecar(*hosts, ingress=[{"port": {"number": 1}}], outboundTrafficPolicy={"mode": "REGISTRY_ONLY"}))
    assert found.no_route == (None if known else NoRoute.BLACKHOLE)


def test_which_sidecar_applies() -> None:
    nothing: Object = {"outboundTrafficPolicy": {}}
    select: Object = {"workloadSelector": {"labels": {"app": "page"}}}
    others: Object = {"workloadSelector": {"labels": {"app": "x"}}}
    root = sidecar("other/*", namespace="istio-system", **nothing)
    assert routed(root).no_route == NoRoute.BLACKHOLE
    assert routed(root, sidecar("./*")).no_route is None
    assert routed(sidecar("other/*", name="a", **nothing), sidecar("./*", name="b", **select)).no_route is None
    assert routed(sidecar("./*", name="b"), sidecar("other/*", name="a", **others, **nothing)).no_route is None
    assert (
        routed(sidecar("other/*", outboundTrafficPolicy={"mode": "ALLOW_ANY"}), mesh=Mesh(allow_any=False)).no_route
        == NoRoute.PASSTHROUGH
    )
    assert unread(sidecar("./*"), sidecar("other/*", name="z", **STRANGE)) == ()


def test_a_listener_with_a_separate_port_is_unknown() -> None:
    one = thing("Sidecar", "s", egress=[{"hosts": ["./*"], "port": {"number": 80}}])
    assert unread(one) == ("Sidecar s: spec.egress[0].port.number",)


def test_a_rule_with_capitals_is_not_imported_by_name() -> None:
    capitals = rule("r", V1, hosts=["Reviews.shop.svc.cluster.local"])
    for host, expected in (("*/*", "reviews/v1"), ("*/reviews.shop.svc.cluster.local", "reviews")):
        scope = thing("Sidecar", "s", egress=[{"hosts": [host]}])
        assert shares(routed(capitals, scope)) == {expected: 1.0}


def test_a_rule_that_the_sidecar_does_not_import() -> None:
    elsewhere = rule("r", V1, hosts=["reviews.shop.svc.cluster.local"], namespace="other")
    assert shares(routed(elsewhere, sidecar("./*"))) == {"reviews": 1.0}
    assert shares(routed(rule("r", {"route": [to("ratings.other.svc.cluster.local")]}), sidecar("./*"))) == {
        "ratings.other": 1.0
    }


def entry(*hosts: str, port: Mapping[str, Any] | None = None, namespace: str = "shop", **spec: Any) -> Object:
    ports = [dict(port or {"number": 80, "name": "http", "protocol": "HTTP"})]
    return thing(
        "ServiceEntry", "e", namespace, hosts=list(hosts), ports=ports, resolution="DNS", location="MESH_EXTERNAL", **spec
    )


@pytest.mark.parametrize(
    ("known", "host", "reached"),
    [
        (entry("a.example"), "a.example", "a.example"),
        (entry("*.example"), "a.example", "*.example"),
        (entry("a.example", namespace="other"), "a.example", "a.example"),
        (entry("a.example", namespace="other", exportTo=["."]), "a.example", None),
        (entry("a.example", exportTo=["~"]), "a.example", None),
        (entry("b.example"), "a.example", None),
        (entry("a.example", addresses=["10.1.1.1", "10.2.0.0/16"]), "10.1.1.1", "a.example"),
    ],
)
def test_hosts_of_service_entries(known: Object, host: str, reached: str | None) -> None:
    found = routed(known, call=replace(CALL, host=host))
    assert [d.host for d in found.destinations] == ([] if reached is None else [reached])


def test_a_service_entry_is_read_where_it_is_called() -> None:
    assert unread(entry("a.example", **STRANGE), call=replace(CALL, host="a.example")) == ("ServiceEntry e: spec.x-new",)
    assert unread(entry("a.example", **STRANGE)) == ()


def test_a_rule_for_an_external_host() -> None:
    outside = rule("r", V1, hosts=["*.example"])
    assert shares(routed(entry("a.example"), outside, call=replace(CALL, host="a.example"))) == {"reviews/v1": 1.0}
    # For unknown hosts, only on port 80.
    assert shares(routed(outside, call=replace(CALL, host="b.example"))) == {"reviews/v1": 1.0}
    other_port = service("x", "shop", {"name": "http", "port": 81})
    assert routed(other_port, outside, call=replace(CALL, host="b.example", port=81)).no_route == NoRoute.PASSTHROUGH


# -- gateways ------------------------------------------------------------------------------------------------------------------


def gateway(name: str, *hosts: str, number: int = 80, created: str = "", namespace: str = "shop", **server: Any) -> Object:
    port = {"number": number, "name": f"p{number}", "protocol": server.pop("protocol", "HTTP")}
    return thing(
        "Gateway", name, namespace, created, selector={"istio": "gw"}, servers=[{"port": port, "hosts": list(hosts), **server}]
    )


ENTER = Call("a.example", 80, Caller("istio-system", {"istio": "gw"}, "shop/front"))
BOUND: dict[str, Any] = {"hosts": ["a.example"], "gateways": ["front"]}


@pytest.mark.parametrize(
    ("served", "name", "taken"),
    [
        ("a.example", "a.example", True),
        ("*", "a.example", True),
        ("*.example", "a.example", True),
        ("a.example", "*", True),
        ("./a.example", "a.example", True),
        ("*/a.example", "*.example", True),
        ("other/a.example", "a.example", False),
        ("b.example", "a.example", False),
        ("b.example", "*", False),
    ],
)
def test_hosts_common_to_a_gateway_and_a_rule(served: str, name: str, taken: bool) -> None:
    found = routed(gateway("front", served), rule("r", V1, hosts=[name], gateways=["front"]), call=ENTER)
    assert found.no_route == (None if taken else NoRoute.NOT_FOUND)


@pytest.mark.parametrize("name", ["front", "shop/front", "./front", "front.shop.svc.cluster.local"])
def test_names_of_gateways(name: str) -> None:
    found = routed(gateway("front", "*"), rule("r", V1, hosts=["a.example"], gateways=[name]), call=ENTER)
    assert shares(found) == {"reviews/v1": 1.0}


@pytest.mark.parametrize(
    ("rules", "uri", "expected"),
    [
        # Rules for one host are merged, the oldest first.
        ([rule("a", when(V1, uri={"prefix": "/a"}), **BOUND), rule("b", V2, **BOUND)], "/a", "v1"),
        ([rule("a", when(V1, uri={"prefix": "/a"}), **BOUND), rule("b", V2, **BOUND)], "/b", "v2"),
        (
            [
                rule("a", when(V1, uri={"prefix": "/a"}), **BOUND, **NEW),
                rule("b", when(V2, uri={"prefix": "/"}, method={"exact": "GET"}), **BOUND, **OLD),
            ],
            "/a",
            "v2",
        ),
        # Catch-all routes come last, regardless of their rule.
        ([rule("a", V1, **BOUND, **OLD), rule("b", when(V2, uri={"prefix": "/b"}), **BOUND, **NEW)], "/b", "v2"),
        ([rule("a", V1, **BOUND, **OLD), rule("b", V2, **BOUND, **NEW)], "/b", "v1"),
        # A more specific host has only its own routes.
        (
            [rule("a", when(V1, uri={"prefix": "/a"}), **BOUND), rule("b", V2, hosts=["*.example"], gateways=["front"])],
            "/b",
            None,
        ),
        # A rule for the mesh does not apply at the gateway.
        ([rule("a", V1, hosts=["a.example"]), rule("b", V2, **BOUND)], "/b", "v2"),
        (
            [rule("a", when(V1, gateways=["mesh"]), **{**BOUND, "gateways": ["mesh", "front"]}), rule("b", V2, **BOUND)],
            "/b",
            "v2",
        ),
    ],
)
def test_rules_of_a_gateway_are_merged(rules: list[Object], uri: str, expected: str | None) -> None:
    found = routed(gateway("front", "*"), *rules, call=replace(ENTER, uri=uri))
    if expected is None:
        assert found.no_route == NoRoute.NOT_FOUND
    else:
        assert shares(found) == {f"reviews/{expected}": 1.0}


def test_a_gateway_to_which_no_rule_is_given_leads_nowhere() -> None:
    """Lists of kinds are read one after another: of rules that are being applied, the Gateway may be seen before the rest."""
    front, empty = gateway("front", "a.example"), gateway("back", "*", namespace="elsewhere")
    assert routed(front, empty, rule("a", V1, **BOUND), call=ENTER) == routed(front, rule("a", V1, **BOUND), call=ENTER)
    assert routed(front, empty, call=ENTER).no_route == routed(front, call=ENTER).no_route == NoRoute.NOT_FOUND


def test_gateways_of_one_port_are_merged() -> None:
    both = [gateway("front", "a.example"), gateway("back", "b.example")]
    rules = [rule("a", V1, **BOUND), rule("b", V2, hosts=["b.example"], gateways=["back"])]
    assert shares(routed(*both, *rules, call=replace(ENTER, host="b.example"))) == {"reviews/v2": 1.0}
    elsewhere = {**gateway("back", "b.example"), "spec": gateway("back", "b.example")["spec"] | {"selector": {"istio": "x"}}}
    assert routed(both[0], elsewhere, *rules, call=replace(ENTER, host="b.example")).no_route == NoRoute.NOT_FOUND


def test_a_port_without_a_server() -> None:
    for there in ([gateway("front", "*", number=81)], []):
        with pytest.raises(NoExpectationError, match="Gateway shop/front"):
            routed(*there, rule("r", V1, **BOUND), call=ENTER)


def test_a_destination_behind_a_gateway_has_one_port() -> None:
    other = service("ninety", "shop", {"name": "http", "port": 90})
    found = routed(other, gateway("front", "*"), rule("r", {"route": [to("ninety")]}, **BOUND), call=ENTER)
    assert [d.port for d in found.destinations] == [90]


def test_plain_http_is_redirected_where_the_server_says_so() -> None:
    front = gateway("front", "a.example", tls={"httpsRedirect": True})
    assert routed(front, rule("r", V1, **BOUND), call=ENTER).redirect == Redirect(301, scheme="https")
    # Without a rule for the host, istiod keeps the namespace in the virtual host's domain, which no request has.
    alone = [gateway("front", host, tls={"httpsRedirect": True}) for host in ("a.example", "shop/a.example")]
    assert [routed(one, call=ENTER).no_route for one in alone] == [None, NoRoute.NOT_FOUND]


def test_https_terminated_at_the_gateway() -> None:
    front = gateway("front", "a.example", number=443, protocol="HTTPS", tls={"mode": "SIMPLE", "credentialName": "c"})
    call = replace(ENTER, port=443, scheme="https")
    assert shares(routed(front, rule("r", V1, **BOUND), call=call)) == {"reviews/v1": 1.0}
    ended = gateway("front", "a.example", number=443, protocol="TLS", tls={"mode": "SIMPLE", "credentialName": "c"})
    with pytest.raises(NotModelledError, match=r"Gateway front: spec.servers\[0\].port.protocol"):
        routed(ended, rule("r", V1, **BOUND), call=call)


PASSED: dict[str, Any] = {"number": 443, "protocol": "TLS", "tls": {"mode": "PASSTHROUGH"}}


def by_name(*routes: tuple[list[str], str], **when: Any) -> Object:
    led = [{"match": [{"sniHosts": names, **when}], "route": [to("reviews", v, port=80)]} for names, v in routes]
    return thing("VirtualService", "t", "shop", "", hosts=["*.example"], gateways=["front"], tls=led)


@pytest.mark.parametrize(
    ("routes", "version"),
    [
        ([(["a.example"], "v1")], "v1"),
        ([(["*.example"], "v1"), (["A.example"], "v3")], "v3"),
        ([(["b.example"], "v1")], None),
        ([], None),
    ],
)
def test_tls_that_a_gateway_passes_on(routes: list[tuple[list[str], str]], version: str | None) -> None:
    front, call = gateway("front", "*.example", **PASSED), replace(ENTER, port=443, scheme="https")
    found = routed(front, by_name(*routes), call=call)
    assert (shares(found), found.no_route) == ({f"reviews/{version}": 1.0}, None) if version else ({}, NoRoute.CLOSED)
    other_port = routed(front, by_name(*routes, port=444), call=call)
    assert other_port.no_route == NoRoute.CLOSED


def test_tls_for_a_host_that_a_server_keeps_to_rules_of_a_namespace() -> None:
    call, led = replace(ENTER, port=443, scheme="https"), by_name((["a.example"], "v1"))
    front = gateway("front", "b.other", "shop/*.example", **PASSED)
    assert shares(routed(front, led, call=call)) == {"reviews/v1": 1.0}
    elsewhere = gateway("front", "b.other", "other/*.example", **PASSED)
    assert routed(elsewhere, led, call=call).no_route == NoRoute.CLOSED


def test_which_of_several_takes_tls_that_is_passed_on_may_be_unknown() -> None:
    front, call = gateway("front", "*.example", **PASSED), replace(ENTER, port=443, scheme="https")
    twice = by_name((["a.example"], "v1"), (["b.example", "a.example"], "v3"))
    with pytest.raises(NotModelledError, match=r"VirtualService t: spec\.tls\[1\]\.match"):
        routed(front, twice, call=call)
    ended = {"mode": "SIMPLE", "credentialName": "c"}
    beside = gateway("beside", "a.example", number=443, protocol="HTTPS", tls=ended)
    with pytest.raises(NotModelledError, match=r"Gateway beside: spec\.servers\[0\]\.hosts"):
        routed(front, beside, by_name((["a.example"], "v1")), call=call)
    elsewhere = gateway("beside", "a.other", number=443, protocol="HTTPS", tls=ended)
    assert shares(routed(front, elsewhere, by_name((["a.example"], "v1")), call=call)) == {"reviews/v1": 1.0}
    automatic = gateway("front", "*.example", number=443, protocol="TLS", tls={"mode": "AUTO_PASSTHROUGH"})
    with pytest.raises(NotModelledError, match=r"Gateway front: spec\.servers\[0\]\.port\.protocol"):
        routed(automatic, by_name((["a.example"], "v1")), call=call)


def test_tcp_through_a_gateway() -> None:
    front = gateway("front", "*", number=31400, protocol="TCP")
    route = {"match": [{"port": 31400}], "route": [to("reviews", "v1", 80, 80), to("reviews", "v3", 20, 80)]}
    found = routed(front, tcp(route, hosts=["*"], gateways=["front"]), call=replace(ENTER, host="*", port=31400))
    assert shares(found) == pytest.approx({"reviews/v1": 0.8, "reviews/v3": 0.2})


# -- DestinationRules ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rules", "known"),
    [
        ([thing("DestinationRule", "a", host="reviews", subsets=[{"name": "v4", "labels": {}}])], True),
        ([thing("DestinationRule", "a", "other", host="reviews.shop.svc.cluster.local", subsets=[{"name": "v4"}])], False),
        ([thing("DestinationRule", "a", host="*.shop.svc.cluster.local", subsets=[{"name": "v4"}])], False),
    ],
)
def test_subsets(rules: list[Object], known: bool) -> None:
    leading = rule("r", {"route": [to("reviews", "v4")]})
    if known:
        assert shares(routed(*rules, leading)) == {"reviews/v4": 1.0}
    else:
        with pytest.raises(NoExpectationError, match="subset v4"):
            routed(*rules, leading)
