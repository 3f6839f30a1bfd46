"""Expectations for resilience, security and egress rules, case by case."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
import yaml

from loadtests.entries import entry
from loadtests.entries.question import ResponseCheck, within
from loadtests.rules import egress, resilience, security
from loadtests.rules.calls import Call, Caller
from loadtests.rules.expectations import NoExpectationError, NotModelledError, placed
from loadtests.rules.patches import IN_FRONT
from loadtests.rules.view import View, not_modelled, viewed
from loadtests.samples.echo import by_client
from loadtests.verdict import Expected
from tests.lab import PROJECT


def thing(kind: str, name: str, **spec: Any) -> dict[str, Any]:
    return {"kind": kind, "metadata": {"name": name}, "spec": spec}


def in_echo(*objects: dict[str, Any]) -> list[View]:
    """The objects in namespace echo, with the services of its sample."""
    services = [thing("Service", name, ports=[{"name": "http", "port": 8080}]) for name in ("echo", "pool")]
    return viewed(placed([*objects, *services], "echo"))


def destination(**policy: Any) -> list[View]:
    return in_echo(thing("DestinationRule", "echo", host="echo", trafficPolicy=policy))


ASKED = {
    "namespace": "echo", "app": "echo", "port": 8080, "burst": 10, "row": 12, "pods": 3, "header": "x-user",
    "call": by_client("echo"),
}  # fmt: skip


@pytest.mark.parametrize(
    ("pool", "outcome"),
    [
        ({"tcp": {"maxConnections": 1}, "http": {"http1MaxPendingRequests": 1}}, "2 of 10 served, 8 rejected"),
        ({"tcp": {"maxConnections": 1}, "http": {"http1MaxPendingRequests": 6}}, "7 of 10 served, 3 rejected"),
        ({"http": {"http1MaxPendingRequests": 9, "http2MaxRequests": 10}}, "10 of 10 served, 0 rejected"),
        ({"tcp": {"maxConnections": 1, "connectTimeout": "1s"}}, "10 of 10 served, 0 rejected"),
        ({}, "10 of 10 served, 0 rejected"),
    ],
)
def test_pools(pool: dict[str, Any], outcome: str) -> None:
    assert resilience.pooled(destination(connectionPool=pool), ASKED) == {outcome: 1.0}


@pytest.mark.parametrize(
    "pool",
    [
        {"http": {"http1MaxPendingRequests": 8}},
        {"tcp": {"maxConnections": 2}, "http": {"http1MaxPendingRequests": 1}},
    ],
)
def test_calls_that_wait_only_while_a_connection_is_made_are_unknown(pool: dict[str, Any]) -> None:
    with pytest.raises(NotModelledError, match="http1MaxPendingRequests"):
        resilience.pooled(destination(connectionPool=pool), ASKED)


def test_ejections() -> None:
    asked = {**ASKED, "pods": 2, "seconds": 30}
    quick = {"consecutive5xxErrors": 3, "interval": "1s", "baseEjectionTime": "1s"}

    def detecting(percent: int | None, **more: Any) -> list[View]:
        limit = {} if percent is None else {"maxEjectionPercent": percent}
        return destination(outlierDetection={**quick, **limit, **more}, loadBalancer={"simple": "ROUND_ROBIN"})

    for percent in (50, 100):
        assert resilience.ejected(detecting(percent), asked) == {"at most 3 of 12 failed": 1.0}
        assert resilience.ejected(detecting(percent), {**asked, "later": True}) == {"grows": 1.0}
    # 10 % of two pods, Envoy's own limit, is less than one pod (envoyproxy/envoy#27909).
    for limit in (None, 10, 49):
        assert resilience.ejected(detecting(limit), asked) == {"6 of 12 failed": 1.0}
        assert resilience.ejected(detecting(limit), {**asked, "later": True}) == {"does not grow": 1.0}
    # A 503 response is also a gateway error.
    assert resilience.ejected(detecting(100, consecutiveGatewayErrors=2), asked) == {"at most 2 of 12 failed": 1.0}
    assert resilience.ejected(detecting(100, consecutive5xxErrors=0), asked) == {"6 of 12 failed": 1.0}
    assert resilience.ejected(detecting(100, minHealthPercent=50), asked) == {"at most 3 of 12 failed": 1.0}
    with pytest.raises(NotModelledError, match="minHealthPercent"):
        resilience.ejected(detecting(100, minHealthPercent=60), asked)
    with pytest.raises(NotModelledError, match="baseEjectionTime"):
        resilience.ejected(detecting(100, baseEjectionTime="30s"), {**asked, "later": True})
    with pytest.raises(NoExpectationError, match="nothing about outlier detection"):
        resilience.ejected(destination(), ASKED)


@pytest.mark.parametrize(
    ("outcome", "bound", "held"),
    [
        ("3 of 20 failed", "at most 3 of 20 failed", True),
        ("0 of 20 failed", "at most 3 of 20 failed", True),
        ("4 of 20 failed", "at most 3 of 20 failed", False),
        ("3 of 10 failed", "at most 3 of 20 failed", False),
        ("3 of 20 failed", "3 of 20 failed", False),
        ("error", "at most 3 of 20 failed", False),
    ],
)
def test_bounds(outcome: str, bound: str, held: bool) -> None:
    assert within(outcome, bound) is held


def limit_for(app: str, config: dict[str, Any], **more: Any) -> dict[str, Any]:
    kind = "type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit"
    patch = {"operation": "INSERT_BEFORE", "value": {"name": "x", "typed_config": {"@type": kind, **config}}}
    patches = [{"applyTo": "HTTP_FILTER", "match": {"context": "SIDECAR_INBOUND"}, "patch": patch, **more}]
    return thing("EnvoyFilter", "limit", workloadSelector={"labels": {"app": app}}, configPatches=patches)


@pytest.mark.parametrize(("uri", "outcome"), [("/limited", "5 of 12 answered"), ("/free", "12 of 12 answered")])
def test_limits_by_path(uri: str, outcome: str) -> None:
    limit = {"entries": [{"key": "path", "value": "/limited"}, {"key": "user"}], "token_bucket": {"max_tokens": 5}}
    switch = {"default_value": {"numerator": 100}}
    config = {"descriptors": [limit], "filter_enabled": switch, "filter_enforced": switch}
    asked = {**ASKED, "call": by_client("echo", uri)}
    assert resilience.limited(in_echo(limit_for("echo", config)), asked) == {outcome: 1.0}
    assert resilience.limited(in_echo(limit_for("ecko", config)), asked) == {"12 of 12 answered": 1.0}
    assert resilience.limited(in_echo(), asked) == {"12 of 12 answered": 1.0}
    with pytest.raises(NotModelledError, match="several"):
        resilience.limited(in_echo(limit_for("echo", config), limit_for("echo", config)), asked)
    elsewhere = {"match": {"context": "SIDECAR_INBOUND", "listener": {"portNumber": 9999}}}
    assert resilience.limited(in_echo(limit_for("echo", config, match=IN_FRONT)), asked) == {outcome: 1.0}
    for change in ({"applyTo": "HTTP_ROUTE"}, {"match": {"context": "ANY"}}, elsewhere):
        with pytest.raises(NotModelledError, match=r"EnvoyFilter limit: spec\.configPatches\[0\]\.match"):
            resilience.limited(in_echo(limit_for("echo", config, **change)), asked)


def test_fewer_requests_than_concurrent_calls_are_not_modelled() -> None:
    with pytest.raises(NotModelledError, match="http2MaxRequests"):
        resilience.pooled(destination(connectionPool={"http": {"http2MaxRequests": 9}}), ASKED)


TO_ECHO = {"route": [{"destination": {"host": "echo"}}]}
POLICY: Any = {"loadBalancer": {"simple": "ROUND_ROBIN"}, "outlierDetection": {"maxEjectionPercent": 100}}
ALL = {"percentage": {"value": 100}}
Reads = Callable[[Sequence[View], dict[str, Any]], dict[str, float]]
READERS: tuple[Reads, ...] = (resilience.pooled, resilience.balanced, resilience.ejected, resilience.limited)


def unknown(read: Reads, *objects: dict[str, Any]) -> str:
    """The fields that a reader does not model; '' if it models all of them."""
    rule = thing("DestinationRule", "echo", host="echo", trafficPolicy=POLICY)
    seen = in_echo(rule, *objects)
    try:
        read(seen, ASKED)
    except NotModelledError as reason:
        return str(reason)
    return ", ".join(not_modelled(seen))


def to_echo(*routes: dict[str, Any]) -> dict[str, Any]:
    return thing("VirtualService", "echo", hosts=["echo"], http=list(routes))


@pytest.mark.parametrize("read", READERS, ids=lambda read: read.__name__)
@pytest.mark.parametrize(
    ("route", "path"),
    [
        ({**TO_ECHO, "fault": {"abort": {"httpStatus": 503, **ALL}}}, "[0].fault"),
        ({**TO_ECHO, "fault": {"delay": {"fixedDelay": "1s", **ALL}}}, "[0].fault"),
        ({"redirect": {"uri": "/new"}}, "[0].redirect"),
        ({"directResponse": {"status": 418}}, "[0].directResponse"),
        ({**TO_ECHO, "timeout": "1s"}, "[0].timeout"),
        ({**TO_ECHO, "retries": {"attempts": 2, "perTryTimeout": "1s"}}, "[0].retries.perTryTimeout"),
        ({**TO_ECHO, "rewrite": {"uri": "/"}}, "[0].rewrite.uri"),
        ({**TO_ECHO, "mirror": {"host": "echo"}}, "[0].mirror.host"),
        ({**TO_ECHO, "headers": {"request": {"set": {"x-user": "jane"}}}}, "[0].headers.request.set.x-user"),
        ({"route": [{"destination": {"host": "pool"}}]}, "[0].route"),
        ({"route": [{"destination": {"host": h}, "weight": 50} for h in ("echo", "pool")]}, "[0].route"),
        ({**TO_ECHO, "match": [{"headers": {"user-agent": {"prefix": "curl"}}}]}, "[0].match[0].headers.user-agent"),
    ],
)
def test_no_action_of_a_route_to_a_pool_is_ignored(read: Reads, route: dict[str, Any], path: str) -> None:
    assert unknown(read, to_echo(route)).startswith(f"VirtualService echo: spec.http{path}")


@pytest.mark.parametrize("read", READERS, ids=lambda read: read.__name__)
def test_routes_that_only_forward_to_a_pool_or_match_other_calls_do_not_matter(read: Reads) -> None:
    other = {**TO_ECHO, "match": [{"uri": {"prefix": "/other"}}], "timeout": "1s"}
    nobody = {**TO_ECHO, "fault": {"abort": {"httpStatus": 503}}, "name": "a", "retries": {"attempts": 0}}
    spare = {"route": [{"destination": {"host": "echo"}, "weight": 1}, {"destination": {"host": "pool"}, "weight": 0}]}
    pool = thing("DestinationRule", "pool", host="pool", trafficPolicy={"connectionPool": {"tcp": {"maxConnections": 1}}})
    for route in (TO_ECHO, nobody, spare):
        assert unknown(read, to_echo(other, route), pool) == ""
    assert unknown(read, thing("VirtualService", "pool", hosts=["pool"], http=[{"timeout": "1s"}])) == ""


def test_retries_matter_if_a_failure_is_retried() -> None:

    def retried(on: str) -> dict[str, Any]:
        return to_echo({**TO_ECHO, "retries": {"attempts": 2, "retryOn": on}})

    path = "VirtualService echo: spec.http[0].retries"
    for read, on, expected in (
        (resilience.ejected, "5xx", path),
        (resilience.ejected, "connect-failure", ""),
        (resilience.limited, "429", path),
        (resilience.limited, "5xx", ""),
        (resilience.pooled, "5xx", ""),
        (resilience.balanced, "5xx", ""),
    ):
        assert unknown(read, retried(on)) == expected, (read.__name__, on)


def test_a_condition_on_a_header_that_differs_between_users_is_not_modelled() -> None:
    asked = {**ASKED, "call": replace(by_client("echo"), varied=frozenset(("x-user",)))}
    conditions: tuple[dict[str, Any], ...] = ({"headers": {"X-User": {"regex": ".+"}}}, {"withoutHeaders": {"x-user": {}}})
    for condition in conditions:
        rule = to_echo({**TO_ECHO, "match": [condition]}, TO_ECHO)
        with pytest.raises(NotModelledError, match=r"http\[0\]\.match\[0\]\.\w+\.[xX]-[uU]ser"):
            resilience.limited(in_echo(rule), asked)


def test_the_rules_for_the_caller_must_be_known() -> None:
    special = thing(
        "DestinationRule", "special", host="echo", workloadSelector={"matchLabels": {"tier": "front"}}, trafficPolicy=POLICY
    )
    assert unknown(resilience.pooled, special) == "DestinationRule special: spec.workloadSelector"


@pytest.mark.parametrize("name", ["circuit-breaker", "load-balancing", "outlier-detection", "sticky"])
def test_of_two_destination_rules_the_first_applies(name: str) -> None:
    question = entry.load(name).question
    (asked, *_) = question.classes.values()
    host = asked["app"]
    ours: dict[str, Any] = {
        "circuit-breaker": {"connectionPool": {"tcp": {"maxConnections": 1}, "http": {"http1MaxPendingRequests": 1}}},
        "load-balancing": {"loadBalancer": {"simple": "ROUND_ROBIN"}},
        "outlier-detection": {"outlierDetection": {"interval": "1s", "baseEjectionTime": "1s", "maxEjectionPercent": 100}},
        "sticky": {"loadBalancer": {"consistentHash": {"httpHeaderName": "x-user"}}},
    }

    def rule(rule_name: str, made: str, policy: dict[str, Any]) -> dict[str, Any]:
        metadata = {"name": rule_name, "namespace": "echo", "creationTimestamp": made, "uid": rule_name, "generation": 1}
        return {"kind": "DestinationRule", "metadata": metadata, "spec": {"host": host, "trafficPolicy": policy}}

    files = [PROJECT / "samples/echo" / file for file in ("echo.yaml", "ingress.yaml")]
    sample = [o for file in files for o in yaml.safe_load_all(file.read_text()) if o["kind"] != "ServiceAccount"]
    for o in sample:
        o["metadata"]["uid"] = f"{o['kind']}/{o['metadata']['name']}"

    def made(*rules: dict[str, Any]) -> Expected:
        return question.expect([*rules, *sample]).expected

    first, at_random = rule("b", "2026-01-01", ours[name]), {"loadBalancer": {"simple": "RANDOM"}}
    alone = made(first)
    assert alone.shares
    assert not alone.broken
    assert made(first, rule("a", "2026-02-01", at_random)) == alone
    elsewhere = rule("c", "2025-01-01", at_random)
    elsewhere["metadata"]["namespace"] = "bookinfo"
    assert made(first, elsewhere) == alone
    assert made(first, rule("a", "2025-01-01", at_random)) != alone


def test_load_balancers() -> None:
    assert resilience.balanced(destination(loadBalancer={"simple": "ROUND_ROBIN"}), ASKED) == {"in turn": 1.0}
    by_chance = resilience.balanced(destination(loadBalancer={"simple": "RANDOM"}), ASKED)
    assert by_chance == pytest.approx({"in turn": 34650 / 531441, "not in turn": 1 - 34650 / 531441})
    with pytest.raises(NoExpectationError, match="LEAST_REQUEST guarantees no turns"):
        resilience.balanced(destination(loadBalancer={"simple": "LEAST_REQUEST"}), ASKED)


def test_consistent_hashing_needs_a_header_that_is_sent() -> None:
    def hashed(header: str) -> dict[str, float]:
        return resilience.stuck(destination(loadBalancer={"consistentHash": {"httpHeaderName": header}}), {**ASKED, "row": 3})

    assert hashed("x-user") == {"one pod": 1.0}
    assert hashed("X-User") == {"one pod": 1.0}
    with pytest.raises(NotModelledError, match="consistentHash"):
        hashed("x-other")
    for nothing in ({}, {"simple": "LEAST_REQUEST"}):
        with pytest.raises(NotModelledError, match="simple"):
            resilience.stuck(destination(loadBalancer=nothing), {**ASKED, "row": 3})
    turns = resilience.stuck(destination(loadBalancer={"simple": "RANDOM"}), {**ASKED, "row": 3})
    assert turns == pytest.approx({"one pod": 1 / 9, "several pods": 8 / 9})


ECHO = {"namespace": "echo", "app": "echo", "port": 8080, "method": "GET", "uri": "/"}


@pytest.mark.parametrize(
    ("mode", "with_sidecar", "without"),
    # Sidecars send plain text to a callee that accepts nothing else (automatic mutual TLS).
    [("STRICT", "HTTP 200", "refused"), ("PERMISSIVE", "HTTP 200", "HTTP 200"), ("DISABLE", "HTTP 200", "HTTP 200")],
)
def test_peer_authentication(mode: str, with_sidecar: str, without: str) -> None:
    objects = [thing("PeerAuthentication", "default", mtls={"mode": mode})]
    for principal, outcome in ((CLIENT, with_sidecar), ("", without)):
        assert security.permitted(objects, {**ECHO, "principal": principal}) == {outcome: 1.0}


def policy(name: str, action: str, app: str, *rules: dict[str, Any]) -> dict[str, Any]:
    return thing("AuthorizationPolicy", name, action=action, selector={"matchLabels": {"app": app}}, rules=list(rules))


CLIENT = "cluster.local/ns/echo/sa/client"
FROM_CLIENT = {"from": [{"source": {"principals": [CLIENT]}}]}


@pytest.mark.parametrize(
    ("policies", "app", "uri", "allowed"),
    [
        ([], "echo", "/", True),
        ([thing("AuthorizationPolicy", "nothing")], "echo", "/", False),
        ([thing("AuthorizationPolicy", "nothing"), policy("a", "ALLOW", "echo", FROM_CLIENT)], "echo", "/", True),
        ([thing("AuthorizationPolicy", "nothing"), policy("a", "ALLOW", "echo", FROM_CLIENT)], "pool", "/", False),
        ([policy("d", "DENY", "echo", {"to": [{"operation": {"paths": ["/private/*"]}}]})], "echo", "/private/1", False),
        ([policy("d", "DENY", "echo", {"to": [{"operation": {"paths": ["/private/*"]}}]})], "echo", "/", True),
        ([policy("a", "ALLOW", "echo", {"from": [{"source": {"namespaces": ["other"]}}]})], "echo", "/", False),
    ],
)
def test_policies_together(policies: list[dict[str, Any]], app: str, uri: str, allowed: bool) -> None:
    request = {**ECHO, "principal": CLIENT, "app": app, "uri": uri}
    assert security.permitted(policies, request) == {"HTTP 200" if allowed else "HTTP 403": 1.0}


def test_a_caller_without_a_certificate_has_no_namespace() -> None:
    rule = {"from": [{"source": {"namespaces": ["*"]}}]}
    request = {**ECHO, "principal": ""}
    assert security.permitted([policy("a", "ALLOW", "echo", rule)], request) == {"HTTP 403": 1.0}


TOKEN = {"iss": "https://t", "sub": "reader", "aud": "echo", "group": "readers"}


@pytest.mark.parametrize(
    ("claims", "sound", "status"),
    [
        (TOKEN, True, 200), (None, True, 403), (TOKEN, False, 401), ({**TOKEN, "iss": "https://u"}, True, 401),
        ({**TOKEN, "aud": "pool"}, True, 403), ({**TOKEN, "group": "writers"}, True, 403),
    ],
)  # fmt: skip
def test_tokens(claims: dict[str, str] | None, sound: bool, status: int) -> None:
    needed = {
        "from": [{"source": {"requestPrincipals": ["https://t/*"]}}],
        "when": [{"key": "request.auth.claims[group]", "values": ["readers"]}],
    }
    objects = [
        thing("RequestAuthentication", "echo", jwtRules=[{"issuer": "https://t", "audiences": ["echo"]}]),
        policy("readers", "ALLOW", "echo", needed),
    ]
    request = {**ECHO, "claims": claims, "sound": sound}
    assert security.token_accepted(objects, request) == {f"HTTP {status}": 1.0}


MSGD = {"call": Call("msgd.outside.internal", 9997, Caller("billing", {"app": "svcb"}), "/send")}


BLOCKING = thing("MeshConfig", "istio", outboundTrafficPolicy={"mode": "REGISTRY_ONLY"})


def of_billing(*objects: dict[str, Any]) -> list[View]:
    return viewed(placed([*objects, BLOCKING], "billing"))


@pytest.mark.parametrize(
    ("objects", "reached"),
    [
        ([], False),
        ([thing("ServiceEntry", "m", hosts=["msgd.outside.internal"], ports=[{"number": 9997}])], True),
        ([thing("ServiceEntry", "m", hosts=["*.outside.internal"], ports=[{"number": 9997}])], True),
        ([thing("ServiceEntry", "m", hosts=["msgd.outside.internal"], ports=[{"number": 443}])], False),
        ([thing("ServiceEntry", "m", hosts=["other.internal"], ports=[{"number": 9997}])], False),
        ([thing("Sidecar", "default", outboundTrafficPolicy={"mode": "ALLOW_ANY"})], True),
        ([thing("Sidecar", "default", outboundTrafficPolicy={"mode": "REGISTRY_ONLY"})], False),
        (
            [thing("Sidecar", "x", workloadSelector={"labels": {"app": "x"}}, outboundTrafficPolicy={"mode": "ALLOW_ANY"})],
            False,
        ),
    ],
)
def test_external_hosts(objects: list[dict[str, Any]], reached: bool) -> None:
    (outcome,) = egress.reached(of_billing(*objects), MSGD)
    assert outcome == ("HTTP 200" if reached else "HTTP 500 at http://msgd.outside.internal:9997/send")
    shares = egress.reached(of_billing(*objects), {**MSGD, "at_server": True})
    assert shares == {"arrived" if reached else "did not arrive": 1.0}


def outside(**spec: Any) -> dict[str, Any]:
    ports = [{"number": 9997, "name": "http", "protocol": "HTTP"}]
    return thing("ServiceEntry", "m", **({"hosts": ["msgd.outside.internal"], "ports": ports, "resolution": "DNS"} | spec))


def outcome_of_msgd(*objects: dict[str, Any]) -> str | None:
    """Whether calls arrive; None if it is UNKNOWN."""
    question = ResponseCheck((), egress.reached, {"call": {**MSGD, "at_server": True}}, namespace="billing")
    every = [*objects, BLOCKING]
    for number, one in enumerate(every):
        one["metadata"] |= {"uid": f"{number}", "generation": 1}
    found = question.expect(every).expected
    assert not found.broken
    return None if found.unknown else next(iter(found.shares["call"]))


ARRIVES, BLOCKED = "arrived", "did not arrive"
OPEN = {"outboundTrafficPolicy": {"mode": "ALLOW_ANY"}}
CLOSED = {"outboundTrafficPolicy": {"mode": "REGISTRY_ONLY"}}


def secured(mode: str) -> dict[str, Any]:
    return thing("DestinationRule", "d", host="msgd.outside.internal", trafficPolicy={"tls": {"mode": mode}})


def elsewhere(one: dict[str, Any], namespace: str) -> dict[str, Any]:
    return {**one, "metadata": {**one["metadata"], "namespace": namespace}}


def led(**route: Any) -> dict[str, Any]:
    return thing("VirtualService", "v", hosts=["msgd.outside.internal"], http=[route])


TO_MSGD = {"route": [{"destination": {"host": "msgd.outside.internal"}}]}


@pytest.mark.parametrize(
    ("objects", "outcome"),
    [
        ([outside()], ARRIVES),
        ([outside(resolution="NONE")], ARRIVES),
        ([outside(location="MESH_INTERNAL", exportTo=["."])], ARRIVES),
        ([outside(exportTo=["istio-system"])], BLOCKED),
        ([elsewhere(outside(), "istio-system")], ARRIVES),
        ([elsewhere(outside(exportTo=["."]), "istio-system")], BLOCKED),
        # The endpoint must be msgd's.
        ([outside(endpoints=[{"address": "10.0.0.1"}], resolution="STATIC")], None),
        ([outside(resolution="STATIC", workloadSelector={"labels": {"app": "x"}})], None),
        ([outside(ports=[{"number": 9997, "targetPort": 9998, "name": "http", "protocol": "HTTP"}])], None),
        # msgd does not use TLS.
        ([outside(), secured("DISABLE")], ARRIVES),
        ([outside(), secured("ISTIO_MUTUAL")], None),
        ([outside(), secured("SIMPLE")], None),
        ([secured("SIMPLE")], BLOCKED),
        ([outside(), elsewhere(secured("SIMPLE"), "other")], ARRIVES),
        # Precedence: the Sidecar that selects the caller, then the namespace's, then the root namespace's.
        (
            [thing("Sidecar", "a", **CLOSED), thing("Sidecar", "b", workloadSelector={"labels": {"app": "svcb"}}, **OPEN)],
            ARRIVES,
        ),
        (
            [thing("Sidecar", "a", **OPEN), thing("Sidecar", "b", workloadSelector={"labels": {"app": "svcb"}}, **CLOSED)],
            BLOCKED,
        ),
        (
            [thing("Sidecar", "a", **CLOSED), thing("Sidecar", "b", workloadSelector={"labels": {"app": "svca"}}, **OPEN)],
            BLOCKED,
        ),
        ([elsewhere(thing("Sidecar", "a", **OPEN), "istio-system")], ARRIVES),
        ([elsewhere(thing("Sidecar", "a", **OPEN), "istio-system"), thing("Sidecar", "b", **CLOSED)], BLOCKED),
        ([elsewhere(thing("Sidecar", "a", **OPEN), "other")], BLOCKED),
        # A rule that routes the calls.
        ([outside(), led(**TO_MSGD)], ARRIVES),
        ([outside(), led(match=[{"uri": {"prefix": "/other"}}], **TO_MSGD)], BLOCKED),
        ([outside(), led(fault={"abort": {"httpStatus": 503, "percentage": {"value": 100}}}, **TO_MSGD)], None),
        ([outside(), led(directResponse={"status": 200})], None),
        ([outside(), outside(hosts=["other.internal"]), led(route=[{"destination": {"host": "other.internal"}}])], None),
    ],
)
def test_calls_to_external_hosts(objects: list[dict[str, Any]], outcome: str | None) -> None:
    assert outcome_of_msgd(*objects) == outcome


@pytest.mark.parametrize(
    ("port", "mode", "outcome"),
    [
        (80, "SIMPLE", "HTTP 200 over https"),
        (80, "DISABLE", "HTTP 200 over http"),
        (443, "SIMPLE", "HTTP 200 over http"),
    ],
)
def test_tls_originates_where_a_rule_for_the_port_sets_it(port: int, mode: str, outcome: str) -> None:
    call = Call("books.out", 80, Caller("billing", {"app": "details"}))
    request = {"call": call, "address": "api.svc", "plain": 8080, "secure": 8443}

    def registered(target: int, address: str = "api.svc") -> dict[str, Any]:
        ports = [{"number": 80, "name": "http", "protocol": "HTTP", "targetPort": target}]
        return thing(
            "ServiceEntry", "books", hosts=["books.out"], ports=ports, resolution="DNS", endpoints=[{"address": address}]
        )

    right, wrong = (8443, 8080) if outcome.endswith("https") else (8080, 8443)
    settings = {"portLevelSettings": [{"port": {"number": port}, "tls": {"mode": mode}}]}
    rule = thing("DestinationRule", "books", host="books.out", trafficPolicy=settings)
    assert egress.book_fetched(of_billing(registered(right), rule), request) == {outcome: 1.0}
    assert egress.book_fetched(of_billing(rule), request) == {"HTTP 500": 1.0}
    for strange in (registered(wrong), registered(right, "elsewhere.svc")):
        with pytest.raises(NotModelledError, match=r"what answers calls to books\.out"):
            egress.book_fetched(of_billing(strange, rule), request)


def test_identities_are_the_accounts_if_certificates_are_required() -> None:
    request = {**ECHO, "deployment": "client"}
    strict = thing("PeerAuthentication", "default", mtls={"mode": "STRICT"})
    client = thing("Deployment", "client", template={"spec": {"serviceAccountName": "c"}})
    assert security.identified([strict, client], request) == {"spiffe://cluster.local/ns/echo/sa/c": 1.0}
    with pytest.raises(NoExpectationError, match="PERMISSIVE asks nobody"):
        security.identified([thing("PeerAuthentication", "default"), client], request)
