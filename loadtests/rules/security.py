"""What security rules promise for one call, outcome by outcome: pure functions for ``question.Contract``."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

from loadtests.rules.declared import BrokenPromiseError, NotModelledError, Objects, Shares, views_of
from loadtests.rules.promises import Request, named
from loadtests.rules.view import View, one_holds

TRUST_DOMAIN = "cluster.local"
REFUSED = "refused"
"""No answer: the connection was closed."""


def pattern_holds(pattern: str, value: str) -> bool:
    """One value of an AuthorizationPolicy: exact, ``prefix*``, ``*suffix`` or ``*``, which asks for any value but none."""
    if pattern == "*":
        return bool(value)
    if pattern.endswith("*"):
        return value.startswith(pattern[:-1])
    return value.endswith(pattern[1:]) if pattern.startswith("*") else value == pattern


def path_holds(pattern: str, path: str) -> bool:
    """One path of an AuthorizationPolicy; in a template ``{*}`` is one segment and ``{**}`` any number of them."""
    if "{" not in pattern:
        return pattern_holds(pattern, path)
    parts = {"{*}": "[^/]+", "{**}": ".*"}
    template = "".join(parts.get(part, re.escape(part)) for part in re.split(r"(\{\*\*?\})", pattern))
    return re.fullmatch(template, path) is not None


def _listed(part: View, name: str, value: str | None, holds: Callable[[str, str], bool] = pattern_holds) -> bool:
    """Whether a list and its negation (``paths``, ``notPaths``) hold for a value; a list that is not there asks for nothing.

    :param value: None where the request does not tell: the lists then stay unread
    """
    if value is None:
        return True
    negated = f"not{name[0].upper()}{name[1:]}"
    wanted, unwanted = part.get(name), part.get(negated)
    asked = wanted is None or any(holds(p, value) for p in wanted)
    return asked and not any(holds(p, value) for p in unwanted or ())


def request_principal(claims: Mapping[str, str] | None) -> str:
    """``issuer/subject`` of a token that was accepted; empty unless it has both."""
    claims = claims or {}
    return f"{claims['iss']}/{claims['sub']}" if claims.get("iss") and claims.get("sub") else ""


def _comes(source: View, request: Request) -> bool:
    principal = request["principal"]
    # A caller without a certificate is of no namespace; nor is a request without a token of a principal.
    namespace = principal.split("/")[2] if principal else ""
    lists = [
        _listed(source, "principals", principal),
        _listed(source, "namespaces", namespace),
        _listed(source, "requestPrincipals", request_principal(request.get("claims"))),
    ]
    return all(lists)


def _does(operation: View, request: Request) -> bool:
    lists = [
        _listed(operation, "methods", request["method"]),
        _listed(operation, "paths", request["uri"], path_holds),
        _listed(operation, "hosts", request.get("authority")),
    ]
    return all(lists)


def _when(condition: View, request: Request) -> bool:
    """One ``when``; a key that the request does not tell is left unread."""
    key = condition["key"]
    claim = re.fullmatch(r"request\.auth\.claims\[([^\]]+)\]", key)
    known: dict[str, str] = {
        "source.principal": request["principal"],
        "request.auth.principal": request_principal(request.get("claims")),
    }
    if claim:
        known[key] = (request.get("claims") or {}).get(claim[1], "")
    return _listed(condition, "values", known.get(key))


def rule_holds(rule: View, request: Request) -> bool:
    """Whether one rule of an AuthorizationPolicy takes the call.

    :param request: ``principal`` ('' for a caller without a certificate), ``method``, ``uri``, and ``claims`` of an accepted
        token
    """
    sources, operations = [s["source"] for s in rule.get("from", [])], [o["operation"] for o in rule.get("to", [])]
    comes = not sources or one_holds(sources, lambda source: _comes(source, request))
    does = not operations or one_holds(operations, lambda operation: _does(operation, request))
    conditions = [_when(condition, request) for condition in rule.get("when", [])]
    if comes and does and all(conditions):
        return True
    rule.accept()
    return False


def bound(objects: Objects, kind: str, app: str) -> list[View]:
    """Specs of the objects of a kind that stand for the pods with label ``app``: by that label, or for the whole namespace.

    :raises NotModelledError: if one is bound in another way
    """
    found = []
    for one in views_of(objects, kind):
        spec = one.get("spec", {})
        if not isinstance(spec, View):
            found.append(View(spec or {}))
            continue
        labels = dict(spec.get("selector", {}).get("matchLabels", {}))
        if labels.get("app", app) != app:
            spec.accept()
            continue
        strange = [name for name in labels if name != "app"]
        if strange or "targetRef" in spec or "targetRefs" in spec:
            how = f"selector.matchLabels.{strange[0]}" if strange else "targetRefs"
            raise NotModelledError(f"{kind} {one['metadata']['name']}: spec.{how}")
        found.append(spec)
    return found


def permitted(objects: Objects, request: Request) -> Shares:
    """What all AuthorizationPolicies of a namespace together say of a call to the pods with label ``app``.

    A DENY that takes the call outweighs everything; where any ALLOW stands for the pods, one must take it.

    :raises NotModelledError: if a CUSTOM action takes the call, for an authorizer of somebody's own decides then
    """
    return decided(bound(objects, "AuthorizationPolicy", request["app"]), request)


def decided(specs: Sequence[View], request: Request) -> Shares:
    """What AuthorizationPolicies that stand for the pods say of a call."""
    taken: dict[str, bool] = {}
    for spec in specs:
        action = spec.get("action", "ALLOW")
        held = [rule_holds(rule, request) for rule in spec.get("rules", [])]
        taken[action] = taken.get(action, False) or any(held)
    if taken.get("CUSTOM"):
        raise NotModelledError("AuthorizationPolicy: spec.action CUSTOM")
    allowed = not taken.get("DENY", False) and taken.get("ALLOW", True)
    return {"HTTP 200" if allowed else "HTTP 403": 1.0}


def authorized(objects: Objects, request: Request) -> Shares:
    """One AuthorizationPolicy's decision for a caller (``principal``, ``method``, ``uri``): 200 or 403."""
    spec = named(objects, "AuthorizationPolicy", request["policy"])
    spec.accept("selector")
    return decided([spec], request)


