"""Which version answers: the shares of a service's subsets, for ``question.Split``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from loadtests.rules.actions import read_headers
from loadtests.rules.asked import route_of, versions_of
from loadtests.rules.calls import Call, Caller
from loadtests.rules.expectations import (
    NotModelledError,
    Objects,
    Rules,
    Shares,
    namespace_of,
    of_kind,
    state,
    work_out_shares,
)
from loadtests.rules.hops import read_hops
from loadtests.rules.routing import accept_inert
from loadtests.rules.view import View
from loadtests.rules.workloads import ROOT_NAMESPACE
from loadtests.verdict import Expected

GATEWAY = "istio-ingressgateway"


def call_of(objects: Objects, request: Mapping[str, Any], service: str, caller: str, namespace: str) -> Call:
    """The call of one class, which goes to the only port of the service unless it says another one.

    :param request: parts of the call: ``host``, ``port``, ``uri``, ``method``, ``headers``, ``query``, ``varied``; ``gateway``
        of those that enter by one
    :param caller: label ``app`` of the pods that call; GATEWAY for the ingress gateway
    :raises NotModelledError: if the service has several ports
    """
    labels = {"app": caller}
    pods = Caller(namespace, labels, all_labels=False)
    if caller == GATEWAY:
        pods = Caller(ROOT_NAMESPACE, {"istio": "ingressgateway", **labels}, request["gateway"], all_labels=False)
    given = {key: request[key] for key in ("uri", "method", "headers", "query", "scheme", "varied") if key in request}
    port = request.get("port") or _port(objects, service, namespace)
    return Call(request.get("host", service), port, pods, **given)


def _port(objects: Objects, service: str, namespace: str) -> int:
    services = [s for s in of_kind(objects, "Service") if namespace_of(s, namespace) == namespace]
    ports = [p["port"] for s in services if s["metadata"]["name"] == service for p in s["spec"].get("ports", [])]
    if len(ports) != 1:
        raise NotModelledError(f"Service {service}: spec.ports")
    return int(ports[0])


def split_of(objects: Sequence[View], call: Call) -> Shares:
    """Share of each version for one call.

    :raises NoExpectationError: if no rule routes it
    :raises NotModelledError: as :func:`versions_of` does, or if only a part of the calls goes to a subset
    """
    asked = route_of(objects, call)
    route = asked.route
    # No answer fails, so nothing is tried once more; a page of another origin asks for nothing here.
    accept_inert(asked.taken)
    read_headers(route.get("headers", {}))
    shares = versions_of(asked)
    whole = shares.pop("", 0.0)
    if whole and any(shares.values()):
        raise NotModelledError(f"{route.path_of('route')}: a part of the calls goes to all versions")
    return {"": whole} if whole else shares


def expect(
    objects: Objects, requests: Mapping[str, Mapping[str, Any]], service: str, caller: str, namespace: str, margin: float
) -> Rules:
    """What ``objects`` lead to expect of a split.

    :param objects: VirtualServices, DestinationRules, Services and whatever else bears on routes
    :param requests: by traffic class; these, ``service`` and ``caller`` as :func:`call_of` has them
    :param margin: half width of what is accepted around each share
    """

    def shares_for(seen: Sequence[View], request: Mapping[str, Any]) -> Shares:
        read_hops(seen, request)
        return split_of(seen, call_of(objects, request, service, caller, namespace))

    shares, unknown, without = work_out_shares(objects, requests, shares_for, namespace)
    whole = [name for name, line in shares.items() if "" in line]
    if len(whole) < len(shares):
        # Answers of all classes are distinguished by version, or none.
        unknown |= dict.fromkeys(whole, (f"{service}: a route without a subset",))
        shares = {name: line for name, line in shares.items() if name not in whole}
    broken = tuple(f"{name}: {reason}" for name, reason in without.items())
    expected = Expected(shares, margin, broken=broken, unknown=unknown)
    return Rules(expected, state(objects, namespace, expected), whole_service=all("" in line for line in shares.values()))
