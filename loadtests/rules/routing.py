"""Where the mesh sends a call: all rules together, as istiod translates them for the caller's proxy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from loadtests.rules import actions, destinations, entrances, sidecars
from loadtests.rules.actions import Leg
from loadtests.rules.calls import Call, Destination, Mesh, Routed
from loadtests.rules.destinations import Applied
from loadtests.rules.expectations import NoExpectationError
from loadtests.rules.extensions import note_extensions, workload_of
from loadtests.rules.mesh_config import accept_retries, mesh_of
from loadtests.rules.registry import HTTP, NO_BEARING, SNIFFED, Service, refuse_aliases, refuse_inbound, services_of
from loadtests.rules.view import View
from loadtests.rules.virtual import accept_others, rules_of
from loadtests.rules.world import Taken, World


@dataclass(frozen=True)
class Sent:
    """Where a call goes, and what is known of each of those hosts.

    :param services: that it is
    :param applied: what DestinationRules set together for it
    """

    destinations: tuple[Destination, ...] = ()
    mirrors: tuple[Destination, ...] = ()
    services: Mapping[str, Service] = field(default_factory=dict)
    applied: Mapping[str, Applied] = field(default_factory=dict)


def find_route(objects: Sequence[View], call: Call, mesh: Mesh | None = None) -> Taken:
    """What takes a call. What a route does with it stays unread; rules and routes of no bearing are accepted.

    Parameters and errors are those of :func:`route_call`.
    """
    mesh = mesh or mesh_of(objects)
    world = World(tuple(objects), call, mesh, tuple(services_of(objects, mesh.domain)), tuple(rules_of(objects, mesh)))
    taken = entrances.taken(world) if call.caller.gateway else sidecars.taken(world)
    accept_others(world.rules, taken.branch)
    return taken


def send(taken: Taken, with_mirrors: bool = True) -> Sent:
    """Where a call goes that a route or a service takes; rules for other hosts are accepted.

    :raises NoExpectationError: if a destination is not there
    :raises NotModelledError: where istiod's merge of DestinationRules depends on how they are exported, or a destination stands
        for another name
    """
    world, domain = taken.world, taken.world.mesh.domain
    if taken.branch is not None:
        route = taken.branch.route
        answers_itself = "redirect" in route or "directResponse" in route
        if answers_itself:
            route.accept("route")
        legs = [] if answers_itself else actions.legs_of(route, domain)
        mirrors = actions.mirrors_of(route, domain) if with_mirrors and not answers_itself else []
    else:
        host = taken.service.host if taken.service is not None else ""
        legs, mirrors = [Leg(host, host, "", world.call.port, 1.0, f"Service {host}")] if host else [], []
    note_extensions(world.objects, workload_of(world.objects, world.call.caller.namespace, world.call.caller.labels))
    used = list(dict.fromkeys(leg.host for leg in (*legs, *mirrors)))
    services = {one.host: one for one in reversed(taken.reachable) if one.host in used}
    refuse_aliases(services.values())
    for one in services.values():
        if one.selector:
            refuse_inbound(world.objects, one.namespace, one.selector, world.mesh)
    chosen = {
        host: destinations.rules_for(world.objects, host, world.call.caller, world.mesh, service.namespace)
        for host, service in services.items()
    }
    destinations.accept_others(world.objects, [rule for rules in chosen.values() for rule in rules])
    applied = {host: destinations.merged(rules) for host, rules in chosen.items()}
    _accept_entries(world, used)
    sent, copied = (tuple(_destinations(taken, some, services, applied)) for some in (legs, mirrors))
    return Sent(sent, copied, services, applied)


def _destinations(
    taken: Taken, legs: Sequence[Leg], services: Mapping[str, Service], applied: Mapping[str, Applied]
) -> Iterator[Destination]:
    """The destinations as the proxy has them; one without a weight need not be there, for Istio leaves it out.

    :raises NoExpectationError: if another one is not there
    """
    for leg in legs:
        try:
            yield _destination(taken, leg, services.get(leg.host), applied.get(leg.host))
        except NoExpectationError:
            if leg.share:
                raise


def _destination(taken: Taken, leg: Leg, service: Service | None, applied: Applied | None) -> Destination:
    """One destination as the proxy has it.

    :raises NoExpectationError: if it is not there
    """
    if service is None or applied is None:
        raise NoExpectationError(f"{leg.origin}: there is no service {leg.written}")
    alone = next(iter(service.ports)) if taken.one_port and len(service.ports) == 1 else taken.world.call.port
    port = alone if leg.port is None else leg.port
    if port not in service.ports:
        raise NoExpectationError(f"{leg.origin}: {leg.written} has no port {port}")
    if leg.subset and leg.subset not in applied.subsets:
        raise NoExpectationError(f"{leg.origin}: no DestinationRule of {leg.written} has a subset {leg.subset}")
    return Destination(leg.host, leg.subset, port, leg.share)


def _accept_entries(world: World, used: Sequence[str]) -> None:
    """Of ServiceEntries of other hosts, nothing has a bearing; of those that are used, not where their calls end."""
    ours = [entry for service in world.services if service.host in used for entry in service.entries]
    for entry in (entry for service in world.services for entry in service.entries):
        if any(entry is one for one in ours):
            entry.accept(*NO_BEARING)
        else:
            entry.accept_all()


def accept_inert(taken: Taken, fields: Sequence[str] = ("name", "corsPolicy")) -> None:
    """Say that ``fields`` of a route, and retries, change nothing for a plain request that is answered."""
    if taken.branch is None:
        return
    route, of_mesh = taken.branch.route, taken.world.mesh.retries
    route.accept(*fields)
    if "retries" in route:
        accept_retries(route["retries"])
        if of_mesh is not None:
            of_mesh.accept_all()


def accept_policies(sent: Sent) -> None:
    """Say that what DestinationRules set beside subsets has no bearing on where calls go."""
    for applied in sent.applied.values():
        if applied.policy is not None:
            applied.policy.accept_all()
        for subset in applied.subsets.values():
            subset.accept("labels", "trafficPolicy")


def route_call(objects: Sequence[View], call: Call, mesh: Mesh | None = None) -> Routed:
    """What the mesh does with ``call``.

    :param objects: all rules and services of all namespaces that bear on it, each as the API gives it
    :param mesh: settings of the mesh, if the objects do not say them
    :raises NoExpectationError: if the rules lead to something that is not there, or contradict themselves
    :raises NotModelledError: naming the field that is not modelled
    """
    taken = find_route(objects, call, mesh)
    sent = send(taken)
    accept_policies(sent)
    done = Routed(sent.destinations, taken.redirect, no_route=taken.no_route, mirrors=sent.mirrors)
    if taken.service is not None and taken.service.ports[call.port] in (HTTP, SNIFFED):
        return replace(done, retries=actions.retries_of(None, taken.world.mesh))
    if taken.branch is None or not taken.branch.is_http:
        if taken.world.mesh.retries is not None:
            taken.world.mesh.retries.accept_all()  # what is no request to a service is not tried again
        return done
    route, condition = taken.branch.route, taken.branch.condition
    route.accept("name", "corsPolicy")
    redirect = actions.redirect_of(route, condition, call)
    direct = actions.direct_response_of(route) if redirect is None else None
    done = replace(done, redirect=redirect, direct_response=direct, fault=actions.fault_of(route))
    rewrite = actions.rewrite_of(route, condition, call)
    timeout, retries = actions.timeout_of(route), actions.retries_of(route, taken.world.mesh)
    if redirect is not None or direct is not None:
        return done
    return replace(done, timeout=timeout, retries=retries, rewrite=rewrite)
