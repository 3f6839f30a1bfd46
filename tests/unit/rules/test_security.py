"""Security policies: which ones apply to a workload, and their combined effect."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from loadtests.entries.question import SECURITY, ResponseCheck
from loadtests.rules import security
from loadtests.rules.expectations import NoExpectationError, NotModelledError, differences, generation
from loadtests.samples.echo import through
from loadtests.verdict import Expected

CLIENT = "cluster.local/ns/echo/sa/client"
CALL = {
    "namespace": "echo", "app": "echo", "port": 8080, "principal": CLIENT, "caller": {"app": "client"}, "method": "GET",
    "uri": "/books", "authority": "echo:8080",
}  # fmt: skip
OK, DENIED, CLOSED, NOT_SENT = "HTTP 200", "HTTP 403", "refused", "HTTP 503"
ROOT = "istio-system"


def thing(kind: str, name: str, of: str = "echo", made: str = "", notes: Any = None, **spec: Any) -> dict[str, Any]:
    metadata = {"name": name, "uid": f"{kind}/{of}/{name}", "generation": 1, "namespace": of, "creationTimestamp": made}
    return {"kind": kind, "metadata": metadata | ({"annotations": notes} if notes else {}), "spec": spec}


def deployment(app: str = "echo", of: str = "echo", name: str = "", **labels: str) -> dict[str, Any]:
    template = {"metadata": {"labels": {"app": app, **labels}}, "spec": {"serviceAccountName": app}}
    return thing("Deployment", name or app, of, template=template)


def policy(name: str, action: str = "ALLOW", of: str = "echo", notes: Any = None, **spec: Any) -> dict[str, Any]:
    return thing("AuthorizationPolicy", name, of, notes=notes, **({"action": action} if action else {}), **spec)


def pods(**labels: str) -> dict[str, Any]:
    return {"selector": {"matchLabels": labels}}


def asked(*objects: dict[str, Any], expectation: Any = security.permitted, **request: Any) -> Expected:
    question = ResponseCheck(SECURITY, expectation, {"call": {**CALL, **request}}, namespace="echo")
    return question.expect(objects).expected


def outcome(*objects: dict[str, Any], **request: Any) -> str | None:
    """The only outcome; None if it is UNKNOWN."""
    found = asked(*objects, **request)
    assert not found.broken
    if found.unknown:
        return None
    (only,) = found.shares["call"]
    return only


ECHO = deployment(version="v1", team="books")
ANYBODY: dict[str, Any] = {"rules": [{}]}
NOBODY: dict[str, Any] = {}
OTHERS: dict[str, Any] = {"rules": [{"from": [{"source": {"namespaces": ["other"]}}]}]}
CALLER: dict[str, Any] = {"rules": [{"from": [{"source": {"principals": [CLIENT]}}]}]}
UNSURE: dict[str, Any] = {"rules": [{"from": [{"source": {"ipBlocks": ["10.0.0.0/8"]}}]}]}


@pytest.mark.parametrize(
    ("policies", "expected"),
    [
        ([], OK),
        ([policy("a", **NOBODY)], DENIED),
        ([policy("a", action="", **NOBODY)], DENIED),
        ([policy("a", rules=[])], DENIED),
        ([policy("a", **ANYBODY)], OK),
        ([policy("a", "DENY", **NOBODY)], OK),
        ([policy("a", "DENY", **ANYBODY)], DENIED),
        ([policy("a", **ANYBODY), policy("b", "DENY", **CALLER)], DENIED),
        ([policy("a", **OTHERS), policy("b", **CALLER)], OK),
        ([policy("a", **OTHERS), policy("b", "DENY", **OTHERS)], DENIED),
        # AUDIT and dry-run policies have no effect, and do not count as an ALLOW that matches nothing.
        ([policy("a", "AUDIT", **ANYBODY)], OK),
        ([policy("a", **OTHERS, notes={"istio.io/dry-run": "true"})], OK),
        ([policy("a", "DENY", **ANYBODY, notes={"istio.io/dry-run": "true"})], OK),
        ([policy("a", "DENY", **ANYBODY, notes={"istio.io/dry-run": "false"})], DENIED),
        # Which pods: those with all labels of the selector.
        ([policy("a", **OTHERS, **pods(app="ecko"))], OK),
        ([policy("a", **OTHERS, **pods(app="echo"))], DENIED),
        ([policy("a", **OTHERS, **pods(team="books"))], DENIED),
        ([policy("a", **OTHERS, **pods(app="echo", version="v2"))], OK),
        ([policy("a", **OTHERS, **pods(app="echo", tier="back"))], OK),
        ([policy("a", **OTHERS, selector={})], DENIED),
        ([policy("a", **OTHERS, **pods(**{"service.istio.io/canonical-name": "echo"}))], None),
        ([policy("a", **OTHERS, **pods(**{"pod-template-hash": "1"}))], None),
        # Which namespaces: the workload's and the root namespace.
        ([policy("a", of="bookinfo", **NOBODY)], OK),
        ([policy("a", of=ROOT, **OTHERS, **pods(app="echo"))], DENIED),
        ([policy("a", of=ROOT, **OTHERS, **pods(app="pool"))], OK),
        ([policy("a", "DENY", of=ROOT, **CALLER)], DENIED),
        ([policy("a", of=ROOT, **ANYBODY), policy("b", **OTHERS)], OK),
        # A policy for the whole mesh also applies at the gateway, where external clients have no certificate.
        ([policy("a", of=ROOT, **CALLER)], None),
        ([policy("a", of=ROOT, **NOBODY)], None),
        # A policy attached to a Gateway or a waypoint has no effect on sidecars.
        ([policy("a", **NOBODY, targetRefs=[{"kind": "Service", "name": "echo", "group": ""}])], OK),
        ([policy("a", **NOBODY, targetRef={"kind": "Gateway", "name": "g", "group": "gateway.networking.k8s.io"})], OK),
        # An unknown condition matters only if the outcome depends on it.
        ([policy("a", **UNSURE)], None),
        ([policy("a", "DENY", **UNSURE)], None),
        ([policy("a", **UNSURE), policy("b", **CALLER)], OK),
        ([policy("a", **UNSURE), policy("b", "DENY", **CALLER)], DENIED),
        ([policy("a", "DENY", **UNSURE), policy("b", **CALLER)], None),
        ([policy("a", "DENY", **UNSURE), policy("b", **OTHERS)], DENIED),
        ([policy("a", "CUSTOM", **CALLER, provider={"name": "x"})], None),
        ([policy("a", "CUSTOM", **OTHERS, provider={"name": "x"})], OK),
        ([policy("a", "DENY", rules=[], x={"new": 1})], None),
    ],
)
def test_policies_that_apply_to_the_called_pods(policies: list[dict[str, Any]], expected: str | None) -> None:
    assert outcome(ECHO, *policies) == expected


def test_a_policy_for_some_of_the_pods_or_for_unknown_labels_is_unknown() -> None:
    canary = deployment(name="canary", version="v2")
    for objects in ([ECHO, canary], []):
        found = asked(*objects, policy("a", **OTHERS, **pods(version="v2")))
        assert found.unknown["call"][0].startswith("AuthorizationPolicy a: spec.selector.matchLabels")
    elsewhere = deployment(of="other", version="v2")
    assert outcome(ECHO, elsewhere, policy("a", **OTHERS, **pods(version="v2"))) == OK


AUDITOR = "cluster.local/ns/echo/sa/auditor"


@pytest.mark.parametrize(
    ("source", "takes"),
    [
        ({"principals": [CLIENT]}, True),
        ({"principals": [AUDITOR]}, False),
        ({"principals": ["*"]}, True),
        ({"principals": ["*/sa/client"]}, True),
        ({"principals": ["cluster.local/ns/echo/*"]}, True),
        ({"principals": ["cluster.local/*/sa/client"]}, False),
        ({"principals": [f"spiffe://{CLIENT}"]}, False),
        ({"principals": ["other.domain/ns/echo/sa/client"]}, None),
        ({"principals": ["other.domain/ns/echo/sa/auditor"]}, False),
        ({"notPrincipals": [AUDITOR]}, True),
        ({"notPrincipals": [CLIENT]}, False),
        ({"principals": ["*"], "notPrincipals": [CLIENT]}, False),
        ({"namespaces": ["echo"]}, True),
        ({"namespaces": ["ec*"]}, True),
        ({"namespaces": ["*"]}, True),
        ({"namespaces": ["e.ho"]}, False),
        ({"namespaces": ["cho"]}, False),
        ({"notNamespaces": ["echo"]}, False),
        ({"serviceAccounts": ["client"]}, True),
        ({"serviceAccounts": ["echo/client"]}, True),
        ({"serviceAccounts": ["other/client"]}, False),
        ({"serviceAccounts": ["lient"]}, False),
        ({"notServiceAccounts": ["auditor"]}, True),
        ({"trustDomains": ["cluster.local"]}, True),
        ({"trustDomains": ["other"]}, None),
        ({"notTrustDomains": ["*"]}, False),
        ({"requestPrincipals": ["*"]}, False),
        ({"notRequestPrincipals": ["*"]}, True),
        ({"ipBlocks": ["10.0.0.0/8"]}, None),
        ({"notIpBlocks": ["10.0.0.0/8"]}, None),
        ({"remoteIpBlocks": ["10.0.0.0/8"]}, None),
        ({"ipBlocks": ["10.0.0.0/8"], "namespaces": ["other"]}, False),
        ({}, True),
    ],
)
def test_sources(source: dict[str, Any], takes: bool | None) -> None:
    outcomes = {True: (OK, DENIED), False: (DENIED, OK), None: (None, None)}[takes]
    rules = [{"from": [{"source": source}]}]
    assert (outcome(ECHO, policy("a", rules=rules)), outcome(ECHO, policy("a", "DENY", rules=rules))) == outcomes
    # An unknown condition does not matter beside an alternative that matches.
    both = [{"from": [{"source": source}, {"source": {"namespaces": ["echo"]}}]}]
    if takes is not None or "ipBlocks" in source:
        assert outcome(ECHO, policy("a", rules=both)) == OK


def test_a_caller_without_a_certificate_has_no_identity() -> None:
    for source, expected in (
        ({"principals": ["*"]}, DENIED),
        ({"namespaces": ["*"]}, DENIED),
        ({"serviceAccounts": ["client"]}, DENIED),
        ({"trustDomains": ["*"]}, DENIED),
        ({"notPrincipals": [CLIENT]}, OK),
        ({"notNamespaces": ["echo"]}, OK),
        ({"notPrincipals": ["*"]}, OK),
    ):
        assert outcome(ECHO, policy("a", rules=[{"from": [{"source": source}]}]), principal="") == expected


@pytest.mark.parametrize(
    ("operation", "takes"),
    [
        ({"methods": ["GET"]}, True),
        ({"methods": ["get"]}, False),
        ({"methods": ["*"]}, True),
        ({"methods": ["PUT", "G*"]}, True),
        ({"notMethods": ["PUT"]}, True),
        ({"paths": ["/books"]}, True),
        ({"paths": ["/boo*"]}, True),
        ({"paths": ["*oks"]}, True),
        ({"paths": ["*"]}, True),
        ({"paths": ["/b*s"]}, False),
        ({"paths": ["/{*}"]}, True),
        ({"paths": ["/{**}"]}, True),
        ({"paths": ["/books/{*}"]}, False),
        ({"paths": ["/books/{**}"]}, False),
        ({"paths": ["/BOOKS"]}, False),
        ({"notPaths": ["/{*}"]}, False),
        ({"notPaths": ["/private/*"]}, True),
        ({"hosts": ["echo:8080"]}, True),
        ({"hosts": ["ECHO:*"]}, True),
        ({"hosts": ["echo"]}, False),
        ({"notHosts": ["echo"]}, True),
        ({"ports": ["8080"]}, True),
        ({"ports": ["80"]}, False),
        ({"notPorts": ["8080"]}, False),
        ({"ports": ["8080"], "paths": ["/books"], "notMethods": ["GET"]}, False),
        ({}, True),
    ],
)
def test_operations(operation: dict[str, Any], takes: bool) -> None:
    rules = [{"to": [{"operation": operation}]}]
    assert outcome(ECHO, policy("a", rules=rules)) == (OK if takes else DENIED)
    assert outcome(ECHO, policy("a", "DENY", rules=rules)) == (DENIED if takes else OK)


def test_a_path_is_matched_without_its_query() -> None:
    exact = policy("a", rules=[{"to": [{"operation": {"paths": ["/books"]}}]}])
    assert outcome(ECHO, exact, uri="/books?page=2") == OK


@pytest.mark.parametrize(
    ("condition", "takes"),
    [
        ({"key": "source.principal", "values": [CLIENT]}, True),
        ({"key": "source.principal", "notValues": [CLIENT]}, False),
        ({"key": "source.namespace", "values": ["other"]}, False),
        ({"key": "source.serviceAccount", "values": ["echo/client"]}, True),
        ({"key": "source.trustDomain", "values": ["cluster*"]}, True),
        ({"key": "destination.port", "values": ["8080"]}, True),
        ({"key": "destination.port", "notValues": ["8080"]}, False),
        ({"key": "request.headers[X-Team]", "values": ["book*"]}, True),
        ({"key": "request.headers[x-team]", "values": ["other"]}, False),
        ({"key": "request.headers[x-other]", "notValues": ["other"]}, None),
        ({"key": "source.ip", "values": ["10.0.0.1"]}, None),
        ({"key": "remote.ip", "notValues": ["10.0.0.1"]}, None),
        ({"key": "destination.ip", "values": ["10.0.0.1"]}, None),
        ({"key": "connection.sni", "values": ["*"]}, None),
        ({"key": "experimental.envoy.filters.a[b]", "values": ["c"]}, None),
        ({"key": "request.auth.claims[group]", "values": ["readers"]}, True),
        ({"key": "request.auth.claims[group]", "notValues": ["readers"]}, False),
        ({"key": "request.auth.claims[other]", "notValues": ["readers"]}, True),
        ({"key": "request.auth.claims[deep][er]", "values": ["b"]}, True),
        ({"key": "request.auth.claims[scope]", "values": ["write"]}, True),
        ({"key": "request.auth.claims[words]", "values": ["b"]}, False),
        ({"key": "request.auth.principal", "values": ["https://t/reader"]}, True),
        ({"key": "request.auth.principal", "values": ["https://t/*"]}, True),
        ({"key": "request.auth.principal", "values": ["*/reader"]}, True),
        ({"key": "request.auth.principal", "values": ["https://t*"]}, False),
        ({"key": "request.auth.principal", "values": ["https://t"]}, False),
        ({"key": "request.auth.audiences", "values": ["pool"]}, True),
        ({"key": "request.auth.presenter", "values": ["app"]}, True),
        ({"key": "request.auth.presenter", "values": ["other"]}, False),
    ],
)
def test_conditions(condition: dict[str, Any], takes: bool | None) -> None:
    claims = {
        "iss": "https://t", "sub": "reader", "aud": ["echo", "pool"], "azp": "app", "group": "readers",
        "scope": "read write", "words": "a b", "deep": {"er": ["a", "b"]},
    }  # fmt: skip
    outcomes = {True: (OK, DENIED), False: (DENIED, OK), None: (None, None)}[takes]
    for action, expected in zip(("ALLOW", "DENY"), outcomes, strict=True):
        found = outcome(ECHO, policy("a", action, rules=[{"when": [condition]}]), headers={"x-team": "books"}, claims=claims)
        assert found == expected


@pytest.mark.parametrize("subject", ["", None])
def test_a_request_principal_has_an_issuer_and_a_subject(subject: str | None) -> None:
    claims = {"iss": "https://t"} | ({} if subject is None else {"sub": subject})
    for pattern in ("*", "https://t/*"):
        rules = [{"from": [{"source": {"requestPrincipals": [pattern]}}]}]
        assert outcome(ECHO, policy("a", rules=rules), claims=claims) == DENIED


def peer(name: str, mode: str | None, of: str = "echo", made: str = "", **spec: Any) -> dict[str, Any]:
    return thing("PeerAuthentication", name, of, made, **({"mtls": {"mode": mode}} if mode else {}), **spec)


def port(mode: str, number: int = 8080) -> dict[str, Any]:
    return {"portLevelMtls": {str(number): {"mode": mode}}}


def tls(mode: str, **more: Any) -> dict[str, Any]:
    return thing("DestinationRule", "tls", host="echo", trafficPolicy={"tls": {"mode": mode, **more}})


MINE = pods(app="echo")


@pytest.mark.parametrize(
    ("rules", "with_sidecar", "without"),
    [
        ([], OK, OK),
        ([peer("a", "STRICT")], OK, CLOSED),
        ([peer("a", "STRICT", of=ROOT)], OK, CLOSED),
        ([peer("a", "STRICT", of="bookinfo")], OK, OK),
        ([peer("a", "STRICT", of=ROOT), peer("b", "PERMISSIVE")], OK, OK),
        ([peer("a", "STRICT", of=ROOT), peer("b", "UNSET")], OK, CLOSED),
        ([peer("a", "STRICT", of=ROOT), peer("b", None)], OK, CLOSED),
        ([peer("a", "STRICT"), peer("b", "PERMISSIVE", **MINE)], OK, OK),
        ([peer("a", "PERMISSIVE"), peer("b", "STRICT", **MINE)], OK, CLOSED),
        ([peer("a", "PERMISSIVE"), peer("b", "STRICT", **pods(app="pool"))], OK, OK),
        ([peer("a", "STRICT"), peer("b", "UNSET", **MINE)], OK, CLOSED),
        # A selector in the root namespace selects no pods in other namespaces.
        ([peer("a", "STRICT", of=ROOT, **MINE)], OK, OK),
        # On each level, the oldest applies.
        ([peer("a", "STRICT", made="2026-02-01"), peer("b", "PERMISSIVE", made="2026-01-01")], OK, OK),
        ([peer("b", "STRICT", made="2026-01-01", **MINE), peer("a", "PERMISSIVE", **MINE, made="2026-02-01")], OK, CLOSED),
        # A port of the workload.
        ([peer("a", "STRICT", **MINE, **port("PERMISSIVE"))], OK, OK),
        ([peer("a", "STRICT", **MINE, **port("PERMISSIVE", 80))], OK, CLOSED),
        ([peer("a", "PERMISSIVE", **MINE, **port("STRICT"))], OK, CLOSED),
        ([peer("a", "STRICT", **MINE, **port("UNSET"))], OK, CLOSED),
        ([peer("a", "STRICT"), peer("b", None, **MINE, **port("DISABLE"))], OK, OK),
        # A sidecar sends plain text if the callee, or its namespace, accepts no TLS.
        ([peer("a", "DISABLE")], OK, OK),
        ([peer("a", "DISABLE"), peer("b", "STRICT", **MINE)], NOT_SENT, CLOSED),
        # A DestinationRule decides what callers send.
        ([tls("DISABLE")], OK, OK),
        ([tls("DISABLE"), peer("a", "STRICT")], NOT_SENT, CLOSED),
        ([tls("ISTIO_MUTUAL"), peer("a", "STRICT")], OK, CLOSED),
        ([tls("ISTIO_MUTUAL"), peer("a", "DISABLE")], NOT_SENT, OK),
        ([tls("SIMPLE"), peer("a", "STRICT")], None, CLOSED),
        ([tls("ISTIO_MUTUAL", sni="x")], None, OK),
    ],
)
def test_who_may_connect(rules: list[dict[str, Any]], with_sidecar: str | None, without: str) -> None:
    assert outcome(ECHO, *rules) == with_sidecar
    assert outcome(ECHO, *rules, principal="") == without


def test_a_caller_that_sends_plain_text_has_no_identity() -> None:
    for rules in ([tls("DISABLE")], [peer("a", "DISABLE")]):
        assert outcome(ECHO, *rules, policy("a", **CALLER)) == DENIED
        assert outcome(ECHO, *rules, policy("a", "DENY", **CALLER)) == OK


def test_only_an_encrypted_connection_has_an_identity() -> None:
    strict, request = peer("a", "STRICT"), {**CALL, "deployment": "client"}
    client = deployment("client")
    identities = {"spiffe://cluster.local/ns/echo/sa/client": 1.0}
    assert security.identified([ECHO, client, strict], request) == identities
    with pytest.raises(NoExpectationError, match="plain text"):
        security.identified([ECHO, client, strict, tls("DISABLE")], request)
    with pytest.raises(NoExpectationError, match="PERMISSIVE asks nobody"):
        security.identified([ECHO, client, strict, peer("b", "PERMISSIVE", **MINE)], request)


KEYS = "http://keys/jwks.json"
TOKEN = {"iss": "https://t", "sub": "reader", "aud": "echo", "group": "readers"}


def tokens(name: str, *rules: dict[str, Any], of: str = "echo", **spec: Any) -> dict[str, Any]:
    return thing("RequestAuthentication", name, of, jwtRules=list(rules), **spec)


def jwt(issuer: str = "https://t", *audiences: str, **more: Any) -> dict[str, Any]:
    return {"issuer": issuer, "jwksUri": KEYS, **({"audiences": list(audiences)} if audiences else {}), **more}


def brought(*objects: dict[str, Any], claims: Mapping[str, Any] | None = TOKEN, sound: bool = True) -> str | None:
    return outcome(ECHO, *objects, expectation=security.token_accepted, claims=claims, sound=sound, keys=KEYS)


READERS = policy("readers", rules=[{"when": [{"key": "request.auth.claims[group]", "values": ["readers"]}]}])
X_TOKEN: Any = {"fromHeaders": [{"name": "x-token"}]}


@pytest.mark.parametrize(
    ("authentications", "right", "none", "unsound", "for_others"),
    [
        ([], DENIED, DENIED, DENIED, DENIED),
        ([tokens("a", jwt())], OK, DENIED, "HTTP 401", OK),
        ([tokens("a", jwt("https://t", "echo"))], OK, DENIED, "HTTP 401", DENIED),
        ([tokens("a", jwt("https://u"))], "HTTP 401", DENIED, "HTTP 401", "HTTP 401"),
        ([tokens("a", jwt("https://u")), tokens("b", jwt())], OK, DENIED, "HTTP 401", OK),
        ([tokens("a", jwt("https://u"), jwt("https://t", "echo"))], OK, DENIED, "HTTP 401", None),
        ([tokens("a", jwt("https://t", "pool")), tokens("b", jwt("https://t", "echo"))], OK, DENIED, None, OK),
        # Which pods.
        ([tokens("a", jwt(), **pods(app="ecko"))], DENIED, DENIED, DENIED, DENIED),
        ([tokens("a", jwt(), of="bookinfo")], DENIED, DENIED, DENIED, DENIED),
        ([tokens("a", jwt(), of=ROOT, **MINE)], OK, DENIED, "HTTP 401", OK),
        # The gateway removes the token.
        ([tokens("a", jwt(), of=ROOT)], None, DENIED, None, None),
        ([tokens("a", jwt(), targetRefs=[{"kind": "Gateway", "name": "g"}])], DENIED, DENIED, DENIED, DENIED),
        # A token in a place that no rule reads is ignored.
        ([tokens("a", jwt(**X_TOKEN))], DENIED, DENIED, DENIED, DENIED),
        ([tokens("a", jwt(fromParams=["token"]))], DENIED, DENIED, DENIED, DENIED),
        ([tokens("a", jwt(fromCookies=["token"]))], DENIED, DENIED, DENIED, DENIED),
        ([tokens("a", jwt(fromHeaders=[{"name": "Authorization", "prefix": "Bearer "}]))], OK, DENIED, "HTTP 401", OK),
        ([tokens("a", jwt(fromHeaders=[{"name": "Authorization", "prefix": "JWT "}]))], None, DENIED, None, None),
        ([tokens("a", jwt(**X_TOKEN)), tokens("b", jwt())], OK, DENIED, "HTTP 401", OK),
        # How an accepted token is forwarded does not matter, but the keys that verify it do.
        ([tokens("a", jwt(forwardOriginalToken=True, outputPayloadToHeader="x", timeout="5s"))], OK, DENIED, "HTTP 401", OK),
        ([tokens("a", {**jwt(), "jwksUri": "http://other/"})], None, DENIED, None, None),
        ([tokens("a", {"issuer": "https://t", "jwks": "{}"})], None, DENIED, None, None),
        ([tokens("a", jwt(new="field"))], None, DENIED, None, None),
    ],
)
def test_tokens(
    authentications: list[dict[str, Any]], right: str | None, none: str, unsound: str | None, for_others: str | None
) -> None:
    assert brought(READERS, *authentications) == right
    assert brought(READERS, *authentications, claims=None) == none
    assert brought(READERS, *authentications, sound=False) == unsound
    assert brought(READERS, *authentications, claims={**TOKEN, "aud": "pool"}) == for_others


def test_without_a_policy_only_invalid_tokens_are_refused() -> None:
    one = tokens("a", jwt("https://t", "echo"))
    assert [brought(one, claims=c) for c in (TOKEN, None, {**TOKEN, "sub": ""})] == [OK, OK, OK]
    assert brought(one, sound=False) == "HTTP 401"
    assert brought(one, peer("a", "STRICT")) == OK, "the gateway has a certificate"


def gateway(
    name: str, mode: str, *hosts: str, number: int = 8443, of: str = "echo", selector: Any = None, **more: Any
) -> dict[str, Any]:
    server = {"port": {"number": number, "name": "https", "protocol": "HTTPS"}, "hosts": list(hosts or ["a.lab"])}
    tls = {"mode": mode, "credentialName": "c", **more}
    chosen = selector or {"istio": "ingressgateway"}
    return thing("Gateway", name, of, selector=chosen, servers=[{**server, "tls": tls}])


@pytest.mark.parametrize(
    ("gateways", "refused"),
    [
        ([gateway("a", "MUTUAL")], True),
        ([gateway("a", "SIMPLE")], False),
        ([gateway("a", "OPTIONAL_MUTUAL")], False),
        ([gateway("a", "MUTUAL", "b.lab"), gateway("b", "SIMPLE")], False),
        ([gateway("a", "MUTUAL", "*"), gateway("b", "SIMPLE", "*.lab"), gateway("c", "MUTUAL", "a.b.lab")], False),
        ([gateway("a", "SIMPLE", "*.lab"), gateway("b", "MUTUAL", "echo/a.lab")], True),
        # Of two servers for the same host, only the first applies.
        ([gateway("b", "SIMPLE"), gateway("a", "MUTUAL")], True),
        ([gateway("a", "MUTUAL", "*.lab"), gateway("b", "SIMPLE", "*.lab", "a.lab")], True),
        ([gateway("a", "SIMPLE", number=9443), gateway("b", "MUTUAL")], True),
        ([gateway("a", "SIMPLE", selector={"istio": "egressgateway"}), gateway("b", "MUTUAL")], True),
        ([gateway("a", "PASSTHROUGH")], None),
        ([gateway("a", "SIMPLE", minProtocolVersion="TLSV1_3")], None),
    ],
)
def test_servers_of_the_gateway(gateways: list[dict[str, Any]], refused: bool | None) -> None:
    found = secured(*gateways, BEHIND, routed())
    if refused is None:
        assert found.unknown["call"][0].startswith("Gateway a: spec.servers[0].tls")
    else:
        assert found.shares["call"] == {"the gateway refused the client" if refused else OK: 1.0}


BEHIND = thing("Service", "s", ports=[{"name": "http", "port": 8080}])
SECURED = {"host": "a.lab", "port": 8443, "to": {"app": "s", "namespace": "echo", "port": 8080}}


def secured(*objects: dict[str, Any], certificate: bool = False) -> Expected:
    request = {**SECURED, "certificate": certificate}
    return ResponseCheck(SECURITY, security.handshaken, {"call": request}, namespace="echo").expect(objects).expected


def test_who_shows_a_certificate_is_welcome() -> None:
    assert secured(gateway("a", "MUTUAL"), BEHIND, routed(), certificate=True).shares == {"call": {OK: 1.0}}


def routed(host: str = "s", **more: Any) -> dict[str, Any]:
    """The rule behind the gateways."""
    route = {"route": [{"destination": {"host": host}}], **more}
    return thing("VirtualService", "v", hosts=["*"], gateways=["a", "b", "c"], http=[route])


def of_destination(**policy: Any) -> dict[str, Any]:
    return thing("DestinationRule", "d", host="s", trafficPolicy=policy)


@pytest.mark.parametrize(
    ("rules", "unknown"),
    [
        ([routed()], ""),
        ([routed(name="r", retries={"attempts": 1})], ""),
        ([routed(), of_destination(loadBalancer={"simple": "RANDOM"})], ""),
        ([routed("other"), thing("Service", "other", ports=[{"port": 8080}])], "VirtualService v: spec.http[0].route"),
        ([routed(redirect={"uri": "/x"})], "VirtualService v: spec.http[0].redirect"),
        ([routed(fault={"abort": {"httpStatus": 503, "percentage": {"value": 1}}})], "VirtualService v: spec.http[0].fault"),
        ([routed(rewrite={"uri": "/x"})], "VirtualService v: spec.http[0].rewrite"),
        ([routed(), of_destination(tls={"mode": "SIMPLE"})], "DestinationRule d: spec.trafficPolicy.tls.mode"),
        ([routed(), thing("DestinationRule", "d", ROOT, host="s.echo.svc.cluster.local", trafficPolicy={"new": 1})],
         "DestinationRule d: spec.trafficPolicy.new"),
    ],
)  # fmt: skip
def test_what_becomes_of_requests_behind_the_gateways_tls(rules: list[dict[str, Any]], unknown: str) -> None:
    found = secured(gateway("a", "SIMPLE"), BEHIND, *rules)
    assert found.broken == ()
    assert found.shares == ({} if unknown else {"call": {OK: 1.0}})
    assert not unknown or found.unknown["call"][0].startswith(unknown)
    # Whoever is refused sends no request.
    assert secured(gateway("a", "MUTUAL"), BEHIND, *rules).shares == {"call": {"the gateway refused the client": 1.0}}


def test_a_host_without_a_route_behind_the_gateways_tls_has_no_expectation() -> None:
    for rules in ([], [thing("VirtualService", "v", hosts=["b.lab"], gateways=["a"], http=[{}])]):
        assert secured(gateway("a", "SIMPLE"), BEHIND, *rules).broken == ("call: a.lab:8443 has no route for it",)


def test_a_host_that_no_gateway_serves_has_no_expectation() -> None:
    with pytest.raises(NoExpectationError, match=r"no Gateway serves b\.lab with TLS on port 8443"):
        security.handshaken([gateway("a", "SIMPLE")], {"host": "b.lab", "port": 8443, "certificate": False})


def test_names_of_fields_that_are_not_modelled() -> None:
    found = asked(ECHO, policy("a", "CUSTOM", **ANYBODY, provider={"name": "x"}))
    assert found.unknown == {"call": ("AuthorizationPolicy a: spec.action CUSTOM",)}
    assert asked(ECHO, policy("a", **UNSURE)).unknown == {
        "call": ("AuthorizationPolicy a: spec.rules[0].from[0].source.ipBlocks[0]",)
    }
    with pytest.raises(NotModelledError, match="AuthorizationPolicy a: it applies to the ingress gateway as well"):
        security.permitted([ECHO, policy("a", of=ROOT, **NOBODY)], CALL)


def pod(address: str, app: str = "client", of: str = "echo") -> dict[str, Any]:
    found = thing("Pod", f"{app}-{address}", of)
    found["metadata"]["labels"] = {"app": app}
    return found | {"status": {"phase": "Running", "podIPs": [{"ip": address}]}}


@pytest.mark.parametrize(
    ("source", "callers", "takes"),
    [
        ({"ipBlocks": ["10.1.2.3"]}, [pod("10.1.2.3")], True),
        ({"ipBlocks": ["10.1.2.4"]}, [pod("10.1.2.3")], False),
        ({"ipBlocks": ["10.1.2.4", "10.1.0.0/16"]}, [pod("10.1.2.3")], True),
        # Envoy looks past the bits of the host.
        ({"ipBlocks": ["10.1.9.9/16"]}, [pod("10.1.2.3")], True),
        ({"ipBlocks": ["fd00::/8"]}, [pod("10.1.2.3")], False),
        ({"ipBlocks": ["fd00::/8"]}, [pod("fd00::1")], True),
        ({"notIpBlocks": ["10.0.0.0/8"]}, [pod("10.1.2.3")], False),
        ({"ipBlocks": ["10.0.0.0/8"], "notIpBlocks": ["10.1.2.3"]}, [pod("10.1.2.3")], False),
        ({"ipBlocks": ["10.0.0.0/8"], "notIpBlocks": ["10.1.2.4"]}, [pod("10.1.2.3")], True),
        # Any of several pods may call; pods of others do not.
        ({"ipBlocks": ["10.0.0.0/8"]}, [pod("10.1.2.3"), pod("10.9.9.9")], True),
        ({"ipBlocks": ["10.1.0.0/16"]}, [pod("10.1.2.3"), pod("10.9.9.9")], None),
        ({"ipBlocks": ["10.1.0.0/16"]}, [pod("10.1.2.3"), pod("10.9.9.9", "auditor"), pod("10.9.9.9", of="other")], True),
        ({"ipBlocks": ["10.0.0.0/8"]}, [pod("10.1.2.3", "auditor")], None),
        ({"ipBlocks": ["10.0.0.0/33"]}, [pod("10.1.2.3")], None),
        # Nobody has an address of a network for documentation, unless it is known that somebody has.
        ({"ipBlocks": ["192.0.2.0/24"]}, [], False),
        ({"ipBlocks": ["192.0.2.0/24"]}, [pod("192.0.2.3")], True),
    ],
)
def test_networks_of_calling_pods(source: dict[str, Any], callers: list[dict[str, Any]], takes: bool | None) -> None:
    outcomes = {True: (OK, DENIED), False: (DENIED, OK), None: (None, None)}[takes]
    rules = [{"from": [{"source": source}]}]
    allow, deny = (outcome(ECHO, *callers, policy("a", action, rules=rules)) for action in ("ALLOW", "DENY"))
    assert (allow, deny) == outcomes


@pytest.mark.parametrize(
    ("source", "takes"),
    [
        ({"remoteIpBlocks": ["203.0.113.0/24"]}, False),
        ({"remoteIpBlocks": ["203.0.113.128/25", "192.0.2.1", "198.51.100.0/24", "2001:db8:1::/48"]}, False),
        ({"notRemoteIpBlocks": ["203.0.113.0/24"]}, True),
        # Somebody may have an address of these.
        ({"remoteIpBlocks": ["203.0.0.0/16"]}, None),
        ({"remoteIpBlocks": ["10.0.0.0/8"]}, None),
        ({"remoteIpBlocks": ["0.0.0.0/0"]}, None),
        ({"remoteIpBlocks": ["203.0.113.0/24", "10.0.0.0/8"]}, None),
    ],
)
def test_networks_of_clients_outside(source: dict[str, Any], takes: bool | None) -> None:
    rules = policy("a", rules=[{"from": [{"source": source}]}])
    assert outcome(ECHO, rules, client="outside") == {True: OK, False: DENIED, None: None}[takes]
    # A caller within the mesh may claim whatever address it likes.
    assert outcome(ECHO, rules) is None


def test_a_pod_with_another_address_is_another_generation_and_one_with_another_condition_is_not() -> None:
    ready, restarted = pod("10.1.2.3"), pod("10.1.2.3")
    restarted["metadata"] |= {"resourceVersion": "2", "generation": 2}
    restarted["status"] |= {"conditions": [{"type": "Ready", "status": "False"}]}
    moved = pod("10.1.2.4")
    rules = policy("a", **ANYBODY)
    assert generation([rules, ready]) == generation([rules, restarted])
    assert generation([rules, ready]) != generation([rules, moved])
    assert differences(generation([rules, ready]), generation([rules, moved])) == "the labels or addresses of pods"
    assert generation([ready]) == generation([moved]), "no rule can name its address"


ASK: dict[str, Any] = {"provider": {"name": "x"}}


@pytest.mark.parametrize(
    ("policies", "answers", "expected"),
    [
        ([policy("a", "CUSTOM", **ANYBODY, **ASK)], {"x": 200}, OK),
        ([policy("a", "CUSTOM", **ANYBODY, **ASK)], {"x": 401}, "HTTP 401"),
        ([policy("a", "CUSTOM", **ANYBODY, **ASK)], {"y": 200}, None),
        ([policy("a", "CUSTOM", **ANYBODY, **ASK)], {}, None),
        ([policy("a", "CUSTOM", **OTHERS, **ASK)], {"x": 401}, OK),
        ([policy("a", "CUSTOM", **UNSURE, **ASK)], {"x": 200}, None),
        # It is asked first, and cannot allow what other policies refuse.
        ([policy("a", "CUSTOM", **ANYBODY, **ASK), policy("b", "DENY", **ANYBODY)], {"x": 401}, "HTTP 401"),
        ([policy("a", "CUSTOM", **ANYBODY, **ASK), policy("b", "DENY", **ANYBODY)], {"x": 200}, DENIED),
        ([policy("a", "CUSTOM", **ANYBODY, **ASK), policy("b", **NOBODY)], {"x": 200}, DENIED),
        ([policy("a", "CUSTOM", **ANYBODY, **ASK), policy("b", **UNSURE)], {"x": 401}, "HTTP 401"),
        # Istio knows one authorizer for a workload.
        (
            [policy("a", "CUSTOM", **ANYBODY, **ASK), policy("b", "CUSTOM", **OTHERS, provider={"name": "y"})],
            {"x": 200, "y": 200}, None,
        ),
    ],
)  # fmt: skip
def test_authorizers(policies: list[dict[str, Any]], answers: dict[str, int], expected: str | None) -> None:
    assert outcome(ECHO, *policies, authorizers=answers) == expected


def test_an_authorizer_that_the_mesh_does_not_know_decides_nothing() -> None:
    rule = policy("a", "CUSTOM", **ANYBODY, **ASK)
    for name, expected in (("x", "HTTP 401"), ("y", None)):
        mesh = {
            "kind": "MeshConfig",
            "metadata": {"name": "istio", "uid": "m"},
            "spec": {"extensionProviders": [{"name": name}]},
        }
        assert outcome(ECHO, rule, mesh, authorizers={"x": 401}) == expected


def test_what_an_authorizer_of_the_gateway_decides_is_not_known() -> None:
    with pytest.raises(NotModelledError, match="AuthorizationPolicy a"):
        security.permitted([ECHO, policy("a", "CUSTOM", of=ROOT, **ANYBODY, **ASK)], {**CALL, "authorizers": {"x": 200}})


ENTRANCE = thing(
    "Gateway", "echo", selector={"istio": "ingressgateway"},
    servers=[{"port": {"number": 8080, "name": "http", "protocol": "HTTP"}, "hosts": ["*"]}],
)  # fmt: skip
FAULT = {"abort": {"httpStatus": 503, "percentage": {"value": 50}}}
TO_CLIENT = {"route": [{"destination": {"host": "client"}}]}
SERVED = [thing("Service", name, ports=[{"name": "http", "port": 8080}]) for name in ("client", "echo", "legacy")]
WITH_CLIENT = [ENTRANCE, *SERVED, deployment(), deployment("client")]


def entering(**route: Any) -> dict[str, Any]:
    """The rule by which requests get to the client."""
    return thing("VirtualService", "in", hosts=["client.lab.internal"], gateways=["echo"], http=[{**TO_CLIENT, **route}])


def to_client(**policy: Any) -> dict[str, Any]:
    return thing("DestinationRule", "d", host="client", trafficPolicy=policy)


@pytest.mark.parametrize(
    ("rules", "unknown"),
    [
        ([entering()], ""),
        ([entering(), to_client(loadBalancer={"simple": "RANDOM"})], ""),
        ([entering(fault=FAULT)], "VirtualService in: spec.http[0].fault"),
        ([entering(timeout="1s")], "VirtualService in: spec.http[0].timeout"),
        ([entering(route=[{"destination": {"host": "echo"}}])], "VirtualService in: spec.http[0].route"),
        ([entering(), to_client(connectionPool={"tcp": {"maxConnections": 1}})], "DestinationRule d: spec.trafficPolicy"),
        ([entering(), to_client(tls={"mode": "SIMPLE"})], "DestinationRule d: spec.trafficPolicy.tls.mode"),
        ([entering(), thing("DestinationRule", "d", ROOT, host="client.echo.svc.cluster.local", trafficPolicy={"new": 1})],
         "DestinationRule d: spec.trafficPolicy.new"),
        ([entering(), policy("p", "DENY", **pods(app="client"), rules=[{"to": [{"operation": {"paths": ["/call/*"]}}]}])],
         "AuthorizationPolicy p: spec: calls to client are refused"),
        ([entering(), policy("p", "DENY", **pods(app="client"), rules=[{"to": [{"operation": {"paths": ["/other"]}}]}])], ""),
        # A rule for all pods is one for whoever makes the call as well.
        ([entering(), policy("p", "ALLOW", rules=[{"from": [{"source": {"principals": [CLIENT]}}]}])],
         "AuthorizationPolicy p: spec: calls to client are refused"),
    ],
)  # fmt: skip
def test_the_way_to_whoever_makes_the_call(rules: list[dict[str, Any]], unknown: str) -> None:
    found = asked(*WITH_CLIENT, *rules, **through("client", "/call/echo/"))
    assert found.broken == ()
    assert found.shares == ({} if unknown else {"call": {OK: 1.0}})
    assert not unknown or found.unknown["call"][0].startswith(unknown)


def test_without_a_way_to_whoever_makes_the_call_there_is_no_expectation() -> None:
    assert asked(*WITH_CLIENT, **through("client", "/")).broken == ("call: client.lab.internal:8080 has no route for it",)


def test_policies_do_not_bind_a_pod_without_a_sidecar_that_makes_the_call() -> None:
    made = thing("VirtualService", "in", hosts=["legacy.lab.internal"], gateways=["echo"],
                 http=[{"route": [{"destination": {"host": "legacy"}}]}])  # fmt: skip
    there = [ENTRANCE, *SERVED, deployment(), made]
    denied = policy("p", "ALLOW", rules=[{"from": [{"source": {"principals": [CLIENT]}}]}])
    legacy = {"principal": "", "caller": {"app": "legacy"}, **through("legacy", "/call/echo/")}
    assert asked(*there, denied, **legacy).shares == {"call": {DENIED: 1.0}}
