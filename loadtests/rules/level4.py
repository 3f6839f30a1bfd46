"""Which route takes a connection whose content no proxy reads: TCP, and TLS by its server name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

from loadtests.rules import hosts
from loadtests.rules.declared import NotModelledError
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


def connected(world: World, rules: Sequence[Rule], service: Service, gateway: str) -> Connected:
    """What takes a connection to a service of its own protocol.

    :raises NotModelledError: if TLS is led elsewhere by its server name
    """
    ours = [r for r in rules if any(hosts.overlap(name, service.host) for name in r.names)]
    if service.ports[world.call.port] == TLS:
        if led := next((r for r in ours if r.item["spec"].get("tls")), None):
            raise NotModelledError(f"{led.title}: spec.tls")
        return Connected(service=service)
    branch = tcp_branch(ours, world, gateway)
    return Connected(service=service) if branch is None else Connected(branch=branch)
