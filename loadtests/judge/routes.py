"""Requests for the routes of one VirtualService, or why there are none."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

from loadtests.judge import connections
from loadtests.judge.checks import Check, Gap, Idle, grouped
from loadtests.judge.foreseen import foreseen
from loadtests.judge.reach import Entrance, Seen, Start, entrance_of
from loadtests.judge.requests import Way, candidates, methods_for
from loadtests.judge.shadows import covers
from loadtests.rules.calls import Call
from loadtests.rules.conditions import is_for
from loadtests.rules.expectations import NoExpectationError, NotModelledError, namespace_of
from loadtests.rules.fates import Fate, fate_of
from loadtests.rules.layers import MESH, Layers, gateway_name
from loadtests.rules.routing import find_route
from loadtests.rules.view import View, viewed
from loadtests.rules.virtual import Branch, Rule, branches_of, first_taken
from loadtests.verdict import Outcome

TRIED = 20
"""Requests for one condition of which the whole of the rules is asked, where another rule takes those before."""


def checks_of(rule: Rule, seen: Seen) -> Iterator[Check | Gap | Idle]:
    """A check for each route that requests are found for, by each way in; for everything else, what it is."""
    for number, _ in enumerate(rule.item.data["spec"].get("tls") or []):
        yield Gap(f"{_title(rule.item, seen)}: spec.tls[{number}]", "no connections are planned for TLS routes yet")
    yield from connections.checks_of(rule, _title(rule.item, seen), seen)
    try:
        branches = list(branches_of(rule, seen.rules))
    except NotModelledError as reason:
        yield Gap(f"{_title(rule.item, seen)}: spec.http", f"not modelled: {reason}")
        return
    for gateway in sorted(rule.gateways) if branches else ():
        suffix = "" if rule.gateways == {MESH} else " by sidecars" if gateway == MESH else f" by Gateway {gateway}"
        try:
            entrance = entrance_of(rule, gateway, seen)
        except NotModelledError as reason:
            yield Gap(f"{_title(rule.item, seen)}: spec.http{suffix}", str(reason))
            continue
        for route in {id(branch.route): branch.route for branch in branches}.values():
            yield from _of_route(_Route(route, branches, entrance, seen, suffix))


@dataclass(frozen=True)
class _Route:
    """One route, as requests by one entrance may reach it.

    :param branches: of the whole rule, in the order in which proxies take them
    :param suffix: what its name ends with where a rule has several entrances
    """

    route: Layers
    branches: Sequence[Branch]
    entrance: Entrance
    seen: Seen
    suffix: str

    def name(self, branch: Branch | None = None) -> str:
        """How messages name it, or one of its conditions."""
        condition = branch.condition if branch is not None else None
        return f"{_path(condition or self.route, self.seen)}{self.suffix}"


def _title(item: View, seen: Seen) -> str:
    """How messages name a rule; with its namespace, if that is another one."""
    owner = "" if namespace_of(item) == seen.settings.namespace else f"{namespace_of(item)}/"
    return f"{item['kind']} {owner}{item['metadata']['name']}"


def _path(layers: Layers, seen: Seen) -> str:
    """``VirtualService reviews: spec.http[0]``; of a delegate, with the route that leads to it."""
    return " within ".join(f"{_title(part.rule, seen)}: {part.path.rstrip('.')}" for part in layers.parts)


def _of_route(one: _Route) -> Iterator[Check | Gap | Idle]:
    """The checks of one route for one entrance: one, unless its requests have several fates."""
    found: list[tuple[Call, Fate]] = []
    gaps: dict[Gap | Idle, None] = {}
    meant = [b for b in one.branches if b.route is one.route and _is_meant(b, one.entrance)]
    for branch in meant:
        for host, starts in one.entrance.starts.items():
            where = one.name(branch if len(meant) > 1 else None) + (f" for {host}" if len(one.entrance.starts) > 1 else "")
            call = _request_for(branch, host, starts, one)
            fate = foreseen(one.seen, partial(fate_of, call=call)) if isinstance(call, Call) else call
            if isinstance(call, Call) and isinstance(fate, Fate):
                found.append((call, fate))
            elif not isinstance(fate, Fate):
                gaps[replace(fate, where=where)] = None
    yield from grouped(one.name(), found)
    yield from gaps


def _is_meant(branch: Branch, entrance: Entrance) -> bool:
    """Whether a condition is for the entrance at all: its own gateways may be others than those of the rule."""
    condition = branch.condition
    if condition is None or not (named := condition.get("gateways")):
        return True
    return entrance.gateway in {gateway_name(name, condition.part_of("gateways").namespace) for name in named}


def _request_for(branch: Branch, host: str, starts: Sequence[Start], one: _Route) -> Call | Gap | Idle:
    """A request that the route takes, or why there is none."""
    if not starts:
        return Gap("", f"no service of the cluster is called {host}, so nothing resolves it")
    if reason := _not_for_probe(branch, one.seen.settings.caller.namespace):
        return Gap("", reason)
    if branch.condition is not None and not methods_for(branch.condition, one.seen.settings.methods):
        wanted = " ".join(str(value) for value in dict(branch.condition["method"]).values())
        return Gap("", f"its method is {wanted}, and only {', '.join(one.seen.settings.methods)} may be sent: see METHODS=")
    found: Call | Gap | Idle = Gap("", f"{host} has no port for HTTP that it is for")
    for start in starts:
        if branch.condition is not None:
            labels = {name: str(table[name]) for name, table in branch.condition.table("sourceLabels").items()}
            caller = start.call.caller
            start = replace(start, call=replace(start.call, caller=replace(caller, labels={**caller.labels, **labels})))
        if branch.condition is not None and not is_for(branch.condition, start.call, one.entrance.gateway):
            continue
        found = _constructed(branch, start, one)
        if isinstance(found, Call):
            return found
    return found


def _not_for_probe(branch: Branch, sender: str) -> str:
    """Why a condition is for no pod that the lab may start; '' if it is for one.

    :param sender: namespace of that pod
    """
    condition = branch.condition
    if condition is None or condition.get("gateways"):
        return ""
    if (wanted := condition.get("sourceNamespace", "")) not in ("", sender):
        return f"{condition.path_of('sourceNamespace')} is {wanted}, and requests are sent from namespace {sender}"
    if names := [name for name in condition.table("sourceLabels") if "istio.io/" in name]:
        return f"{condition.path_of('sourceLabels')}.{names[0]} is a label that Istio sets"
    return ""


def _constructed(branch: Branch, start: Start, one: _Route) -> Call | Gap | Idle:
    """A request that the route takes and no earlier one, by one port; or why there is none."""
    gateway = one.entrance.gateway
    given = [b for b in one.branches if b.condition is None or is_for(b.condition, start.call, gateway)]
    earlier = given[: next(number for number, b in enumerate(given) if b.route is one.route)]
    way = Way(one.seen.settings.methods, start.authorities, start.call)
    reason, other = "", None
    beside: Call | None = None
    lost: list[Gap] = []
    for call in candidates(branch.condition, [b.condition for b in earlier if b.condition is not None], way):
        try:
            taken = first_taken(given, call)
        except NotModelledError as error:
            reason = f"not modelled: {error}"
            continue
        except NoExpectationError as error:
            return Gap("", str(error), Outcome.FAIL)
        if taken is branch:
            confirmed = _confirmed(call, branch, one)
            if isinstance(confirmed, Call) or confirmed.outcome is Outcome.FAIL or len(lost) == TRIED:
                return confirmed
            lost.append(confirmed)
        if taken is not None and taken.route is one.route:
            beside = beside or call
        other = other or next((b for b in earlier if b is taken), None)
    if lost:
        return lost[0]
    if beside is not None:
        return _confirmed(beside, branch, one)
    if (shadow := next((b for b in earlier if covers(b.condition, branch.condition)), None)) is not None:
        return Idle("", f"no request reaches it: {_path(shadow.condition or shadow.route, one.seen)} takes them all")
    if other is not None:
        reason = f"no request was found that {_path(other.condition or other.route, one.seen)} does not take before it"
    return Gap("", reason or "no request was found that it takes")


def _confirmed(call: Call, branch: Branch, one: _Route) -> Call | Gap:
    """The request, if all rules together send it to the route; else what takes it."""
    try:
        taken = find_route(viewed(one.seen.objects), call)
    except NotModelledError as error:
        return Gap("", f"not modelled: {error}")
    except NoExpectationError as error:
        return Gap("", str(error), Outcome.FAIL)
    found = taken.branch
    if taken.redirect is not None:
        return Gap("", f"Gateway {one.entrance.gateway} redirects it to HTTPS")
    if found is None:
        return Gap("", f"requests to {call.name}:{call.port} do not come to it ({taken.no_route or 'no rule applies there'})")
    if _identity(found.route) == _identity(one.route):
        return call
    other = found.rule.item
    if one.entrance.gateway == MESH and other.data["metadata"] != one.branches[0].rule.item.data["metadata"]:
        why = f"no request reaches it: sidecars follow {_title(other, one.seen)} alone for {call.name}"
        return Gap("", why, Outcome.FAIL)
    path = _path(found.condition or found.route, one.seen)
    # Of rules for one host, those of a gateway are merged, in the order of their age.
    if {*found.rule.names} >= {*branch.rule.names} and covers(found.condition, branch.condition):
        return Gap("", f"no request reaches it: {path} takes them all", Outcome.FAIL)
    return Gap("", f"{path} takes the request that was constructed for it")


def _identity(route: Layers) -> list[tuple[str, str, str]]:
    return [(part.namespace, part.title, part.path) for part in route.parts]
