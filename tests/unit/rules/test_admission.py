"""Routes that lead to pods which refuse the caller, and what reaches into proxies beside the rules that are read."""

from __future__ import annotations

from typing import Any

import pytest

from loadtests.entries.question import ResponseCheck, Split
from loadtests.rules import ingress, responses
from loadtests.rules.calls import Call, Caller
from loadtests.rules.expectations import Rules
from loadtests.rules.workloads import ENTRY
from tests.unit import pods
from tests.unit.rules import test_ingress as gateway_api

QUESTION = Split("reviews", {"call": {"uri": "/reviews/0"}}, "productpage")
STRICT: dict[str, Any] = {"mtls": {"mode": "STRICT"}}
PERMISSIVE = {"mtls": {"mode": "PERMISSIVE"}}
PAGE = "cluster.local/ns/bookinfo/sa/page"


def thing(
    kind: str, name: str = "x", of: str = "bookinfo", labels: dict[str, str] | None = None, **spec: Any
) -> dict[str, Any]:
    metadata = {"name": name, "namespace": of, "uid": f"{kind}/{of}/{name}", "generation": 1, "labels": labels or {}}
    return {"kind": kind, "metadata": metadata, "spec": spec}


def service(name: str, **port: Any) -> dict[str, Any]:
    return thing("Service", name, ports=[{"name": "http", "port": 9080, **port}], selector={"app": name})


def subset(version: str, **policy: Any) -> dict[str, Any]:
    return {"name": version, "labels": {"version": version}, **({"trafficPolicy": policy} if policy else {})}


def destination(*subsets: dict[str, Any], **policy: Any) -> dict[str, Any]:
    given: dict[str, Any] = {"trafficPolicy": policy} if policy else {}
    return thing("DestinationRule", "reviews", host="reviews", subsets=list(subsets or SUBSETS), **given)


def pod(
    app: str, version: str = "v1", account: str = "page", containers: tuple[str, ...] = ("app", "istio-proxy")
) -> dict[str, Any]:
    made = pods.pod(f"{app}-{version}", {"app": app, "version": version})
    return {**made, "spec": {"serviceAccountName": account, "containers": [{"name": name} for name in containers]}}


SUBSETS = [subset("v1"), subset("v3")]
TO = [{"destination": {"host": "reviews", "subset": one}, "weight": 50} for one in ("v1", "v3")]
RULE = thing("VirtualService", "reviews", hosts=["reviews"], http=[{"route": TO}])
PODS = [pod("productpage"), pod("reviews"), pod("reviews", "v3")]
HALVES = {"call": {"v1": 0.5, "v3": 0.5}}
REFUSED = "AuthorizationPolicy p: spec: calls to reviews are refused"


def policy(action: str = "ALLOW", *rules: dict[str, Any], of: str = "bookinfo", **spec: Any) -> dict[str, Any]:
    return thing("AuthorizationPolicy", "p", of, action=action, rules=list(rules), **spec)


def by(*names: str) -> dict[str, Any]:
    return {"from": [{"source": {"principals": list(names)}}]}


def to(**operation: Any) -> dict[str, Any]:
    return {"to": [{"operation": operation}]}


def only_for(**labels: str) -> dict[str, Any]:
    return {"selector": {"matchLabels": labels}}


def read(*rules: dict[str, Any], there: list[dict[str, Any]] | None = None, rule: dict[str, Any] = RULE, **port: Any) -> Rules:
    named = {one["kind"] for one in rules}
    given = [] if "DestinationRule" in named else [destination()]
    return QUESTION.expect([rule, *given, *rules, service("reviews", **port), *(PODS if there is None else there)])


@pytest.mark.parametrize(
    "rules",
    [
        [thing("PeerAuthentication", "default", **STRICT)],
        [thing("PeerAuthentication", "default", "istio-system", **STRICT)],
        [policy("ALLOW", by(PAGE))],
        [policy("ALLOW", by(PAGE), to(methods=["POST"]))],
        [policy("ALLOW", to(paths=["/reviews/*"], methods=["GET"]))],
        [policy("DENY", to(paths=["/admin/*"]))],
        [policy("DENY", by("cluster.local/ns/x/sa/x"))],
        [policy("DENY", {}, **only_for(app="ratings"))],
        [policy("DENY", {}, of="team")],
        [policy("DENY", {}, **only_for(app="reviews", version="v2"))],
        [thing("RequestAuthentication", jwtRules=[{"issuer": "x", "jwksUri": "http://x"}])],
    ],
)  # fmt: skip
def test_pods_that_take_a_call_leave_its_route_as_it_is(rules: list[dict[str, Any]]) -> None:
    found = read(*rules).expected
    assert (found.shares, found.unknown, found.broken) == (HALVES, {}, ())


