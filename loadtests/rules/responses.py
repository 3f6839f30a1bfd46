"""What routing rules declare for one call, outcome by outcome: pure functions for ``question.ResponseCheck``.

Each takes the objects that are applied and one request, whose ``call`` is a :class:`loadtests.rules.calls.Call`, and returns
the share of every outcome, as ``clients.http.Fetch`` words it. Which rule takes the call, and its numbers, are read from the
objects. Fields that have no bearing on the outcome are accepted by name; whatever else is set stays unread, and makes the
verdict UNKNOWN.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from loadtests.rules import subsets
from loadtests.rules.actions import (
    direct_response_of,
    fault_of,
    read_headers,
    redirect_of,
    rewrite_of,
    timeout_of,
)
from loadtests.rules.admission import refuse_sent
from loadtests.rules.asked import Asked, destinations_of, read_apart, route_in, route_of, versions_of
from loadtests.rules.calls import Call, Destination, Fault, NoRoute
from loadtests.rules.conditions import present
from loadtests.rules.expectations import NoExpectationError, NotModelledError, Objects, Shares, views_of
from loadtests.rules.headers import REQUEST, RESPONSE, changed, levels_of, text_of, touched
from loadtests.rules.hosts import long_name
from loadtests.rules.routing import accept_inert, find_route, send
from loadtests.rules.view import View

Request = Mapping[str, Any]
NO_FAULT = Fault()
CLOSE_SECONDS = 0.25
"""Times that differ by less cannot be distinguished on a loaded machine."""
CLOSED = "the gateway refused the client"
"""A TLS connection that the gateway closes."""


def named(objects: Objects, kind: str, name: str) -> View:
    """The spec of one object.

    :raises NoExpectationError: if it is not applied
    """
    found = next((o for o in views_of(objects, kind) if o["metadata"]["name"] == name), None)
    if found is None:
        raise NoExpectationError(f"no {kind} {name} is applied")
    spec: View = found["spec"]
    return spec


def only(shares: Shares) -> Shares:
    """Without outcomes of no share."""
    return {outcome: share for outcome, share in shares.items() if share > 0}


def answered(objects: Sequence[View], request: Request) -> Shares:
    """A gateway's own answers (redirect, direct response), and 200 from behind it.

    :param request: ``answers``: prefixes of the paths that the service behind it answers with 200
    :raises NotModelledError: if it is sent another path
    """
    call: Call = request["call"]
    asked = route_of(objects, call)
    destinations_of(asked)
    if to := redirect_of(asked.route, asked.condition, call):
        host = (to.authority or call.host) + (f":{to.port}" if to.port else "")
        return {f"HTTP {to.code} to {to.scheme or call.scheme}://{host}{to.path or call.uri}": 1.0}
    if own := direct_response_of(asked.route):
        return {f"HTTP {own.status}": 1.0}
    accept_inert(asked.taken)
    change = rewrite_of(asked.route, asked.condition, call)
    uri = call.uri if change is None or change.uri is None else change.uri
    if not uri.startswith(tuple(request["answers"])):
        raise NotModelledError(f"{asked.route.path_of('rewrite')}: what answers {uri}")
    return {"HTTP 200": 1.0}


def responded(objects: Sequence[View], request: Request) -> Shares:
    """A route's own answer with its text, and 200 from behind every other route.

    :param request: ``characters``: how much of the text the caller reports
    """
    asked = route_of(objects, request["call"])
    destinations_of(asked)
    asked.route.accept("name")
    if own := direct_response_of(asked.route):
        return {f"HTTP {own.status} {own.body[: request['characters']]}".rstrip(): 1.0}
    accept_inert(asked.taken)
    return {"HTTP 200": 1.0}


def headers_changed(objects: Sequence[View], request: Request) -> Shares:
    """Headers as a destination receives them and as the client gets them back, of names that begin with a prefix.

    :param request: ``call``, with the headers that the client sends; ``prefix`` in lower case; ``returned``: headers with that
        prefix that every destination sends back
    :raises NotModelledError: if headers with other names are changed as well
    """
    call, prefix = request["call"], request["prefix"]
    asked = route_of(objects, call)
    accept_inert(asked.taken)
    destinations = [one for one in destinations_of(asked) if one.share]
    sent = {name: (value,) for name, value in call.headers.items() if name.startswith(prefix)}
    answers = {name: (value,) for name, value in request["returned"].items()}
    levels = zip(levels_of(asked.route, REQUEST), levels_of(asked.route, RESPONSE), strict=True)
    shares: Shares = {}
    for one, (on_request, on_response) in zip(destinations, levels, strict=True):
        if others := sorted(name for name in touched((*on_request, *on_response)) if not name.startswith(prefix)):
            raise NotModelledError(f"{asked.route.path_of('headers')}: {others[0]}")
        received, returned = (
            text_of(((name, value) for name, values in changed(headers, level).items() for value in values), prefix)
            for headers, level in ((sent, on_request), (answers, on_response))
        )
        outcome = f"{one.host.partition('.')[0]} received {received}; returned {returned}"
        shares[outcome] = shares.get(outcome, 0.0) + one.share
    return shares


def injected(asked: Asked) -> Fault:
    """A route's fault, beside which time-out and retries have no effect (the API's text of ``HTTPRoute.fault``)."""
    accept_inert(asked.taken)
    destinations_of(asked)
    if "fault" in asked.route:
        asked.route.accept("timeout")
    return fault_of(asked.route) or NO_FAULT


def aborted(objects: Sequence[View], request: Request) -> Shares:
    """Injected aborts: their status for their percentage of requests, 200 for the others.

    :raises NotModelledError: if requests are delayed as well, or gRPC's statuses stand for HTTP's
    """
    asked = route_of(objects, request["call"])
    fault = injected(asked)
    if fault.delay_share or (fault.abort_share and fault.http_status is None):
        raise NotModelledError(asked.route.path_of("fault"))
    return only({f"HTTP {fault.http_status or '?'}": fault.abort_share, "HTTP 200": 1 - fault.abort_share})


def delay_of(asked: Asked) -> tuple[float, float]:
    """Seconds of a route's injected delay, and the share of requests that it hits; (0, 0) without one.

    :raises NotModelledError: if requests are aborted as well
    """
    fault = injected(asked)
    if fault.abort_share:
        raise NotModelledError(f"{asked.route.path_of('fault')}.abort")
    return (fault.delay, fault.delay_share) if fault.delay_share else (0.0, 0.0)


def delay_for_all(asked: Asked) -> float:
    """Seconds by which a route delays every request.

    :raises NotModelledError: if it hits some requests only, where one answer takes several of them
    """
    late, hit = delay_of(asked)
    if 0 < hit < 1:
        raise NotModelledError(f"{asked.route.path_of('fault')}.delay.percentage")
    return late if hit else 0.0


def _outlasts(wait: float, limit: float, path: str) -> bool:
    """Whether a call takes longer than somebody waits for it, both in seconds.

    :param path: how messages name what makes it wait
    :raises NotModelledError: if it is too close to tell
    """
    if abs(wait - limit) < CLOSE_SECONDS:
        raise NotModelledError(path)
    return wait > limit


def delayed(objects: Sequence[View], request: Request) -> Shares:
    """Injected delays: 200 after the delay for its percentage of requests, at once for the others.

    :param request: ``caller_seconds``: how long the caller waits, which reports 500 then
    """
    asked = route_of(objects, request["call"])
    late, hit = delay_of(asked)
    shares = {"HTTP 200 after 0 s": 1 - hit}
    outcome = f"HTTP 200 after {late:.0f} s"
    if hit and _outlasts(late, request["caller_seconds"], f"{asked.route.path_of('fault')}.delay.fixedDelay"):
        outcome = f"HTTP 500 after {request['caller_seconds']:.0f} s"
    shares[outcome] = shares.get(outcome, 0.0) + hit
    return only(shares)


def page_delayed(objects: Sequence[View], request: Request) -> Shares:
    """A delay in front of ratings, as Bookinfo's page shows it: who on the way gives up first, and after how long.

    :param request: ``reviews_seconds``: time-out of reviews for ratings; ``page_seconds``: time-out of productpage for
        reviews, which it asks ``page_attempts`` times
    """
    asked = route_of(objects, request["call"])
    wait, path = delay_for_all(asked), f"{asked.route.path_of('fault')}.delay.fixedDelay"
    if _outlasts(min(wait, request["reviews_seconds"]), request["page_seconds"], path):
        return {f"no reviews after {request['page_seconds'] * request['page_attempts']:.0f} s": 1.0}
    if _outlasts(wait, request["reviews_seconds"], path):
        # An answer comes a little after the time-out, so half a second counts as a whole one.
        return {f"reviews without ratings after {math.floor(request['reviews_seconds'] + 0.5)} s": 1.0}
    return {f"reviews with stars after {wait:.0f} s": 1.0}


def _late_further_on(objects: Sequence[View], asked: Asked, request: Request) -> float:
    """Seconds by which a call is late because one is that follows from it; 0 if they are the same.

    :raises NotModelledError: if that depends on which version answers
    """
    if request["slow_call"] == request["call"]:
        return 0.0

    def delay(seen: Sequence[View]) -> float:
        taken = find_route(seen, request["slow_call"])
        return 0.0 if taken.branch is None and taken.service is not None else delay_for_all(route_in(taken))

    wait = read_apart(objects, delay)
    path = asked.route.path_of("route")
    for version in versions_of(asked) if wait else ():
        if version not in request["version_seconds"] or _outlasts(wait, request["version_seconds"][version], path):
            raise NotModelledError(path)
    return wait


def timed_out(objects: Sequence[View], request: Request) -> Shares:
    """A time-out against a delay further on: 504 after the caller's ``attempts`` time-outs, if the delay is longer.

    :param request: ``slow_call``: the call that is delayed, which may be the same, or else is made by the versions of
        ``version_seconds``, each of which waits that long for it; ``caller_seconds``: how long the caller itself waits for an
        attempt, and reports 500 if all are late
    """
    asked, limit, wait = route_of(objects, request["call"]), math.inf, 0.0
    if "fault" in asked.route:
        wait = delay_for_all(asked)
    else:
        destinations_of(asked)
        asked.route.accept("name", "corsPolicy")  # retries are not inert: what follows a time-out may be one
        limit = timeout_of(asked.route) or math.inf
    wait += _late_further_on(objects, asked, request)
    path, patience = asked.route.path_of("fault" if "fault" in asked.route else "timeout"), request["caller_seconds"]
    if not _outlasts(wait, min(limit, patience), path):
        return {f"HTTP 200 after {wait:.0f} s": 1.0}
    if _outlasts(limit, patience, path):
        return {f"HTTP 500 after {patience * request['attempts']:.0f} s": 1.0}
    return {f"HTTP 504 after {limit * request['attempts']:.0f} s": 1.0}


def mirrored(objects: Sequence[View], request: Request) -> Shares:
    """Mirroring: 200 for clients, and at the mirror the percentage of requests that shall arrive there.

    :param request: ``mirror``: host and version of the pods that are asked what arrived, where ``at_server`` is set
    :raises NotModelledError: if requests are not only mirrored there, but sent as well, or mirrored to other pods as well
    """
    call: Call = request["call"]
    asked = route_of(objects, call)
    domain = asked.taken.world.mesh.domain
    accept_inert(asked.taken)
    host, version = request["mirror"]
    there = long_name(host, call.caller.namespace, domain)
    destinations_of(asked)
    sent = send(asked.taken)

    def versions(legs: Sequence[Destination]) -> list[tuple[float, set[str]]]:
        return [(d.share, subsets.reached(objects, sent, d)) for d in legs if d.share and d.host == there]

    if not request.get("at_server"):
        return {"HTTP 200": 1.0}
    refuse_sent(asked.taken, sent, [one for one in sent.mirrors if one.host == there])
    copies = [(share, found) for share, found in versions(sent.mirrors) if found & {version, ""}]
    if len(copies) > 1 or any(found & {version, ""} for _, found in versions(sent.destinations)):
        raise NotModelledError(f"{asked.route.path_of('route')}: {host} {version} is sent requests as well")
    if any(found != {version} for _, found in copies):
        raise NotModelledError(f"{asked.route.path_of('mirror')}: other pods than {host} {version} are sent copies as well")
    hit = sum(share for share, _ in copies)
    return only({"arrived": hit, "did not arrive": 1 - hit})


def shared(objects: Sequence[View], request: Request) -> Shares:
    """CORS: whether a page of ``origin`` may read the answer."""
    asked = route_of(objects, request["call"])
    destinations_of(asked)
    accept_inert(asked.taken, ("name",))
    policy = asked.route.get("corsPolicy", {})
    if isinstance(policy, View):
        policy.accept("allowMethods", "allowHeaders", "exposeHeaders", "maxAge", "allowCredentials")
    # All of them are read, though one that holds is enough.
    allowed = [present(match, request["origin"]) for match in policy.get("allowOrigins", [])]
    return {"may read" if any(allowed) else "may not read": 1.0}


def connected(objects: Sequence[View], request: Request) -> Shares:
    """Shares of a TCP route, by version."""
    return versions_of(route_of(objects, request["call"]))


def passed_on(objects: Sequence[View], request: Request) -> Shares:
    """Where a TLS connection ends that the gateway passes on by its server name; without a route for it, at the gateway.

    :param request: ``servers``: services -> outcome of a request that one of their pods answers; ``port``: theirs
    :raises NotModelledError: if there is a route to another service, or another port
    """
    taken = find_route(objects, request["call"])
    if taken.no_route is NoRoute.CLOSED:
        send(taken)
        return {CLOSED: 1.0}
    asked, shares = route_in(taken), Shares()
    for number, one in enumerate(destinations_of(asked)):
        outcome = request["servers"].get(one.host.partition(".")[0])
        if outcome is None or one.port != request["port"] or one.subset:
            raise NotModelledError(f"{asked.route.path_of('route')}[{number}].destination")
        shares[outcome] = shares.get(outcome, 0.0) + one.share
    return only(shares)


def fronted(objects: Sequence[View], request: Request) -> Shares:
    """Shares of an HTTP route by the names of the services that it leads to."""
    asked = route_of(objects, request["call"])
    accept_inert(asked.taken)
    shares: Shares = {}
    for one in destinations_of(asked):
        name = one.host.partition(".")[0]
        shares[name] = shares.get(name, 0.0) + one.share
    return only(shares)


def released(objects: Sequence[View], request: Request) -> Shares:
    """Share of each release, named by the label ``version`` of its pods."""
    asked = route_of(objects, request["call"])
    accept_inert(asked.taken)
    return versions_of(asked)


def by_gateway(objects: Sequence[View], request: Request) -> Shares:
    """Whether calls of sidecars are led through the egress gateway, whose route marks them.

    :param request: ``by``: host of the gateway; ``entering``: the call as it enters there
    """
    asked = route_of(objects, request["call"])
    accept_inert(asked.taken)
    if {d.host for d in destinations_of(asked)} != {request["by"]}:
        return {"HTTP 200": 1.0}

    def mark(seen: Sequence[View]) -> str:
        entered = route_of(seen, request["entering"])
        accept_inert(entered.taken)
        destinations_of(entered)
        changes = entered.route.get("headers", {})
        read_headers(changes)
        return str(changes.get("request", {}).get("set", {}).get("x-by", ""))

    found = read_apart(objects, mark)
    return {f"HTTP 200 by {found}" if found else "HTTP 200": 1.0}
