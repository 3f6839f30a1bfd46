"""What Kubernetes' own ways in promise for one request, outcome by outcome: pure functions for ``question.Contract``."""

from __future__ import annotations

import re
from collections.abc import Mapping

from loadtests.rules.declared import NotModelledError, Objects, Shares
from loadtests.rules.promises import Request, named, serves
from loadtests.rules.view import View, one_holds

TAKEN: Shares = {"HTTP 200": 1.0}
NOT_TAKEN: Shares = {"HTTP 404": 1.0}


def below(prefix: str, uri: str) -> bool:
    """Whether a path is ``prefix`` or lies below it; prefixes end at a slash: /a takes /a/b, not /ab."""
    return uri == prefix.rstrip("/") or uri.startswith(prefix.rstrip("/") + "/")


def _path(kind: str, value: str, uri: str) -> bool:
    if kind == "RegularExpression":
        return re.fullmatch(value, uri) is not None
    return uri == value if kind == "Exact" else below(value, uri)


def ingress_path(path: Mapping[str, str], uri: str) -> bool:
    """One path of an Ingress, as Istio reads it: of its own kind (ImplementationSpecific), all is exact but ``/*`` and ``.*``.

    A path that is left out takes everything.
    """
    kind, value = path["pathType"], path.get("path", "")
    if not value:
        return True
    if kind == "ImplementationSpecific":
        prefix = value.removesuffix(".*") if value.endswith(".*") else value.removesuffix("*") if value.endswith("/*") else ""
        return uri.startswith(prefix) if prefix else uri == value
    return _path(kind, value, uri)


def _http_match(match: View, request: Request) -> bool:
    path = match.get("path", {"type": "PathPrefix", "value": "/"})
    headers = {name.lower(): value for name, value in request.get("headers", {}).items()}
    wanted = [
        headers.get(h["name"].lower()) == h["value"] for h in match.get("headers", []) if h.get("type", "Exact") == "Exact"
    ]
    parts = [*wanted, match.get("method", request["method"]) == request["method"]]
    return all([*parts, _path(path.get("type", "PathPrefix"), path.get("value", "/"), request["uri"])])


def _taken(rule: View, request: Request) -> bool:
    """Whether a rule of an HTTPRoute takes the request; of one that does not, nothing has a bearing."""
    matches = rule.get("matches", [])
    if matches and not one_holds(matches, lambda match: _http_match(match, request)):
        rule.accept()
        return False
    for backend in rule.get("backendRefs", []):
        backend.accept("name", "port", "weight", "kind", "group")
    rule.accept("name")
    return True


def http_routed(objects: Objects, request: Request) -> Shares:
    """An HTTPRoute for a host, path and method: an answer from behind it, or the gateway's 404."""
    spec = named(objects, "HTTPRoute", request["route"])
    spec.accept("parentRefs")
    if not any(serves(h, request["authority"]) for h in spec.get("hostnames", ["*"])):
        spec.accept()
        return NOT_TAKEN
    spec.accept("hostnames")
    chosen = None
    for rule in spec.get("rules", []):
        if chosen is not None:
            rule.accept()
        elif _taken(rule, request):
            chosen = rule
    return TAKEN if chosen is not None else NOT_TAKEN


def ingress_routed(objects: Objects, request: Request) -> Shares:
    """An Ingress for a host and path: an answer from behind it, or the gateway's 404.

    :raises NotModelledError: if something is taken that no rule names, or TLS is asked for
    """
    spec = named(objects, "Ingress", request["ingress"])
    spec.accept("ingressClassName")
    for name in ("defaultBackend", "tls"):
        if name in spec:
            raise NotModelledError(f"Ingress {request['ingress']}: {spec.path_of(name)}")
    taken = False
    for rule in spec.get("rules", []):
        hosts = serves(rule.get("host", "*"), request["authority"])
        for path in rule.get("http", {}).get("paths", []):
            path.accept("backend")
            taken = (ingress_path(path, request["uri"]) and hosts) or taken
    return TAKEN if taken else NOT_TAKEN
