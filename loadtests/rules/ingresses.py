"""What Ingresses declare for one request, outcome by outcome: pure functions for ``question.ResponseCheck``.

istiod makes one rule of all Ingresses of its class for a host, whatever their namespaces, and puts their paths in an order of
its own. The most specific host that covers the request counts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial

from loadtests.rules.backends import ports_of, read_settings, refuse_entered
from loadtests.rules.calls import Mesh
from loadtests.rules.expectations import (
    NoExpectationError,
    NotModelledError,
    Objects,
    Shares,
    age,
    namespace_of,
    of_kind,
    views_of,
)
from loadtests.rules.hosts import covers, long_name, most_specific
from loadtests.rules.ingress import NOT_TAKEN, Way, answered, below, first_way
from loadtests.rules.ingress_classes import is_of_istio
from loadtests.rules.responses import Request
from loadtests.rules.shared_ports import refuse_beside_ingress
from loadtests.rules.view import View, title
from loadtests.rules.workloads import spec_of

EVERYTHING = ("", "*", "/*", ".*")
"""Paths of no kind of their own that take every request."""


def _of_no_kind(value: str) -> tuple[str, str]:
    """The kind and value of a path of Istio's own kind: a prefix if it ends in ``.*`` or ``/*``."""
    if value in EVERYTHING:
        return "Prefix", ""
    for end in (".*", "/*"):
        if value.endswith(end):
            return "Prefix", value.removesuffix(end)
    return "Exact", value


def path_of_ingress(path: Mapping[str, str]) -> tuple[str, str]:
    """The kind and value of a path of an Ingress, Exact or Prefix; one that is left out takes everything."""
    kind, value = path.get("pathType", "ImplementationSpecific"), path.get("path", "")
    return _of_no_kind(value) if kind == "ImplementationSpecific" else (kind, value)


def ingress_path(path: Mapping[str, str], uri: str) -> bool:
    """Whether a path of an Ingress takes a request: of Istio's own kind, all is exact but what ends in ``/*`` or ``.*``."""
    kind, value = path_of_ingress(path)
    asked = uri.partition("?")[0]
    return asked == value if kind == "Exact" else below(value, asked)


def _rank(path: View) -> tuple[int, ...]:
    """What orders the paths of Ingresses: length, then an exact one first."""
    kind, value = path_of_ingress(path)
    return len(value), kind == "Exact"


def _may_cover(ingress: View, host: str) -> bool:
    """Whether one of an Ingress's rules is for a host."""
    rules = (ingress.data.get("spec") or {}).get("rules") or []
    return any(covers(str(rule.get("host") or "*"), host) for rule in rules)


def _port(objects: Objects, ingress: View, backend: View) -> int | None:
    """The port of the Service that a path leads to; None if it is given by a name that no such Service has."""
    service = backend["service"]
    port = service.get("port") or View({})
    if port.get("number"):
        return int(port["number"])
    named = (namespace_of(ingress), service["name"])
    for one in of_kind(objects, "Service"):
        if (namespace_of(one), one["metadata"]["name"]) == named:
            found = (int(p["port"]) for p in one["spec"].get("ports") or [] if p.get("name") == port.get("name"))
            return next(found, None)
    return None


def _unled(ingress: View, path: View) -> str:
    """Why a path leads nowhere, in words."""
    service = path["backend"].get("service")
    if service is None:
        return f"{title(ingress)}: {path.path_of('backend')} is no Service"
    return f"Service {service['name']} in namespace {namespace_of(ingress)} has no port {service['port'].get('name')}"


def _leading(objects: Objects, rules: Sequence[tuple[View, View]]) -> Iterator[tuple[View, View]]:
    """The paths of rules, each with its Ingress, without those that istiod leaves out: they lead to no Service, or to a port
    whose name it does not have."""
    for ingress, rule in rules:
        for path in rule["http"]["paths"]:
            if "service" in path["backend"] and _port(objects, ingress, path["backend"]) is not None:
                yield ingress, path
            else:
                path.accept_all()


def ingress_paths_for(objects: Objects, host: str) -> tuple[str, list[tuple[View, View]]]:
    """The most specific host of Ingresses that covers a requested one, and the paths for it, each with its Ingress.

    The oldest Ingress comes first.

    :raises NoExpectationError: if no Ingress is for the host
    :raises NotModelledError: if another controller may stand for one
    """
    of_host: dict[str, list[tuple[View, View]]] = {}
    for one in sorted(views_of(objects, "Ingress"), key=age):
        if not _may_cover(one, host) or not is_of_istio(one):
            spec_of(one).accept_all()
            continue
        # Istio has no default backend, and TLS is for HTTPS alone.
        spec_of(one).accept("ingressClassName", "defaultBackend", "tls")
        for rule in spec_of(one).get("rules") or []:
            if "http" in rule:
                of_host.setdefault(rule.get("host") or "*", []).append((one, rule))
            else:
                rule.accept_all()
    # Of a host without any path that leads somewhere, istiod makes nothing.
    best = most_specific((name for name, rules in of_host.items() if any(_leading(objects, rules))), host)
    for name, rules in of_host.items():
        for _, rule in rules if name != best else []:
            rule.accept_all()
    if best is None:
        ours = [pair for name, rules in of_host.items() if covers(name, host) for pair in rules]
        unled = (_unled(one, path) for one, rule in ours for path in rule["http"]["paths"])
        raise NoExpectationError(next(unled, f"no Ingress is for {host}"))
    return best, list(_leading(objects, of_host[best]))


def ingress_way(ingress: View, path: View, uri: str) -> Way:
    """What istiod makes of a path."""
    return Way(ingress, _rank(path), None, path, partial(ingress_path, path, uri))


def ingress_shared(objects: Objects, request: Request) -> Shares:
    """Ingresses for a host and path: the name of the service that answers, or the gateway's 404.

    :param request: ``authority``; ``uri``; ``answers``: services that are known to answer this request, by their names, or, if
        they are not of the request's namespace, as ``namespace/name``
    :raises NoExpectationError: if no Ingress is for the host
    :raises NotModelledError: if the request is led to another service, to one that is not there, or by other rules
    """
    host, paths = ingress_paths_for(objects, request["authority"])
    refuse_beside_ingress(objects, request["authority"], host)
    chosen = first_way([ingress_way(one, path, request["uri"]) for one, path in paths])
    if chosen is None:
        return NOT_TAKEN
    namespace, backend = namespace_of(chosen.item), chosen.rule["backend"]
    name, port = str(backend["service"]["name"]), _port(objects, chosen.item, backend)
    known = name if namespace == request.get("namespace", namespace) else f"{namespace}/{name}"
    if known not in request["answers"]:
        raise NotModelledError(f"{chosen.title}: {chosen.rule.path_of('backend')}.service.name")
    if port not in ports_of(objects, namespace, name):
        raise NotModelledError(
            f"{chosen.title}: {chosen.rule.path_of('backend')}.service.port: there is no such Service, or it has no such port"
        )
    read_settings(objects, {long_name(name, namespace, Mesh().domain): (namespace, {port})})
    refuse_entered(objects, [(namespace, name, port)], request, is_http=True)
    return {known: 1.0}


def ingress_routed(objects: Objects, request: Request) -> Shares:
    """Ingresses for a host and path: an answer from behind them, or the gateway's 404.

    Parameters and errors are those of :func:`ingress_shared`.
    """
    return answered(ingress_shared(objects, request))
