"""Which route of a sidecar takes a call that its own pod makes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from loadtests.rules import hosts
from loadtests.rules.calls import NoRoute
from loadtests.rules.expectations import NotModelledError
from loadtests.rules.gateway_api import refuse_for_services
from loadtests.rules.layers import MESH
from loadtests.rules.level4 import connected
from loadtests.rules.registry import (
    EVERYBODY,
    HTTP,
    INBOUND,
    SNIFFED,
    TCP,
    TLS,
    UDP,
    Service,
    any_allowed,
    imports_of,
    is_given,
    one_for_each_host,
    refuse_aliases,
    sidecar_of,
)
from loadtests.rules.virtual import Branch, Rule, branches_for, first_taken, given_to
from loadtests.rules.world import Taken, World

QUIRK = 80
"""On this port alone, istiod gives routes for hosts that are in no registry."""


@dataclass(frozen=True)
class Scope:
    """What a sidecar is given."""

    services: tuple[Service, ...]
    rules: tuple[Rule, ...]
    any_allowed: bool


@dataclass(frozen=True)
class VirtualHost:
    """Domains that are routed alike: by branches of a rule, or to a service."""

    domains: tuple[str, ...]
    branches: tuple[Branch, ...] = ()
    service: Service | None = None


def scope_of(world: World) -> Scope:
    """What the caller's sidecar is given: by exports, and by the Sidecar that applies to it."""
    caller = world.call.caller
    sidecar = sidecar_of(world.objects, caller, world.mesh)
    if sidecar is not None:
        sidecar.accept(*INBOUND)
    imports = imports_of(sidecar, caller.namespace)
    given = [s for s in world.services if is_given(s.export, s.namespace, caller.namespace) and imports.service(s)]
    given.sort(key=lambda s: not s.export or EVERYBODY in s.export)  # what is for this namespace comes first
    # As istiod, by the hosts with the capitals that a rule writes.
    rules = [r for r in given_to(world.rules, MESH, caller.namespace) if imports.rule(r.written, r.namespace)]
    return Scope(tuple(one_for_each_host(given, caller.namespace)), tuple(rules), any_allowed(sidecar, world.mesh))


def taken(world: World) -> Taken:
    """What takes the call.

    :raises NotModelledError: if the call is not of the protocol of its port, or a route of the Gateway API could apply to it
    """
    scope, call = scope_of(world), world.call
    called = _service_called(world, scope.services)
    refuse_for_services(world.objects, call, [called.host] if called is not None else [], world.mesh)
    refuse_aliases([called] if called is not None else [])
    found = Taken(world, _reachable(world, scope), scope.rules)
    here = [s for s in scope.services if call.port in s.ports]
    own = _service_called(world, here)
    spoken = own.ports[call.port] if own is not None else HTTP
    if own is not None and spoken in (TCP, TLS):
        return replace(found, one_port=True, **connected(world, scope.rules, own, MESH))
    if spoken == UDP:
        raise NotModelledError(f"{call.host}:{call.port} is UDP")
    if spoken == HTTP and not any(s.ports[call.port] == HTTP for s in here):
        return replace(found, no_route=_unknown(scope))
    known = _virtual_hosts(world, scope, here)
    if spoken == SNIFFED and own is not None:
        host = next((v for v in known if own.host in v.domains), None)
        otherwise = NoRoute.NOT_FOUND
    else:
        domain = hosts.chosen_domain((d for v in known for d in v.domains), call.name)
        host = next((v for v in known if domain in v.domains), None)
        otherwise = _unknown(scope)
    if host is None:
        return replace(found, no_route=otherwise)
    if host.service is not None:
        return replace(found, service=host.service)
    branch = first_taken(host.branches, call)
    return replace(found, branch=branch, no_route=NoRoute.NOT_FOUND if branch is None else None)


def _unknown(scope: Scope) -> NoRoute:
    return NoRoute.PASSTHROUGH if scope.any_allowed else NoRoute.BLACKHOLE


def _reachable(world: World, scope: Scope) -> tuple[Service, ...]:
    """The services of the sidecar, and those that it gets because a rule leads there."""
    namespace = world.call.caller.namespace
    own = [s for s in world.services if s.namespace == namespace]
    seen = [s for s in world.services if s.namespace != namespace and is_given(s.export, s.namespace, namespace)]
    return (*scope.services, *own, *sorted(seen, key=lambda s: not s.of_kubernetes))