@pytest.mark.parametrize(
    ("rules", "why"),
    [
        ([policy("DENY", {})], REFUSED),
        ([policy("DENY", {}, of="istio-system")], REFUSED),
        ([policy("DENY", {}, **only_for(app="reviews", version="v3"))], REFUSED),
        ([policy()], REFUSED),
        ([policy("ALLOW", by("cluster.local/ns/x/sa/x"))], REFUSED),
        ([policy("DENY", to(paths=["/reviews/*"]))], REFUSED),
        ([policy("ALLOW", {"when": [{"key": "request.headers[x]", "values": ["y"]}]})],
         "AuthorizationPolicy p: spec.rules[0].when[0].values[0]"),
        ([policy("DENY", to(hosts=["reviews"]))], "AuthorizationPolicy p: spec.rules[0].to[0].operation.hosts[0]"),
        ([policy("CUSTOM", {}, provider={"name": "x"})], "AuthorizationPolicy p: spec.action CUSTOM"),
        ([thing("PeerAuthentication", mtls={"mode": "STRICT", "new": 1})], "PeerAuthentication x: spec.mtls.new"),
        ([destination(tls={"mode": "SIMPLE"})], "DestinationRule reviews: spec.trafficPolicy.tls.mode"),
        ([destination(tls={"mode": "MUTUAL"})], "DestinationRule reviews: spec.trafficPolicy.tls.mode"),
        ([destination(tls={"mode": "ISTIO_MUTUAL", "sni": "x"})], "DestinationRule reviews: spec.trafficPolicy.tls.sni"),
        ([destination(tls={"mode": "DISABLE"}), policy("ALLOW", by(PAGE))], REFUSED),
        ([destination(subset("v1"), subset("v3", tls={"mode": "DISABLE"})), policy("ALLOW", by(PAGE))],
         REFUSED),
    ],
)  # fmt: skip
def test_pods_that_may_refuse_a_call_leave_its_route_open(rules: list[dict[str, Any]], why: str) -> None:
    assert read(*rules).expected.unknown == {"call": (why,)}


def test_what_a_route_changes_of_a_request_is_not_known_to_policies() -> None:
    rewritten = thing("VirtualService", "reviews", hosts=["reviews"], http=[{"route": TO, "rewrite": {"uri": "/admin"}}])
    asked = ResponseCheck(
        (), responses.released, {"call": {"call": Call("reviews:9080", 9080, Caller("bookinfo", {"app": "productpage"}))}}
    )
    denies = policy("DENY", to(paths=["/admin"]))
    found = asked.expect([rewritten, destination(), denies, service("reviews"), *PODS]).expected.unknown["call"]
    assert "AuthorizationPolicy p: spec.rules[0].to[0].operation.paths[0]" in found


def test_a_caller_of_several_accounts_is_not_known() -> None:
    there = [*PODS, pod("productpage", "v2", "other")]
    assert read(policy("ALLOW", by(PAGE)), there=there).expected.unknown == {
        "call": ("AuthorizationPolicy p: spec.rules[0].from[0].source.principals[0]",)
    }


def test_policies_name_the_ports_of_pods() -> None:
    denies = policy("DENY", to(ports=["8080"]))
    assert read(denies).expected.shares == HALVES
    assert read(denies, targetPort=8080).expected.unknown == {"call": (REFUSED,)}
    assert read(denies, targetPort="web").expected.unknown == {
        "call": ("AuthorizationPolicy p: spec.rules[0].to[0].operation.ports[0]",)
    }


def test_tokens_that_are_looked_for_elsewhere_do_not_matter() -> None:
    def found(**places: Any) -> Rules:
        rule = thing("RequestAuthentication", jwtRules=[{"issuer": "x", **places}])
        asked = Split("reviews", {"call": {"uri": "/reviews/0", "headers": {"x-token": "y"}}}, "productpage")
        return asked.expect([RULE, destination(), rule, service("reviews"), *PODS])

    assert found().expected.shares == HALVES
    why = "RequestAuthentication x: spec.jwtRules: a call that may have a token"
    assert found(fromHeaders=[{"name": "X-Token"}]).expected.unknown == {"call": (why,)}


