"""Routes of the Gateway API that could apply to a call which VirtualServices are read for: they are not modelled beside those.

They are looked at from outside, as plain data: a route that cannot apply has no bearing, whatever it says.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from loadtests.rules import hosts
from loadtests.rules.calls import Call, Mesh
from loadtests.rules.expectations import NotModelledError, namespace_of
from loadtests.rules.registry import of_kind
from loadtests.rules.view import View, title

GROUP = "gateway.networking.k8s.io"
ROUTES = ("HTTPRoute", "GRPCRoute", "TCPRoute", "TLSRoute")
PORT = 80
"""Of the Service in front of the ingress gateway, for requests in plain text."""
GATEWAY_LABEL = f"{GROUP}/gateway-name"
"""Label of the pods that istiod deploys for a Gateway which asks for no address."""

Parent = tuple[str, str, str, str]
"""Group, kind, namespace and name of what a route or a ListenerSet is attached to."""


def is_of_gateway_api(item: Mapping[str, Any]) -> bool:
    """Whether an object, a Gateway say, is one of the Gateway API, and not Istio's own kind."""
    return str(item.get("apiVersion", "")).startswith(f"{GROUP}/")


def parents_of(route: View) -> Iterator[tuple[Parent, int | None]]:
    """What a route is attached to, each with the port that it is limited to, if any."""
    for one in route.data["spec"].get("parentRefs") or []:
        group, kind = str(one.get("group", GROUP)), str(one.get("kind", "Gateway"))
        yield (group, kind, str(one.get("namespace") or namespace_of(route)), str(one["name"])), one.get("port")


def parent_of(item: View) -> Parent:
    """What routes call a Gateway or a ListenerSet."""
    return GROUP, str(item["kind"]), namespace_of(item), str(item["metadata"]["name"])


def set_parent(listener_set: View) -> Parent:
    """What a ListenerSet adds listeners to."""
    one = listener_set.data["spec"]["parentRef"]
    group, kind = str(one.get("group", GROUP)), str(one.get("kind", "Gateway"))
    return group, kind, str(one.get("namespace") or namespace_of(listener_set)), str(one["name"])


def _not_modelled(route: View) -> NotModelledError:
    return NotModelledError(f"{title(route)}: spec.parentRefs")


def is_for_host(route: View, host: str) -> bool:
    """Whether a route's own host names, if it has any, have some in common with a host."""
    names = route.data["spec"].get("hostnames") or []
    return not names or any(hosts.overlap(str(name).lower(), host) for name in names)


def _routes(objects: Iterable[View], kinds: Sequence[str] = ROUTES) -> list[View]:
    return [o for o in objects if o["kind"] in kinds]


def refuse_for_services(objects: Sequence[View], call: Call, services: Iterable[str], mesh: Mesh) -> None:
    """Make sure that no route is attached to what a sidecar's call is for.

    :param services: long names of the services that are called
    :raises NotModelledError: if one could apply
    """
    called = set(services)
    entries = {
        (namespace_of(o), str(o["metadata"]["name"])): [str(name).lower() for name in o.data["spec"].get("hosts") or []]
        for o in objects
        if o["kind"] == "ServiceEntry"
    }
    for route in _routes(objects):
        for (_, kind, namespace, name), port in parents_of(route):
            named = f"{name}.{namespace}.svc.{mesh.domain}" in called
            registered = any(hosts.covers(host, call.name) for host in entries.get((namespace, name), []))
            if port in (None, call.port) and ((kind == "Service" and named) or (kind == "ServiceEntry" and registered)):
                raise _not_modelled(route)


def refuse_beside(objects: Sequence[View], kinds: Sequence[str], holder: Parent, host: str) -> None:
    """Make sure that to a Gateway or ListenerSet, for a host, no routes of some kinds are attached.

    :raises NotModelledError: if one could apply
    """
    for route in _routes(objects, kinds):
        if is_for_host(route, host) and any(parent == holder for parent, _ in parents_of(route)):
            raise _not_modelled(route)


