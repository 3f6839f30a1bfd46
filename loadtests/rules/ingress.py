"""What Kubernetes' own ways in promise for one request, outcome by outcome: pure functions for ``question.ResponseCheck``.

Of all HTTPRoutes of a Gateway, or all Ingresses, those for the most specific host that covers the request are merged, and
their matches are put in an order of their own. What the service behind answers is known of some services only (``answers``).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from loadtests.rules.backends import refuse_invalid, shares_of_backends
from loadtests.rules.expectations import BrokenPromiseError, NotModelledError, Objects, Shares, age, namespace_of, views_of
from loadtests.rules.gateway_api import parent_of, refuse_beside
from loadtests.rules.hosts import covers, most_specific
from loadtests.rules.listeners import KINDS, Attachment, attached, listeners_for
from loadtests.rules.promises import Request
from loadtests.rules.shared_ports import refuse_others
from loadtests.rules.view import View, title, viewed
from loadtests.rules.workloads import spec_of

TAKEN: Shares = {"HTTP 200": 1.0}
NOT_TAKEN: Shares = {"HTTP 404": 1.0}
NO_BACKEND: Shares = {"HTTP 500": 1.0}
CLASS, CLASS_ANNOTATION = "istio", "kubernetes.io/ingress.class"
EVERYTHING = ("", "*", "/*", ".*")
"""Paths of an Ingress, of no kind of their own, that take every request."""
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
            way.rule.accept()
        elif way.match is not None and way.match is not chosen.match:
            way.match.accept()
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
            one.accept()
    for one in filters:
        if one["type"] == "RequestRedirect":
            status = one["requestRedirect"].get("statusCode", 302)
            one.accept()  # where it leads to is no part of the status
            rule.accept("backendRefs")
            return {f"{OWN_ANSWER}{status}": 1.0}
    return shares_of_backends(objects, way.item, rule.get("backendRefs") or [], request) or NO_BACKEND


def routes_for(objects: Objects, kind: str, request: Request) -> list[View]:
    """The routes of one kind that apply together: those of the Gateway for the most specific host, the oldest first.

    :raises BrokenPromiseError: if no route of the Gateway is for the host
    :raises NotModelledError: if a route of another kind, or something else at the same port, could apply
    """
    listeners, host = listeners_for(objects, request, "HTTP"), request["authority"]
    refuse_beside(viewed(objects), [one for one in KINDS["HTTP"] if one != kind], parent_of(listeners[0].holder), host)
    of_name: dict[str, list[View]] = {}
    found = attached(objects, kind, listeners)
    for one in found:
        for name in one.names:
            routes = of_name.setdefault(name, [])
            if not any(one.route is other for other in routes):
                routes.append(one.route)
    best = most_specific(of_name, host)
    ours = of_name.get(best or "", [])
    for one in found:
        if not any(one.route is other for other in ours):
            spec_of(one.route).accept()
    if best is None:
        raise BrokenPromiseError(f"no {kind} of {listeners[0].owner} is for {host}")
    refuse_others(objects, listeners[0], host, best)
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


def http_routed(objects: Objects, request: Request) -> Shares:
    """HTTPRoutes for a host, path and method: an answer from behind them, or one of the gateway's own.

    :param request: ``gateway``: namespace and name of the Gateway; ``answers``: services that answer 200 to this request
    :raises BrokenPromiseError: if no route of the Gateway is for the host
    :raises NotModelledError: if the request is led to another service
    """
    shares = http_shared(objects, request)
    return shares if all(outcome.startswith(OWN_ANSWER) for outcome in shares) else TAKEN


def http_shared(objects: Objects, request: Request) -> Shares:
    """Shares of an HTTPRoute's rule by the names of the services that it leads to; the gateway's own answers otherwise.

    Parameters and errors are those of :func:`http_routed`.
    """
    routes = routes_for(objects, "HTTPRoute", request)
    chosen = first_way([way for route in routes for way in http_ways(route, request)])
    return NOT_TAKEN if chosen is None else _answer(objects, chosen, request)


def _of_no_kind(value: str) -> tuple[str, str]:
    """The kind and value of a path of Istio's own kind: a prefix if it ends in ``.*`` or ``/*``."""
    if value in EVERYTHING:
        return "Prefix", ""
    for end in (".*", "/*"):
        if value.endswith(end):
            return "Prefix", value.removesuffix(end)
    return "Exact", value


