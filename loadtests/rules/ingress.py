"""What Kubernetes' own ways in promise for one request, outcome by outcome: pure functions for ``question.Contract``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from loadtests.rules.declared import Objects
from loadtests.rules.precheck import serves
from loadtests.rules.promises import Request, Shares, named

TAKEN: Shares = {"HTTP 200": 1.0}
NOT_TAKEN: Shares = {"HTTP 404": 1.0}


def below(prefix: str, uri: str) -> bool:
    """Whether a path is ``prefix`` or lies below it; prefixes end at a slash: /a takes /a/b, not /ab."""
    return uri == prefix.rstrip("/") or uri.startswith(prefix.rstrip("/") + "/")


def _path(kind: str, value: str, uri: str) -> bool:
    if kind == "RegularExpression":
        return re.fullmatch(value, uri) is not None
    return uri == value if kind == "Exact" else below(value, uri)


def _http_match(match: Mapping[str, Any], request: Request) -> bool:
    path = match.get("path", {"type": "PathPrefix", "value": "/"})
    headers = {name.lower(): value for name, value in request.get("headers", {}).items()}
    wanted = all(headers.get(h["name"].lower()) == h["value"] for h in match.get("headers", []))
    return wanted and match.get("method", request["method"]) == request["method"] and _path(
        path["type"], path["value"], request["uri"]
    )  # fmt: skip


def http_routed(objects: Objects, request: Request) -> Shares:
    """An HTTPRoute for a host, path and method: an answer from behind it, or the gateway's 404."""
    spec = named(objects, "HTTPRoute", request["route"])
    hosts = spec.get("hostnames", ["*"])
    rules = [rule.get("matches", [{}]) for rule in spec.get("rules", [])]
    taken = any(serves(h, request["authority"]) for h in hosts)
    return TAKEN if taken and any(_http_match(m, request) for matches in rules for m in matches) else NOT_TAKEN


def ingress_routed(objects: Objects, request: Request) -> Shares:
    """An Ingress for a host and path: an answer from behind it, or the gateway's 404."""
    rules = named(objects, "Ingress", request["ingress"]).get("rules", [])
    paths = [p for rule in rules if serves(rule.get("host", "*"), request["authority"]) for p in rule["http"]["paths"]]
    return TAKEN if any(_path(p["pathType"], p["path"], request["uri"]) for p in paths) else NOT_TAKEN
