"""The hops of a request beside the call that is asked about: those that lead to whoever makes it, and those that follow it.

Rules for a hop decide as well what the client sees. So each hop is read with all kinds of rules that bear on it, and what those
say beyond sending the call on as it is leaves the expectation open.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from loadtests.rules import subsets
from loadtests.rules.actions import fault_of
from loadtests.rules.admission import SECURITY
from loadtests.rules.asked import read_apart
from loadtests.rules.calls import Call, Destination
from loadtests.rules.destinations import settings
from loadtests.rules.expectations import NoExpectationError, NotModelledError, Objects
from loadtests.rules.extensions import note_extensions
from loadtests.rules.hosts import long_name
from loadtests.rules.mesh_config import mesh_of
from loadtests.rules.routing import Sent, accept_inert, accept_policies, find_route, send
from loadtests.rules.security import ANSWERED, check_entry, outcome_of_call
from loadtests.rules.straight import call_of, read_route
from loadtests.rules.view import View, title, viewed
from loadtests.rules.workloads import applying, called_workload
from loadtests.rules.world import Taken

Hop = Mapping[str, Any]
"""A request as :func:`loadtests.rules.security.permitted` has it, of a call to ``app``; ``gateway``, if it enters by one.

Beside that: ``proxied``: whether the called pods have a sidecar (by default, yes); ``version``: label of the pods that have to
answer, where the expectation depends on it; ``inert``: fields of its route that the expectation follows from, or does not.
"""


def read_hops(objects: Objects, request: Mapping[str, Any]) -> None:
    """Make sure that the other hops of a request leave what becomes of it to the call that is asked about.

    :param request: ``through``: the hops that all of it has to pass (see :data:`Hop`); ``onward``: calls that follow (see
        :func:`answer_soon`)
    """
    for hop in request.get("through", ()):
        pass_on(objects, hop)
    for onward in request.get("onward", ()):
        answer_soon(objects, onward)


def pass_on(objects: Objects, hop: Hop) -> None:
    """Make sure that all of a call gets to pods of its service, as it was made and at once, and that they take it.

    :raises NoExpectationError: if nothing takes the call, or a destination is not there, or has no pods
    :raises NotModelledError: naming the field by which rules may do anything else with it
    """
    number, used = 0, 1
    # One destination at a time: the settings of one have no bearing on another.
    while number < used:
        used = read_apart(objects, partial(_pass_on, hop=hop, number=number))
        number += 1


def _taken(seen: Sequence[View], call: Call) -> Taken:
    mesh_of(seen)
    taken = find_route(seen, call)
    if taken.branch is None and taken.service is None:
        raise NoExpectationError(f"{call.name}:{call.port} has no route for it")
    return taken


def _pass_on(seen: Sequence[View], hop: Hop, number: int) -> int:
    """Read a hop as far as one of its destinations.

    :return: how many there are
    """
    taken = _taken(seen, call_of(hop, "gateway" in hop))
    if taken.branch is not None:
        read_route(taken.branch)
        taken.branch.route.accept("name", *hop.get("inert", ()))
    accept_inert(taken)
    sent = send(taken, with_mirrors=False)
    used = [one for one in sent.destinations if one.share]
    _refuse_others(taken, used, hop)
    subsets.refuse_empty(seen, sent)
    to = used[number]
    if hop.get("version") and subsets.reached(seen, sent, to) != {hop["version"]}:
        raise NotModelledError(_path(taken, to.host))
    _settle(sent, to)
    if hop.get("proxied", True):
        _refuse_closed(seen, {**hop, "subset": to.subset})
    return len(used)


def _path(taken: Taken, host: str) -> str:
    return f"calls to {host}" if taken.branch is None else taken.branch.route.path_of("route")


def _refuse_others(taken: Taken, used: Sequence[Destination], hop: Hop) -> None:
    """Make sure that a call goes to the service that it is for.

    :raises NotModelledError: if some of it does not
    """
    host = long_name(str(hop["app"]), str(hop["namespace"]), taken.world.mesh.domain)
    if not used or any((one.host, one.port) != (host, hop["port"]) for one in used):
        raise NotModelledError(_path(taken, host))


def _settle(sent: Sent, to: Destination) -> None:
    """Read what DestinationRules set for a destination; which of its pods answers has no bearing. The rest stays unread."""
    accept_policies(replace(sent, applied={name: one for name, one in sent.applied.items() if name != to.host}))
    found = settings(sent.applied[to.host], to.port, to.subset)
    if "loadBalancer" in found:
        found["loadBalancer"].accept_all()


def _refuse_closed(seen: Sequence[View], hop: Hop) -> None:
    """Make sure that the called proxy takes a call, and the gateway, if it enters there.

    :raises NotModelledError: naming the rules that refuse it
    """
    if "headers" in hop.get("inert", ()):
        hop = {**hop, "headers": {}}  # which of them arrive, the route decides
    if "gateway" in hop:
        check_entry(seen, "AuthorizationPolicy", hop)
    note_extensions(seen, called_workload(seen, hop))
    if outcome_of_call(seen, hop) != ANSWERED:
        apart = viewed(seen)
        rules = [rule for kind in SECURITY for rule in applying(apart, kind, called_workload(apart, hop))]
        named = ", ".join(f"{title(rule)}: spec" for rule in rules)
        raise NotModelledError(f"{named}: calls to {hop['app']} are refused")


def answer_soon(objects: Objects, onward: Mapping[str, Any]) -> None:
    """Make sure that a call that follows from the one in question is over in time; how it is answered has no bearing.

    :param onward: ``call``; ``app``, ``namespace`` and ``port`` of the service that it is for; ``within``: seconds
    :raises NotModelledError: if rules delay it for longer, or lead it to another service
    """
    try:
        read_apart(objects, lambda seen: _answer_soon(seen, onward))
    except NoExpectationError:
        return  # the caller's proxy answers itself, at once


def _answer_soon(seen: Sequence[View], onward: Mapping[str, Any]) -> None:
    taken = _taken(seen, onward["call"])
    route = None if taken.branch is None else taken.branch.route
    fault = None if route is None else fault_of(route)
    if route is not None and fault is not None and fault.delay_share and fault.delay > onward["within"]:
        raise NotModelledError(f"{route.path_of('fault')}.delay")
    sent = send(taken, with_mirrors=False)
    note_extensions(seen, called_workload(seen, onward))
    if used := [one for one in sent.destinations if one.share]:
        _refuse_others(taken, used, onward)
    accept_policies(sent)  # whoever is refused gets that response at once
    if route is not None:
        route.accept_all()
