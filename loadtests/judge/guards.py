"""Requests for the rules that say who may call a service: as the probe, with a sidecar and without one."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from loadtests.judge.checks import Check, Gap
from loadtests.judge.reach import ACCOUNT, AGENT, MARKED, PART_OF, PROBE, PROBES, Seen
from loadtests.rules.authorization import TRUST_DOMAIN
from loadtests.rules.calls import Call, Caller
from loadtests.rules.expectations import namespace_of, work_out_shares
from loadtests.rules.fates import Fate
from loadtests.rules.registry import HTTP, SNIFFED, Service
from loadtests.rules.security import REFUSED, permitted
from loadtests.rules.view import View, title
from loadtests.verdict import Outcome

KINDS = ("AuthorizationPolicy", "PeerAuthentication")
LET_IN, DENIED = "let in", "HTTP 403 by a policy"
OUTCOMES = {"HTTP 200": LET_IN, "HTTP 403": DENIED, REFUSED: REFUSED}
"""What the reader expects of an answer -> what is seen of any service's."""
WITHOUT = {"sidecar.istio.io/inject": "false"}
"""The label of a pod that gets no sidecar."""
IDENTITY = f"{TRUST_DOMAIN}/ns/{PROBES}/sa/{ACCOUNT}"
"""The identity of the probe with a sidecar."""


@dataclass(frozen=True)
class Client:
    """One of the probes.

    :param words: how messages name it
    """

    words: str
    labels: Mapping[str, str]
    principal: str


INSIDE = Client(f"a client of namespace {PROBES}", {"app": PROBE, **PART_OF}, IDENTITY)
OUTSIDE = Client("a client without a sidecar", {"app": f"{PROBE}-plain", **PART_OF, **WITHOUT}, "")


def guards_of(views: Sequence[View], seen: Seen, reached: Collection[str]) -> Iterator[Check | Gap]:
    """Checks of who may call the services of the namespace, if it has rules about that, and what they leave out.

    :param reached: destinations that other checks are for, as outcomes name them
    """
    namespace = seen.settings.namespace
    rules = [one for one in views if one["kind"] in KINDS and namespace_of(one) == namespace]
    if not rules:
        return
    paths = tuple(dict.fromkeys(("/", *(path for rule in rules for path in _paths(rule.data.get("spec") or {})))))
    for service in (s for s in seen.services if s.of_kubernetes and s.namespace == namespace):
        yield from _of_service(service, paths, seen, reached)
    for rule in rules:
        for number, one in enumerate((rule.data.get("spec") or {}).get("rules") or []):
            for path, why in _not_asked(one or {}):
                yield Gap(f"{title(rule)}: spec.rules[{number}].{path}", why)


def _not_asked(rule: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What a rule of a policy tells apart, and requests do not: the path of the field, and why."""
    for field in sorted({"from", "when"} & set(rule)):
        yield field, f"it is asked as {IDENTITY} and without an identity only"
    for number, to in enumerate(rule.get("to") or []):
        for field, values in sorted(to["operation"].items()):
            if field not in ("paths", "notPaths"):
                if (field, values) != ("methods", ["GET"]):
                    yield f"to[{number}].operation.{field}", "it is asked by GET, at one port and host of each service only"
            elif odd := [path for path in values if not _is_plain(path)]:
                yield f"to[{number}].operation.{field}", f"no path is planned for {odd[0]}"


def _paths(spec: Mapping[str, Any]) -> Iterator[str]:
    """A path for each that a policy names."""
    for rule in spec.get("rules") or []:
        for to in (rule or {}).get("to") or []:
            for key in ("paths", "notPaths"):
                for pattern in to["operation"].get(key) or []:
                    if _is_plain(pattern):
                        yield pattern.replace("*", "istio-lab")


def _is_plain(pattern: str) -> bool:
    """Whether a path fits a pattern once its star is replaced."""
    return pattern.startswith("/") and "{" not in pattern


def _of_service(service: Service, paths: Sequence[str], seen: Seen, reached: Collection[str]) -> Iterator[Check | Gap]:
    name = service.host.partition(".")[0]
    ports = sorted(port for port, spoken in service.ports.items() if spoken in (HTTP, SNIFFED))
    if not ports or service.alias:
        return
    if service.selector.get("app") != name:
        yield Gap(
            f"Service {name}: spec.selector", "who may call it is read for pods whose label app is the name of the Service"
        )
        return
    inside = [_check(service, ports[0], path, INSIDE, seen) for path in paths]
    outside = _check(service, ports[0], "/", OUTSIDE, seen)
    answers = any(isinstance(one, Check) for one in inside) or any(
        one.startswith(f"{name}.{service.namespace}:") for one in reached
    )
    if isinstance(outside, Check) and REFUSED in outside.fate.shares and not answers:
        # A service that is down refuses everybody.
        outside = Gap(outside.name, "no other request is planned that shows that the service answers at all")
    yield from (*inside, outside)


def _check(service: Service, port: int, path: str, client: Client, seen: Seen) -> Check | Gap:
    """One client and one path; whom policies let in, the reader of rules says."""
    name = service.host.partition(".")[0]
    where = f"Service {name}: GET {path} by {client.words}"
    caller = Caller(PROBES, client.labels)
    call = Call(f"{service.host}:{port}", port, caller, path, headers={"user-agent": AGENT}, varied=MARKED)
    request = {
        "namespace": service.namespace, "app": name, "port": port, "method": call.method, "uri": path,
        "authority": call.host, "principal": client.principal, "caller": client.labels, "caller_namespace": PROBES,
        "headers": call.headers, "varied": MARKED,
    }  # fmt: skip
    shares, unknown, broken = work_out_shares(seen.objects, {where: request}, permitted, service.namespace)
    if where in broken:
        return Gap(where, broken[where], Outcome.FAIL)
    if where in unknown:
        return Gap(where, f"not modelled: {', '.join(unknown[where])}")
    told = {OUTCOMES.get(outcome, ""): share for outcome, share in shares[where].items()}
    return Gap(where, f"expected {', '.join(shares[where])}") if "" in told else Check(where, (call,), Fate(told), guard=True)
