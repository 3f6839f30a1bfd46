"""What istiod knows to call: Services and ServiceEntries, and which of them, and of the rules, a proxy is given."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from loadtests.rules import hosts
from loadtests.rules.calls import Caller, Mesh
from loadtests.rules.expectations import NotModelledError, age, namespace_of
from loadtests.rules.view import View, title

HTTP, TCP, TLS, SNIFFED, UDP = "http", "tcp", "tls", "sniffed", "udp"
PROTOCOLS = {
    "http": HTTP, "http2": HTTP, "grpc": HTTP, "grpc-web": HTTP, "http_proxy": HTTP, "tcp": TCP, "mongo": TCP, "redis": TCP,
    "mysql": TCP, "https": TLS, "tls": TLS, "udp": UDP, "kubernetes.io/h2c": HTTP, "kubernetes.io/ws": HTTP,
    "kubernetes.io/wss": TLS,
}  # fmt: skip
SERVER_FIRST = (25, 53, 3306, 27017)
"""Ports on which a proxy does not wait for the client's first bytes to see what they are."""
INBOUND = ("ingress", "inboundConnectionPool")
"""Fields of a Sidecar about calls that its pods receive."""
EXPORT = "networking.istio.io/exportTo"
EVERYBODY, OWN, NOBODY = "*", ".", "~"
NO_BEARING = ("location", "resolution", "addresses", "endpoints", "subjectAltNames", "workloadSelector")
"""Fields of a ServiceEntry that say where calls end, not which rule applies to them."""


@dataclass(frozen=True)
class Service:
    """A host that istiod knows.

    :param ports: number -> what is spoken there: one of HTTP, TCP, TLS, UDP, or SNIFFED where nobody says
    :param addresses: by which it may be called as well
    :param selector: labels of its pods; empty where endpoints are not found by labels of pods
    :param entries: the specs of its ServiceEntries; none for a Service of Kubernetes
    :param alias: how messages name the field by which it stands for another name; '' if it does not
    """

    host: str
    namespace: str
    ports: Mapping[int, str]
    export: frozenset[str]
    addresses: tuple[str, ...] = ()
    headless: bool = False
    selector: Mapping[str, str] = field(default_factory=dict)
    entries: tuple[View, ...] = field(default=(), compare=False)
    alias: str = ""

    @property
    def of_kubernetes(self) -> bool:
        """Whether it is a Service, whose host nobody else can take."""
        return not self.entries


def of_kind(objects: Iterable[View], kind: str) -> list[View]:
    """The objects of one kind, the oldest first."""
    return sorted((o for o in objects if o["kind"] == kind), key=age)


def exports(spec: Mapping[str, Any]) -> frozenset[str]:
    """To which namespaces a rule is given, as it says itself; empty if it does not."""
    return frozenset(str(one) for one in spec.get("exportTo") or [])


def is_given(export: frozenset[str], owner: str, namespace: str) -> bool:
    """Whether what is exported so from ``owner`` is given to a namespace."""
    return not export or EVERYBODY in export or namespace in export or (OWN in export and owner == namespace)


def _spoken(port: Mapping[str, Any]) -> str:
    """What is spoken on a Service's port: by its ``appProtocol``, or what its name begins with."""
    if port.get("protocol") == "UDP":
        return UDP
    name = str(port.get("appProtocol") or port.get("name", ""))
    known = (
        HTTP if name.lower().startswith("grpc-web") else PROTOCOLS.get(name) or PROTOCOLS.get(name.partition("-")[0].lower())
    )
    return known or (TCP if port["port"] in SERVER_FIRST else SNIFFED)


def _kubernetes(item: View, domain: str) -> Service:
    spec, metadata = item["spec"], item["metadata"]
    given = str(metadata.get("annotations", {}).get(EXPORT, ""))
    return Service(
        host=f"{metadata['name']}.{namespace_of(item)}.svc.{domain}",
        namespace=namespace_of(item),
        ports={int(port["port"]): _spoken(port) for port in spec.get("ports", [])},
        export=frozenset(one.strip() for one in given.split(",") if one.strip()),
        addresses=tuple(a for a in (spec.get("clusterIP"),) if a and a != "None"),
        headless=spec.get("clusterIP") == "None",
        selector=dict(spec.get("selector") or {}),
        alias=f"{title(item)}: spec.externalName" if spec.get("type") == "ExternalName" else "",
    )


def _registered(item: View) -> list[Service]:
    """The hosts of a ServiceEntry."""
    spec = item["spec"]
    ports = {}
    for port in spec.get("ports", []):
        ports[int(port["number"])] = PROTOCOLS.get(str(port.get("protocol", "")).lower(), SNIFFED)
        port.accept("name", "targetPort")
    addresses = tuple(str(a) for a in spec.get("addresses", []) if "/" not in a)
    return [
        Service(str(host).lower(), namespace_of(item), ports, exports(spec), addresses, entries=(spec,))
        for host in spec.get("hosts", [])
    ]


def services_of(objects: Sequence[View], domain: str) -> list[Service]:
    """All hosts that istiod knows, one for each namespace that names it, the oldest first."""
    found: dict[tuple[str, str], Service] = {}
    for item in sorted((*of_kind(objects, "Service"), *of_kind(objects, "ServiceEntry")), key=age):
        for one in [_kubernetes(item, domain)] if item["kind"] == "Service" else _registered(item):
            known = found.get((one.host, one.namespace))
            if known is None:
                found[(one.host, one.namespace)] = one
            elif known.of_kubernetes or one.of_kubernetes:
                found[(one.host, one.namespace)] = known if known.of_kubernetes else one
            else:
                found[(one.host, one.namespace)] = Service(
                    one.host, one.namespace, {**one.ports, **known.ports}, known.export | one.export,
                    known.addresses + one.addresses, entries=known.entries + one.entries,
                )  # fmt: skip
    return list(found.values())


