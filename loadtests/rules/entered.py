"""What becomes of a call that a route of the Gateway API or an Ingress takes, as the access log of the caller's proxy tells.

That proxy is the ingress gateway, or, for routes that are attached to a Service, the caller's sidecar.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from loadtests.rules.actions import WELL_KNOWN
from loadtests.rules.backends import CALLER, read_settings, refuse_invalid, weights_of_backends
from loadtests.rules.calls import Call, Mesh, Redirect
from loadtests.rules.expectations import NoExpectationError, NotModelledError, namespace_of, of_kind
from loadtests.rules.fates import (
    Fate,
    Place,
    accept_mutual,
    destination_outcome,
    direct_outcome,
    redirected_outcome,
    seen_headers,
)
from loadtests.rules.gateway_api import GATEWAY_LABEL, ROUTES, parents_of
from loadtests.rules.grpc_routes import grpc_ways
from loadtests.rules.hosts import long_name, overlap
from loadtests.rules.ingress import Way, first_way, http_ways, routes_for
from loadtests.rules.ingresses import ingress_paths_for, ingress_way
from loadtests.rules.layers import MESH
from loadtests.rules.registry import HTTP, is_given, services_of
from loadtests.rules.shared_ports import refuse_beside_ingress
from loadtests.rules.view import View, title, viewed
from loadtests.rules.virtual import rules_of
from loadtests.rules.workloads import spec_of

UNSEEN = ("timeouts", "retry")
"""Fields of a rule that do not change where a request goes first."""
INERT = ("RequestHeaderModifier", "ResponseHeaderModifier", "RequestMirror", "URLRewrite")
"""Filters that do not, either."""
NO_BACKEND = direct_outcome(500, "")
WAYS = {"HTTPRoute": http_ways, "GRPCRoute": grpc_ways}


@dataclass(frozen=True)
class Taking:
    """What may take calls for one host, of one kind.

    :param kind: HTTPRoute, GRPCRoute or Ingress
    :param items: routes; of Ingresses, each with one of its paths
    """

    kind: str
    items: tuple[tuple[View, View], ...]

    def ways(self, call: Call) -> list[Way]:
        """All matches, as they are asked of a call."""
        request = request_of(call)
        if self.kind == "Ingress":
            return [ingress_way(ingress, path, request["uri"]) for ingress, path in self.items]
        return [way for route, _ in self.items for way in WAYS[self.kind](route, request)]


def request_of(call: Call) -> dict[str, Any]:
    """A call as the readers of these rules have it."""
    text = "&".join(f"{name}={value}" for name, value in call.query.items())
    namespace, _, name = str(call.caller.gateway).partition("/")
    own = {"pods": call.caller} if GATEWAY_LABEL in call.caller.labels else {}
    return {
        **own,
        "gateway": (namespace, name), "port": call.port, "authority": call.name, "method": call.method,
        "uri": f"{call.uri}?{text}" if text else call.uri, "headers": call.headers,
    }  # fmt: skip


def taking(objects: Sequence[View], kind: str, call: Call) -> Taking:
    """What may take calls for a call's host.

    :raises NoExpectationError: if nothing of the kind is for the host
    :raises NotModelledError: if something of another kind may take them
    """
    if call.caller.gateway is None:
        return Taking(kind, ((route := _route_of_service(objects, kind, call), route),))
    if kind != "Ingress":
        return Taking(kind, tuple((route, route) for route in routes_for(objects, kind, request_of(call))))
    host, paths = ingress_paths_for(objects, call.name)
    refuse_beside_ingress(objects, call.name, host)
    return Taking(kind, tuple(paths))


def _route_of_service(objects: Sequence[View], kind: str, call: Call) -> View:
    """The only route that is attached to the Service that a sidecar's call is for, in its own namespace: it is for all callers.

    :raises NotModelledError: if there are several, or another rule may take the call before it, or keep it from the caller
    """
    services = {one.host: one for one in services_of(viewed(objects), Mesh().domain) if one.of_kubernetes}
    service = services.get(call.name)
    if service is None or service.ports.get(call.port) != HTTP:
        raise NotModelledError(f"what is spoken on {call.name}:{call.port}")
    wanted = ("", "Service", service.namespace, service.host.partition(".")[0])
    routes = [
        one
        for one in (o for o in objects if o["kind"] in ROUTES)
        if any(parent == wanted and port in (None, call.port) for parent, port in parents_of(one))
    ]
    if [(one["kind"], namespace_of(one)) for one in routes] != [(kind, service.namespace)]:
        raise NotModelledError(", ".join(f"{title(one)}: spec.parentRefs" for one in routes) or f"routes of {call.name}")
    for rule in rules_of(viewed(objects), Mesh()):
        if MESH in rule.gateways and any(overlap(name, call.name) for name in rule.names):
            raise NotModelledError(f"{rule.title}: spec.hosts")
    for one in of_kind(objects, "Sidecar"):
        if namespace_of(one) in (call.caller.namespace, Mesh().root_namespace):
            raise NotModelledError(f"{title(one)}: spec.egress")
    if not is_given(service.export, service.namespace, call.caller.namespace):
        raise NotModelledError(f"Service {wanted[3]}: metadata.annotations")
    refuse_invalid(routes[0])
    spec_of(routes[0]).accept("parentRefs", "hostnames")
    return routes[0]


def fate_entered(objects: Sequence[View], kind: str, call: Call) -> tuple[Way, Fate]:
    """What takes a call, and what becomes of it.

    :raises NoExpectationError: if nothing takes it, or a destination is not there
    :raises NotModelledError: naming the field that is not modelled
    """
    way = first_way(taking(objects, kind, call).ways(call))
    if way is None:
        raise NoExpectationError(f"no {kind} takes {call.method} {call.name}{call.uri}")
    if kind == "Ingress":
        return way, _fate({_of_ingress(objects, way): 1}, objects, ())
    way.rule.accept("name")
    unseen, own = list[str](), None
    authority, response, copied = None, dict[str, str | None](), set[str]()
    for one in way.rule.get("filters") or []:
        if one["type"] == "RequestRedirect":
            if call.caller.gateway is None:
                raise NotModelledError(f"{way.title}: {one.path_of('requestRedirect')}")
            own = redirected_outcome(_redirect(way, one["requestRedirect"], call), call)
        elif one["type"] in INERT:
            one.accept_all()
            shown, left = _shown_by(one.data)
            response |= shown
            unseen += [f"{way.title}: {one.path_of(field)}" for field in left]
            authority = one.data.get("urlRewrite", {}).get("hostname") or authority
            copied |= _copied(one.data.get("requestMirror", {}), way)
    if own is not None:
        way.rule.accept("backendRefs", *UNSEEN)
        return way, Fate({own: 1.0})
    unseen += [f"{way.title}: {way.rule.path_of(name)}" for name in UNSEEN if name in way.rule]
    way.rule.accept(*UNSEEN)
    backends: list[View] = way.rule.get("backendRefs") or []
    _refuse_missing(objects, way.item, backends)
    for one in backends:
        if "filters" in one:
            one.accept("filters")
            unseen.append(f"{way.title}: {one.path_of('filters')}")
    by_ingress = call.caller.gateway is not None and GATEWAY_LABEL not in call.caller.labels
    caller = CALLER if by_ingress else call.caller
    weights = weights_of_backends(objects, way.item, backends, caller=caller)
    if not weights and kind == "GRPCRoute":
        raise NotModelledError(f"{way.title}: {way.rule.path_of('backendRefs')}")
    if not weights:
        return way, Fate({NO_BACKEND: 1.0}, unseen=tuple(unseen))
    if any("filters" in one for one in backends):
        authority, response = None, {}
    return way, replace(_fate(weights, objects, unseen), authority=authority, response=response, copied=frozenset(copied))


def _copied(mirror: Mapping[str, Any], way: Way) -> set[str]:
    """Where copies go that a filter makes, as outcomes name it."""
    to = mirror.get("backendRef")
    if not to:
        return set()
    host = long_name(str(to["name"]), str(to.get("namespace") or namespace_of(way.item)), Mesh().domain)
    return {destination_outcome(host, int(to.get("port", 0)), "", Mesh().domain)}


def _shown_by(one: Mapping[str, Any]) -> tuple[dict[str, str | None], list[str]]:
    """Headers of answers that a filter sets or removes, and the fields of it that outcomes do not show."""
    kind = str(one["type"])
    name = f"{kind[0].lower()}{kind[1:]}" if kind != "URLRewrite" else "urlRewrite"
    fields: Mapping[str, Any] = one.get(name) or {}
    if kind == "URLRewrite":
        return {}, [f"{name}.{field}" for field in fields if field != "hostname"]
    if kind != "ResponseHeaderModifier":
        return {}, [name]
    pairs = {key: {part["name"]: part["value"] for part in fields.get(key) or []} for key in ("set", "add")}
    shown = seen_headers({**pairs, "remove": fields.get("remove") or []})
    named = {"set": pairs["set"], "remove": fields.get("remove") or []}
    hidden = {"add", *(key for key, names in named.items() if not {one.lower() for one in names} <= shown.keys())}
    return shown, [f"{name}.{key}" for key in fields if key in hidden]


def _fate(weights: Mapping[tuple[str, str, int], int], objects: Sequence[View], unseen: Sequence[str]) -> Fate:
    """Shares of services, by namespace, name, and port."""
    domain, total = Mesh().domain, sum(weights.values())
    names = {at: destination_outcome(long_name(at[1], at[0], domain), at[2], "", domain) for at in weights}
    for one in of_kind(objects, "DestinationRule"):
        accept_mutual(one["spec"].get("trafficPolicy"))
    return Fate(
        {names[at]: weight / total for at, weight in weights.items()},
        places={name: Place(at[0], _selector(objects, *at[:2])) for at, name in names.items()},
        unseen=tuple(unseen),
    )


def _services(objects: Sequence[View], namespace: str, name: str) -> Iterator[View]:
    for one in of_kind(objects, "Service"):
        if (namespace_of(one), one["metadata"]["name"]) == (namespace, name) and isinstance(one, View):
            yield one


def _selector(objects: Sequence[View], namespace: str, name: str) -> dict[str, str]:
    return next((dict(one.data["spec"].get("selector") or {}) for one in _services(objects, namespace, name)), {})


def _refuse_missing(objects: Sequence[View], route: View, backends: Sequence[View]) -> None:
    """:raises NoExpectationError: if a route leads to a Service that is not there, or to a port that it does not have"""
    for one in backends:
        if one.data.get("weight", 1) and (one.data.get("group", ""), one.data.get("kind", "Service")) == ("", "Service"):
            namespace, name = str(one.data.get("namespace") or namespace_of(route)), str(one.data["name"])
            _refuse_absent(_services(objects, namespace, name), one.data.get("port"), f"{name} in namespace {namespace}")


def _refuse_absent(services: Iterator[View], port: object, words: str) -> View:
    found = next(services, None)
    if found is None:
        raise NoExpectationError(f"there is no Service {words}")
    if not any(port in (one.get("port"), one.get("name")) for one in found.data["spec"].get("ports") or []):
        raise NoExpectationError(f"Service {words} has no port {port}")
    return found


def _of_ingress(objects: Sequence[View], way: Way) -> tuple[str, str, int]:
    """The service that a path of an Ingress leads to."""
    service = way.rule["backend"].get("service")
    if service is None:
        raise NotModelledError(f"{way.title}: {way.rule.path_of('backend')}.resource")
    namespace, name = namespace_of(way.item), str(service["name"])
    port = service["port"].get("number") or service["port"].get("name")
    found = _refuse_absent(_services(objects, namespace, name), port, f"{name} in namespace {namespace}")
    if "externalName" in found.data["spec"]:
        raise NotModelledError(f"{title(found)}: spec.externalName")
    number = next(int(one["port"]) for one in found.data["spec"]["ports"] if port in (one.get("port"), one.get("name")))
    read_settings(objects, {long_name(name, namespace, Mesh().domain): (namespace, {number})})
    return namespace, name, number


def _redirect(way: Way, to: View, call: Call) -> Redirect:
    """Where a filter leads to, as istiod and Envoy have it: the port of the listener stays, unless a scheme is named.

    :raises NotModelledError: if what becomes of the path is not known
    """
    scheme, path, modifier = to.get("scheme"), None, to.get("path")
    port = to.get("port") or (None if scheme else call.port)
    if modifier is not None and modifier["type"] == "ReplaceFullPath":
        path = str(modifier["replaceFullPath"])
    elif modifier is not None:
        new, match = str(modifier["replacePrefixMatch"]), (way.match or View({})).get("path") or View({})
        kind, old = match.get("type", "PathPrefix"), str(match.get("value", "/"))
        if kind != "PathPrefix" or old.endswith("/") or new.endswith("/") or not new:
            raise NotModelledError(f"{way.title}: {to.path_of('path')}")
        path = new + call.uri.removeprefix(old)
    if port == WELL_KNOWN[scheme or call.scheme]:
        port = None
    return Redirect(int(to.get("statusCode", 302)), to.get("hostname") or None, path, scheme, port)
