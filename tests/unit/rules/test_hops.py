"""The hops of a request beside the call that is asked about: what rules do there is read as well, or leaves it open."""

from __future__ import annotations

from typing import Any

import pytest

from loadtests.entries import entry
from loadtests.entries.question import ROUTING, Split, kinds_for
from loadtests.rules.expectations import Objects
from loadtests.verdict import Expected
from tests.unit.entries.test_expected import entrances, rules, sample

ROOT = "istio-system"
HALF = {"percentage": {"value": 50}}


def thing(kind: str, name: str, of: str = "bookinfo", **spec: Any) -> dict[str, Any]:
    metadata = {"name": name, "namespace": of, "uid": f"{kind}/{of}/{name}", "generation": 1, "creationTimestamp": "2"}
    return {"kind": kind, "metadata": metadata, "spec": spec}


def expected(name: str, *more: dict[str, Any], without: str = "") -> Expected:
    """What an entry expects beside its sample, with more rules, and without a VirtualService of the sample or the entry."""
    question = entry.load(name).question
    there: Objects = [*rules(name, "policy"), *entrances(question.namespace), *sample(question.namespace)]
    kept = [one for one in there if not without or (one["kind"], one["metadata"]["name"]) != ("VirtualService", without)]
    return question.expect([*kept, *more]).expected


def virtual(host: str, of: str = "bookinfo", gateways: tuple[str, ...] = ("mesh",), **route: Any) -> dict[str, Any]:
    route = {"route": [{"destination": {"host": host}}], **route}
    return thing("VirtualService", host, of, hosts=[host], gateways=list(gateways), http=[route])


def entering(**route: Any) -> dict[str, Any]:
    """The rule by which the page is reached, which takes the place of the sample's."""
    to = {"route": [{"destination": {"host": "productpage", "port": {"number": 9080}}}]}
    return thing("VirtualService", "bookinfo", hosts=["*"], gateways=["bookinfo-gateway"], http=[{**to, **route}])


def destination(host: str, of: str = "bookinfo", **spec: Any) -> dict[str, Any]:
    return thing("DestinationRule", f"d-{host}", of, host=host, **spec)


def policy(app: str, action: str = "DENY", of: str = "bookinfo", **spec: Any) -> dict[str, Any]:
    selector = {"selector": {"matchLabels": {"app": app}}} if app else {}
    return thing("AuthorizationPolicy", "p", of, action=action, **selector, **{"rules": [{}], **spec})


def peers(mode: str, of: str = "bookinfo") -> dict[str, Any]:
    return thing("PeerAuthentication", "default", of, mtls={"mode": mode})


def to_subsets(*names: str) -> dict[str, Any]:
    """The rule by which the page is reached, with an equal share for each subset."""
    to = [{"destination": {"host": "productpage", "subset": name}, "weight": 1} for name in names]
    return entering(route=to)


def subset(name: str, **policy: Any) -> dict[str, Any]:
    return {"name": name, "labels": {"version": "v1"}, **({"trafficPolicy": policy} if policy else {})}


def selects(app: str) -> dict[str, Any]:
    """For which pods a Sidecar is."""
    return {"workloadSelector": {"labels": {"app": app}}}


