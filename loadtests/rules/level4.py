"""Which route takes a connection whose content no proxy reads: TCP, and TLS by its server name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypedDict

from loadtests.rules import hosts
from loadtests.rules.expectations import NotModelledError
from loadtests.rules.layers import Layers, Part, gateway_name
from loadtests.rules.registry import TLS, Service
from loadtests.rules.virtual import Branch, Rule
from loadtests.rules.world import World


class Connected(TypedDict, total=False):
    """What takes a connection: the route of a rule, or a service."""

    branch: Branch
    service: Service


def is_for(condition: Part, world: World, gateway: str) -> bool:
    """Whether a condition is for a proxy and its port; all of it must hold.

    :raises NotModelledError: if it asks for addresses
    """
    match, caller = Layers(condition), world.call.caller
    if match.get("port", 0) not in (0, world.call.port):
        return False
    names = {gateway_name(name, condition.namespace) for name in match.get("gateways", [])}
    if names and gateway not in names:
        return False
    if caller.gateway is not None:
        # At gateways, nothing else is looked at.
        match.accept("sourceLabels", "sourceNamespace", "sourceSubnet", "destinationSubnets")
        return True
    if match.get("sourceNamespace", "") not in ("", caller.namespace):
        return False
    labels = {name: table[name] for name, table in match.table("sourceLabels").items()}
    held = caller.has(labels)
    if held is None:
        raise NotModelledError(match.path_of("sourceLabels"))
    if held and "destinationSubnets" in match:
        raise NotModelledError(match.path_of("destinationSubnets"))
    return held


def tcp_branch(rules: Sequence[Rule], world: World, gateway: str) -> Branch | None:
    """The first TCP route of ``rules`` that takes a connection."""
    for rule in rules:
        for view in rule.item["spec"].get("tcp", []):
            part, conditions = rule.part(view), view.get("match", [])
            if not view.get("route"):
                continue
            if not conditions:
                return Branch(rule, Layers(part))
            fitting = next((c for c in map(part.below, conditions) if is_for(c, world, gateway)), None)
            if fitting is not None:
                return Branch(rule, Layers(part), Layers(fitting))
    return None


def tls_branch(rules: Sequence[Rule], world: World, gateway: str) -> Branch | None:
    """The TLS route of ``rules`` for the connection's server name: the most specific one, the first of several for one name.

    :raises NotModelledError: if there are routes, and none for this server name
    """
    found: dict[str, Branch] = {}
    for names, branch in _tls_branches(rules, world, gateway):
        for name in names:
            found.setdefault(name, branch)
    domain = hosts.chosen_domain(found, world.call.name)
    if found and domain is None:
        raise NotModelledError(f"{next(iter(found.values())).rule.title}: spec.tls")
    return None if domain is None else found[domain]


def passed_branch(rules: Sequence[Rule], world: World, gateway: str) -> Branch | None:
    """The TLS route of a Gateway that passes TLS on, for the connection's server name: the most specific one.

    :return: None if there is none: the gateway closes the connection
    :raises NotModelledError: if two of them have a name in common, for istiod drops all of the second one
    """
    found: dict[str, Branch] = {}
    for names, branch in _tls_branches(rules, world, gateway):
        if len({*names} - {*found}) < len(names):
            raise NotModelledError(f"{branch.rule.title}: {branch.route.path_of('match')}")
        found |= dict.fromkeys(names, branch)
    domain = hosts.chosen_domain(found, world.call.name)
    return None if domain is None else found[domain]


def _tls_branches(rules: Sequence[Rule], world: World, gateway: str) -> Iterator[tuple[list[str], Branch]]:
    """The TLS routes that a proxy gets, each with its server names in lower case, in their order."""
    for rule in rules:
        for view in rule.item["spec"].get("tls", []):
            part = rule.part(view)
            for condition in map(part.below, view.get("match", [])):
                if view.get("route") and is_for(condition, world, gateway):
                    names = [str(name).lower() for name in Layers(condition).get("sniHosts", [])]
                    yield names, Branch(rule, Layers(part), Layers(condition))


def connected(world: World, rules: Sequence[Rule], service: Service, gateway: str) -> Connected:
    """What takes a connection to a service of its own protocol: a route for it, or the service itself.

    :raises NotModelledError: if a route depends on what is not known
    """
    ours = [r for r in rules if any(hosts.overlap(name, service.host) for name in r.names)]
    search = tls_branch if service.ports[world.call.port] == TLS else tcp_branch
    branch = search(ours, world, gateway)
    return Connected(service=service) if branch is None else Connected(branch=branch)