def ingress_path(path: Mapping[str, str], uri: str) -> bool:
    """Whether a path of an Ingress takes a request: of Istio's own kind, all is exact but what ends in ``/*`` or ``.*``.

    A path that is left out takes everything.
    """
    kind, value = path_of_ingress(path)
    return _path(kind if kind == "Exact" else "PathPrefix", value, uri.partition("?")[0])


def path_of_ingress(path: Mapping[str, str]) -> tuple[str, str]:
    """The kind and value of a path of an Ingress: Exact, or Prefix."""
    kind, value = path.get("pathType", "ImplementationSpecific"), path.get("path", "")
    return _of_no_kind(value) if kind == "ImplementationSpecific" else (kind, value)


def _ingress_rank(path: View) -> tuple[int, ...]:
    """What orders the paths of Ingresses: length, then an exact one first."""
    kind, value = path_of_ingress(path)
    return len(value), kind == "Exact"


def is_classed(ingress: View) -> bool:
    """Whether an Ingress has a class; those without one, istiod leaves alone."""
    annotations = ingress["metadata"].data.get("annotations") or {}
    return bool(annotations.get(CLASS_ANNOTATION) or (ingress.data.get("spec") or {}).get("ingressClassName"))


def _is_ours(ingress: View) -> bool:
    """Whether istiod takes an Ingress.

    :raises NotModelledError: if it has another class, for which another controller may stand or not
    """
    annotations, spec = ingress["metadata"].get("annotations") or {}, spec_of(ingress)
    name = annotations.get(CLASS_ANNOTATION) or spec.get("ingressClassName")
    if name not in (None, CLASS):
        raise NotModelledError(f"{title(ingress)}: spec.ingressClassName")
    return name is not None


def _may_cover(ingress: View, host: str) -> bool:
    """Whether one of an Ingress's rules is for a host."""
    rules = (ingress.data.get("spec") or {}).get("rules") or []
    return any(covers(str(rule.get("host") or "*"), host) for rule in rules)


def ingress_rules_for(objects: Objects, host: str) -> list[tuple[View, View]]:
    """The rules of Ingresses for the most specific host that covers one, each with its Ingress, the oldest first.

    :raises BrokenPromiseError: if no Ingress is for the host
    :raises NotModelledError: if another controller may stand for one
    """
    of_host: dict[str, list[tuple[View, View]]] = {}
    for one in sorted(views_of(objects, "Ingress"), key=age):
        if not _may_cover(one, host):
            spec_of(one).accept()
            continue
        # Istio has no default backend, and TLS is for HTTPS alone.
        spec_of(one).accept(*([] if _is_ours(one) else spec_of(one)), "defaultBackend", "tls")
        for rule in spec_of(one).get("rules") or []:
            if "http" in rule and _is_ours(one):
                of_host.setdefault(rule.get("host") or "*", []).append((one, rule))
            else:
                rule.accept()
    best = most_specific(of_host, host)
    for name, rules in of_host.items():
        for _, rule in rules if name != best else []:
            rule.accept()
    if best is None:
        raise BrokenPromiseError(f"no Ingress is for {host}")
    return of_host[best]


def ingress_ways(ingress: View, rule: View, request: Request) -> Iterator[Way]:
    """The paths of an Ingress's rule."""
    for path in rule["http"]["paths"]:
        yield Way(ingress, _ingress_rank(path), None, path, partial(ingress_path, path, request["uri"]))


def ingress_routed(objects: Objects, request: Request) -> Shares:
    """Ingresses for a host and path: an answer from behind them, or the gateway's 404.

    :param request: ``answers``: services that answer 200 to this request
    :raises BrokenPromiseError: if no Ingress is for the host
    :raises NotModelledError: if the request is led to another service
    """
    rules = ingress_rules_for(objects, request["authority"])
    chosen = first_way([way for ingress, rule in rules for way in ingress_ways(ingress, rule, request)])
    if chosen is None:
        return NOT_TAKEN
    if namespace_of(chosen.item) != request.get("namespace", namespace_of(chosen.item)):
        raise NotModelledError(f"{chosen.title}: it is of namespace {namespace_of(chosen.item)}")
    service = chosen.rule["backend"].get("service") or View({})
    service.get("port", {}).get("number")
    if service.get("name") not in request["answers"]:
        raise NotModelledError(f"{chosen.title}: {chosen.rule.path_of('backend')}.service.name")
    return TAKEN