POOL = {"connectionPool": {"http": {"http1MaxPendingRequests": 1}}}
FROM_PAGE = {"from": [{"source": {"principals": ["cluster.local/ns/bookinfo/sa/bookinfo-productpage"]}}]}
FROM_GATEWAY = {"from": [{"source": {"namespaces": [ROOT]}}]}
PRODUCTPAGE: list[tuple[list[dict[str, Any]], str]] = [
    ([entering(fault={"abort": {"httpStatus": 503, **HALF}})], "VirtualService bookinfo: spec.http[0].fault"),
    ([entering(fault={"delay": {"fixedDelay": "5s", **HALF}})], "VirtualService bookinfo: spec.http[0].fault"),
    ([entering(timeout="1s")], "VirtualService bookinfo: spec.http[0].timeout"),
    ([entering(rewrite={"uri": "/"})], "VirtualService bookinfo: spec.http[0].rewrite.uri"),
    ([entering(headers={"request": {"set": {"end-user": "jason"}}})], "VirtualService bookinfo: spec.http[0].headers.request"),
    ([entering(mirror={"host": "reviews"})], "VirtualService bookinfo: spec.http[0].mirror.host"),
    ([entering(route=[{"destination": {"host": "details"}}])], "VirtualService bookinfo: spec.http[0].route"),
    ([entering(redirect={"uri": "/x"}, route=[])], "VirtualService bookinfo: spec.http[0].redirect"),
    ([entering(match=[{"authority": {"prefix": "shop"}}])], "VirtualService bookinfo: spec.http[0].match[0].authority"),
    ([entering(match=[{"headers": {"user-agent": {"exact": "x"}}}])], "VirtualService bookinfo: spec.http[0].match[0].headers"),
    ([destination("productpage", trafficPolicy=POOL)], "DestinationRule d-productpage: spec.trafficPolicy.connectionPool"),
    ([destination("productpage", trafficPolicy={"portLevelSettings": [{"port": {"number": 9080}, **POOL}]})],
     "DestinationRule d-productpage: spec.trafficPolicy.portLevelSettings[0].connectionPool"),
    ([destination("productpage", trafficPolicy={"outlierDetection": {"consecutive5xxErrors": 1}})],
     "DestinationRule d-productpage: spec.trafficPolicy.outlierDetection"),
    ([destination("productpage", trafficPolicy={"tls": {"mode": "SIMPLE"}})],
     "DestinationRule d-productpage: spec.trafficPolicy.tls.mode"),
    ([destination("productpage", trafficPolicy={"tls": {"mode": "DISABLE"}}), peers("STRICT")],
     "PeerAuthentication default: spec: calls to productpage are refused"),
    ([to_subsets("a"), destination("productpage", subsets=[subset("a", tls={"mode": "DISABLE"})]), peers("STRICT")],
     "PeerAuthentication default: spec: calls to productpage are refused"),
    ([to_subsets("a", "b"), destination("productpage", subsets=[subset("a"), subset("b", **POOL)])],
     "DestinationRule d-productpage: spec.subsets[1].trafficPolicy.connectionPool"),
    ([thing("Sidecar", "s", ingress=[{"port": {"number": 9080}, "defaultEndpoint": "127.0.0.1:1"}], **selects("productpage"))],
     "Sidecar s: spec.ingress"),
    ([thing("Sidecar", "s", ROOT, inboundConnectionPool={"http": {"http1MaxPendingRequests": 1}})],
     "Sidecar s: spec.inboundConnectionPool"),
    ([policy("productpage")], "AuthorizationPolicy p: spec: calls to productpage are refused"),
    ([policy("")], "AuthorizationPolicy p: spec: calls to productpage are refused"),
    ([policy("", of=ROOT)], "AuthorizationPolicy p"),
    ([policy("productpage", "ALLOW", rules=[FROM_PAGE])], "AuthorizationPolicy p: spec: calls to productpage are refused"),
    ([policy("productpage", rules=[{"when": [{"key": "request.headers[user-agent]", "values": ["x"]}]}])],
     "AuthorizationPolicy p: spec.rules[0].when[0].values[0]"),
    ([policy("productpage", rules=[{"to": [{"operation": {"hosts": ["shop"]}}]}])],
     "AuthorizationPolicy p: spec.rules[0].to[0].operation.hosts[0]"),
]  # fmt: skip
"""Rules that bear on the hop from the gateway to productpage, and what they leave open."""
INERT: list[list[dict[str, Any]]] = [
    [entering(retries={"attempts": 3}, corsPolicy={"maxAge": "1h"})],
    [
        to_subsets("a"),
        destination("productpage", subsets=[subset("a", loadBalancer={"simple": "RANDOM"}), subset("b", **POOL)]),
    ],
    [to_subsets("a"), destination("productpage", subsets=[subset("a", tls={"mode": "ISTIO_MUTUAL"})]), peers("STRICT")],
    # A rule for sidecars alone does not bind the gateway.
    [virtual("productpage", fault={"abort": {"httpStatus": 503, "percentage": {"value": 100}}})],
    [destination("productpage", trafficPolicy={"tls": {"mode": "DISABLE"}})],
    [peers("STRICT")],
    [policy("productpage", "ALLOW", rules=[FROM_GATEWAY])],
    [policy("productpage", rules=[{"to": [{"operation": {"paths": ["/productpage"]}}]}])],
    [policy("details")],
    [policy("productpage", of="other")],
    [thing("Sidecar", "s", ingress=[{"port": {"number": 1}, "defaultEndpoint": "127.0.0.1:1"}], **selects("other"))],
    [thing("Sidecar", "s", "other", ingress=[{"port": {"number": 1}, "defaultEndpoint": "127.0.0.1:1"}])],
]
OF_PAGE = ("reviews-80-20", "mirror", "timeout", "fault-abort", "authorization")
"""Entries whose requests pass productpage."""


def left_open(found: Expected) -> str:
    """The only reason why there is no expectation."""
    assert found.broken == ()
    reasons = {reason for paths in found.unknown.values() for reason in paths}
    assert len(reasons) == 1, reasons
    return reasons.pop()


