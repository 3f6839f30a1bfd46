"""Connections for the TCP routes of one VirtualService, or why there are none."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

from loadtests.judge.checks import SCHEME, Check, Gap, grouped
from loadtests.judge.foreseen import foreseen
from loadtests.judge.reach import Seen, services_for
from loadtests.rules.calls import Call
from loadtests.rules.expectations import NoExpectationError, NotModelledError
from loadtests.rules.fates import Fate, fate_connected
from loadtests.rules.layers import MESH
from loadtests.rules.registry import EVERYBODY, TCP
from loadtests.rules.routing import find_route
from loadtests.rules.view import viewed
from loadtests.rules.virtual import Rule
from loadtests.verdict import Outcome


def checks_of(rule: Rule, title: str, seen: Seen) -> Iterator[Check | Gap]:
    """A check for each TCP route that sidecars follow; for what is not asked, why.

    :param title: how messages name the rule
    """
    for number, route in enumerate(rule.item.data["spec"].get("tcp") or []):
        where = f"{title}: spec.tcp[{number}]"
        for gateway in sorted(rule.gateways - {MESH}):
            yield Gap(f"{where} by Gateway {gateway}", "no connections are planned by gateways yet")
        if MESH in rule.gateways:
            labels = [dict(match.get("sourceLabels") or {}) for match in route.get("match") or [{}]]
            yield from _of_route(where, number, list(_calls(rule, labels, seen)), rule, seen)


def _calls(rule: Rule, labels: list[dict[str, str]], seen: Seen) -> Iterator[Call]:
    """A connection to each port for TCP of each service that the rule is for, by each kind of caller that it names."""
    caller = seen.settings.caller
    if not {EVERYBODY, caller.namespace} & rule.export:
        return
    for service in (one for name in rule.names for one in services_for(name, seen)):
        for port in sorted(number for number, spoken in service.ports.items() if spoken == TCP):
            for wanted in labels:
                if not any("istio.io/" in name for name in wanted):
                    yield Call(service.host, port, replace(caller, labels={**caller.labels, **wanted}), scheme=SCHEME)


def _of_route(where: str, number: int, calls: list[Call], rule: Rule, seen: Seen) -> Iterator[Check | Gap]:
    """The checks of one route: one, unless its connections have several fates."""
    found: list[tuple[Call, Fate]] = []
    lost = Gap(where, "no service of the cluster has a port for TCP that it is for, and that a probe may connect to")
    for call in calls:
        missed = _missed(call, number, rule, seen)
        fate = missed if missed is not None else foreseen(seen, partial(fate_connected, call=call))
        if isinstance(fate, Gap):
            lost = replace(fate, where=where)
        else:
            found.append((call, fate))
    yield from grouped(where, found) if found else [lost]


def _missed(call: Call, number: int, rule: Rule, seen: Seen) -> Gap | None:
    """Why a route does not take a connection; None if it does."""
    try:
        branch = find_route(viewed(seen.objects), call).branch
    except NotModelledError as error:
        return Gap("", f"not modelled: {error}")
    except NoExpectationError as error:
        return Gap("", str(error), Outcome.FAIL)
    if branch is None:
        return Gap("", f"connections to {call.host}:{call.port} do not come to it")
    if branch.rule.item.data != rule.item.data:
        why = f"no connection reaches it: sidecars follow {branch.rule.title} alone for {call.host}"
        return Gap("", why, Outcome.FAIL)
    path = branch.route.path_of("").rstrip(".")
    return None if path.endswith(f"spec.tcp[{number}]") else Gap("", f"{path} takes the connection that was planned for it")
