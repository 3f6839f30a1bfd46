"""What becomes of a call, outcome by outcome, as the access log of the caller's proxy tells: for rules of services of any kind.

Other expectations are about answers of samples that the lab knows. Here nothing is known of the service that answers, so an
outcome says where a request went, or what the proxy did instead: ``reviews.shop:9080 v2``, ``HTTP 500 injected``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from loadtests.rules.actions import direct_response_of, fault_of, read_headers, redirect_of, rewrite_of, timeout_of
from loadtests.rules.asked import Asked, answered, route_of
from loadtests.rules.calls import Call, Destination, Fault, NoRoute, Redirect
from loadtests.rules.expectations import NoExpectationError, NotModelledError, Shares
from loadtests.rules.layers import Layers
from loadtests.rules.registry import HTTP
from loadtests.rules.routing import Sent, accept_inert, find_route, send
from loadtests.rules.view import View, title

OF_PROXIES = (":", "server", "date", "location", "content-length", "connection", "transfer-encoding", "x-envoy-")
"""What names of headers begin with that proxies set themselves."""
BLOCKED = 502
"""What a proxy answers to a request for a host that it may not call."""
CHARACTERS = 60
"""How much of a direct response's text an outcome has."""
UNSEEN = ("corsPolicy", "mirror", "mirrorPercent", "mirrorPercentage", "mirrors", "retries", "timeout")
"""Fields of a route that do not change where a request goes first: outcomes do not show whether they have an effect."""


@dataclass(frozen=True)
class Place:
    """Pods that a destination's calls reach.

    :param labels: that the Service and the subset select; empty where endpoints are not found by labels
    """

    namespace: str
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Fate:
    """What becomes of a call.

    :param delay: seconds by which a fault delays the share of requests that it hits
    :param places: by outcome, where a destination's calls end
    :param copied: destinations that get copies, as outcomes name them
    :param unseen: fields that outcomes do not show, as messages name them
    :param authority: that destinations are asked for; None if it is the one that the caller asks for
    :param response: headers of a destination's answer as the caller gets them, by lower-case name; None for one that is removed
    """

    shares: Shares
    delay: float = 0.0
    places: Mapping[str, Place] = field(default_factory=dict)
    copied: frozenset[str] = frozenset()
    unseen: tuple[str, ...] = ()
    authority: str | None = None
    response: Mapping[str, str | None] = field(default_factory=dict)


def destination_outcome(host: str, port: int, subset: str, domain: str) -> str:
    """A request that reached a destination: ``reviews.shop:9080 v2``."""
    return f"{host.removesuffix(f'.svc.{domain}')}:{port} {subset}".rstrip()


def redirect_outcome(status: int, to: str) -> str:
    """A redirect by the proxy."""
    return f"HTTP {status} to {to}"


def redirected_outcome(to: Redirect, call: Call) -> str:
    """Where a proxy redirects a call to, which keeps its query."""
    host = (to.authority or call.host) + (f":{to.port}" if to.port else "")
    path = to.path or call.uri
    query = f"?{urlencode(call.query)}" if call.query and "?" not in path else ""
    return redirect_outcome(to.code, f"{to.scheme or call.scheme}://{host}{path}{query}")


def direct_outcome(status: int, body: str) -> str:
    """A direct response of the proxy."""
    return f"HTTP {status} by the proxy: {' '.join(body.split())[:CHARACTERS]}".rstrip(": ")


def abort_outcome(status: int) -> str:
    """A fault's abort."""
    return f"HTTP {status} injected"


def delayed_outcome(outcome: str, seconds: float) -> str:
    """A request that a fault has delayed."""
    return f"{outcome} after {seconds:g} s"


def fate_of(objects: Sequence[View], call: Call) -> Fate:
    """What becomes of a call that a route of a VirtualService takes.

    :raises NoExpectationError: if no route takes it, a rule is looked past, or a destination is not there
    :raises NotModelledError: naming the field that is not modelled
    """
    asked = route_of(objects, call)
    own = _own_answer(asked, call)
    fault = _fault_of(asked.route) if own is None else Fault()
    if fault.abort_share == 1:
        return _aborted(asked, fault)
    sent = _answered_by(asked)
    accept_inert(asked.taken)
    if own is not None:
        return Fate({own: 1.0})
    rewrite, response = rewrite_of(asked.route, asked.condition, call), _response_of(asked.route)
    unseen, domain = _unseen(asked, response), asked.taken.world.mesh.domain
    copied = frozenset(destination_outcome(m.host, m.port, m.subset, domain) for m in send(asked.taken).mirrors)
    outcomes, places = _reached(sent, domain)
    shares = _with_fault(outcomes, fault)
    authority = rewrite.authority if rewrite is not None else None
    return Fate(shares, fault.delay if fault.delay_share else 0.0, places, copied, unseen, authority, response)