def _domains(world: World, service: Service) -> tuple[str, ...]:
    names = hosts.names_of(service.host, world.call.caller.namespace, world.mesh.domain)
    pods = tuple(f"*.{name}" for name in names) if service.headless and service.of_kubernetes else ()
    return (*names, *pods, *service.addresses)


def _service_called(world: World, services: Sequence[Service]) -> Service | None:
    """The service whose name or address the client asks for."""
    by_domain = {domain: s for s in reversed(services) for domain in _domains(world, s)}
    domain = hosts.chosen_domain(by_domain, world.call.name)
    return None if domain is None else by_domain[domain]


def _selected(rules: Sequence[Rule], here: Sequence[Service], port: int) -> list[Rule]:
    """The rules that bear on a port: those for a host that has it, and on one port all of them."""
    if port == QUIRK:
        return list(rules)
    known = {s.host for s in here}

    def bears(name: str) -> bool:
        return (
            any(hosts.overlap(name, host) for host in known if hosts.is_wildcard(name) or hosts.is_wildcard(host))
            or name in known
        )

    return [r for r in rules if any(bears(name) for name in r.names)]


def _most_specific_rules(scope: Scope) -> dict[str, Rule]:
    """Of each service that a rule is for: the rule with the most specific host; of several for one host, the first.

    As istiod, by the hosts as the rules write them: one with a capital is no service's here.
    """
    by_name: dict[str, Rule] = {}
    for rule in scope.rules:
        for name in rule.written:
            by_name.setdefault(name, rule)
    chosen = {s.host: hosts.most_specific(by_name, s.host) for s in scope.services}
    return {host: by_name[name] for host, name in chosen.items() if name is not None}


def _split_names(rule: Rule, here: Sequence[Service], best: dict[str, Rule]) -> tuple[list[str], list[Service]]:
    """The hosts of a rule that no service has, and the services that it is for."""
    by_host = {s.host: s for s in here}
    names = [name for name in rule.names if not hosts.is_wildcard(name) and name not in by_host]
    services = [by_host[name] for name in rule.names if name in by_host and not hosts.is_wildcard(name)]
    for wildcard in (name for name in rule.names if hosts.is_wildcard(name)):
        fitting = [s for s in here if hosts.overlap(s.host, wildcard)]
        services += [s for s in fitting if best.get(s.host) is rule]
        if not fitting:
            names.append(wildcard)
    return names, services


def _virtual_hosts(world: World, scope: Scope, here: Sequence[Service]) -> list[VirtualHost]:
    """The virtual hosts of a port; of several with one name or domain, the first has it."""
    port, best = world.call.port, _most_specific_rules(scope)
    wanted: list[tuple[str, VirtualHost]] = []
    ruled: set[str] = set()
    for rule in _selected(scope.rules, here, port):
        branches = tuple(branches_for(rule, world.rules, world.call, MESH))
        names, matching = _split_names(rule, here, best)
        services = [s for s in matching if s.ports[port] in (HTTP, SNIFFED)]
        if not branches or not (services or port == QUIRK):
            continue
        wanted += [(name, VirtualHost((name,), branches)) for name in names]
        wanted += [(s.host, VirtualHost(_domains(world, s), branches)) for s in services]
        ruled |= {s.host for s in services}
    plain = [s for s in here if s.host not in ruled and s.ports[port] in (HTTP, SNIFFED)]
    wanted += [(s.host, VirtualHost(_domains(world, s), service=s)) for s in plain]
    return list(_without_duplicates(wanted, ruled | {s.host for s in plain}))


def _without_duplicates(wanted: Iterable[tuple[str, VirtualHost]], services: set[str]) -> Iterable[VirtualHost]:
    named: set[str] = set()
    had: set[str] = set()
    for name, one in wanted:
        if name in named:
            continue
        named.add(name)
        # Another name of a service gives way to a service of that name.
        domains = tuple(d for d in one.domains if d not in had and (d == name or d not in services))
        had |= set(domains)
        if domains:
            yield VirtualHost(domains, one.branches, one.service)
