"""Listeners of one Gateway of the Gateway API: which of them bear on a request, and which routes are attached to them.

As istiod translates them: every listener is a server of its own, and each route that it admits becomes a rule for it.
ListenerSets add listeners to a Gateway that allows it; those are the ListenerSet's: routes name it, and not the Gateway.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from loadtests.rules import hosts
from loadtests.rules.calls import Caller, Mesh
from loadtests.rules.expectations import NoExpectationError, NotModelledError, Objects, namespace_of, views_of
from loadtests.rules.gateway_api import GATEWAY_LABEL, GROUP, PORT, is_of_gateway_api, parent_of, set_parent
from loadtests.rules.responses import Request
from loadtests.rules.view import View, title
from loadtests.rules.workloads import ROOT_NAMESPACE, spec_of

CLASS = "istio"
ADDRESS = hosts.long_name("istio-ingressgateway", ROOT_NAMESPACE, Mesh().domain)
"""Of the Service by which all requests of the load tests enter."""
KINDS = {"HTTP": ("HTTPRoute", "GRPCRoute"), "HTTPS": ("HTTPRoute", "GRPCRoute"), "TCP": ("TCPRoute",), "TLS": ("TLSRoute",)}
"""Protocol of a listener -> kinds of routes that it may admit."""
NAME_LABEL = "kubernetes.io/metadata.name"
"""The label of a namespace that is its name."""


@dataclass(frozen=True)
class Listener:
    """One listener of a Gateway.

    :param holder: the Gateway, or the ListenerSet that adds the listener to it
    """

    holder: View
    view: View

    @property
    def port(self) -> int:
        """Of the Service in front of the gateway's pods."""
        return int(self.view["port"])

    @property
    def hostname(self) -> str:
        """The host names that it serves, in lower case; '' for all."""
        return str(self.view.get("hostname") or "").lower()

    @property
    def protocol(self) -> str:
        """One of :data:`KINDS`, if it is modelled."""
        return str(self.view["protocol"])

    @property
    def owner(self) -> str:
        """How messages name its holder."""
        return _owner(self.holder)

    def path_of(self, field: str) -> str:
        """How messages name one of its fields."""
        return f"{title(self.holder)}: {self.view.path_of(field)}"

    def admits(self, route: View) -> bool:
        """Whether it admits routes of a kind and namespace.

        :raises NotModelledError: if that depends on labels of namespaces other than their name
        """
        allowed = self.view.get("allowedRoutes") or View({})
        kinds = [(one.get("group", GROUP), one["kind"]) for one in allowed.get("kinds") or []]
        of_kind = route["kind"] in KINDS.get(self.protocol, ()) and (not kinds or (GROUP, route["kind"]) in kinds)
        namespaces = allowed.get("namespaces") or View({})
        path = self.path_of("allowedRoutes.namespaces")
        return _allows(namespaces, str(namespaces.get("from", "Same")), self.holder, route, path) and of_kind


def _allows(namespaces: View, given: str, owner: View, item: View, path: str) -> bool:
    """Whether an object allows another one, by its namespace.

    :param given: from where it allows others
    :param owner: who allows them
    :param path: of ``namespaces``, for messages
    :raises NotModelledError: if that depends on labels of namespaces other than their name
    """
    if given == "Selector":
        return _selects(namespaces.get("selector") or View({}), namespace_of(item), f"{path}.selector")
    if given not in ("All", "Same"):
        raise NotModelledError(f"{path}.from")
    namespaces.accept("selector")
    return given == "All" or namespace_of(item) == namespace_of(owner)


def _selects(selector: View, namespace: str, path: str) -> bool:
    """Whether a selector selects a namespace by its name.

    :raises NotModelledError: if it asks for other labels
    """
    wanted = [(name, "In", [value]) for name, value in (selector.get("matchLabels") or {}).items()]
    wanted += [(one["key"], one["operator"], list(one.get("values") or [])) for one in selector.get("matchExpressions") or []]
    holds: dict[str, Callable[[list[str]], bool]] = {
        "In": lambda values: namespace in values,
        "NotIn": lambda values: namespace not in values,
        "Exists": lambda values: True,
        "DoesNotExist": lambda values: False,
    }
    if any(name != NAME_LABEL or operator not in holds for name, operator, _ in wanted):
        raise NotModelledError(path)
    return all(holds[operator](values) for _, operator, values in wanted)


