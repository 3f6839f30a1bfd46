"""What to ask of the rules of a namespace, worked out from the rules alone: pure functions, which send nothing.

Each route gets requests that it takes and no earlier one does. They are constructed from its conditions; that the route takes
them is then read from all rules, as for any other call. What no request is found for is a gap, and never left out silently.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from loadtests.judge import attached, outside
from loadtests.judge.checks import Check, Gap, Idle, Plan
from loadtests.judge.guards import KINDS, guards_of
from loadtests.judge.reach import Seen, Settings
from loadtests.judge.routes import checks_of
from loadtests.rules import hosts
from loadtests.rules.expectations import Objects, namespace_of, placed
from loadtests.rules.extensions import is_the_labs
from loadtests.rules.fates import policies_unseen
from loadtests.rules.gateway_api import is_of_gateway_api, parents_of
from loadtests.rules.mesh_config import mesh_of
from loadtests.rules.registry import of_kind, services_of
from loadtests.rules.view import EXTENSIONS, View, title, viewed
from loadtests.rules.virtual import Rule, rules_of
from loadtests.rules.workloads import ROOT_NAMESPACE
from loadtests.verdict import Outcome

APPLICATION = ("app", "app.kubernetes.io/name")
"""Labels that name a pod's application."""
NOT_PLANNED = (
    "TCPRoute", "TLSRoute", "ListenerSet", "Telemetry", *EXTENSIONS,
)  # fmt: skip
"""Kinds of rules for which no requests are planned yet."""


def plan_for(objects: Objects, settings: Settings) -> Plan:
    """Plan for the rules of a namespace, and for those of others that are for its services."""
    whole = placed(objects, settings.namespace)
    views = viewed(whole)
    mesh = mesh_of(views)
    seen = Seen(whole, mesh, tuple(services_of(views, mesh.domain)), tuple(rules_of(views, mesh)), settings)
    found = [one for rule in seen.rules if _concerns(rule, seen) for one in checks_of(rule, seen)]
    for one in views:
        if one["kind"] in attached.KINDS and attached.concerns(one, settings.namespace):
            found += attached.checks_of(one, seen)
    found += outside.checks_of(views, seen)
    reached = {place for one in found if isinstance(one, Check) for place in one.fate.places}
    found += guards_of(views, seen, reached)
    checks = [one for one in found if isinstance(one, Check)]
    gaps = [one for one in found if isinstance(one, Gap)]
    gaps += [_not_planned(o) for o in views if _is_not_planned(o, settings.namespace)]
    gaps += [gap for one in of_kind(views, "Gateway") for gap in _listeners(one, checks, settings.namespace)]
    gaps += _delegates_without_root(seen)
    unseen = [path for check in checks for path in check.fate.unseen]
    unseen += policies_unseen(views, settings.namespace) if checks else ()
    # Whatever certificate the gateway shows is accepted.
    secure = {str(c.caller.gateway) for check in checks for c in check.calls if c.scheme == "https"}
    unseen += [f"Gateway {name}: spec.servers.tls" for name in sorted(secure)]
    apart = [
        o
        for o in views
        if _is_not_planned(o, ROOT_NAMESPACE) or (o["kind"] in (*KINDS, *outside.KINDS) and namespace_of(o) == ROOT_NAMESPACE)
    ]
    unseen += [f"{title(o)} of {ROOT_NAMESPACE}: spec" for o in apart]
    warnings = [f"{one.where}: {one.why}" for one in found if isinstance(one, Idle)] + list(_wide_selectors(views, seen))
    return Plan(settings.namespace, tuple(checks), tuple(gaps), tuple(dict.fromkeys(unseen)), tuple(warnings))


def _wide_selectors(views: Sequence[View], seen: Seen) -> Iterator[str]:
    """Services of the namespace that select pods of several applications."""
    namespace = seen.settings.namespace
    pods = [pod["metadata"].data.get("labels") or {} for pod in of_kind(views, "Pod") if namespace_of(pod) == namespace]
    for service in (s for s in seen.services if s.of_kubernetes and s.namespace == namespace and s.selector):
        selected = [labels for labels in pods if service.selector.items() <= labels.items()]
        for label in APPLICATION:
            names = sorted({str(labels[label]) for labels in selected if label in labels})
            if len(names) > 1:
                name = service.host.partition(".")[0]
                yield f"Service {name}: spec.selector selects pods of several applications ({label}: {', '.join(names)})"


def _concerns(rule: Rule, seen: Seen) -> bool:
    """Whether a rule is of the namespace, for one of its services, or leads to one."""
    suffix = f".{seen.settings.namespace}.svc.{seen.mesh.domain}"
    destinations = [
        hosts.long_name(str(one["destination"]["host"]), rule.namespace, seen.mesh.domain)
        for kind in ("http", "tcp", "tls")
        for route in rule.item.data["spec"].get(kind) or []
        for one in route.get("route") or []
    ]
    ours = rule.namespace == seen.settings.namespace or any(name.endswith(suffix) for name in (*rule.names, *destinations))
    return bool(rule.names) and ours


def _is_not_planned(item: View, namespace: str) -> bool:
    if item["kind"] not in NOT_PLANNED or is_the_labs(item):
        return False
    parents = parents_of(item) if item["kind"].endswith("Route") else ()
    return namespace_of(item) == namespace or any(parent[2] == namespace for parent, _ in parents)


def _not_planned(item: View) -> Gap:
    return Gap(f"{title(item)}: spec", "no requests are planned for this kind yet")


def _listeners(gateway: View, checks: Sequence[Check], namespace: str) -> Iterator[Gap]:
    """The listeners of a Gateway of the Gateway API in the namespace that no route is asked by."""
    if not is_of_gateway_api(gateway) or namespace_of(gateway) != namespace:
        return
    name = f"{namespace}/{gateway['metadata']['name']}"
    asked = {call.port for check in checks for call in check.calls if call.caller.gateway == name}
    for number, one in enumerate(gateway.data["spec"].get("listeners") or []):
        where = f"{title(gateway)}: spec.listeners[{number}]"
        if one["protocol"] != "HTTP":
            yield Gap(where, f"no requests are planned for listeners with {one['protocol']} yet")
        elif int(one["port"]) not in asked:
            yield Gap(where, "no route is asked by it")


def _delegates_without_root(seen: Seen) -> list[Gap]:
    """Delegates of the namespace that no rule leads to."""
    named = {
        (str(route["delegate"].get("namespace") or namespace_of(rule.item)), str(route["delegate"].get("name", "")))
        for rule in seen.rules
        for route in rule.item.data["spec"].get("http") or []
        if route.get("delegate")
    }
    return [
        Gap(f"{rule.title}: spec.http", "it has no hosts, and no VirtualService delegates to it", Outcome.FAIL)
        for rule in seen.rules
        if not rule.names and rule.namespace == seen.settings.namespace
        if (rule.namespace, str(rule.item["metadata"]["name"])) not in named
    ]
