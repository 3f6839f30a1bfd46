"""What routing rules promise for one request, outcome by outcome: pure functions for ``question.Contract``.

Each takes the objects that are in force and one request as the rules see it, and returns the share of every outcome, as
``clients.http.Fetch`` words it. The request names the rule that is judged; its numbers are read from the object.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from loadtests.rules.declared import BrokenPromiseError, Objects, of_kind, route_for, shares_of, string_match, weights

Request = Mapping[str, Any]
Shares = dict[str, float]
UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def named(objects: Objects, kind: str, name: str) -> Mapping[str, Any]:
    """The spec of one object.

    :raises BrokenPromiseError: if it is not in force
    """
    found = next((o for o in of_kind(objects, kind) if o["metadata"]["name"] == name), None)
    if found is None:
        raise BrokenPromiseError(f"no {kind} {name} is in force")
    return dict(found["spec"])


def route(objects: Objects, request: Request) -> Mapping[str, Any]:
    """The route of the request's VirtualService that takes it.

    :raises BrokenPromiseError: if the rule is not there, or has no route for it
    """
    name = request["virtual_service"]
    taken = route_for(named(objects, "VirtualService", name).get("http", []), request)
    if taken is None:
        raise BrokenPromiseError(f"VirtualService {name} has no route for it")
    return taken


def seconds(duration: str) -> float:
    """``1.5s``, ``250ms``, ``1m30s`` in seconds."""
    return sum(float(number) * UNITS[unit] for number, unit in re.findall(r"([0-9.]+)(ms|s|m|h)", duration))


def percentage(rule: Mapping[str, Any], field: str = "percentage") -> float:
    """Share of requests that a fault or a mirror takes; all of them when it does not say."""
    return float(rule.get(field, {}).get("value", 100)) / 100


def only(shares: Shares) -> Shares:
    """Without outcomes of no share."""
    return {outcome: share for outcome, share in shares.items() if share > 0}


def answered(objects: Objects, request: Request) -> Shares:
    """A gateway's own answers (redirect, direct response), and 200 from behind it."""
    taken = route(objects, request)
    if "redirect" in taken:
        to = taken["redirect"]
        target = f"http://{to.get('authority', request['authority'])}{to.get('uri', request['uri'])}"
        return {f"HTTP {to.get('redirectCode', 301)} to {target}": 1.0}
    if "directResponse" in taken:
        return {f"HTTP {taken['directResponse']['status']}": 1.0}
    return {"HTTP 200": 1.0}


def aborted(objects: Objects, request: Request) -> Shares:
    """Injected aborts: their status for their percentage of requests, 200 for the others."""
    abort = route(objects, request).get("fault", {}).get("abort")
    hit = percentage(abort) if abort else 0.0
    return only({f"HTTP {abort['httpStatus'] if abort else 500}": hit, "HTTP 200": 1 - hit})


def delayed(objects: Objects, request: Request) -> Shares:
    """Injected delays: 200 after the delay for its percentage of requests, at once for the others."""
    delay = route(objects, request).get("fault", {}).get("delay")
    hit = percentage(delay) if delay else 0.0
    late = seconds(delay["fixedDelay"]) if delay else 1.0
    return only({f"HTTP 200 after {late:.0f} s": hit, "HTTP 200 after 0 s": 1 - hit})


def page_delayed(objects: Objects, request: Request) -> Shares:
    """A delay in front of ratings, as Bookinfo's page shows it: who on the way gives up first, and after how long.

    :param request: ``reviews_seconds``: time-out of reviews for ratings; ``page_seconds``: time-out of productpage for
        reviews, which it asks ``page_attempts`` times
    """
    wait = seconds(route(objects, request).get("fault", {}).get("delay", {}).get("fixedDelay", "0s"))
    if min(wait, request["reviews_seconds"]) > request["page_seconds"]:
        return {f"no reviews after {request['page_seconds'] * request['page_attempts']:.0f} s": 1.0}
    if wait > request["reviews_seconds"]:
        # An answer comes a little after the time-out, so half a second counts as a whole one.
        return {f"reviews without ratings after {math.floor(request['reviews_seconds'] + 0.5)} s": 1.0}
    return {f"reviews with stars after {wait:.0f} s": 1.0}


def timed_out(objects: Objects, request: Request) -> Shares:
    """A time-out against a delay further on: 504 after the caller's ``attempts`` time-outs, if the delay is longer.

    The request names the rule with the delay as ``slow_virtual_service``.
    """
    limit = seconds(route(objects, request).get("timeout", "1000h"))
    slow = route(objects, {**request, "virtual_service": request["slow_virtual_service"]})
    wait = seconds(slow.get("fault", {}).get("delay", {}).get("fixedDelay", "0s"))
    if wait > limit:
        return {f"HTTP 504 after {limit * request['attempts']:.0f} s": 1.0}
    return {f"HTTP 200 after {wait:.0f} s": 1.0}


def mirrored(objects: Objects, request: Request) -> Shares:
    """Mirroring: 200 for clients, and at the mirror the percentage of requests that shall arrive there."""
    taken = route(objects, request)
    if not request.get("at_server"):
        return {"HTTP 200": 1.0}
    hit = percentage(taken, "mirrorPercentage") if "mirror" in taken else 0.0
    return only({"arrived": hit, "did not arrive": 1 - hit})


def shared(objects: Objects, request: Request) -> Shares:
    """CORS: whether a page of ``origin`` may read the answer."""
    policy = route(objects, request).get("corsPolicy", {})
    allowed = any(string_match(match, request["origin"]) for match in policy.get("allowOrigins", []))
    return {"may read" if allowed else "may not read": 1.0}


def connected(objects: Objects, request: Request) -> Shares:
    """Weights of a TCP route, by subset."""
    name = request["virtual_service"]
    routes = named(objects, "VirtualService", name).get("tcp", [])
    taken = next((r for r in routes if any(m.get("port") == request["port"] for m in r.get("match", []))), None)
    if taken is None:
        raise BrokenPromiseError(f"VirtualService {name} has no route for port {request['port']}")
    return shares_of(weights(taken))


def fronted(objects: Objects, request: Request) -> Shares:
    """Weights of an HTTP route by the hosts that it leads to."""
    destinations = route(objects, request).get("route", [])
    lone = 100 if len(destinations) == 1 else 0
    return only({d["destination"]["host"]: d.get("weight", lone) / 100 for d in destinations})
