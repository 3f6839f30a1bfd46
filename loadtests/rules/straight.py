"""Whether all of a call reaches the workload that it is for, as it was made: security is read for that workload alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from loadtests.rules.actions import fault_of
from loadtests.rules.admission import refuse_sent
from loadtests.rules.calls import Call, Caller
from loadtests.rules.destinations import settings
from loadtests.rules.expectations import NoExpectationError, NotModelledError, Objects
from loadtests.rules.extensions import note_extensions, workload_of
from loadtests.rules.gateway_api import ROUTES
from loadtests.rules.hosts import long_name, overlap
from loadtests.rules.registry import Service
from loadtests.rules.routing import Sent, accept_inert, accept_policies, find_route, send
from loadtests.rules.view import View, not_modelled, title, viewed
from loadtests.rules.virtual import Branch
from loadtests.rules.workloads import INGRESS_GATEWAY, called_workload
from loadtests.rules.world import Taken

LEADING = ("VirtualService", "ServiceEntry", "Sidecar", *ROUTES)
"""Kinds that may lead a call elsewhere than to the service that it names."""
SOME_ADDRESS = "192.0.2.1"
"""Stands for the gateway's own address, which clients ask for who name no host, and which differs from lab to lab."""
ENTRANCE = 8080
"""Port of the Gateway's server by which requests of the load tests enter."""


def read_route(branch: Branch) -> None:
    """Make sure that a route sends all calls on as they are; what else it may do stays unread.

    :raises NotModelledError: if it answers itself, or injects faults
    """
    route = branch.route
    for field in ("redirect", "directResponse"):
        if field in route:
            raise NotModelledError(route.path_of(field))
    if not branch.is_http:
        raise NotModelledError(route.path_of("route"))
    fault = fault_of(route)
    if fault and (fault.delay_share or fault.abort_share):
        raise NotModelledError(route.path_of("fault"))
    route.accept("name", "corsPolicy")


def send_straight(taken: Taken, request: Mapping[str, Any]) -> tuple[str, Sent]:
    """Where a call goes that a route or a service takes: to one service, whatever its pods are.

    :param request: the service: ``app``, ``namespace``, ``port``
    :return: the long name of the service, and where the call goes
    :raises NotModelledError: if the route does more than to send calls on, or some of them go to another service, or to a part
        of it
    """
    if taken.branch is not None:
        read_route(taken.branch)
    host = long_name(str(request["app"]), str(request["namespace"]), taken.world.mesh.domain)
    sent = send(taken, with_mirrors=False)
    for one in sent.destinations:
        if one.share and (one.host, one.subset, one.port) != (host, "", request["port"]):
            call = taken.world.call
            raise NotModelledError(
                f"calls to {call.name}:{call.port}" if taken.branch is None else taken.branch.route.path_of("route")
            )
    return host, sent


@dataclass(frozen=True)
class Straight:
    """How all of a call comes to the service that it is for; what its route does beside that stays unread.

    :param rule: how messages name the DestinationRule that applies to it
    :param settings: that it makes, by name
    """

    taken: Taken
    service: Service
    rule: str
    settings: dict[str, View]


def straight_to(objects: Sequence[View], request: Mapping[str, Any]) -> Straight:
    """How all of a call comes to the service that it is for.

    :param request: ``call``; the service: ``app``, ``namespace``, ``port``
    :raises NoExpectationError: if nothing takes the call, or the service takes no such calls
    :raises NotModelledError: if rules do more with some of the calls than to send them to that service, or it may refuse them
    """
    call: Call = request["call"]
    taken = find_route(objects, call)
    if taken.branch is None and taken.service is None:
        raise NoExpectationError(f"{call.name}:{call.port} has no route for it")
    host, sent = send_straight(taken, request)
    refuse_sent(taken, sent, sent.destinations)
    accept_policies(replace(sent, applied={name: applied for name, applied in sent.applied.items() if name != host}))
    applied = sent.applied[host]
    rule = applied.rule or f"the rules of {request['app']}"
    return Straight(taken, sent.services[host], rule, settings(applied, request["port"]))


def refuse_detours(objects: Objects, request: Mapping[str, Any]) -> None:
    """Make sure that rules lead all of a call to the workload that it is for, and change nothing of it on the way.

    :param request: the workload: ``app``, ``namespace``, ``port``; the caller: ``caller``, ``caller_namespace``, ``principal``
        or ``sidecar``; ``gateway``, the ``namespace/name`` of the Gateway, of calls that enter by one; ``authority``
        (by default the service), ``uri``, ``method``, ``headers``, and names of headers whose values are not known (``varied``)
    :raises NotModelledError: if they may do anything else; it names the field
    """
    by_gateway = request.get("caller") == INGRESS_GATEWAY.labels[0]
    has_proxy = by_gateway or request.get("sidecar", request.get("principal", ""))
    called, calling = called_workload(objects, request), request.get("caller") or {}
    note_extensions(objects, called)
    if has_proxy:
        note_extensions(objects, workload_of(objects, str(request.get("caller_namespace", called.namespace)), calling))
    seen = viewed(objects)
    leading = [one for one in seen if one["kind"] in LEADING]
    if not has_proxy or not leading:
        return
    taken = find_route(seen, call_of(request, by_gateway))
    if taken.branch is None and taken.service is None:
        host = long_name(str(request["app"]), str(request["namespace"]), taken.world.mesh.domain)
        raise NotModelledError(_in_the_way(leading, taken, host))
    _, sent = send_straight(taken, request)
    accept_inert(taken)  # whatever is tried again is answered alike
    accept_policies(sent)
    if paths := not_modelled([one for one in seen if one["kind"] in (*LEADING, "Gateway")]):
        raise NotModelledError(", ".join(paths))


def call_of(request: Mapping[str, Any], by_gateway: bool) -> Call:
    """The call as its caller's proxy sees it."""
    namespace, app = str(request["namespace"]), str(request["app"])
    varied = frozenset(request.get("varied", ()))
    host = str(request.get("authority") or f"{app}.{namespace}")
    if by_gateway and not request.get("authority"):
        host, varied = SOME_ADDRESS, varied | {":authority"}
    asked = (str(request.get("uri", "/")), str(request.get("method", "GET")))
    headers = {name.lower(): str(value) for name, value in request.get("headers", {}).items()}
    if by_gateway and not request.get("gateway"):
        raise NotModelledError(f"by which Gateway calls to {host} enter")
    caller = Caller(
        str(request.get("caller_namespace", namespace)), request.get("caller") or {},
        str(request["gateway"]) if by_gateway else None, all_labels=False,
    )  # fmt: skip
    port = ENTRANCE if by_gateway else request.get("port")
    if port is None:
        raise NotModelledError(f"to which port calls to {host} go")
    return Call(host, int(port), caller, *asked, headers, varied=varied)


def _in_the_way(leading: Sequence[View], taken: Taken, host: str) -> str:
    """What may be the reason why no route takes a call, in words.

    :param host: long name of the service that it is for
    """
    call = taken.world.call
    rules = [rule for rule in taken.world.rules if any(overlap(one, name) for one in rule.names for name in (host, call.name))]
    found = [f"{rule.title}: spec.http" for rule in rules]
    found += [f"{title(one)}: spec.egress" for one in leading if one["kind"] == "Sidecar"]
    return f"calls to {call.name}:{call.port} have no route ({', '.join(found) or 'no rule is for them'})"