def fate_connected(objects: Sequence[View], call: Call) -> Fate:
    """What becomes of a connection that a TCP route of a VirtualService takes; errors are those of :func:`fate_of`."""
    asked = route_of(objects, call)
    shares, places = _reached(_answered_by(asked), asked.taken.world.mesh.domain)
    return Fate(shares, places=places)


def _reached(sent: Sent, domain: str) -> tuple[Shares, dict[str, Place]]:
    """The share of each destination, and where its pods are, by outcome."""
    shares: Shares = {}
    places: dict[str, Place] = {}
    for to in sent.destinations:
        if to.share:
            name = destination_outcome(to.host, to.port, to.subset, domain)
            shares[name] = shares.get(name, 0.0) + to.share
            places[name] = _place(sent, to)
    return shares, places


def _aborted(asked: Asked, fault: Fault) -> Fate:
    """What becomes of calls that a fault aborts, all of them: who would have answered has no bearing."""
    for one in asked.taken.world.objects:
        if one["kind"] in ("DestinationRule", "ServiceEntry"):
            one["spec"].accept_all()
    accept_inert(asked.taken)
    asked.route.accept("route")
    return Fate(_with_fault({}, fault), unseen=_unseen(asked, {}))


def _answered_by(asked: Asked) -> Sent:
    """Where the calls go. Mutual TLS of the mesh changes nothing for destinations with a sidecar; without one, calls fail.

    :raises NotModelledError: if a destination is outside the cluster
    """
    sent = answered(asked.taken)
    for host, service in sent.services.items():
        if not service.of_kubernetes:
            raise NotModelledError(f"{asked.route.path_of('route')}: {host} is a host of a ServiceEntry")
    for applied in sent.applied.values():
        for policy in (applied.policy, *(subset.get("trafficPolicy") for subset in applied.subsets.values())):
            accept_mutual(policy)
    return sent


def accept_mutual(policy: object) -> None:
    """Say that mutual TLS of the mesh changes nothing of where calls go."""
    if isinstance(policy, View) and policy.data.get("tls") == {"mode": "ISTIO_MUTUAL"}:
        policy.accept("tls")


def _own_answer(asked: Asked, call: Call) -> str | None:
    """What the proxy answers itself; None if it sends the request on.

    A fault beside it stays unread.
    """
    if to := redirect_of(asked.route, asked.condition, call):
        return redirected_outcome(to, call)
    if own := direct_response_of(asked.route):
        return direct_outcome(own.status, "" if call.method == "HEAD" else own.body)
    return None


def _fault_of(route: Layers) -> Fault:
    """:raises NotModelledError: if a fault both delays and aborts, or aborts with a status of gRPC."""
    fault = fault_of(route) or Fault()
    if fault.abort_share and (fault.http_status is None or fault.delay_share):
        raise NotModelledError(f"{route.path_of('fault')}.abort")
    return fault


def _with_fault(outcomes: Mapping[str, float], fault: Fault) -> Shares:
    shares = {name: share * (1 - fault.abort_share) * (1 - fault.delay_share) for name, share in outcomes.items()}
    if fault.abort_share and fault.http_status is not None:
        shares[abort_outcome(fault.http_status)] = fault.abort_share
    if fault.delay_share:
        shares |= {delayed_outcome(name, fault.delay): share * fault.delay_share for name, share in outcomes.items()}
    return {name: share for name, share in shares.items() if share > 0}


def seen_headers(changes: Mapping[str, Any]) -> dict[str, str | None]:
    """Headers of answers that callers can compare with what a rule sets or removes; None for one that is removed.

    :param changes: ``set``, by name, and ``remove``
    """
    found: dict[str, str | None] = {str(name).lower(): None for name in changes.get("remove") or []}
    found |= {str(name).lower(): str(value) for name, value in (changes.get("set") or {}).items()}
    added = {str(name).lower() for name in changes.get("add") or {}}
    return {
        name: value
        for name, value in found.items()
        if name not in added and not name.startswith(OF_PROXIES) and "%" not in (value or "")
    }


def _response_of(route: Layers) -> dict[str, str | None]:
    """What a route says of headers of answers; nothing where its destinations say something as well."""
    if any("response" in one.data.get("headers", {}) for one in route.get("route", [])):
        return {}
    changes = route["headers"].data.get("response") if "headers" in route else None
    return seen_headers(changes or {})