@pytest.mark.parametrize("place", ["of all", "of a port", "of a subset", "of a subset's port"])
@pytest.mark.parametrize(
    ("mode", "peers", "broken"),
    [
        ("ISTIO_MUTUAL", PERMISSIVE, ""),
        ("ISTIO_MUTUAL", STRICT, ""),
        ("ISTIO_MUTUAL", {"mtls": {"mode": "DISABLE"}}, "ISTIO_MUTUAL, and mutual TLS of reviews is DISABLE"),
        ("DISABLE", PERMISSIVE, ""),
        ("DISABLE", {"mtls": {"mode": "DISABLE"}}, ""),
        ("DISABLE", STRICT, "DISABLE, and mutual TLS of reviews is STRICT"),
        ("SIMPLE", STRICT, "SIMPLE, and mutual TLS of reviews is STRICT"),
    ],
)
def test_tls_of_callers_against_that_of_pods(place: str, mode: str, peers: dict[str, Any], broken: str) -> None:
    tls = {"tls": {"mode": mode}}
    ported = {"portLevelSettings": [{"port": {"number": 9080}, **tls}]}
    given = {
        "of all": destination(**tls),
        "of a port": destination(**ported),
        "of a subset": destination(subset("v1"), subset("v3", **tls)),
        "of a subset's port": destination(subset("v1"), subset("v3", **ported)),
    }[place]
    found = read(given, thing("PeerAuthentication", **peers)).expected
    assert found.unknown == {}
    if broken:
        assert broken in found.broken[0]
        assert found.broken[0].endswith("so calls to it get HTTP 503")
    else:
        assert (found.shares, found.broken) == (HALVES, ())


def test_pods_without_a_sidecar_enforce_nothing_and_speak_no_mutual_tls() -> None:
    plain = [pod("productpage"), *(pod("reviews", version, containers=("app",)) for version in ("v1", "v3"))]
    rules = [policy("DENY", {}), thing("PeerAuthentication", **STRICT)]
    assert read(*rules, there=plain).expected.shares == HALVES
    assert read(destination(tls={"mode": "DISABLE"}), *rules, there=plain).expected.shares == HALVES
    why = ("DestinationRule reviews: spec.trafficPolicy.tls.mode",)
    assert read(destination(tls={"mode": "ISTIO_MUTUAL"}), there=plain).expected.unknown == {"call": why}
    some = [*PODS[:2], plain[2]]
    assert read(destination(tls={"mode": "ISTIO_MUTUAL"}), there=some).expected.unknown == {"call": why}
    assert read(policy("DENY", {}), there=some).expected.unknown != {}
    for others in ([*PODS, plain[2]], [pods.pod(f"reviews-{v}", {"app": "reviews", "version": v}) for v in ("v1", "v3")]):
        # Some pods of a version have none, or it is not known.
        assert read(destination(tls={"mode": "ISTIO_MUTUAL"}), there=others).expected.unknown == {"call": why}
        disabled = destination(subset("v1"), subset("v3", tls={"mode": "DISABLE"}))
        (why_not,) = read(disabled, rules[1], there=others).expected.unknown["call"]
        assert why_not == "DestinationRule reviews: spec.subsets[1].trafficPolicy.tls.mode"


PATCH = {
    "applyTo": "HTTP_ROUTE",
    "match": {"context": "SIDECAR_INBOUND"},
    "patch": {"operation": "MERGE", "value": {"route": {}}},
}


def merged(**value: Any) -> dict[str, Any]:
    return {"applyTo": "CLUSTER", "patch": {"operation": "MERGE", "value": value}}


def extension(kind: str, of: str = "bookinfo", name: str = "x", label: str = "", **labels: str) -> dict[str, Any]:
    field, key = ("workloadSelector", "labels") if kind == "EnvoyFilter" else ("selector", "matchLabels")
    said = {"configPatches": [PATCH]} if kind == "EnvoyFilter" else {"url": "oci://x"}
    selecting = {field: {key: labels}} if labels else {}
    return thing(kind, name, of, labels={ENTRY: label} if label else None, **said, **selecting)


