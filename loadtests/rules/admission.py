"""Whether the pods that a route leads to take its calls: mutual TLS, tokens, and policies, as their proxies enforce them.

A route that is right may still lead to pods that refuse the caller. Questions about routes ask here for every destination.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from loadtests.rules.authorization import OK, OUTSIDE, TRUST_DOMAIN, decided
from loadtests.rules.calls import Call, Caller, Destination
from loadtests.rules.destinations import applied_rules, settings
from loadtests.rules.expectations import (
    NoExpectationError,
    NotModelledError,
    Objects,
    addresses_of,
    is_running,
    namespace_of,
    of_kind,
    views_of,
)
from loadtests.rules.extensions import note_extensions, workload_of
from loadtests.rules.layers import Layers
from loadtests.rules.mesh_config import is_mtls_automatic
from loadtests.rules.registry import HTTP
from loadtests.rules.routing import Sent
from loadtests.rules.tokens import HEADER
from loadtests.rules.view import View, not_modelled, title, viewed
from loadtests.rules.workloads import (
    INGRESS_GATEWAY,
    INGRESS_PRINCIPAL,
    ROOT_NAMESPACE,
    Workload,
    applying,
    selector_of,
    spec_of,
)
from loadtests.rules.world import Taken

PROXY = "istio-proxy"
"""Name of the container of a sidecar."""
PARAMETER = "access_token"
"""Where a rule that names no places looks for a token beside the header."""
ENTERING = ("AuthorizationPolicy", "RequestAuthentication")
SECURITY = ("AuthorizationPolicy", "PeerAuthentication", "RequestAuthentication")
"""Kinds by which a proxy refuses a call."""
DISABLE, STRICT, MUTUAL = "DISABLE", "STRICT", "ISTIO_MUTUAL"
"""Modes of mutual TLS: DISABLE of either end, STRICT of the called one, ISTIO_MUTUAL of the caller."""
ONE_SIDED = "SIMPLE"
"""The mode of a caller that shows no certificate."""


def mtls_modes(objects: Objects, workload: Workload, port: int | None) -> tuple[str, str]:
    """The mode of mutual TLS that a workload's namespace has, and that of one of its ports; each level may leave it UNSET.

    Of several PeerAuthentications on one level the oldest counts: those without selector in the root namespace, then those in
    the workload's, then those that select it, then what they say of the port.

    :param port: of the pods; None if it is not known
    :raises NotModelledError: if it depends on the port, and that is not known
    """
    levels: dict[str, View] = {}
    for rule in applying(objects, "PeerAuthentication", workload):
        there, special = namespace_of(rule, workload.namespace), bool(selector_of(rule))
        # A selector in the root namespace selects nothing elsewhere.
        level = "workload" if special else "mesh" if there == ROOT_NAMESPACE else "namespace"
        if (special and there == ROOT_NAMESPACE) or level in levels:
            spec_of(rule).accept_all()
        else:
            levels[level] = spec_of(rule)
    modes = ["PERMISSIVE"]
    for level in ("mesh", "namespace", "workload"):
        mode = (levels[level].get("mtls") or {}).get("mode", "UNSET") if level in levels else "UNSET"
        modes.append(str(mode) if mode != "UNSET" else modes[-1])
    found = modes[-1]
    by_port = levels["workload"].get("portLevelMtls") or {} if "workload" in levels else {}
    for number, one in by_port.items():
        if port is None:
            raise NotModelledError("PeerAuthentication: spec.portLevelMtls")
        mode = (one or {}).get("mode", "UNSET")
        found = str(mode) if str(number) == str(port) and mode != "UNSET" else found
    return modes[2], found


def pod_port(objects: Objects, namespace: str, name: str, port: int | None) -> int | None:
    """The port of its pods that a Service's port stands for, by which their proxies know it; None if it has a name.

    :param port: of the Service
    """
    for service in of_kind(objects, "Service"):
        if (namespace_of(service, namespace), service["metadata"]["name"]) == (namespace, name):
            spec = service.data["spec"] if isinstance(service, View) else service["spec"]
            for one in spec.get("ports") or []:
                if one["port"] == port:
                    target = str(one.get("targetPort") or port)
                    return int(target) if target.isdigit() else None
    return port


@dataclass(frozen=True)
class Arrival:
    """A call as it comes to a destination.

    :param host: full name of the Service
    :param namespace: of the Service
    :param port: of the Service
    :param selector: labels that it selects pods by
    :param uri: path; None if it is not known, as ``method``
    :param carried: names of the headers and parameters that it may have, in lower case
    """

    caller: Caller
    host: str
    namespace: str
    port: int
    selector: Mapping[str, str]
    subset: str = ""
    uri: str | None = None
    method: str | None = None
    carried: frozenset[str] = frozenset()

    @property
    def name(self) -> str:
        """Of the Service."""
        return self.host.partition(".")[0]


def refuse_closed(objects: Objects, arrivals: Iterable[Arrival]) -> None:
    """Make sure that the called pods take calls, and that nothing reaches into their proxies that is not read.

    :raises NoExpectationError: if a DestinationRule and the called pods contradict each other, so that no call is taken
    :raises NotModelledError: if pods refuse a call, or may do so; it names the rules
    """
    for one in arrivals:
        # Apart: what has no bearing on one destination may have some on another one.
        seen = viewed(objects)
        wanted = {**one.selector, **_subset_of(seen, one)}
        workload = workload_of(seen, one.namespace, wanted)
        note_extensions(objects, workload)
        _refuse_closed(seen, one, workload, {_has_proxy(pod) for pod in _running(seen, one.namespace, wanted)})


def refuse_sent(taken: Taken, sent: Sent, destinations: Iterable[Destination]) -> None:
    """Make sure that the pods behind destinations take a call, and the gateway, if it enters by one.

    Errors are those of :func:`refuse_closed`.
    """
    call, objects = taken.world.call, taken.world.objects
    asked = (call.method, call.uri) if _is_http(taken) else (None, None)
    if call.caller.gateway is not None:
        refuse_entry(objects, call.caller, _carried(call), *asked)
    refuse_closed(objects, _arrivals(taken, sent, destinations))
    for host, applied in sent.applied.items():
        if sent.services[host].of_kubernetes:
            for policy in (applied.policy, *(subset.get("trafficPolicy") for subset in applied.subsets.values())):
                accept_tls(policy)


def refuse_entry(
    objects: Objects, caller: Caller, carried: frozenset[str], method: str | None = None, uri: str | None = None
) -> None:
    """Make sure that a gateway's own proxy takes what enters there, and that nothing reaches into it that is not read.

    :param caller: the gateway's pods
    :param carried: as an :class:`Arrival` has it
    :raises NotModelledError: if it refuses a call, or may do so; it names the rules
    """
    workload = workload_of(objects, caller.namespace, caller.labels)
    note_extensions(objects, workload)
    seen = viewed([one for one in objects if one["kind"] in ENTERING])
    refuse_tokens(applying(seen, "RequestAuthentication", workload), carried)
    asked = {"principal": None, "method": method, "uri": uri, "namespace": caller.namespace}
    _refuse_denied(applying(seen, "AuthorizationPolicy", workload), asked, "the gateway")
    if paths := not_modelled(seen):
        raise NotModelledError(", ".join(paths))


def _carried(call: Call) -> frozenset[str]:
    return frozenset(name.lower() for name in (*call.headers, *call.query, *call.varied))


def _arrivals(taken: Taken, sent: Sent, destinations: Iterable[Destination]) -> Iterator[Arrival]:
    """A call as it comes to those of the destinations that have pods; what its route may change of it is not known."""
    call, branch = taken.world.call, taken.branch
    is_known = _is_http(taken) and (branch is None or not _changes(branch.route))
    for to in destinations:
        service = sent.services[to.host]
        selectors = [service.selector] if service.of_kubernetes else [
            labels for entry in service.entries if (labels := (entry.data.get("workloadSelector") or {}).get("labels"))
        ]  # fmt: skip
        for selector in selectors if to.share else ():
            yield Arrival(
                call.caller, to.host, service.namespace, to.port, selector, to.subset,
                call.uri if is_known else None, call.method if is_known else None, _carried(call),
            )  # fmt: skip


def _is_http(taken: Taken) -> bool:
    """Whether a call is a request for certain."""
    call = taken.world.call
    if taken.branch is not None:
        return taken.branch.is_http
    return taken.service is not None and taken.service.ports.get(call.port) == HTTP


def _changes(route: Layers) -> bool:
    """Whether a route may change path or method of a request."""
    return "rewrite" in route or "headers" in route or any("headers" in one for one in route.get("route", []))


def accept_tls(policy: object) -> None:
    """Say that TLS has no bearing beyond what was made of it for each destination."""
    if isinstance(policy, View):
        for one in (policy, *(policy.get("portLevelSettings") or [])):
            one.accept("tls")


def _refuse_closed(seen: Sequence[View], one: Arrival, workload: Workload, proxied: Collection[bool | None]) -> None:
    """Make sure that one destination takes calls.

    :param proxied: what is known of whether its pods have sidecars; empty if it is not known which pods those are
    """
    mode, path = _tls_of(seen, one)
    if proxied == {False}:  # nobody enforces anything
        if mode not in ("", DISABLE):
            raise NotModelledError(path)
        return
    port = pod_port(seen, one.namespace, one.name, one.port)
    modes = mtls_modes(seen, workload, port)
    encrypted = _is_encrypted(seen, mode, path, modes)
    if mode and (mode == MUTUAL or not is_taken(encrypted, modes[1])) and proxied != {True}:
        raise NotModelledError(path)
    if not is_taken(encrypted, modes[1]):
        if not mode:
            raise NotModelledError(f"{_named(applying(seen, 'PeerAuthentication', workload))}: calls to {one.name} are refused")
        raise NoExpectationError(f"{path} is {mode}, and mutual TLS of {one.name} is {modes[1]}, so calls to it get HTTP 503")
    refuse_tokens(applying(seen, "RequestAuthentication", workload), one.carried)
    request = {
        "principal": _principal_of(seen, one.caller) if encrypted else "", "method": one.method, "uri": one.uri, "port": port,
        "namespace": one.namespace, "addresses": [a for pod in _callers(seen, one.caller) for a in addresses_of(pod)],
        "client": OUTSIDE if _is_ingress(one.caller) else None,
    }  # fmt: skip
    _refuse_denied(applying(seen, "AuthorizationPolicy", workload), request, one.name)
    if paths := not_modelled([item for item in seen if item["kind"] in SECURITY]):
        raise NotModelledError(", ".join(paths))


def _tls_of(seen: Sequence[View], one: Arrival) -> tuple[str, str]:
    """The mode of TLS that callers have to use for a destination, and how messages name it; '' if none is.

    :raises NotModelledError: if anything else is said of it
    """
    applied = applied_rules(seen, one.host, one.caller, owner=one.namespace)
    tls = settings(applied, one.port, one.subset).get("tls")
    if tls is None:
        return "", ""
    for name in tls:
        if name != "mode":
            raise NotModelledError(f"{applied.rule}: {tls.path_of(name)}")
    return str(tls.get("mode", DISABLE)), f"{applied.rule}: {tls.path_of('mode')}"


def _is_encrypted(seen: Sequence[View], mode: str, path: str, modes: tuple[str, str]) -> bool:
    """Whether callers show a certificate of the mesh: as a rule says, or else wherever the called pods take it.

    :raises NotModelledError: if it is another TLS, which the called program itself may understand
    """
    if not mode:
        return is_mtls_automatic(seen) and DISABLE not in modes
    if mode in (DISABLE, MUTUAL):
        return mode == MUTUAL
    if (mode, modes[1]) == (ONE_SIDED, STRICT):
        return False
    raise NotModelledError(path)


def is_taken(encrypted: bool, mode: str) -> bool:
    """Whether a proxy takes a connection by its mode of mutual TLS."""
    return {STRICT: encrypted, DISABLE: not encrypted}.get(mode, True)


def _named(rules: Sequence[View]) -> str:
    return ", ".join(f"{title(rule)}: spec" for rule in rules)


def _refuse_denied(policies: Sequence[View], request: Mapping[str, Any], name: str) -> None:
    """Make sure that policies do not refuse a call; what may make them do so stays unread.

    :raises NotModelledError: if they do
    """
    if decided(policies, request) not in (OK, None):
        raise NotModelledError(f"{_named(policies)}: calls to {name} are refused")


def refuse_tokens(rules: Sequence[View], carried: frozenset[str]) -> None:
    """Make sure that a call has nothing where rules look for a token: without one, it passes.

    :raises NotModelledError: if it may have
    """
    for rule in rules:
        for one in spec_of(rule).data.get("jwtRules") or []:
            named = [*(header["name"] for header in one.get("fromHeaders") or []), *(one.get("fromParams") or [])]
            named += ["cookie"] if one.get("fromCookies") else []
            if not carried.isdisjoint(name.lower() for name in named or (HEADER, PARAMETER)):
                raise NotModelledError(f"{title(rule)}: spec.jwtRules: a call that may have a token")
        spec_of(rule).accept_all()


def _subset_of(objects: Sequence[View], one: Arrival) -> dict[str, str]:
    """The labels that a destination's subset selects pods by."""
    subset = applied_rules(viewed(objects), one.host, one.caller, owner=one.namespace).subsets.get(one.subset)
    return dict(subset.get("labels") or {}) if subset is not None else {}


