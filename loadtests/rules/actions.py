"""What a route does with the calls that it takes, part by part; what nobody asks for stays unread."""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from loadtests.rules import hosts
from loadtests.rules.calls import Call, DirectResponse, Fault, Mesh, Redirect, Retries, Rewrite
from loadtests.rules.expectations import NoExpectationError, NotModelledError
from loadtests.rules.layers import Layers, Part
from loadtests.rules.view import View

UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
RETRY_ON = ("connect-failure", "refused-stream", "unavailable", "cancelled", "retriable-status-codes")
"""What is tried again where a rule does not say."""
ATTEMPTS = 2
"""Attempts after the first one where a route says nothing about retries."""
STATUSES = frozenset(str(int(status)) for status in HTTPStatus)
WELL_KNOWN = {"http": 80, "https": 443}


def seconds(duration: str) -> float:
    """``1.5s``, ``250ms``, ``1m30s`` in seconds."""
    return sum(float(number) * UNITS[unit] for number, unit in re.findall(r"([0-9.]+)(ns|us|µs|ms|s|m|h)", duration))


def percentage(rule: Mapping[str, Any], field: str = "percentage", otherwise: float = 0.0) -> float:
    """Share of requests that a fault or a mirror takes, to a millionth; 0 where the field is set without a value.

    :param otherwise: where the field is not set: a fault hits nobody then, a mirror takes all requests
    """
    if field not in rule:
        return otherwise
    return int(float((rule[field] or {}).get("value", 0)) * 10_000) / 1_000_000


def timeout_of(route: Layers) -> float | None:
    """Seconds that a call may take; None if no limit is set."""
    return seconds(route.get("timeout", "")) or None


def retries_of(route: Layers | None, mesh: Mesh) -> Retries:
    """What is tried again; where there is no rule, or it does not say: what the mesh says, or Istio's own retries."""
    given = mesh.retries
    if route is not None and "retries" in route:
        if given is not None:
            given.accept_all()
        given = route["retries"]
    if given is None:
        return Retries(ATTEMPTS, None, RETRY_ON)
    # They say when, and by which pod, something is tried again, not what.
    given.accept("backoff", "retryRemoteLocalities", "retryIgnorePreviousHosts")
    attempts, text = int(given.get("attempts", 0)), str(given.get("retryOn", ""))
    per_try = seconds(given.get("perTryTimeout", "")) or None
    if attempts <= 0:
        return Retries(0)
    named = [name for part in text.split(",") if (name := part.strip())]
    codes = [name for name in named if name in STATUSES]
    conditions = [name for name in named if name not in codes]
    if codes and "retriable-status-codes" not in conditions:
        conditions.append("retriable-status-codes")
    return Retries(attempts, per_try, (*conditions, *codes) if text else RETRY_ON)


def fault_of(route: Layers) -> Fault | None:
    """The injected faults of a route; None if there are none."""
    if "fault" not in route:
        return None
    delay, abort = route["fault"].get("delay", {}), route["fault"].get("abort", {})
    late = seconds(delay.get("fixedDelay", ""))
    hit = percentage(delay, otherwise=int(delay.get("percent", 0)) / 100)
    status, code = abort.get("httpStatus"), abort.get("grpcStatus")
    if not late and status is None and code is None:
        return None
    return Fault(
        delay=late,
        delay_share=hit if late else 0.0,
        http_status=None if status is None else int(status),
        grpc_status=code,
        abort_share=percentage(abort),
    )


def matched_prefix(condition: Layers | None, call: Call) -> str:
    """The part of the path that a rewritten one replaces: the prefix that matched, or all of it."""
    uri = condition.get("uri") if condition is not None else None
    if not uri:
        return "/"
    return call.uri[: len(uri["prefix"])] if "prefix" in uri else call.uri


def redirect_of(route: Layers, condition: Layers | None, call: Call) -> Redirect | None:
    """Where a route redirects to; None if it does not."""
    if "redirect" not in route:
        return None
    to = route["redirect"]
    path, prefix = to.get("uri") or None, to.get("prefixRewrite")
    if prefix:
        path = prefix + call.uri.removeprefix(matched_prefix(condition, call))
    port = to.get("port") or (call.port if to.get("derivePort") == "FROM_REQUEST_PORT" else None)
    scheme = to.get("scheme") or None
    if port == WELL_KNOWN.get(scheme or call.scheme):
        port = None
    return Redirect(int(to.get("redirectCode", 301)), to.get("authority") or None, path, scheme, port)


