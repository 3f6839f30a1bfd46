"""What routing rules promise for one request, outcome by outcome: pure functions for ``question.Contract``.

Each takes the objects that are in force and one request as the rules see it, and returns the share of every outcome, as
``clients.http.Fetch`` words it. The request names the rule that is judged; its numbers are read from the object. Fields that
have no bearing on the outcome are accepted by name; whatever else is set stays unread, and makes the verdict UNKNOWN.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from loadtests.rules.declared import (
    MESH,
    BrokenPromiseError,
    NotModelledError,
    Objects,
    Shares,
    bound_to,
    legs,
    route_for,
    shares_of,
    string_match,
    views_of,
    weights,
)
from loadtests.rules.view import View

Request = Mapping[str, Any]

UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
INERT = ("name", "retries", "corsPolicy")
"""Fields of a route that change nothing for a plain request that is answered."""
WITH_FAULT = ("timeout", "retries")
"""Fields of a route that have no effect beside a fault (the API's text of ``HTTPRoute.fault``)."""


def named(objects: Objects, kind: str, name: str) -> View:
    """The spec of one object.

    :raises BrokenPromiseError: if it is not in force
    """
    found = next((o for o in views_of(objects, kind) if o["metadata"]["name"] == name), None)
    if found is None:
        raise BrokenPromiseError(f"no {kind} {name} is in force")
    spec: View = found["spec"]
    return spec


def serves(pattern: str, host: str) -> bool:
    """Whether a host as rules write it (``*``, ``*.lab``, ``ns/books.lab``) covers a host name."""
    name = pattern.rpartition("/")[2]
    return name in ("*", host) or (name.startswith("*.") and host.endswith(name[1:]))


def virtual_service(objects: Objects, request: Request) -> View:
    """The spec of the request's VirtualService.

    :raises BrokenPromiseError: if it is not in force, or is not for the request's host
    """
    name = request["virtual_service"]
    spec = named(objects, "VirtualService", name)
    ours = next(o for o in views_of(objects, "VirtualService") if o["metadata"]["name"] == name)
    host, gateways = request.get("authority"), bound_to(ours)
    if MESH not in gateways and host and not any(serves(h, host) for h in spec.get("hosts", [])):
        raise BrokenPromiseError(f"VirtualService {name} is not for {host}")
    spec.accept("hosts", "gateways")
    if MESH in gateways and "*" in spec.get("exportTo", ["*"]):
        spec.accept("exportTo")
    return spec


def route(objects: Objects, request: Request) -> View:
    """The route of the request's VirtualService that takes it.

    :raises BrokenPromiseError: if the rule is not there, or has no route for it
    """
    spec = virtual_service(objects, request)
    gateways = spec.get("gateways", [MESH])
    taken = route_for(spec.get("http", []), request, gateways[0] if len(gateways) == 1 else request.get("gateway"))
    if taken is None:
        raise BrokenPromiseError(f"VirtualService {request['virtual_service']} has no route for it")
    return taken


def seconds(duration: str) -> float:
    """``1.5s``, ``250ms``, ``1m30s`` in seconds."""
    return sum(float(number) * UNITS[unit] for number, unit in re.findall(r"([0-9.]+)(ms|s|m|h)", duration))


def percentage(rule: Mapping[str, Any], field: str = "percentage", otherwise: float = 0.0) -> float:
    """Share of requests that a fault or a mirror takes; 0 where the field is set without a value.

    :param otherwise: where the field is not set: a fault hits nobody then, a mirror takes all requests
    """
    if field not in rule:
        return otherwise
    return float((rule[field] or {}).get("value", 0)) / 100


def only(shares: Shares) -> Shares:
    """Without outcomes of no share."""
    return {outcome: share for outcome, share in shares.items() if share > 0}


def is_answered(taken: View) -> None:
    """Read where a route leads to, for requests that any of its destinations answers alike."""
    legs(taken)
    taken.accept(*INERT)


def rewritten(uri: str, taken: View) -> str:
    """A path after a route's ``rewrite.uri``, which takes the place of the prefix that matched, or of the whole path."""
    new = taken["rewrite"].get("uri")
    if new is None:
        return uri
    prefixes = [m["uri"]["prefix"] for m in taken.get("match", []) if "prefix" in m.get("uri", {})]
    old = next((p for p in prefixes if uri.startswith(p)), None)
    return str(new) if old is None else str(new) + uri[len(old) :]


def answered(objects: Objects, request: Request) -> Shares:
    """A gateway's own answers (redirect, direct response), and 200 from behind it.

    :param request: ``answers``: prefixes of the paths that the service behind it answers with 200
    :raises NotModelledError: if the path is rewritten to another one
    """
    taken = route(objects, request)
    if "redirect" in taken:
        to = taken["redirect"]
        target = f"http://{to.get('authority', request['authority'])}{to.get('uri', request['uri'])}"
        return {f"HTTP {to.get('redirectCode', 301)} to {target}": 1.0}
    if "directResponse" in taken:
        taken["directResponse"].accept("body")
        return {f"HTTP {taken['directResponse']['status']}": 1.0}
    is_answered(taken)
    if "rewrite" in taken and not rewritten(request["uri"], taken).startswith(tuple(request["answers"])):
        raise NotModelledError(f"VirtualService {request['virtual_service']}: {taken.path_of('rewrite')}.uri")
    return {"HTTP 200": 1.0}


def fault_of(taken: View) -> Mapping[str, Any]:
    """A route's fault, beside which time-out and retries have no effect."""
    is_answered(taken)
    if "fault" in taken:
        taken.accept(*WITH_FAULT)
    found: Mapping[str, Any] = taken.get("fault") or {}
    return found


def aborted(objects: Objects, request: Request) -> Shares:
    """Injected aborts: their status for their percentage of requests, 200 for the others."""
    abort = fault_of(route(objects, request)).get("abort")
    hit = percentage(abort) if abort else 0.0
    status = abort.get("httpStatus", "?") if abort else "?"
    return only({f"HTTP {status}": hit, "HTTP 200": 1 - hit})


def delay_of(taken: View) -> tuple[float, float]:
    """Seconds of a route's injected delay, and the share of requests that it hits; (0, 0) without one."""
    delay = fault_of(taken).get("delay")
    if not delay:
        return 0.0, 0.0
    return seconds(delay["fixedDelay"]), percentage(delay)


def delay_for_all(taken: View, request: Request) -> float:
    """Seconds by which a route delays every request.

    :raises NotModelledError: if it hits some requests only, where one answer takes several of them
    """
    late, hit = delay_of(taken)
    if 0 < hit < 1:
        raise NotModelledError(f"VirtualService {request['virtual_service']}: {taken.path_of('fault')}.delay.percentage")
    return late if hit else 0.0


def delayed(objects: Objects, request: Request) -> Shares:
    """Injected delays: 200 after the delay for its percentage of requests, at once for the others."""
    late, hit = delay_of(route(objects, request))
    shares = {"HTTP 200 after 0 s": 1 - hit}
    outcome = f"HTTP 200 after {late:.0f} s"
    shares[outcome] = shares.get(outcome, 0.0) + hit
    return only(shares)


def page_delayed(objects: Objects, request: Request) -> Shares:
    """A delay in front of ratings, as Bookinfo's page shows it: who on the way gives up first, and after how long.

    :param request: ``reviews_seconds``: time-out of reviews for ratings; ``page_seconds``: time-out of productpage for
        reviews, which it asks ``page_attempts`` times
    """
    wait = delay_for_all(route(objects, request), request)
    if min(wait, request["reviews_seconds"]) > request["page_seconds"]:
        return {f"no reviews after {request['page_seconds'] * request['page_attempts']:.0f} s": 1.0}
    if wait > request["reviews_seconds"]:
        # An answer comes a little after the time-out, so half a second counts as a whole one.
        return {f"reviews without ratings after {math.floor(request['reviews_seconds'] + 0.5)} s": 1.0}
    return {f"reviews with stars after {wait:.0f} s": 1.0}


def timed_out(objects: Objects, request: Request) -> Shares:
    """A time-out against a delay further on: 504 after the caller's ``attempts`` time-outs, if the delay is longer.

    The request names the rule with the delay as ``slow_virtual_service``, which may be the same.
    """
    taken, slower = route(objects, request), {**request, "virtual_service": request["slow_virtual_service"]}
    limit = math.inf
    if "fault" not in taken:
        limit = seconds(taken.get("timeout", "0s")) or math.inf
        legs(taken)
        taken.accept("name", "corsPolicy")  # retries are not inert: what follows a time-out may be one
    same = request["virtual_service"] == request["slow_virtual_service"]
    wait = (delay_for_all(taken, request) if "fault" in taken else 0.0) + (
        0.0 if same else delay_for_all(route(objects, slower), slower)
    )
    if wait > limit:
        return {f"HTTP 504 after {limit * request['attempts']:.0f} s": 1.0}
    return {f"HTTP 200 after {wait:.0f} s": 1.0}


def mirrored(objects: Objects, request: Request) -> Shares:
    """Mirroring: 200 for clients, and at the mirror the percentage of requests that shall arrive there.

    :param request: ``service`` and ``subset`` of the pods that are asked what arrived, where ``at_server`` is set
    :raises NotModelledError: if requests are not only mirrored there, but sent as well
    """
    taken = route(objects, request)
    is_answered(taken)
    to = taken.get("mirror") or {}
    there = (to.get("host"), to.get("subset")) == (request["service"], request["subset"])
    hit = percentage(taken, "mirrorPercentage", 1.0) if there else 0.0
    if not there:
        taken.accept("mirrorPercentage")
    if not request.get("at_server"):
        return {"HTTP 200": 1.0}
    if any(subset in ("", request["subset"]) for subset, weight in weights(taken) if weight):
        raise NotModelledError(f"VirtualService {request['virtual_service']}: {taken.path_of('route')}[].destination.subset")
    return only({"arrived": hit, "did not arrive": 1 - hit})


def shared(objects: Objects, request: Request) -> Shares:
    """CORS: whether a page of ``origin`` may read the answer."""
    taken = route(objects, request)
    legs(taken)
    taken.accept("name", "retries")
    policy = taken.get("corsPolicy", {})
    if isinstance(policy, View):
        policy.accept("allowMethods", "allowHeaders", "exposeHeaders", "maxAge", "allowCredentials")
    # All of them are read, though one that holds is enough.
    allowed = [string_match(match, request["origin"]) for match in policy.get("allowOrigins", [])]
    return {"may read" if any(allowed) else "may not read": 1.0}


def connected(objects: Objects, request: Request) -> Shares:
    """Weights of a TCP route, by subset."""
    chosen = None
    for one in virtual_service(objects, request).get("tcp", []):
        conditions = one.get("match", [])
        if chosen is None and (not conditions or any(m.get("port", request["port"]) == request["port"] for m in conditions)):
            chosen = one
        else:
            one.accept()
    if chosen is None:
        raise BrokenPromiseError(f"VirtualService {request['virtual_service']} has no route for port {request['port']}")
    return shares_of(weights(chosen))


def fronted(objects: Objects, request: Request) -> Shares:
    """Weights of an HTTP route by the hosts that it leads to."""
    taken = route(objects, request)
    taken.accept(*INERT)
    return only(shares_of(tuple((host, weight) for host, _, weight in legs(taken))))