def _unseen_headers(headers: View, response: Mapping[str, object]) -> Iterator[str]:
    """The changes to headers that outcomes do not show."""
    for direction in ("request", "response"):
        for change, names in headers.data.get(direction, {}).items():
            for name in names:
                shown = direction == "response" and change != "add" and str(name).lower() in response
                authority = direction == "request" and change != "remove" and str(name).lower() in (":authority", "host")
                if not shown and not authority:
                    yield f"{headers.path_of(direction)}.{change}"


def _unseen(asked: Asked, response: Mapping[str, object]) -> tuple[str, ...]:
    """The fields of a route that outcomes do not show; they are read, so that what is not modelled of them is named."""
    route = asked.route
    timeout_of(route)
    found = [route.path_of(name) for name in UNSEEN if name in route]
    if "rewrite" in route:
        title = route.part_of("rewrite").title
        found += [f"{title}: {route['rewrite'].path_of(name)}" for name in route["rewrite"].data if name != "authority"]
    if "headers" in route:
        title = route.part_of("headers").title
        found += [f"{title}: {path}" for path in _unseen_headers(route["headers"], response)]
    for number, one in enumerate(route.get("route", [])):
        if "headers" in one:
            read_headers(one["headers"])
            found.append(f"{route.path_of('route')}[{number}].headers")
    return tuple(dict.fromkeys(found))


def _place(sent: Sent, to: Destination) -> Place:
    service, subset = sent.services[to.host], sent.applied[to.host].subsets.get(to.subset)
    labels = dict(subset.get("labels") or {}) if subset is not None else {}
    return Place(service.namespace, {**service.selector, **labels} if service.selector else {})


def fate_outside(objects: Sequence[View], call: Call) -> Fate:
    """What becomes of a call to a host of a ServiceEntry.

    :raises NoExpectationError: if the caller's proxy has no route for it
    :raises NotModelledError: if a VirtualService takes it, or it goes to the address that the client found
    """
    taken = find_route(objects, call)
    if taken.branch is not None:
        raise NotModelledError(f"{taken.branch.rule.title}: spec.http")
    if taken.service is None:
        raise NoExpectationError(f"{call.name}:{call.port} has no route for it")
    sent = answered(taken)
    for entry in taken.service.entries:
        if entry.get("resolution", "NONE") == "NONE":
            raise NotModelledError(f"calls to {call.name} go to the address that the client finds")
    for applied in sent.applied.values():
        accept_mutual(applied.policy)
    domain = taken.world.mesh.domain
    names = {destination_outcome(to.host, to.port, to.subset, domain): to for to in sent.destinations}
    places = {name: Place(sent.services[to.host].namespace) for name, to in names.items()}
    return Fate({name: to.share for name, to in names.items()}, places=places)


def fate_unregistered(objects: Sequence[View], call: Call) -> Fate:
    """What becomes of a call to a host that nobody has registered, where the caller's proxy blocks those.

    :raises NotModelledError: if it lets them pass, or has no HTTP on the port that is called
    """
    taken = find_route(objects, call)
    if taken.no_route is not NoRoute.BLACKHOLE:
        raise NotModelledError(f"hosts that nobody has registered are not blocked for {call.name}:{call.port}")
    if not any(service.ports.get(call.port) == HTTP for service in taken.reachable):
        raise NotModelledError(f"nobody speaks HTTP on port {call.port}")
    send(taken)  # ServiceEntries of other hosts have no bearing
    return Fate({direct_outcome(BLOCKED, ""): 1.0})


def policies_unseen(objects: Sequence[View], namespace: str) -> tuple[str, ...]:
    """Settings of a namespace's DestinationRules that outcomes do not show: they say how a destination is called."""
    return tuple(
        f"{title(one)}: {path}"
        for one in objects
        if one["kind"] == "DestinationRule" and one["metadata"].get("namespace") == namespace
        for path in _policies(one["spec"].data)
    )


def _policies(spec: Mapping[str, object]) -> list[str]:
    found = [f"spec.trafficPolicy.{key}" for key in _keys(spec.get("trafficPolicy"))]
    subsets = spec.get("subsets")
    for number, subset in enumerate(subsets if isinstance(subsets, Sequence) else []):
        found += [f"spec.subsets[{number}].trafficPolicy.{key}" for key in _keys(subset.get("trafficPolicy"))]
    return found


def _keys(policy: object) -> list[str]:
    return sorted(policy) if isinstance(policy, Mapping) else []