def refuse_aliases(called: Iterable[Service]) -> None:
    """Make sure that what is called does not stand for another name.

    :raises NotModelledError: if it does
    """
    for one in called:
        if one.alias:
            raise NotModelledError(one.alias)


def one_for_each_host(services: Iterable[Service], namespace: str) -> list[Service]:
    """Of several namespaces that name one host: the client's own, else a Service of Kubernetes, else the oldest."""
    chosen: dict[str, Service] = {}
    for one in services:
        known = chosen.get(one.host)
        better = known is not None and known.namespace != namespace and (
            one.namespace == namespace or (one.of_kubernetes and not known.of_kubernetes)
        )  # fmt: skip
        if known is None or better:
            chosen[one.host] = one
    return list(chosen.values())


@dataclass(frozen=True)
class Imports:
    """Which hosts one listener of a Sidecar takes over: ``namespace/host`` each, as its pods' namespace completes them."""

    taken: tuple[tuple[str, str], ...]
    left_out: tuple[tuple[str, str], ...] = ()

    def _excludes(self, host: str, namespace: str) -> bool:
        return any(ns in (EVERYBODY, namespace) and hosts.covers(pattern, host) for ns, pattern in self.left_out)

    def service(self, one: Service) -> bool:
        """Whether a host of the registry is taken over."""
        taken = any(ns in (EVERYBODY, one.namespace) and hosts.covers(pattern, one.host) for ns, pattern in self.taken)
        return taken and not self._excludes(one.host, one.namespace)

    def rule(self, names: Iterable[str], namespace: str) -> bool:
        """Whether a VirtualService is taken over: by any of its hosts, and even where only parts of it are."""
        return any(
            any(ns in (EVERYBODY, namespace) and hosts.overlap(pattern, name) for ns, pattern in self.taken)
            and not self._excludes(name, namespace)
            for name in names
        )


EVERYTHING = Imports(((EVERYBODY, EVERYBODY),))


def sidecar_of(objects: Sequence[View], caller: Caller, mesh: Mesh) -> View | None:
    """The spec of the Sidecar that applies to the caller: one with a selector before one without, then the oldest.

    Without one in its namespace, that of the root namespace. The others have no bearing.
    """
    every = of_kind(objects, "Sidecar")
    special = [s for s in every if "workloadSelector" in s["spec"]]
    general = [s for s in every if "workloadSelector" not in s["spec"]]
    own = [s for s in (*special, *general) if namespace_of(s) == caller.namespace]
    candidates = [*own, *(s for s in general if namespace_of(s) == mesh.root_namespace)]
    found = None
    for one in candidates:
        if found is None and selects(one["spec"].get("workloadSelector", {}).get("labels", {}), caller, one):
            found = one
    for one in every:
        if one is not found:  # by identity: to compare two views would read them
            one["spec"].accept_all()
    return None if found is None else found["spec"]


def refuse_inbound(objects: Iterable[Mapping[str, Any]], namespace: str, labels: Mapping[str, str], mesh: Mesh) -> None:
    """Make sure that no Sidecar says how pods take calls: by listeners of its own, or with limits.

    :param labels: that all of the called pods have; they may have others
    :raises NotModelledError: if one may
    """
    for item in objects:
        one = item.data if isinstance(item, View) else item  # what is looked at here says nothing about its caller's side
        spec = one["spec"] or {} if one["kind"] == "Sidecar" else {}
        if not (said := [name for name in INBOUND if spec.get(name)]):
            continue
        owner, selector = namespace_of(one), (spec.get("workloadSelector") or {}).get("labels") or {}
        theirs = owner == namespace or (owner == mesh.root_namespace and not selector)
        if theirs and all(labels.get(name, value) == value for name, value in selector.items()):
            raise NotModelledError(f"{title(one)}: spec.{said[0]}")


def imports_of(sidecar: View | None, namespace: str) -> Imports:
    """What a Sidecar's listener for all ports takes over; everything, where there is none.

    A listener with a port of its own stays unread.
    """
    found: list[tuple[str, str]] = []
    left_out: list[tuple[str, str]] = []
    listeners = sidecar.get("egress", []) if sidecar is not None else []
    for listener in listeners:
        for text in listener.get("hosts", []):
            owner, _, name = str(text).partition("/")
            to = left_out if owner.startswith(NOBODY) else found
            owner = owner.removeprefix(NOBODY) or EVERYBODY
            to.append((namespace if owner == OWN else owner, name))
    return Imports(tuple(found), tuple(left_out)) if listeners else EVERYTHING


def any_allowed(sidecar: View | None, mesh: Mesh) -> bool:
    """Whether calls to hosts that nobody knows pass."""
    if sidecar is None or "outboundTrafficPolicy" not in sidecar:
        return mesh.allow_any
    mode = sidecar["outboundTrafficPolicy"].get("mode", "REGISTRY_ONLY")
    if mode not in ("REGISTRY_ONLY", "ALLOW_ANY"):
        raise NotModelledError(f"Sidecar: {sidecar.path_of('outboundTrafficPolicy')}.mode")
    return bool(mode == "ALLOW_ANY")


def selects(selector: Mapping[str, str], caller: Caller, item: View) -> bool:
    """Whether a selector of ``item`` selects the caller.

    :raises NotModelledError: if that depends on labels that are not known
    """
    held = caller.has(selector)
    if held is None:
        raise NotModelledError(f"{title(item)}: spec.workloadSelector")
    return held
