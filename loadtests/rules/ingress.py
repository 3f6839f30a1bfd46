"""What HTTPRoutes of a Gateway declare for one request, outcome by outcome: pure functions for ``question.ResponseCheck``.

Of all HTTPRoutes of a Gateway, those for the most specific host that covers the request are merged, and their matches are put
in an order of their own. What the service behind answers is known of some services only (``answers``).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from loadtests.rules.backends import refuse_invalid, shares_of_backends
from loadtests.rules.expectations import NoExpectationError, NotModelledError, Objects, Shares
from loadtests.rules.gateway_api import parent_of, refuse_beside
from loadtests.rules.hosts import covers, most_specific
from loadtests.rules.listeners import KINDS, Attachment, attached, listeners_for, secured_by
from loadtests.rules.responses import Request
from loadtests.rules.shared_ports import refuse_others
from loadtests.rules.view import View, title, viewed
from loadtests.rules.workloads import spec_of

TAKEN: Shares = {"HTTP 200": 1.0}
NOT_TAKEN: Shares = {"HTTP 404": 1.0}
NO_BACKEND: Shares = {"HTTP 500": 1.0}
RANKS = {"Exact": 3, "PathPrefix": 2, "RegularExpression": 1}
OF_CLIENTS = ("accept", "accept-encoding", "connection", "host", "user-agent")
"""Headers that HTTP clients send unasked."""
HEADERS_ONLY = ("RequestHeaderModifier", "ResponseHeaderModifier", "RequestMirror")
"""Filters of an HTTPRoute that have no effect on the status of the answer."""
OWN_ANSWER = "HTTP "
"""What outcomes begin with that are the gateway's own answers, and no names of services."""


@dataclass(frozen=True)
class Way:
    """One match of a rule, and the rule: what istiod makes a route of.

    :param rank: the higher, the earlier it is tried
    :param takes: whether it takes the request; reads what is asked of it
    """

    item: View
    rank: tuple[int, ...]
    match: View | None
    rule: View
    takes: Callable[[], bool]

    @property
    def title(self) -> str:
        """How messages name the object."""
        return title(self.item)


def below(prefix: str, uri: str) -> bool:
    """Whether a path is ``prefix`` or lies below it; prefixes end at a slash: /a takes /a/b, not /ab."""
    return uri == prefix.rstrip("/") or uri.startswith(prefix.rstrip("/") + "/")


def _path(kind: str, value: str, uri: str) -> bool:
    if kind == "RegularExpression":
        return re.fullmatch(value, uri) is not None
    return uri == value if kind == "Exact" else below(value, uri)


def first_way(ways: Sequence[Way]) -> Way | None:
    """The highest way that takes the request; of those after it, and of those that do not, nothing has a bearing.

    Of ways that rank alike, the one that is given first is tried first: that of the older route, then that of the rule.
    """
    ordered = sorted(ways, key=lambda way: way.rank, reverse=True)
    chosen = next((way for way in ordered if way.takes()), None)
    for way in ways:
        if chosen is None or way.rule is not chosen.rule:
            way.rule.accept_all()
        elif way.match is not None and way.match is not chosen.match:
            way.match.accept_all()
    return chosen


def header_holds(part: View, name: str, values: Mapping[str, str], unknown: Sequence[str] = ()) -> bool:
    """Whether a header or parameter is there as a match wants it; one that clients send unasked stays unread."""
    value = values.get(name)
    if value is None:
        return name in unknown
    wanted = part["value"]
    return re.fullmatch(wanted, value) is not None if part.get("type", "Exact") == "RegularExpression" else value == wanted


def _http_match(match: View, request: Request) -> bool:
    path, (uri, _, text) = match.get("path") or View({}), request["uri"].partition("?")
    headers = {name.lower(): value for name, value in request.get("headers", {}).items()}
    query = {name: value for name, _, value in (pair.partition("=") for pair in text.split("&"))}
    parts = [
        _path(path.get("type", "PathPrefix"), path.get("value", "/"), uri),
        match.get("method", request["method"]) == request["method"],
        *[header_holds(h, h["name"].lower(), headers, OF_CLIENTS) for h in match.get("headers") or []],
        *[header_holds(q, q["name"], query) for q in match.get("queryParams") or []],
    ]
    return all(parts)


def _rank(match: View | None) -> tuple[int, ...]:
    """What orders the matches of HTTPRoutes; without one, a rule takes every path."""
    if match is None:
        return RANKS["PathPrefix"], 1, 0, 0, 0
    path = match.get("path") or View({})
    kind, value = path.get("type", "PathPrefix"), str(path.get("value", "/"))
    length = len(value if kind != "PathPrefix" or value == "/" else value.removesuffix("/"))
    return RANKS.get(kind, 0), length, "method" in match, len(match.get("headers") or []), len(match.get("queryParams") or [])