@pytest.mark.parametrize("kind", ["EnvoyFilter", "WasmPlugin", "TrafficExtension"])
@pytest.mark.parametrize("app", ["", "productpage", "reviews"])
def test_extensions_of_proxies_on_the_path_leave_it_open(kind: str, app: str) -> None:
    path = "configPatches[0]" if kind == "EnvoyFilter" else "url"
    for of in ("bookinfo", "istio-system"):
        found = read(extension(kind, of, **({"app": app} if app else {}))).expected
        assert found.unknown == {"call": (f"{kind} x: spec.{path}",)}


@pytest.mark.parametrize(
    "made",
    [
        extension("EnvoyFilter", app="ratings"),
        extension("WasmPlugin", app="ratings"),
        extension("EnvoyFilter", "team"),
        extension("EnvoyFilter", "istio-system", "istio-lab-alpn"),
        extension("EnvoyFilter", "istio-system", "istio-lab-request-metrics"),
        extension("EnvoyFilter", label="reviews-80-20.control"),
        thing("WasmPlugin", url="oci://x", targetRefs=[{"kind": "Gateway", "name": "waypoint"}]),
        thing("EnvoyFilter", configPatches=[merged(common_lb_config={"update_merge_window": "0s"})]),
    ],
)  # fmt: skip
def test_extensions_that_are_for_other_proxies_or_are_known_change_nothing(made: dict[str, Any]) -> None:
    found = read(made).expected
    assert (found.shares, found.unknown) == (HALVES, {})


@pytest.mark.parametrize(
    "made",
    [
        extension("EnvoyFilter", "bookinfo", "istio-lab-alpn"),
        extension("EnvoyFilter", label="reviews-80-20.policy"),
        extension("WasmPlugin", label="reviews-80-20.control"),
        thing("EnvoyFilter", configPatches=[merged(common_lb_config={"update_merge_window": "0s"}, lb_policy="RANDOM")]),
    ],
)  # fmt: skip
def test_extensions_that_only_look_like_known_ones_leave_it_open(made: dict[str, Any]) -> None:
    assert read(made).expected.unknown != {}


def backend(of: str = "bookinfo", **to: str) -> dict[str, Any]:
    return thing("BackendTLSPolicy", "b", of, targetRefs=[{"group": "", "kind": "Service", "name": "reviews", **to}])


@pytest.mark.parametrize(
    ("made", "unknown"),
    [
        (backend(), True),
        (backend(kind="ServiceEntry", name="x"), True),
        (backend(name="ratings"), False),
        (backend("team"), False),
    ],
)
def test_what_istiod_makes_destination_rules_of_leaves_it_open(made: dict[str, Any], unknown: bool) -> None:
    assert read(made).expected.unknown == ({"call": ("BackendTLSPolicy b: spec",)} if unknown else {})


AT_GATEWAY = {"istio": "ingressgateway"}


@pytest.mark.parametrize(
    ("rule", "why"),
    [
        (thing("AuthorizationPolicy", "p", "istio-system", action="DENY", rules=[{}], **only_for(**AT_GATEWAY)),
         "AuthorizationPolicy p: spec: calls to the gateway are refused"),
        (policy("DENY", to(paths=["/"])), "AuthorizationPolicy p: spec: calls to s are refused"),
        (policy("DENY", to(paths=["/other"])), ""),
        (policy("ALLOW", by("cluster.local/ns/istio-system/sa/istio-ingressgateway-service-account")), ""),
        (thing("PeerAuthentication", "default", **STRICT), ""),
        (thing("DestinationRule", "s", host="s", trafficPolicy={"tls": {"mode": "SIMPLE"}}),
         "DestinationRule s: spec.trafficPolicy.tls.mode"),
        (backend(name="s"), "BackendTLSPolicy b: spec"),
        (extension("EnvoyFilter", "istio-system", **AT_GATEWAY), "EnvoyFilter x: spec.configPatches[0]"),
        (extension("WasmPlugin", app="s"), "WasmPlugin x: spec.url"),
        (thing("WasmPlugin", "x", "istio-system", url="oci://x", targetRefs=[{"kind": "Gateway", "name": "ingress"}]),
         "WasmPlugin x: spec.url"),
    ],
)  # fmt: skip
def test_routes_of_the_gateway_api_are_read_with_what_proxies_let_in(rule: dict[str, Any], why: str) -> None:
    asked = ResponseCheck((), ingress.http_shared, {"call": gateway_api.REQUEST})
    found = asked.expect([*gateway_api.BASE, gateway_api.http_route(), rule]).expected
    assert (found.shares, found.unknown) == (({"call": {"s": 1.0}}, {}) if not why else ({}, {"call": (why,)}))
