"""The route of one call as questions read it: a rule is there, nothing overrules it, and its destinations answer."""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass
from typing import TypeVar

from loadtests.rules import subsets
from loadtests.rules.admission import refuse_sent
from loadtests.rules.calls import Call, Destination
from loadtests.rules.expectations import NoExpectationError, NotModelledError, Objects
from loadtests.rules.hosts import covers, names_of
from loadtests.rules.layers import MESH, Layers
from loadtests.rules.routing import Sent, find_route, send
from loadtests.rules.view import View, not_modelled, viewed
from loadtests.rules.virtual import Branch, branches_for
from loadtests.rules.world import Taken

Read = TypeVar("Read")


@dataclass(frozen=True)
class Asked:
    """A call that a route of a VirtualService takes."""

    taken: Taken
    branch: Branch

    @property
    def route(self) -> Layers:
        """What it does; unread as yet."""
        return self.branch.route

    @property
    def condition(self) -> Layers | None:
        """The condition that holds, if the route has any."""
        return self.branch.condition


def route_of(objects: Sequence[View], call: Call) -> Asked:
    """The route of a VirtualService that takes a call.

    Errors are those of :func:`route_in`.
    """
    return route_in(find_route(objects, call))


def route_in(taken: Taken) -> Asked:
    """The route of a VirtualService, if that takes the call.

    :raises NoExpectationError: if there is none, or of several rules for the host all but one are looked past
    """
    where = f"{taken.world.call.name}:{taken.world.call.port}"
    if taken.branch is not None:
        if overruled := _overruled(taken, taken.branch):
            raise NoExpectationError(overruled)
        return Asked(taken, taken.branch)
    if taken.service is not None:
        raise NoExpectationError(f"no VirtualService for {where} is applied")
    raise NoExpectationError(f"{where} has no route for it")


def _overruled(taken: Taken, branch: Branch) -> str:
    """Which rule a sidecar looks past, of several for the host that is called; '' if none.

    At a gateway, those rules are merged instead.
    """
    world, domain = taken.world, taken.world.mesh.domain
    called = next(
        (s.host for s in taken.reachable if world.call.name in names_of(s.host, world.call.caller.namespace, domain)), ""
    )
    for other in taken.rules:
        both = sorted(name for name in {*other.names} & {*branch.rule.names} if covers(name, called))
        if other.item is branch.rule.item or not both or not branches_for(other, world.rules, world.call, MESH):
            continue
        name, beside = branch.rule.item["metadata"]["name"], other.item["metadata"]["name"]
        return (
            f"VirtualServices {name} and {beside} are both for {both[0].removesuffix(f'.svc.{domain}')}: "
            f"sidecars follow {name} alone; merge them"
        )
    return ""


def destinations_of(asked: Asked) -> tuple[Destination, ...]:
    """Where a route sends its calls, if all of them are answered; errors are those of :func:`answered_by`."""
    return answered_by(asked).destinations


def versions_of(asked: Asked) -> dict[str, float]:
    """Share of each version that a route's calls reach, if all of them are answered; '' for all of a service.

    :raises NoExpectationError: if a destination is not there, or has no pods
    :raises NotModelledError: if there are several services, for versions tell only those of one apart, or several versions
        behind one subset
    """
    sent = answered_by(asked)
    for number, one in enumerate(sent.destinations):
        if one.host != sent.destinations[0].host:
            raise NotModelledError(f"{asked.route.path_of('route')}[{number}].destination.host")
    return subsets.shares_of(asked.taken.world.objects, sent)


def answered_by(asked: Asked) -> Sent:
    """Where a route sends its calls, and what is known of those hosts, if all calls are answered, by pods that take them.

    :raises NoExpectationError: if a destination is not there, has no pods, or takes no such calls
    :raises NotModelledError: if it is not known whether it has pods, or whether those take them
    """
    sent = answered(asked.taken)
    refuse_sent(asked.taken, sent, sent.destinations)
    return sent


def answered(taken: Taken) -> Sent:
    """Where a route or a service sends its calls, and what is known of those hosts; whether pods take them has no bearing.

    A load balancer chooses among pods that answer alike; pools and ejections can reject requests, and stay unread.

    :raises NoExpectationError: if a destination is not there, or has no pods
    :raises NotModelledError: if it is not known whether it has pods
    """
    sent = send(taken, with_mirrors=False)
    for host, applied in sent.applied.items():
        used = [d for d in sent.destinations if d.host == host]
        ports, named = {d.port for d in used}, {d.subset for d in used}
        if applied.policy is not None:
            _accept_balancing(applied.policy, ports)
        for name, subset in applied.subsets.items():
            if name not in named:
                subset.accept_all()
                continue
            subset.accept("labels")
            if isinstance(policy := subset.get("trafficPolicy"), View):
                _accept_balancing(policy, ports)
    subsets.refuse_empty(taken.world.objects, sent)
    return sent


def _accept_balancing(policy: View, ports: Container[int]) -> None:
    """Say that how pods are chosen has no bearing, nor what is set for other ports."""
    policy.accept("loadBalancer")
    for setting in policy.get("portLevelSettings", []):
        if setting["port"]["number"] in ports:
            setting.accept("loadBalancer")
        else:
            setting.accept_all()


def read_apart(objects: Objects, read: Callable[[Sequence[View]], Read]) -> Read:
    """What ``read`` makes of the same objects for another call: what has no bearing on one may have some on the other.

    :raises NotModelledError: naming the fields that are not modelled
    """
    seen = viewed(objects)
    found = read(seen)
    if paths := not_modelled(seen):
        raise NotModelledError(", ".join(paths))
    return found
