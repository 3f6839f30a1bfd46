"""From where requests for a rule can come in: from a probe in the mesh, or by a gateway."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from loadtests.rules import hosts
from loadtests.rules.calls import Call, Caller, Mesh
from loadtests.rules.expectations import NotModelledError, is_running, namespace_of
from loadtests.rules.gateway_api import GATEWAY_LABEL, PORT, is_of_gateway_api, pod_ports
from loadtests.rules.layers import MESH
from loadtests.rules.registry import EVERYBODY, HTTP, SNIFFED, Service, of_kind
from loadtests.rules.view import viewed
from loadtests.rules.virtual import Rule
from loadtests.rules.workloads import PART_OF, SYSTEM_NAMESPACES

PROBES = "istio-lab-judge"
"""Namespace of the pods that send."""
PROBE = "istio-lab-probe"
"""Label ``app`` of those pods, unless a rule is for callers with another one."""
ACCOUNT = "probe"
"""The ServiceAccount of those pods."""
SYSTEM = (*SYSTEM_NAMESPACES, PROBES)
"""Namespaces that are not judged, and in which no pods are started beside the probes."""
KEPT = {"istio-lab/kept-for": "console"}
"""A label of the probes' namespace where it outlives a run, because an account has its rights in it."""
AGENT = "istio-lab-judge"
"""User agent of requests from the mesh, where no rule asks for another one."""
ANY_HOST = "judge.istio-lab.internal"
"""What is asked for where a rule is for all hosts."""
MARKED = frozenset(("x-request-id",))
"""Headers that carry the run's mark in requests from the mesh."""
MARKED_OUTSIDE = frozenset(("user-agent",))
"""The same for requests by a gateway, which gives each request an identifier of its own."""
PROBING = Caller(PROBES, {"app": PROBE, **PART_OF})
"""Who sends from the mesh, unless settings name somebody else."""
SAFE = ("GET", "HEAD")
PLAIN, SECURE = ("HTTP", "HTTP2"), "HTTPS"
SECURE_PORT = 443
"""Of the Service in front of the lab's gateway."""


@dataclass(frozen=True)
class Settings:
    """What a plan may use.

    :param namespace: whose rules are planned for
    :param methods: that may be sent
    :param entrance: the pods of the gateway that requests may enter by; None if there is none
    :param accounts: ServiceAccounts under which probes may run, as ``namespace/name``; None if under none but their own
    :param caller: the pod that sends from the mesh
    :param secure: whether requests may enter by HTTPS as well
    """

    namespace: str
    methods: tuple[str, ...] = SAFE
    entrance: Caller | None = None
    accounts: frozenset[str] | None = None
    caller: Caller = PROBING
    secure: bool = False


@dataclass(frozen=True)
class Seen:
    """The rules as a plan looks at them.

    :param services: all hosts that istiod knows
    :param rules: all VirtualServices
    """

    objects: list[Mapping[str, Any]]
    mesh: Mesh
    services: tuple[Service, ...]
    rules: tuple[Rule, ...]
    settings: Settings


@dataclass(frozen=True)
class Start:
    """What requests to one port begin with.

    :param authorities: that may be asked for, the usual one first
    """

    call: Call
    authorities: tuple[str, ...]


@dataclass(frozen=True)
class Entrance:
    """By what requests for a rule come in.

    :param gateway: ``mesh``, or ``namespace/name`` of a Gateway
    :param starts: host -> one for each port that may be asked; none if nothing has that name
    """

    gateway: str
    starts: Mapping[str, tuple[Start, ...]]


def entrance_of(rule: Rule, gateway: str, seen: Seen) -> Entrance:
    """How requests reach a rule by one of its gateways.

    :raises NotModelledError: if the lab has no way there; the message says why
    """
    return _from_mesh(rule, seen) if gateway == MESH else _from_outside(rule, gateway, seen)


def _from_mesh(rule: Rule, seen: Seen) -> Entrance:
    caller = seen.settings.caller
    if not {EVERYBODY, caller.namespace} & rule.export:
        raise NotModelledError(f"spec.exportTo does not include namespace {caller.namespace}, where requests are sent from")
    starts: dict[str, tuple[Start, ...]] = {}
    for name in rule.names:
        for service in services_for(name, seen):
            starts[service.host] = _to_service(service, caller)
        if not hosts.is_wildcard(name):
            starts.setdefault(name, ())
    return Entrance(MESH, starts)


def services_for(name: str, seen: Seen) -> list[Service]:
    """The services of the cluster that a host of a rule stands for; of a wildcard, those of the namespace."""
    of_cluster = [s for s in seen.services if s.of_kubernetes]
    if not hosts.is_wildcard(name):
        return [s for s in of_cluster if s.host == name]
    return [s for s in of_cluster if s.namespace == seen.settings.namespace and hosts.covers(name, s.host)]