def listeners_for(objects: Objects, request: Request, protocol: str) -> list[Listener]:
    """The listeners of the request's Gateway on its port.

    :param request: ``gateway``: namespace and name of the Gateway; ``port`` of the Service in front of it, by default 80;
        ``listener_set``: namespace and name of the ListenerSet whose listeners they are, if they are not the Gateway's own;
        ``pods``: those that istiod has deployed for the Gateway, if it is not the ingress gateway that serves it
    :raises NoExpectationError: if Gateway or ListenerSet is not applied, or does not listen there
    :raises NotModelledError: if other pods may serve it, what a listener does on that port is not modelled, or others add
        listeners on that port
    """
    namespace, name = request["gateway"]
    named = [g for g in views_of(objects, "Gateway") if is_of_gateway_api(g) and g["metadata"]["name"] == name]
    gateway = next((g for g in named if namespace_of(g) == namespace), None)
    if gateway is None:
        raise NoExpectationError(f"no Gateway {namespace}/{name} of the Gateway API is applied")
    _check_pods(gateway, request.get("pods"))
    sets, port = _sets_of(objects, gateway), request.get("port", PORT)
    holder = _set_named(sets, gateway, *request["listener_set"]) if "listener_set" in request else gateway
    every = [Listener(one, view) for one in (gateway, *sets) for view in spec_of(one).get("listeners") or []]
    there = [one for one in every if one.port == port]
    for one in every:
        if one.port != port:
            one.view.accept_all()
    ours = [one for one in there if one.holder is holder]
    if not ours:
        raise NoExpectationError(f"{_owner(holder)} does not listen on port {port}")
    if beside := [one for one in there if one.holder is not holder]:
        raise NotModelledError(beside[0].path_of("port"))  # of several on one port, Istio may take some only
    for one in ours:
        if one.protocol != protocol:
            raise NotModelledError(one.path_of("protocol"))
        one.view.accept("name")
    known = [one.hostname for one in ours]
    if len({*known}) < len(known):
        raise NotModelledError(ours[-1].path_of("hostname"))  # Istio takes the first of several, which others call a conflict
    return ours


def _sets_of(objects: Objects, gateway: View) -> list[View]:
    """The ListenerSets whose listeners istiod adds to those of a Gateway.

    :raises NotModelledError: if that depends on labels of namespaces other than their name
    """
    namespaces = (spec_of(gateway).get("allowedListeners") or View({})).get("namespaces") or View({})
    given, path = str(namespaces.get("from", "None")), f"{title(gateway)}: spec.allowedListeners.namespaces"
    sets = [one for one in views_of(objects, "ListenerSet") if set_parent(one) == parent_of(gateway)]
    if not sets or given == "None":
        namespaces.accept("selector")
        return []
    found = [one for one in sets if _allows(namespaces, given, gateway, one, path)]
    for one in found:
        spec_of(one).accept("parentRef")
    return found


def _owner(item: View) -> str:
    """``Gateway istio-system/ingress``."""
    return f"{item['kind']} {namespace_of(item)}/{item['metadata']['name']}"


def _set_named(sets: Sequence[View], gateway: View, namespace: str, name: str) -> View:
    """A ListenerSet of a Gateway.

    :raises NoExpectationError: if it is not there, or the Gateway does not allow it
    """
    for one in sets:
        if (namespace_of(one), one["metadata"]["name"]) == (namespace, name):
            return one
    raise NoExpectationError(f"no ListenerSet {namespace}/{name} adds listeners to {_owner(gateway)}")


def secured_by(listeners: Sequence[Listener], host: str) -> Listener:
    """Of listeners that end TLS, the one that takes a server name: the one with the most specific host name that covers it.

    Whether its certificate is there and valid is left to be seen; istiod drops a listener without one.

    :raises NoExpectationError: if none takes it
    :raises NotModelledError: if it does not end TLS by a Secret of its own namespace
    """
    of_name = {one.hostname or "*": one for one in listeners}
    best = hosts.chosen_domain(of_name, host.lower())
    if best is None:
        raise NoExpectationError(f"{listeners[0].owner} serves no {host} on port {listeners[0].port}")
    for name, one in of_name.items():
        if name != best:
            one.view.accept("tls")
    found = of_name[best]
    tls = found.view.get("tls") or View({})
    if tls.get("mode", "Terminate") != "Terminate":
        raise NotModelledError(found.path_of("tls.mode"))
    certificates, own = tls.get("certificateRefs") or [], namespace_of(found.holder)
    if len(certificates) not in (1, 2):
        raise NotModelledError(found.path_of("tls.certificateRefs"))
    for one in certificates:
        if (one.get("group", ""), one.get("kind", "Secret"), one.get("namespace", own)) != ("", "Secret", own):
            raise NotModelledError(f"{title(found.holder)}: {one.path_of('namespace')}")
        one.accept("name")
    return found


