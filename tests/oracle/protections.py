"""Generated rules about security and resilience for sample echo: the same ones each time, and what is asked under them."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from loadtests.clients.http import Fetch
from loadtests.clients.tokens import TokenFetch
from loadtests.entries import entry
from loadtests.entries.question import SECURITY, ResponseCheck
from loadtests.rules.security import permitted, token_accepted
from loadtests.samples.echo import CALLED, GATEWAY, called, principal

Rule = dict[str, Any]

SECURED, RETRIED, POOLED, EJECTED = 40, 16, 10, 6
"""Rounds of each sort; a round of security has RULES rules, the others one. Rounds of ejection fall together with others."""
RULES = 3
ISSUER, KEYS = "https://tokens.lab.internal", "http://keys.echo.svc.cluster.local:8080/jwks.json"
APPS = ("echo", "pool")
"""Workloads that are protected."""


KEY = "lab-tokens"
CALLERS = {"client": principal("client"), "auditor": principal("auditor"), "legacy": ""}
CALLS: tuple[tuple[str, str, dict[str, str]], ...] = (
    ("GET", "/books/1", {"x-user": "jane"}),
    ("POST", "/books/2/pages", {"x-user": "jason"}),
    ("GET", "/admin", {}),
)
ASKED = {
    f"{caller} {method} {app}{path}": (caller, app, method, path, headers)
    for caller in CALLERS for app in APPS for method, path, headers in CALLS
}  # fmt: skip
RIGHT = {"iss": ISSUER, "sub": "reader", "aud": "echo", "group": "readers"}
TOKENS = {
    "a token": TokenFetch(KEY, RIGHT),
    "no token": TokenFetch(KEY, None),
    "a forged token": TokenFetch(KEY, RIGHT, forged=True),
    "another group": TokenFetch(KEY, {**RIGHT, "group": "writers"}),
}
MADE = ResponseCheck(
    namespace="echo", kinds=SECURITY, expectation=permitted,
    classes={
        name: {
            **CALLED, "app": app, "principal": CALLERS[caller], "caller": {"app": caller}, "method": method, "uri": path,
            "authority": f"{app}:8080", "headers": headers,
        }
        for name, (caller, app, method, path, headers) in ASKED.items()
    },
)  # fmt: skip
BROUGHT = ResponseCheck(
    namespace="echo", kinds=("requestauthentications.security.istio.io", *SECURITY), expectation=token_accepted,
    classes={
        name: {
            **CALLED, "authority": "echo.lab.internal", "gateway": GATEWAY, "keys": KEYS, "claims": token.claims,
            "sound": not token.forged,
        }
        for name, token in TOKENS.items()
    },
)  # fmt: skip
LATER = ("taken back",)
"""Calls that are left out: they take half a minute."""
LEFT_OPEN = 0.05
"""Share of expectations that may be UNKNOWN."""


@dataclass(frozen=True)
class Round:
    """Rules that apply together, and the questions of the catalogue that they answer; none for security."""

    rules: Sequence[Rule]
    entries: tuple[str, ...] = ()


def rule(kind: str, name: str, spec: Rule, group: str = "security.istio.io/v1") -> Rule:
    """One object of namespace echo."""
    return {"apiVersion": group, "kind": kind, "metadata": {"name": name, "namespace": "echo"}, "spec": spec}


def some(rng: random.Random, fields: dict[str, Sequence[str]], most: int) -> dict[str, list[str]]:
    """A few of the fields, each with one or two of its values."""
    chosen = rng.sample(sorted(fields), rng.randint(1, most))
    return {name: rng.sample(fields[name], min(rng.choice((1, 1, 2)), len(fields[name]))) for name in chosen}


def selected(rng: random.Random) -> Rule:
    """For which pods a rule is; for all of the namespace now and then."""
    labels = rng.choice(
        ({"app": "echo"}, {"app": "echo"}, {"app": "pool"}, {"app": "pool"}, {"app": "echo", "version": "v1"}, {})
    )
    return {"selector": {"matchLabels": labels}} if labels else {}


CLIENT, AUDITOR = "cluster.local/ns/echo/sa/client", "cluster.local/ns/echo/sa/auditor"
SOURCES: dict[str, Sequence[str]] = {
    "principals": (CLIENT, AUDITOR, "cluster.local/ns/echo/*", "*/sa/auditor", "*", "cluster.local/ns/other/sa/client"),
    "notPrincipals": (CLIENT, "*/sa/auditor", "*"),
    "namespaces": ("echo", "ec*", "other", "istio-system"),
    "notNamespaces": ("echo", "other", "istio-system"),
    "serviceAccounts": ("client", "echo/auditor", "other/client"),
    "requestPrincipals": (f"{ISSUER}/reader", f"{ISSUER}/*", "*"),
    "notRequestPrincipals": ("*", f"{ISSUER}/writer"),
}
OPERATIONS: dict[str, Sequence[str]] = {
    "methods": ("GET", "POST", "G*"), "notMethods": ("GET", "DELETE"),
    "paths": ("/books/1", "/books/*", "*/pages", "/books/{*}", "/{**}/pages", "/admin", "*"),
    "notPaths": ("/admin", "/books/*", "/books/{*}"),
    "hosts": ("echo:8080", "pool*", "*:8080", "ECHO:8080", "echo"), "notHosts": ("echo:8080", "pool:8080"),
    "ports": ("8080", "9090"), "notPorts": ("8080", "9090"),
}  # fmt: skip
CONDITIONS: dict[str, Sequence[str]] = {
    "request.headers[x-user]": ("jane", "j*", "*", "jason"),
    "source.principal": (CLIENT, "*/sa/auditor"),
    "source.namespace": ("echo", "istio-system"),
    "destination.port": ("8080", "9090"),
    "request.auth.claims[group]": ("readers", "*"),
    "request.auth.audiences": ("echo",),
}


def source(rng: random.Random) -> dict[str, list[str]]:
    """Who calls; Istio refuses service accounts beside principals and namespaces."""
    found = some(rng, SOURCES, 2)
    beside = () if "serviceAccounts" not in found else ("principals", "notPrincipals", "namespaces", "notNamespaces")
    return {name: values for name, values in found.items() if name not in beside}


def authorization(rng: random.Random, name: str) -> Rule:
    """An AuthorizationPolicy with up to two rules of all that they may have."""
    rules = []
    for _ in range(rng.choice((0, 1, 1, 1, 1, 2))):
        one: dict[str, Any] = {}
        if rng.random() < 0.6:
            one["from"] = [{"source": source(rng)} for _ in range(rng.choice((1, 1, 2)))]
        if rng.random() < 0.6:
            one["to"] = [{"operation": some(rng, OPERATIONS, 2)} for _ in range(rng.choice((1, 1, 2)))]
        if rng.random() < 0.3:
            key, values = rng.choice(sorted(CONDITIONS.items()))
            one["when"] = [{"key": key, rng.choice(("values", "values", "notValues")): [rng.choice(values)]}]
        rules.append(one)
    action = rng.choice(("ALLOW", "ALLOW", "DENY", "DENY", "AUDIT"))
    # A DENY without rules is refused; one with an empty rule denies everything.
    return rule("AuthorizationPolicy", name, {**selected(rng), "action": action, "rules": rules or [{}] * (action != "ALLOW")})


def peer(rng: random.Random, name: str) -> Rule:
    """A PeerAuthentication, by port as well where it selects pods."""
    spec = selected(rng)
    spec["mtls"] = {"mode": rng.choice(("STRICT", "STRICT", "PERMISSIVE", "DISABLE", "UNSET"))}
    if "selector" in spec and rng.random() < 0.5:
        mode = rng.choice(("STRICT", "PERMISSIVE", "DISABLE", "UNSET"))
        spec["portLevelMtls"] = {rng.choice(("8080", "9090")): {"mode": mode}}
    return rule("PeerAuthentication", name, spec)


def token(rng: random.Random, name: str) -> Rule:
    """A RequestAuthentication of one or two issuers."""
    one: dict[str, Any] = {"issuer": ISSUER, "jwksUri": KEYS}
    one |= rng.choice(({}, {"audiences": ["echo"]}, {"audiences": ["pool"]}, {"fromParams": ["token"]}))
    return rule("RequestAuthentication", name, {"selector": {"matchLabels": {"app": "echo"}}, "jwtRules": [one]})


def tls(rng: random.Random, name: str) -> Rule:
    """A DestinationRule that says whether callers encrypt."""
    spec = {"host": rng.choice(APPS), "trafficPolicy": {"tls": {"mode": rng.choice(("DISABLE", "ISTIO_MUTUAL"))}}}
    return rule("DestinationRule", name, spec, "networking.istio.io/v1")


def retries(rng: random.Random) -> Rule:
    """Retries of calls to echo."""
    asked: dict[str, Any] = {"attempts": rng.randint(0, 4)}
    conditions = ("5xx", "gateway-error", "503", "connect-failure", "reset,5xx", "429,503", "retriable-4xx")
    # Without attempts, Istio refuses both.
    if asked["attempts"] and rng.random() < 0.7:
        asked["retryOn"] = rng.choice(conditions)
    if asked["attempts"] and rng.random() < 0.5:
        asked["perTryTimeout"] = rng.choice(("0.3s", "0.5s", "3s"))
    spec = {"hosts": ["echo"], "http": [{"retries": asked, "route": [{"destination": {"host": "echo"}}]}]}
    return rule("VirtualService", "echo", spec, "networking.istio.io/v1")


def pool(rng: random.Random) -> Rule:
    """A connection pool for calls to echo."""
    limits: dict[str, Any] = {}
    if rng.random() < 0.8:
        limits["tcp"] = {"maxConnections": rng.choice((1, 1, 1, 2))}
    if rng.random() < 0.8:
        waiting, requests = rng.choice((1, 2, 3, 4, 9, 20)), rng.choice((1, 10))
        limits["http"] = {"http1MaxPendingRequests": waiting, "maxRequestsPerConnection": requests}
    spec = {"host": "echo", "trafficPolicy": {"connectionPool": limits}}
    return rule("DestinationRule", "echo", spec, "networking.istio.io/v1")


def ejection(rng: random.Random) -> Rule:
    """Outlier detection among the pods of shaky, of which one always fails."""
    detection: dict[str, Any] = {"consecutive5xxErrors": rng.randint(2, 6), "interval": "1s", "baseEjectionTime": "30s"}
    if rng.random() < 0.8:
        detection["maxEjectionPercent"] = rng.choice((10, 49, 50, 100))
    policy = {"loadBalancer": {"simple": "ROUND_ROBIN"}, "outlierDetection": detection}
    return rule("DestinationRule", "shaky", {"host": "shaky", "trafficPolicy": policy}, "networking.istio.io/v1")


def rounds() -> Iterator[Round]:
    """All rounds, of security first."""
    rng = random.Random(19)
    kinds = (authorization, authorization, authorization, authorization, peer, peer, token, tls)
    for number in range(SECURED):
        yield Round([rng.choice(kinds)(rng, f"oracle-{number}-{part}") for part in range(RULES)])
    for number in range(RETRIED + POOLED):
        made, entry = (retries(rng), "retries") if number < RETRIED else (pool(rng), "circuit-breaker")
        if number < EJECTED:
            yield Round([made, ejection(rng)], (entry, "outlier-detection"))
        else:
            yield Round([made], (entry,))


def asked(one: Round) -> list[tuple[ResponseCheck, Mapping[str, Any]]]:
    """The questions of a round, each with its traffic."""
    if one.entries:
        found = [entry.load(name) for name in one.entries]
        return [
            (e.question, {n: t for n, t in e.traffic.items() if n not in LATER})
            for e in found
            if isinstance(e.question, ResponseCheck)
        ]
    calls = {
        name: Fetch(f"/call/{app}{path}", f"{caller}.lab.internal", method, headers, label=called)
        for name, (caller, app, method, path, headers) in ASKED.items()
    }
    return [(MADE, calls), (BROUGHT, TOKENS)]