def _callers(objects: Sequence[View], caller: Caller) -> list[View]:
    """The running pods that call, if they are among the objects."""
    return _running(objects, caller.namespace, caller.labels)


def _running(objects: Sequence[View], namespace: str, labels: Mapping[str, str]) -> list[View]:
    """The running pods with some labels, if they are among the objects."""
    if not labels:
        return []
    found = [pod for pod in views_of(objects, "Pod") if namespace_of(pod) == namespace and is_running(pod)]
    return [pod for pod in found if labels.items() <= (pod.data["metadata"].get("labels") or {}).items()]


def _has_proxy(pod: View) -> bool | None:
    """Whether a pod has a sidecar; None if it does not say which containers it has."""
    spec = pod.data.get("spec") or {}
    containers = [*(spec.get("initContainers") or []), *(spec.get("containers") or [])]
    return any(one["name"] == PROXY for one in containers) if containers else None


def _is_ingress(caller: Caller) -> bool:
    return caller.namespace == INGRESS_GATEWAY.namespace and INGRESS_GATEWAY.labels[0].items() <= caller.labels.items()


def _principal_of(objects: Sequence[View], caller: Caller) -> str | None:
    """What the certificate of a caller names; None if that is not known."""
    accounts = {str((pod.data.get("spec") or {}).get("serviceAccountName", "")) for pod in _callers(objects, caller)}
    if _is_ingress(caller):
        return INGRESS_PRINCIPAL
    account = caller.account or (accounts.pop() if len(accounts) == 1 else "")
    return f"{TRUST_DOMAIN}/ns/{caller.namespace}/sa/{account}" if account else None
