"""What TLSRoutes and TCPRoutes of a Gateway declare for one connection: pure functions for ``question.ResponseCheck``.

A TLSRoute takes connections whose server name it has, if the listener passes TLS on; of several names, the most specific one
counts. A listener for TCP has one route: the oldest.
"""

from __future__ import annotations

from collections.abc import Sequence

from loadtests.rules.backends import refuse_invalid, shares_of_backends
from loadtests.rules.expectations import NoExpectationError, NotModelledError, Objects, Shares, namespace_of
from loadtests.rules.hosts import chosen_domain
from loadtests.rules.listeners import Attachment, Listener, attached, listeners_for
from loadtests.rules.responses import CLOSED, Request
from loadtests.rules.shared_ports import refuse_others
from loadtests.rules.view import View, title
from loadtests.rules.workloads import spec_of


def _rule_of(route: View) -> View:
    """The rule of a route.

    :raises NotModelledError: if there is none, or several, of which Istio takes the first
    """
    rules = spec_of(route).get("rules") or []
    if len(rules) != 1:
        raise NotModelledError(f"{title(route)}: spec.rules")
    rules[0].accept("name")
    rule: View = rules[0]
    return rule


def _is_empty(route: View) -> bool:
    """Whether no backend of a route has a weight."""
    return not any(backend.get("weight", 1) for backend in _rule_of(route).get("backendRefs") or [])


def _accept_others(found: Sequence[Attachment], route: View | None) -> None:
    for one in found:
        if one.route is not route:
            spec_of(one.route).accept_all()


def _shares(objects: Objects, route: View, request: Request) -> Shares:
    """Share of each outcome, by the services that a route leads to."""
    refuse_invalid(route)
    backends, servers = _rule_of(route).get("backendRefs") or [], request["servers"]
    shares: Shares = {}
    for name, share in shares_of_backends(objects, route, backends, {**request, "answers": tuple(servers)}).items():
        shares[servers[name]] = shares.get(servers[name], 0.0) + share
    return shares


def _refuse_termination(listener: Listener) -> None:
    """Make sure that a listener passes TLS on.

    :raises NotModelledError: if it ends it
    """
    tls = listener.view.get("tls") or View({})
    if tls.get("mode", "Terminate") != "Passthrough":
        raise NotModelledError(listener.path_of("tls.mode"))


def tls_passed(objects: Objects, request: Request) -> Shares:
    """Where a TLS connection ends that a Gateway passes on by its server name; without a route for it, at the gateway.

    :param request: what :func:`listeners_for` takes; ``authority``: the server name; ``servers``: services that a route may
        lead to -> outcome of a request that one of their pods answers
    :raises NoExpectationError: if the Gateway is not applied, or does not listen on that port
    :raises NotModelledError: if a listener ends TLS, two routes have a server name in common (istiod then drops all of the
        second one), or the connection is led to another service
    """
    listeners, name = listeners_for(objects, request, "TLS"), str(request["authority"]).lower()
    for listener in listeners:
        _refuse_termination(listener)
    of_name: dict[str, View] = {}
    found = attached(objects, "TLSRoute", listeners)
    for one in found:
        # Where no backend has a weight, istiod makes a route without server names.
        for own in () if _is_empty(one.route) else one.names:
            if own in of_name:
                raise NotModelledError(f"{title(one.route)}: spec.hostnames")
            of_name[own] = one.route
    best = chosen_domain(of_name, name)
    route = of_name.get(best or "")
    refuse_others(objects, listeners[0], name, best or "*")
    _accept_others(found, route)
    return {CLOSED: 1.0} if route is None else _shares(objects, route, request)


def _age(route: View) -> tuple[str, str, str]:
    """The order in which istiod takes TCPRoutes: unlike HTTPRoutes, by name before namespace; it gives the name a suffix."""
    metadata = route["metadata"]
    return str(metadata.get("creationTimestamp") or ""), f"{metadata['name']}~", namespace_of(route)


def tcp_shared(objects: Objects, request: Request) -> Shares:
    """Shares of the TCPRoute of a listener; where no backend has a weight, the gateway closes connections.

    :param request: as for :func:`tls_passed`, without ``authority``
    :raises NoExpectationError: if the listener has no route
    :raises NotModelledError: if connections are led to another service, or routes of two namespaces have one name and age
    """
    listeners = listeners_for(objects, request, "TCP")
    found = sorted(attached(objects, "TCPRoute", listeners), key=lambda one: _age(one.route))
    refuse_others(objects, listeners[0], "*", "*")
    if not found:
        raise NoExpectationError(f"no TCPRoute of {listeners[0].owner} is for port {listeners[0].port}")
    route = found[0].route
    if len(found) > 1 and _age(route)[:2] == _age(found[1].route)[:2]:
        raise NotModelledError(f"{title(route)}: metadata.name")  # istiod counts the routes that it makes of each
    _accept_others(found, route)
    if _is_empty(route):
        _rule_of(route).accept("backendRefs")
        return {CLOSED: 1.0}
    return _shares(objects, route, request)