@pytest.mark.parametrize("name", OF_PAGE)
@pytest.mark.parametrize(("more", "unknown"), PRODUCTPAGE)
def test_rules_for_productpage(name: str, more: list[dict[str, Any]], unknown: str) -> None:
    without = "bookinfo" if any(one["metadata"]["name"] == "bookinfo" for one in more) else ""
    found = expected(name, *more, without=without)
    if name == "authorization":  # its other class enters by another way; rules for all pods bear on that as well
        found = Expected({}, unknown={"by productpage": found.unknown["by productpage"][:1]})
    assert left_open(found).startswith(unknown)
    assert not found.shares


@pytest.mark.parametrize("name", OF_PAGE)
@pytest.mark.parametrize("more", INERT)
def test_rules_without_a_bearing_on_productpage(name: str, more: list[dict[str, Any]]) -> None:
    without = "bookinfo" if any(one["metadata"]["name"] == "bookinfo" for one in more) else ""
    found, alone = expected(name, *more, without=without), expected(name)
    if name == "authorization":  # more policies for details have a bearing on the call in question
        found, alone = (Expected({"by productpage": one.shares["by productpage"]}) for one in (found, alone))
        if more == INERT[8]:
            assert found.shares == {"by productpage": {"HTTP 403": 1.0}}
            return
    assert (found.shares, found.unknown, found.broken) == (alone.shares, {}, ())


def test_a_page_that_is_not_reached_is_no_expectation() -> None:
    (reason,) = expected("reviews-80-20", without="bookinfo").broken
    assert reason == "anonymous: 192.0.2.1:8080 has no route for it"
    (reason,) = expected(
        "reviews-80-20", to_subsets("a"), destination("productpage", subsets=[{"name": "a", "labels": {"version": "v9"}}]),
        without="bookinfo",
    ).broken  # fmt: skip
    assert "selects no running pod" in reason


@pytest.mark.parametrize("name", ["reviews-80-20", "mirror", "reviews-by-user", "reviews-by-agent"])
def test_ratings_may_fail_but_not_be_late(name: str) -> None:
    alone = expected(name)

    def fault(**kinds: Any) -> Expected:
        return expected(name, virtual("ratings", fault=kinds))

    always = {"percentage": {"value": 100}}
    for quick in (
        fault(abort={"httpStatus": 500, **always}), fault(delay={"fixedDelay": "1s", **always}),
        fault(delay={"fixedDelay": "9s"}),
        expected(name, policy("ratings")), expected(name, destination("ratings", trafficPolicy=POOL)),
        expected(name, virtual("ratings", timeout="1s", retries={"attempts": 9})),
        expected(name, virtual("ratings", route=[{"destination": {"host": "ratings", "subset": "none"}}])),
    ):  # fmt: skip
        assert (quick.shares, quick.unknown, quick.broken) == (alone.shares, {}, ())
    assert left_open(fault(delay={"fixedDelay": "2.5s", **HALF})) == "VirtualService ratings: spec.http[0].fault.delay"
    elsewhere = expected(name, virtual("ratings", route=[{"destination": {"host": "details"}}]))
    assert left_open(elsewhere) == "VirtualService ratings: spec.http[0].route"


def test_what_is_delayed_for_one_user_leaves_only_that_one_open() -> None:
    late = {"delay": {"fixedDelay": "7s", "percentage": {"value": 100}}}
    to = {"route": [{"destination": {"host": "ratings"}}]}
    matched = {"match": [{"headers": {"end-user": {"exact": "jason"}}}], "fault": late, **to}
    found = expected("reviews-by-user", thing("VirtualService", "ratings", hosts=["ratings"], http=[matched, to]))
    assert list(found.unknown) == ["jason"]
    by_cookie = {"match": [{"headers": {"cookie": {"regex": ".*jason.*"}}}], "fault": late, **to}
    found = expected("reviews-by-user", thing("VirtualService", "ratings", hosts=["ratings"], http=[by_cookie, to]))
    assert found.unknown == {"jason": ("VirtualService ratings: spec.http[0].match[0].headers.cookie",)}


@pytest.mark.parametrize("name", ["egress-allowed", "egress-blocked", "egress-wildcard", "egress-gateway"])
@pytest.mark.parametrize(
    ("rule", "unknown"),
    [
        (virtual("svcb", "billing", fault={"abort": {"httpStatus": 500, **HALF}}), "VirtualService svcb: spec.http[0].fault"),
        (virtual("svcb", "billing", timeout="3s"), "VirtualService svcb: spec.http[0].timeout"),
        (destination("svcb", "billing", trafficPolicy=POOL), "DestinationRule d-svcb: spec.trafficPolicy.connectionPool"),
        (destination("svcb", "billing", trafficPolicy={"outlierDetection": {}}), "DestinationRule: spec.trafficPolicy.outlier"),
        (
            destination("svcb", "billing", trafficPolicy={"tls": {"mode": "MUTUAL"}}),
            "DestinationRule d-svcb: spec.trafficPolicy",
        ),
        (policy("svcb", of="billing"), "AuthorizationPolicy p: spec: calls to svcb are refused"),
        (policy("svca", of="billing"), "AuthorizationPolicy p: spec: calls to svca are refused"),
        (peers("STRICT", "billing"), ""),
        (virtual("svcb", "billing"), ""),
    ],
)
def test_the_hop_from_svca_to_svcb(name: str, rule: dict[str, Any], unknown: str) -> None:
    found, alone = expected(name, rule), expected(name)
    if unknown:
        assert left_open(found).startswith(unknown)
    else:
        assert (found.shares, found.unknown, found.broken) == (alone.shares, {}, ())


