"""Requests for what leaves the mesh: hosts of ServiceEntries, and hosts that nobody has registered."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from loadtests.judge.checks import Check, Gap
from loadtests.judge.foreseen import foreseen
from loadtests.judge.guards import guest_of, why_no_guest
from loadtests.judge.reach import AGENT, ANY_HOST, MARKED, Seen
from loadtests.rules.calls import Call, Caller
from loadtests.rules.expectations import namespace_of
from loadtests.rules.fates import Fate, fate_outside, fate_unregistered
from loadtests.rules.hosts import is_wildcard
from loadtests.rules.registry import EVERYBODY, HTTP, PROTOCOLS, of_kind
from loadtests.rules.view import View, title

KINDS = ("ServiceEntry", "Sidecar")
ONLY = "outboundTrafficPolicy"


def checks_of(views: Sequence[View], seen: Seen) -> Iterator[Check | Gap]:
    """A check for each host of a ServiceEntry of the namespace, and for hosts that it may not call; and what has none."""
    namespace = seen.settings.namespace
    for item in (one for one in of_kind(views, "ServiceEntry") if namespace_of(one) == namespace):
        for number, host in enumerate(item.data["spec"].get("hosts") or []):
            yield from _of_host(item, number, str(host).lower(), seen)
    for item in (one for one in of_kind(views, "Sidecar") if namespace_of(one) == namespace):
        yield from _of_sidecar(item, seen)


def _of_host(item: View, number: int, host: str, seen: Seen) -> Iterator[Check | Gap]:
    spec, where = item.data["spec"], f"{title(item)}: spec.hosts[{number}]"
    if is_wildcard(host):
        yield Gap(where, "it is for many hosts, and none of them is known")
        return
    export = [str(one) for one in spec.get("exportTo") or [EVERYBODY]]
    caller = seen.settings.caller
    if EVERYBODY not in export:
        why = why_no_guest(seen.settings.namespace, "default", seen)
        if why:
            yield Gap(f"{title(item)}: spec.exportTo", f"the host is given to namespace {', '.join(export)} alone, where {why}")
            return
        caller = guest_of(seen.settings.namespace, "default").caller
    for n, port in enumerate(spec.get("ports") or []):
        if PROTOCOLS.get(str(port.get("protocol", "")).lower()) != HTTP:
            yield Gap(f"{title(item)}: spec.ports[{n}]", "no connections are planned for ports without plain HTTP")
        else:
            to = int(port["number"])
            name = where if len(spec["ports"]) == 1 else f"{where} on port {to}"
            yield _planned(name, _call(host, to, caller), fate_outside, seen)


def _of_sidecar(item: View, seen: Seen) -> Iterator[Check | Gap]:
    """A check of what a Sidecar says of hosts that nobody has registered, asked by a probe that it is for."""
    spec = item.data["spec"]
    for field in sorted(set(spec) - {ONLY}):
        yield Gap(f"{title(item)}: spec.{field}", "no requests are planned for this field yet")
    if ONLY not in spec:
        return
    namespace, where = seen.settings.namespace, f"{title(item)}: spec.{ONLY}"
    if why := why_no_guest(namespace, "default", seen):
        yield Gap(where, f"it is for callers of namespace {namespace}, where {why}")
        return
    own = [one for one in seen.services if one.of_kubernetes and one.namespace == namespace]
    port = min((port for one in own for port, spoken in one.ports.items() if spoken == HTTP), default=80)
    call = _call(ANY_HOST, port, guest_of(namespace, "default").caller)
    yield _planned(where, call, fate_unregistered, seen)


def _call(host: str, port: int, caller: Caller) -> Call:
    return Call(host if port == 80 else f"{host}:{port}", port, caller, headers={"user-agent": AGENT}, varied=MARKED)


def _planned(where: str, call: Call, fate_of: Callable[[Sequence[View], Call], Fate], seen: Seen) -> Check | Gap:
    found = foreseen(seen, lambda views: fate_of(views, call))
    return replace(found, where=where) if isinstance(found, Gap) else Check(where, (call,), found)