def mtls_mode(objects: Objects, request: Request) -> str:
    """The mode of the request's PeerAuthentication."""
    spec = named(objects, "PeerAuthentication", request["peer_authentication"])
    spec.accept("selector")
    return str(spec.get("mtls", {}).get("mode", "PERMISSIVE"))


def encrypted(objects: Objects, request: Request) -> Shares:
    """A PeerAuthentication's mode for a caller with or without a ``sidecar``: an answer, or a closed connection."""
    welcome = {"STRICT": request["sidecar"], "DISABLE": not request["sidecar"]}.get(mtls_mode(objects, request), True)
    return {"HTTP 200" if welcome else REFUSED: 1.0}


def identified(objects: Objects, request: Request) -> Shares:
    """The SPIFFE name of a Deployment's pods, which a callee is told where mTLS is strict.

    :raises BrokenPromiseError: if the mode does not ask callers for certificates
    """
    mode = mtls_mode(objects, request)
    if mode != "STRICT":
        raise BrokenPromiseError(f"PeerAuthentication {request['peer_authentication']}: {mode} asks nobody for a certificate")
    account = named(objects, "Deployment", request["deployment"])["template"]["spec"].get("serviceAccountName", "default")
    return {f"spiffe://{TRUST_DOMAIN}/ns/{request['namespace']}/sa/{account}": 1.0}


def handshaken(objects: Objects, request: Request) -> Shares:
    """A gateway's TLS for a client with or without a ``certificate``: an answer, or a refusal.

    :raises NotModelledError: if the gateway has several servers
    """
    spec = named(objects, "Gateway", request["gateway"])
    spec.accept("selector")
    if len(spec["servers"]) != 1:
        raise NotModelledError(f"Gateway {request['gateway']}: spec.servers")
    server = spec["servers"][0]
    server.accept("port", "hosts", "name")
    server["tls"].accept("credentialName")
    mode = server["tls"]["mode"]
    welcome = request["certificate"] or mode != "MUTUAL"
    return {"HTTP 200" if welcome else "the gateway refused the client": 1.0}


def token_status(objects: Objects, request: Request) -> int:
    """What a RequestAuthentication makes of a token, before anybody asks what it may: 200, 401 or 403.

    A request without a token is taken, as of nobody. A token of the right issuer for others than its audiences is 403.

    :param request: ``claims`` of the token, None for no token; ``sound``: signed by the right key and not expired
    """
    spec, claims = named(objects, "RequestAuthentication", request["request_authentication"]), request["claims"]
    spec.accept("selector")
    found = []
    for rule in spec.get("jwtRules", []):
        rule.accept("jwksUri", "jwks")
        found.append((rule["issuer"], rule.get("audiences")))
    if claims is None or not found:
        return 200
    audiences = [allowed for issuer, allowed in found if issuer == claims["iss"]]
    if not audiences or not request["sound"]:
        return 401
    return 200 if any(allowed is None or claims["aud"] in allowed for allowed in audiences) else 403


def token_accepted(objects: Objects, request: Request) -> Shares:
    """A RequestAuthentication, and then an AuthorizationPolicy where one is in force, for a call with a token."""
    status = token_status(objects, request)
    if status != 200:
        return {f"HTTP {status}": 1.0}
    called = {**request, "principal": "", "method": "GET", "uri": "/"}
    policies = views_of(objects, "AuthorizationPolicy")
    return authorized(policies, called) if policies else {"HTTP 200": 1.0}