def test_a_release_says_its_name_unless_msgd_is_late() -> None:
    slow = virtual("msgd.outside.internal", "billing", fault={"delay": {"fixedDelay": "4s", "percentage": {"value": 100}}})
    reason = "VirtualService msgd.outside.internal: spec.http[0].fault.delay"
    assert left_open(expected("release-half", slow)) == reason
    closed = thing("Sidecar", "default", "billing", outboundTrafficPolicy={"mode": "REGISTRY_ONLY"})
    assert expected("release-half", closed).shares == expected("release-half").shares


def test_the_page_depends_on_which_reviews_it_shows_and_on_details_in_time() -> None:
    assert set(expected("fault-delay-page").shares) == {"jason, reviews v2", "jason, reviews v3", "anonymous, reviews v2"}
    to = {"route": [{"destination": {"host": "reviews", "subset": "v2"}}]}
    found = expected("fault-delay-page", thing("VirtualService", "other", hosts=["reviews"], http=[to]), without="reviews")
    assert found.unknown == {"jason, reviews v3": ("VirtualService other: spec.http[0].route",)}
    late = virtual("details", fault={"delay": {"fixedDelay": "1s", **HALF}})
    assert left_open(expected("fault-delay-page", late)) == "VirtualService details: spec.http[0].fault.delay"
    assert left_open(expected("fault-delay-page", policy("reviews"))).endswith("calls to reviews are refused")


@pytest.mark.parametrize(
    ("rule", "unknown"),
    [
        (policy("reviews", of="shadow"), "AuthorizationPolicy p: spec: calls to reviews are refused"),
        (policy("ratings", of="shadow"), "AuthorizationPolicy p: spec: calls to ratings are refused"),
        (policy("productpage", of="shadow"), "AuthorizationPolicy p: spec: calls to productpage are refused"),
        (policy("productpage", of="shadow", rules=[{"when": [{"key": "request.headers[baggage]", "values": ["x"]}]}]),
         "AuthorizationPolicy p: spec.rules[0].when[0].values[0]"),
        (destination("productpage", "shadow", trafficPolicy=POOL), "DestinationRule d-productpage: spec.trafficPolicy"),
        (peers("STRICT", "shadow"), ""),
    ],
)  # fmt: skip
def test_every_hop_of_marked_traffic(rule: dict[str, Any], unknown: str) -> None:
    found = expected("full-link", rule)
    if unknown:
        assert left_open(found).startswith(unknown)
    else:
        assert (found.shares, found.unknown, found.broken) == (expected("full-link").shares, {}, ())


def test_requests_with_hops_are_read_with_all_kinds_of_rules_that_bear_on_them() -> None:
    questions = [entry.load(name).question for name in entry.names()]
    hops = [one for one in questions if any("through" in request for request in one.classes.values())]
    assert len(hops) > 40
    for question in hops:
        kinds = ROUTING if isinstance(question, Split) else question.kinds  # type: ignore[attr-defined] # of a ResponseCheck
        assert {"deployments.apps", *ROUTING} <= {*kinds_for(kinds, question.classes)}


def test_every_entry_of_bookinfo_and_billing_says_by_which_hops_its_requests_come() -> None:
    """But those that the gateway itself is asked about."""
    direct = set()
    for name in entry.names():
        question = entry.load(name).question
        if question.namespace in ("bookinfo", "billing", "shadow", "greeter", "books"):
            direct |= {f"{name}: {one}" for one, request in question.classes.items() if "through" not in request}
    assert direct == {
        "authorization: from the gateway", "cors: another site", "cors: the shop", "gateway-api: below a prefix",
        "gateway-api: beside a prefix", "gateway-api: another method", "gateway-api: page", "grpc-outside: hello",
        "grpcroute-weights: split",
        "grpcroute-weights: testers", "ingress-reachability: outside", "ingress-resource: below a prefix",
        "ingress-resource: not listed", "ingress-resource: page", "ingress-rules: by method", "ingress-rules: moved",
        "ingress-rules: own answer", "ingress-rules: rewritten", "tcp-routing: connection", "tcproute-weights: connection",
    }  # fmt: skip