def http_ways(route: View, request: Request) -> Iterator[Way]:
    """The matches of an HTTPRoute."""
    for rule in spec_of(route).get("rules") or []:
        for match in rule.get("matches") or [None]:
            yield Way(route, _rank(match), match, rule, partial(_http_match, match or View({}), request))


def _answer(objects: Objects, way: Way, request: Request) -> Shares:
    """The gateway's own answer to a request that a rule takes, or the share of each backend, as the request names it."""
    rule = way.rule
    rule.accept("name")
    filters = rule.get("filters") or []
    for one in filters:
        if one["type"] in HEADERS_ONLY:
            one.accept_all()
    for one in filters:
        if one["type"] == "RequestRedirect":
            status = one["requestRedirect"].get("statusCode", 302)
            one.accept_all()  # where it leads to is no part of the status
            rule.accept("backendRefs")
            return {f"{OWN_ANSWER}{status}": 1.0}
    return shares_of_backends(objects, way.item, rule.get("backendRefs") or [], request) or NO_BACKEND


def routes_for(objects: Objects, kind: str, request: Request) -> list[View]:
    """The routes of one kind that apply together: those of the Gateway for the most specific host, the oldest first.

    :param request: what :func:`listeners_for` takes; ``scheme``: http, or https where a listener ends TLS; ``authority``
    :raises NoExpectationError: if no route of the Gateway is for the host
    :raises NotModelledError: if a route of another kind, or something else at the same port, could apply
    """
    is_secure, host = request.get("scheme", "http") == "https", request["authority"]
    listeners = listeners_for(objects, request, "HTTPS" if is_secure else "HTTP")
    taking = [secured_by(listeners, host)] if is_secure else listeners
    refuse_beside(viewed(objects), [one for one in KINDS["HTTP"] if one != kind], parent_of(listeners[0].holder), host)
    of_name: dict[str, list[View]] = {}
    everywhere = attached(objects, kind, listeners)
    found = [one for one in everywhere if any(one.listener.view is other.view for other in taking)]
    for one in found:
        for name in one.names:
            routes = of_name.setdefault(name, [])
            if not any(one.route is other for other in routes):
                routes.append(one.route)
    best = most_specific(of_name, host)
    ours = of_name.get(best or "", [])
    for one in everywhere:
        if not any(one.route is other for other in ours):
            spec_of(one.route).accept_all()
    if best is None:
        raise NoExpectationError(f"no {kind} of {listeners[0].owner} is for {host}")
    refuse_others(objects, taking[0], host, best, request.get("pods"))
    if len({origin for one in found for origin in _origins(one, best)}) > 1:
        raise NotModelledError(f"{title(ours[0])}: spec.hostnames")
    for route in ours:
        refuse_invalid(route)
    return ours


def _origins(one: Attachment, name: str) -> Iterator[tuple[str, str]]:
    """The listener and the host names as a route writes them, for which it is there for a name; istiod merges by both."""
    listener = one.listener.hostname
    for own in spec_of(one.route).get("hostnames") or ["*"]:
        if name in one.names and name == (own.lower() if covers(listener or "*", own.lower()) else listener):
            yield one.listener.view["name"], own.lower()


def answered(shares: Shares) -> Shares:
    """Shares of services that answer 200, which are known to be such, as those of their answers; a gateway's own stay."""
    return shares if all(outcome.startswith(OWN_ANSWER) for outcome in shares) else TAKEN


def http_routed(objects: Objects, request: Request) -> Shares:
    """HTTPRoutes for a host, path and method: an answer from behind them, or one of the gateway's own.

    :param request: ``gateway``: namespace and name of the Gateway; ``answers``: services that answer 200 to this request
    :raises NoExpectationError: if no route of the Gateway is for the host
    :raises NotModelledError: if the request is led to another service
    """
    return answered(http_shared(objects, request))


def http_shared(objects: Objects, request: Request) -> Shares:
    """Shares of an HTTPRoute's rule by the names of the services that it leads to; the gateway's own answers otherwise.

    Parameters and errors are those of :func:`http_routed`.
    """
    routes = routes_for(objects, "HTTPRoute", request)
    chosen = first_way([way for route in routes for way in http_ways(route, request)])
    return NOT_TAKEN if chosen is None else _answer(objects, chosen, request)
