"""Where a rule of a route of the Gateway API leads: its backends by their weights, as the ingress gateway reaches them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from urllib.parse import parse_qs

from loadtests.rules import destinations
from loadtests.rules.admission import Arrival, accept_tls, refuse_closed, refuse_entry
from loadtests.rules.calls import Caller, Mesh
from loadtests.rules.expectations import NotModelledError, Objects, Shares, namespace_of, of_kind, views_of
from loadtests.rules.gateway_api import GROUP
from loadtests.rules.hosts import long_name
from loadtests.rules.responses import Request
from loadtests.rules.view import View, title
from loadtests.rules.workloads import INGRESS_GATEWAY, spec_of

FILTERS = {
    "HTTPRoute": ("RequestHeaderModifier", "ResponseHeaderModifier", "RequestRedirect", "RequestMirror", "URLRewrite"),
    # Of a GRPCRoute with copies for a service that is not there, Istio takes none; where copies go is not read.
    "GRPCRoute": ("RequestHeaderModifier", "ResponseHeaderModifier"),
}
"""Filters for which Istio takes a route for certain; for others, it may take none of it."""
OF_BACKENDS = ("RequestHeaderModifier", "ResponseHeaderModifier")
"""The same, of backends."""
CALLER = Caller(INGRESS_GATEWAY.namespace, INGRESS_GATEWAY.labels[0], all_labels=False)


def refuse_invalid(route: View) -> None:
    """Make sure that no rule of a route is one for which Istio takes none of the route.

    :raises NotModelledError: if one may be
    """
    for rule in spec_of(route).get("rules") or []:
        parts = [one for one in rule.data.get("filters") or [] if one["type"] not in FILTERS.get(route["kind"], ())]
        if parts:
            raise NotModelledError(f"{title(route)}: {rule.path_of('filters')}")
        for backend in rule.data.get("backendRefs") or []:
            named = "." in str(backend["name"]) and backend.get("kind", "Service") == "Service"
            filtered = any(one["type"] not in OF_BACKENDS for one in backend.get("filters") or [])
            if backend.get("weight", 1) and (named or filtered or "port" not in backend):
                raise NotModelledError(f"{title(route)}: {rule.path_of('backendRefs')}")


def shares_of_backends(objects: Objects, route: View, backends: Sequence[View], request: Request) -> Shares:
    """Share of each backend by its weight; none if no backend has any.

    A service is known by its name, or, if it is not of the request's namespace, by ``namespace/name``.

    :param request: ``answers``: services that are known to answer
    :raises NoExpectationError: if a backend takes no such calls
    :raises NotModelledError: as :func:`weights_of_backends` does, or if a backend is another service, or may refuse calls
    """
    own = request.get("namespace", namespace_of(route))

    def known(namespace: str, name: str) -> str:
        return name if namespace == own else f"{namespace}/{name}"

    weights: dict[str, int] = {}
    found = weights_of_backends(objects, route, backends, lambda *of: known(*of) in request["answers"])
    refuse_entered(objects, found, request, is_http=route["kind"] in FILTERS)
    for (namespace, name, _), weight in found.items():
        weights[known(namespace, name)] = weights.get(known(namespace, name), 0) + weight
    return {name: weight / sum(weights.values()) for name, weight in weights.items()}


def refuse_entered(
    objects: Objects, services: Iterable[tuple[str, str, int]], request: Request, *, is_http: bool
) -> None:  # fmt: skip
    """Make sure that the gateway takes what enters there, and that pods behind it do; TLS between them has no bearing then.

    :param services: by namespace, name, and port
    :param request: ``uri``, ``method``, ``headers``: of an HTTP request, as far as they are known
    :raises NoExpectationError: if a service takes no such calls
    :raises NotModelledError: if a proxy refuses it, or may do so
    """
    path, method, query = None, None, ""
    if is_http:
        path, _, query = str(request.get("uri", "")).partition("?")
        method = request.get("method")
    carried = frozenset(name.lower() for name in (*request.get("headers", {}), *parse_qs(query, keep_blank_values=True)))
    caller = request.get("pods") or CALLER
    refuse_entry(objects, caller, carried, method, path or None)
    arrivals = [
        Arrival(
            caller, long_name(name, namespace, Mesh().domain), namespace, port, _selector_of(objects, namespace, name),
            uri=path or None, method=method, carried=carried,
        )
        for namespace, name, port in services
    ]  # fmt: skip
    refuse_closed(objects, arrivals)
    for rule in views_of(objects, "DestinationRule"):
        accept_tls(spec_of(rule).get("trafficPolicy"))


def _selector_of(objects: Objects, namespace: str, name: str) -> dict[str, str]:
    found = (o for o in of_kind(objects, "Service") if (namespace_of(o), o["metadata"]["name"]) == (namespace, name))
    return next((dict(one["spec"].get("selector") or {}) for one in found), {})


def weights_of_backends(
    objects: Objects,
    route: View,
    backends: Sequence[View],
    is_known: Callable[[str, str], bool] = lambda *_: True,
    caller: Caller = CALLER,
) -> dict[tuple[str, str, int], int]:
    """Weight of each service that backends with a weight name, by its namespace, name, and port.

    :param is_known: whether a service, by namespace and name, is one that may be used
    :param caller: whose proxy chooses among them
    :raises NotModelledError: if a backend is no service, is not there, may not be used, or has settings that are not modelled
    """
    found: dict[tuple[str, str, int], int] = {}
    hosts: dict[str, tuple[str, set[int]]] = {}
    for backend in backends:
        weight = int(backend.get("weight", 1))
        if not weight:
            backend.accept_all()
            continue
        if (backend.get("group", ""), backend.get("kind", "Service")) != ("", "Service"):
            raise NotModelledError(f"{title(route)}: {backend.path_of('kind')}")
        namespace, name = str(backend.get("namespace", namespace_of(route))), str(backend["name"])
        if namespace != namespace_of(route) and not _is_granted(objects, route, namespace, name):
            raise NotModelledError(
                f"{title(route)}: {backend.path_of('namespace')}: no ReferenceGrant of {namespace} is for it"
            )
        if not is_known(namespace, name):
            raise NotModelledError(f"{title(route)}: {backend.path_of('name')}")
        if backend["port"] not in ports_of(objects, namespace, name):
            raise NotModelledError(
                f"{title(route)}: {backend.path_of('port')}: there is no such Service, or it has no such port"
            )
        place = (namespace, name, int(backend["port"]))
        found[place] = found.get(place, 0) + weight
        host = long_name(name, namespace, Mesh().domain)
        hosts.setdefault(host, (namespace, set()))[1].add(int(backend["port"]))
    read_settings(objects, hosts, caller)
    return found


def _is_granted(objects: Objects, route: View, namespace: str, name: str) -> bool:
    """Whether a ReferenceGrant of a namespace lets a route lead to a service there."""
    given = (GROUP, route["kind"], namespace_of(route))
    for grant in of_kind(objects, "ReferenceGrant"):
        spec = grant["spec"]
        asked = [(one.get("group", GROUP), one["kind"], one["namespace"]) for one in spec.get("from") or []]
        to = [one.get("name") or name for one in spec.get("to") or [] if (one.get("group", ""), one["kind"]) == ("", "Service")]
        if namespace_of(grant) == namespace and given in asked and name in to:
            return True
    return False


def ports_of(objects: Objects, namespace: str, name: str) -> set[int]:
    """The ports of a Service; none if it is not there, or stands for another name."""
    found = [o for o in of_kind(objects, "Service") if (namespace_of(o), o["metadata"]["name"]) == (namespace, name)]
    return {int(port["port"]) for o in found for port in o["spec"].get("ports") or [] if "externalName" not in o["spec"]}


def read_settings(objects: Objects, hosts: dict[str, tuple[str, set[int]]], caller: Caller = CALLER) -> None:
    """Read the DestinationRules of a proxy's calls to several services; how pods are chosen has no bearing.

    :param hosts: long name -> namespace and ports
    """
    seen = [one if isinstance(one, View) else View(one) for one in objects]
    chosen = {host: destinations.rules_for(seen, host, caller, Mesh(), owner) for host, (owner, _) in hosts.items()}
    used = [rule for some in chosen.values() for rule in some]
    destinations.accept_others(seen, used)
    for host, (_, ports) in hosts.items():
        if len(ports) > 1 and chosen[host]:
            raise NotModelledError(f"{title(chosen[host][0])}: spec.trafficPolicy for several ports of {host}")
        found = destinations.settings(destinations.merged(chosen[host]), min(ports))
        if "loadBalancer" in found:
            found["loadBalancer"].accept_all()