def direct_response_of(route: Layers) -> DirectResponse | None:
    """What a route answers itself; None if it does not."""
    if "directResponse" not in route:
        return None
    answer = route["directResponse"]
    body = answer.get("body", {})
    return DirectResponse(
        int(answer["status"]), body.get("string") or b64decode(body.get("bytes", "")).decode(errors="replace")
    )


def read_headers(headers: Mapping[str, Any]) -> str | None:
    """Read changes to headers, in either direction.

    :return: the authority that they set, if they do
    """
    authority = None
    for direction in ("request", "response"):
        changes = headers.get(direction, {})
        for change in ("add", "set"):
            for name in changes.get(change, {}):
                value = changes[change][name]
                if direction == "request" and name.lower() in (":authority", "host"):
                    authority = value
        changes.get("remove")
    return authority


def rewrite_of(route: Layers, condition: Layers | None, call: Call) -> Rewrite | None:
    """What a route replaces before it sends a request on; None if nothing.

    :raises NotModelledError: if the authority depends on the destination
    """
    authority = read_headers(route.get("headers", {}))
    destinations = route.get("route", [])
    for number, one in enumerate(destinations):
        own = read_headers(one.get("headers", {}))
        if own is not None and len(destinations) > 1:
            raise NotModelledError(f"{route.path_of('route')}[{number}].headers.request")
        authority = authority or own
    change = route.get("rewrite", {})
    authority, uri = change.get("authority") or authority, None
    if expression := change.get("uriRegexRewrite"):
        replacement = str(expression.get("rewrite", "")).replace("\\0", "\\g<0>")
        try:
            uri = re.sub(expression.get("match", ""), replacement, call.uri, flags=re.ASCII)
        except re.error as error:
            raise NoExpectationError(f"{expression['match']} is no regular expression: {error}") from error
    elif new := change.get("uri"):
        uri = new + call.uri.removeprefix(matched_prefix(condition, call))
    return Rewrite(authority, uri) if authority is not None or uri is not None else None


@dataclass(frozen=True)
class Leg:
    """One destination of a route.

    :param written: the host as the rule writes it
    :param host: in full
    :param port: None if the rule does not say
    :param share: fraction of 1
    :param origin: how messages name it
    """

    written: str
    host: str
    subset: str
    port: int | None
    share: float
    origin: str


def _leg(destination: View, share: float, part: Part, domain: str) -> Leg:
    port, written = destination.get("port", {}).get("number"), str(destination["host"])
    host = hosts.long_name(written, part.namespace, domain).lower()
    return Leg(written, host, str(destination.get("subset", "")), None if port is None else int(port), share, part.title)


def legs_of(route: Layers, domain: str) -> list[Leg]:
    """The destinations of a route: the share of each is its weight, of the sum of all.

    :raises NoExpectationError: if the weights sum to 0
    """
    destinations: Sequence[View] = route.get("route", [])
    weights = [int(one.get("weight", 0)) for one in destinations]
    weights = [1] if len(weights) == 1 else weights  # a lone destination has everything
    total = sum(weights)
    if destinations and not total:
        raise NoExpectationError(f"{route.path_of('route')}: weights sum to 0")
    part = route.part_of("route")
    return [_leg(one["destination"], w / total, part, domain) for one, w in zip(destinations, weights, strict=True)]


def mirrors_of(route: Layers, domain: str) -> list[Leg]:
    """The mirrors of a route that take any request; one without a percentage takes them all."""
    found = []
    if "mirror" in route:
        share = percentage(route, "mirrorPercentage", int(route.get("mirrorPercent", 100)) / 100)
        found.append(_leg(route["mirror"], share, route.part_of("mirror"), domain))
    for mirror in route.get("mirrors", []):
        share = percentage(mirror, otherwise=1.0)
        found.append(_leg(mirror["destination"], share, route.part_of("mirrors"), domain))
    return [one for one in found if one.share > 0]
