"""What security rules promise for one call, outcome by outcome: pure functions for ``question.Contract``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from loadtests.rules.declared import BrokenPromiseError, Objects, of_kind
from loadtests.rules.promises import Request, Shares, named

TRUST_DOMAIN = "cluster.local"
REFUSED = "refused"
"""No answer: the connection was closed."""


def _field(patterns: Sequence[str] | None, value: str) -> bool:
    """One list of an AuthorizationPolicy: exact, prefix*, *suffix or * patterns; no list asks for nothing."""

    def one(pattern: str) -> bool:
        if pattern == "*":
            return bool(value)
        if pattern.endswith("*"):
            return value.startswith(pattern[:-1])
        return value.endswith(pattern[1:]) if pattern.startswith("*") else value == pattern

    return patterns is None or any(one(p) for p in patterns)


def _rule(rule: Mapping[str, Any], request: Request) -> bool:
    """Whether one rule takes the call; a principal of '' is a caller without a certificate, of no namespace."""
    sources = [s["source"] for s in rule.get("from", [])]
    operations = [o["operation"] for o in rule.get("to", [])]
    principal = request["principal"]
    namespace = principal.split("/")[2] if principal else ""
    comes = not sources or any(
        _field(s.get("principals"), principal) and _field(s.get("namespaces"), namespace) for s in sources
    )
    does = not operations or any(
        _field(o.get("methods"), request["method"]) and _field(o.get("paths"), request["uri"]) for o in operations
    )
    return comes and does


def authorized(objects: Objects, request: Request) -> Shares:
    """One AuthorizationPolicy's decision for a caller (``principal``, ``method``, ``uri``): 200 or 403."""
    spec = named(objects, "AuthorizationPolicy", request["policy"])
    taken = any(_rule(rule, request) for rule in spec.get("rules", []))
    allowed = taken if spec.get("action", "ALLOW") == "ALLOW" else not taken
    return {"HTTP 200" if allowed else "HTTP 403": 1.0}


def permitted(objects: Objects, request: Request) -> Shares:
    """What all AuthorizationPolicies together say of a call to the pods with label ``app``.

    A DENY that takes the call outweighs everything; where any ALLOW stands for the pods, one must take it.
    """
    bound = [
        policy["spec"]
        for policy in of_kind(objects, "AuthorizationPolicy")
        if policy["spec"].get("selector", {}).get("matchLabels", {}).items() <= {"app": request["app"]}.items()
    ]

    def taken(action: str) -> bool:
        specs = [spec for spec in bound if spec.get("action", "ALLOW") == action]
        return any(_rule(rule, request) for spec in specs for rule in spec.get("rules", []))

    guarded = any(spec.get("action", "ALLOW") == "ALLOW" for spec in bound)
    allowed = not taken("DENY") and (taken("ALLOW") or not guarded)
    return {"HTTP 200" if allowed else "HTTP 403": 1.0}


def encrypted(objects: Objects, request: Request) -> Shares:
    """A PeerAuthentication's mode for a caller with or without a ``sidecar``: an answer, or a closed connection."""
    mode = named(objects, "PeerAuthentication", request["peer_authentication"]).get("mtls", {}).get("mode", "PERMISSIVE")
    welcome = {"STRICT": request["sidecar"], "DISABLE": not request["sidecar"]}.get(mode, True)
    return {"HTTP 200" if welcome else REFUSED: 1.0}


def identified(objects: Objects, request: Request) -> Shares:
    """The SPIFFE name of a Deployment's pods, which a callee is told where mTLS is strict.

    :raises BrokenPromiseError: if the mode does not ask callers for certificates
    """
    mode = named(objects, "PeerAuthentication", request["peer_authentication"]).get("mtls", {}).get("mode", "PERMISSIVE")
    if mode != "STRICT":
        raise BrokenPromiseError(f"PeerAuthentication {request['peer_authentication']}: {mode} asks nobody for a certificate")
    account = named(objects, "Deployment", request["deployment"])["template"]["spec"].get("serviceAccountName", "default")
    return {f"spiffe://{TRUST_DOMAIN}/ns/{request['namespace']}/sa/{account}": 1.0}


def handshaken(objects: Objects, request: Request) -> Shares:
    """A gateway's TLS for a client with or without a ``certificate``: an answer, or a refusal."""
    (server,) = named(objects, "Gateway", request["gateway"])["servers"]
    welcome = request["certificate"] or server["tls"]["mode"] != "MUTUAL"
    return {"HTTP 200" if welcome else "the gateway refused the client": 1.0}


def token_accepted(objects: Objects, request: Request) -> Shares:
    """A RequestAuthentication and an AuthorizationPolicy for a token.

    :param request: ``claims`` of the token, None for no token; ``sound``: signed by the right key and not expired
    """
    (rule,) = named(objects, "RequestAuthentication", request["request_authentication"])["jwtRules"]
    claims = request["claims"]
    if claims is not None:
        if not request["sound"] or claims["iss"] != rule["issuer"]:
            return {"HTTP 401": 1.0}
        if "audiences" in rule and claims["aud"] not in rule["audiences"]:
            return {"HTTP 403": 1.0}
    spec = named(objects, "AuthorizationPolicy", request["policy"])
    principal = f"{claims['iss']}/{claims['sub']}" if claims else ""

    def takes(policy_rule: Mapping[str, Any]) -> bool:
        sources = [s["source"] for s in policy_rule.get("from", [])]
        wanted = {c["key"]: c["values"] for c in policy_rule.get("when", [])}
        known = {f"request.auth.claims[{name}]": value for name, value in (claims or {}).items()}
        comes = not sources or any(_field(s.get("requestPrincipals"), principal) for s in sources)
        return comes and all(_field(values, known.get(key, "")) for key, values in wanted.items())

    return {"HTTP 200" if any(takes(r) for r in spec.get("rules", [])) else "HTTP 403": 1.0}