def pod_ports(objects: Sequence[View], namespace: str, labels: Mapping[str, str]) -> dict[int, int]:
    """Ports of the Services in front of a pod -> its own ports, where they are given by number."""
    found: dict[int, int] = {}
    for item in of_kind(objects, "Service"):
        selector = item["spec"].get("selector", {})
        if namespace_of(item) != namespace or not selector or not selector.items() <= labels.items():
            continue
        for port in item["spec"].get("ports", []):
            to = port.get("targetPort", port["port"])
            if str(to).isdecimal():
                found.setdefault(int(port["port"]), int(to))
    return found


def refuse_for_gateway(
    objects: Sequence[View], call: Call, labels: Mapping[str, str], ports: Mapping[int, int],
    besides: Parent | None = None,
) -> None:  # fmt: skip
    """Make sure that no route enters by the same port of the same gateway pods for the host that is called.

    :param labels: of the pods by which the call enters
    :param ports: of the Services in front of them -> their own
    :param besides: a Gateway or ListenerSet whose routes may
    :raises NotModelledError: if one could apply
    """
    holders = _holders(objects)
    for route in _routes(objects):
        for parent, _ in parents_of(route):
            if parent[0] == "" or parent[1] in ("Service", "ServiceEntry") or not is_for_host(route, call.name):
                continue
            if parent == besides:
                continue
            holder = holders.get(parent)
            gateway = None if holder is None else holders.get(_gateway_of(holder))
            # Of one that is not known, everything is possible.
            if holder is None or gateway is None or (_may_share(gateway, objects, labels) and _may_listen(holder, call, ports)):
                raise _not_modelled(route)


def refuse_listening(
    objects: Sequence[View], call: Call, labels: Mapping[str, str], ports: Mapping[int, int],
    besides: Parent | None = None,
) -> None:  # fmt: skip
    """Make sure that no other Gateway listens where a connection enters: it may take it, even where it has no route for it.

    Parameters are those of :func:`refuse_for_gateway`; what else listens for the Gateway of ``besides`` is left to its reader.

    :raises NotModelledError: if one may
    """
    holders = _holders(objects)
    own = _gateway_of(holders[besides]) if besides in holders else besides
    for holder in holders.values():
        gateway = holders.get(_gateway_of(holder))
        if gateway is None or parent_of(gateway) == own:
            continue
        if _may_share(gateway, objects, labels) and _may_listen(holder, call, ports):
            raise NotModelledError(f"{title(holder)}: spec.listeners")


def _holders(objects: Iterable[View]) -> dict[Parent, View]:
    """The Gateways and ListenerSets of the Gateway API, as routes call them."""
    return {parent_of(o): o for o in objects if o["kind"] == "ListenerSet" or (o["kind"] == "Gateway" and is_of_gateway_api(o))}


def _gateway_of(holder: View) -> Parent:
    """What routes call a Gateway, or the one that a ListenerSet adds listeners to."""
    return set_parent(holder) if holder["kind"] == "ListenerSet" else parent_of(holder)


def _may_share(gateway: View, objects: Sequence[View], labels: Mapping[str, str]) -> bool:
    """Whether a Gateway may be served by the pods with those labels."""
    addresses = gateway.data["spec"].get("addresses") or []
    if not addresses:
        return labels.get(GATEWAY_LABEL) == str(gateway["metadata"]["name"])
    services = {f"{o['metadata']['name']}.{namespace_of(o)}": o for o in objects if o["kind"] == "Service"}
    for address in addresses:
        service = services.get(".".join(str(address.get("value", "")).split(".")[:2]))
        if service is None or (service.data["spec"].get("selector") or {}).items() <= labels.items():
            return True
    return False


def _may_listen(holder: View, call: Call, ports: Mapping[int, int]) -> bool:
    """Whether one listener of a Gateway or ListenerSet may take the call, by port and host name."""
    for listener in holder.data["spec"].get("listeners") or []:
        number, name = int(listener["port"]), str(listener.get("hostname") or "*").lower()
        if ports.get(number, number) == ports.get(call.port, call.port) and hosts.overlap(name, call.name):
            return True
    return False


def may_take(names: Iterable[str], host: str, domain: str) -> bool:
    """Whether one of several host names covers a host, and is as specific as a route's."""

    def rank(name: str) -> tuple[bool, int]:
        return not hosts.is_wildcard(name), len(name)

    return any(hosts.covers(name, host) and rank(name) >= rank(domain) for name in names)