def _to_service(service: Service, caller: Caller) -> tuple[Start, ...]:
    """A start for each port that may carry HTTP, those first that are named so."""
    ports = sorted(port for port, spoken in service.ports.items() if spoken in (HTTP, SNIFFED))
    return tuple(
        Start(
            Call(service.host, port, caller, headers={"user-agent": AGENT}, varied=MARKED),
            (service.host,) if port == 80 else (f"{service.host}:{port}", service.host),
        )
        for port in sorted(ports, key=lambda port: service.ports[port] != HTTP)
    )


def _from_outside(rule: Rule, gateway: str, seen: Seen) -> Entrance:
    entrance = seen.settings.entrance
    every = [g for g in of_kind(viewed(seen.objects), "Gateway") if not is_of_gateway_api(g)]
    item = next((g for g in every if f"{namespace_of(g)}/{g['metadata']['name']}" == gateway), None)
    if item is None:
        raise NotModelledError(f"there is no Gateway {gateway}")
    spec = item.data["spec"]
    if entrance is None or entrance.has(spec.get("selector") or {}) is not True:
        raise NotModelledError(f"the lab has no way in by the pods that Gateway {gateway} selects")
    ports = pod_ports(viewed(seen.objects), entrance.namespace, entrance.labels)
    found = list(dict.fromkeys(_schemes(spec.get("servers") or [], ports, seen.settings.secure)))
    if not found:
        ways = f"plain HTTP on port {PORT}" + (f", nor for HTTPS on port {SECURE_PORT}" if seen.settings.secure else "")
        raise NotModelledError(f"Gateway {gateway} has no server for {ways}, by which requests enter")
    caller = replace(entrance, gateway=gateway)

    def start(name: str, scheme: str, port: int) -> Start:
        return Start(Call(one_of(name), port, caller, scheme=scheme, varied=MARKED_OUTSIDE), (one_of(name),))

    return Entrance(gateway, {name: tuple(start(name, *one) for one in found) for name in rule.names})


def _schemes(servers: Sequence[Mapping[str, Any]], ports: Mapping[int, int], secure: bool) -> Iterator[tuple[str, int]]:
    """Scheme and port by which requests may enter by one of a Gateway's servers, plain HTTP first."""
    for scheme, way in (("http", PORT), ("https", SECURE_PORT)):
        for one in servers:
            number, protocol = int(one["port"]["number"]), str(one["port"].get("protocol")).upper()
            # Clients without a certificate are admitted by no other mode.
            plain = scheme == "http" and protocol in PLAIN
            tls = scheme == "https" and secure and protocol == SECURE and (one.get("tls") or {}).get("mode") == "SIMPLE"
            if (plain or tls) and ports.get(number, number) == ports.get(way, way):
                yield scheme, number


def pods_of_gateway(namespace: str, name: str, seen: Seen) -> Caller | str:
    """The pods that istiod has deployed for a Gateway of the Gateway API, or why requests cannot enter by them."""
    if namespace != seen.settings.namespace:
        return f"Gateway {namespace}/{name} has pods of its own, in another namespace"
    pods = [one for one in of_kind(viewed(seen.objects), "Pod") if namespace_of(one) == namespace and is_running(one.data)]
    labels = [dict(one["metadata"].data.get("labels") or {}) for one in pods]
    own = [one for one in labels if one.get(GATEWAY_LABEL) == name]
    if not own:
        return f"Gateway {namespace}/{name} has no running pods"
    caller = Caller(namespace, own[0], f"{namespace}/{name}")
    if any(one != own[0] for one in own) or not address_of_gateway(caller, seen.services):
        return f"the pods of Gateway {namespace}/{name} are not alike, or no Service is in front of them"
    return caller


def address_of_gateway(caller: Caller, services: Iterable[Service]) -> str:
    """The Service in front of a Gateway's own pods; '' if there is none."""
    found = (s for s in services if s.of_kubernetes and s.namespace == caller.namespace and s.selector)
    return next((s.host for s in found if s.selector.items() <= caller.labels.items()), "")


def enters_by_own_pods(call: Call) -> bool:
    """Whether a call enters by a Gateway with pods of its own."""
    return call.caller.gateway is not None and GATEWAY_LABEL in call.caller.labels


def one_of(name: str) -> str:
    """A host that a name stands for."""
    return ANY_HOST if name == "*" else f"judge{name[1:]}" if hosts.is_wildcard(name) else name