def _check_pods(gateway: View, own: Caller | None) -> None:
    """Make sure that the ingress gateway's pods serve a Gateway: Istio wants the whole name of a Service of its own namespace.

    :param own: pods of the Gateway's own, which have to serve it instead: it then asks for no address
    :raises NotModelledError: if others may, or none do
    """
    spec = spec_of(gateway)
    if spec.get("gatewayClassName") != CLASS:
        raise NotModelledError(f"{title(gateway)}: spec.gatewayClassName")
    if own is not None:
        named = (own.namespace, own.labels.get(GATEWAY_LABEL))
        if spec.get("addresses") or named != (namespace_of(gateway), gateway["metadata"]["name"]):
            raise NotModelledError(f"{title(gateway)}: spec.addresses")
        return
    found = {
        hosts.long_name(str(one["value"]), namespace_of(gateway), Mesh().domain)
        for one in spec.get("addresses") or []
        if one.get("type", "IPAddress") == "Hostname"
    }
    if ADDRESS not in found or namespace_of(gateway) != ROOT_NAMESPACE:
        raise NotModelledError(f"{title(gateway)}: spec.addresses")


@dataclass(frozen=True)
class Attachment:
    """A route as one listener has it.

    :param names: the host names for which it is there, in lower case: those that it and the listener have in common
    """

    route: View
    listener: Listener
    names: tuple[str, ...]


def age(route: View) -> tuple[str, str, str]:
    """The order in which istiod merges routes of the Gateway API; it compares names with a suffix of its own."""
    metadata = route["metadata"]
    return str(metadata.get("creationTimestamp") or ""), namespace_of(route), f"{metadata['name']}~"


def attached(objects: Objects, kind: str, listeners: Sequence[Listener]) -> list[Attachment]:
    """The routes of a kind that are attached to listeners of one holder, the oldest first; others have no bearing."""
    found, named = [], list[Listener]()
    for route in sorted(views_of(objects, kind), key=age):
        parents = list(_parents(route, listeners[0].holder))
        meant = [one for one in listeners if True in [_is_for(parent, one) for parent in parents]]  # all of them are read
        named += meant
        ours = [one for one in meant if one.admits(route)]
        if not ours:
            spec_of(route).accept_all()
            continue
        names = [str(name).lower() for name in spec_of(route).get("hostnames") or ["*"]]
        found += [Attachment(route, one, tuple(_common(names, one, listeners, kind))) for one in ours]
    for one in listeners:
        if not any(one is other for other in named):
            one.view.accept("allowedRoutes")
    return found


def _parents(route: View, holder: View) -> Iterator[View]:
    """The parts of a route that attach it to a Gateway or ListenerSet; the others have no bearing."""
    wanted = parent_of(holder)
    for parent in spec_of(route).get("parentRefs") or []:
        otherwise = (("group", GROUP), ("kind", "Gateway"), ("namespace", namespace_of(route)), ("name", ""))
        if tuple(parent.get(key, value) for key, value in otherwise) == wanted:
            yield parent
        else:
            parent.accept_all()


def _is_for(parent: View, listener: Listener) -> bool:
    """Whether a parent means one listener of what it names."""
    section, port = parent.get("sectionName", ""), parent.get("port", 0)
    return section in ("", listener.view["name"]) and port in (0, listener.port)


def _common(names: Iterable[str], listener: Listener, beside: Sequence[Listener], kind: str) -> Iterator[str]:
    """The host names that a route and a listener have in common, the narrower of each two."""
    for name in names:
        if not hosts.overlap(name, listener.hostname or "*"):
            continue
        if kind in KINDS["HTTP"] and _is_left_to_another(name, listener, beside):
            continue
        yield name if hosts.covers(listener.hostname or "*", name) else listener.hostname


def _is_left_to_another(name: str, listener: Listener, beside: Sequence[Listener]) -> bool:
    """Whether a listener beside one takes a route's host name, for it is the more specific one."""
    own = listener.hostname
    if own and not hosts.is_wildcard(own):
        return False
    others = [one.hostname for one in beside if one.hostname not in ("", own)]
    return any(hosts.covers(other, name) for other in others if len(other) >= len(own))
