"""Which DestinationRules apply to calls of one caller to one host, and what they set together.

As istiod selects and merges them: rules of the caller's namespace come first, then those of the service's, then those of the
root namespace; the most specific host counts; of several rules for one host, the first one that has a traffic policy sets
it, and subsets add up.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from loadtests.rules import hosts
from loadtests.rules.calls import Caller, Mesh
from loadtests.rules.expectations import NotModelledError, Objects, age, namespace_of, of_kind, views_of
from loadtests.rules.view import View, title

BY_PORT = ("connectionPool", "loadBalancer", "outlierDetection", "tls")
"""What settings of a port consist of; of these, they inherit nothing."""
OTHERS = ("proxyProtocol", "retryBudget", "tunnel")
SET_WHEN_EMPTY = ("outlierDetection", "retryBudget")
"""Settings that have an effect where they are set to nothing: Envoy's defaults."""


@dataclass(frozen=True)
class Applied:
    """What the DestinationRules of one host set together for one caller; empty where none applies.

    :param rule: how messages name the rule that sets the traffic policy
    """

    rule: str = ""
    policy: View | None = None
    subsets: Mapping[str, View] = field(default_factory=dict)


def service_namespace(host: str, domain: str = "cluster.local") -> str:
    """Namespace of a service by its full name; '' for a host that is not a service of the cluster."""
    parts = host.removesuffix(f".svc.{domain}").split(".")
    return parts[1] if host.endswith(f".svc.{domain}") and len(parts) == 2 else ""


def _exported(rule: View) -> frozenset[str]:
    """To whom a rule is visible; one for selected workloads only within its namespace."""
    if "workloadSelector" in rule["spec"]:
        rule["spec"].accept("exportTo")
        return frozenset((".",))
    return frozenset(rule["spec"].get("exportTo") or ())


def _private(rule: View, namespace: str) -> bool:
    """Whether a rule is for its own namespace alone."""
    return _exported(rule) in (frozenset((".",)), frozenset((namespace,)))


def _most_specific(rules: Sequence[View], host: str, otherwise: str, mesh: Mesh) -> list[View]:
    """Those of ``rules`` that have the most specific of the hosts that cover ``host``."""
    of_host: dict[str, list[View]] = {}
    for rule in rules:
        name = hosts.long_name(rule["spec"]["host"], namespace_of(rule, otherwise), mesh.domain)
        if hosts.covers(name, host):
            of_host.setdefault(name, []).append(rule)
    best = max(of_host, key=lambda name: (not name.startswith("*"), len(name)), default="")
    return of_host.get(best, [])


def _candidates(rules: Sequence[View], host: str, caller: Caller, owner: str, mesh: Mesh) -> list[View]:
    """The rules of the first namespace that has any for the host that the caller sees."""

    def of_namespace(namespace: str) -> list[View]:
        return [r for r in rules if namespace_of(r, caller.namespace) == namespace]

    local = [r for r in of_namespace(caller.namespace) if not (to := _exported(r)) or to & {"*", ".", caller.namespace}]
    private = [r for r in local if _private(r, caller.namespace)]
    # A gateway in the root namespace does not take what is meant for the whole mesh before what is said of the service.
    first = private if caller.namespace == mesh.root_namespace else local
    if found := _most_specific(first, host, caller.namespace, mesh):
        return found
    for namespace in filter(None, (owner, mesh.root_namespace)):
        public = [r for r in of_namespace(namespace) if not _private(r, namespace)]
        found = _most_specific(public, host, namespace, mesh)
        if seen := [r for r in found if not (to := _exported(r)) or to & {"*", caller.namespace}]:
            return seen
    return []


def _selected(rules: Sequence[View], caller: Caller) -> list[View]:
    """Of rules for the same host: those for the caller's workload, of one selector, or else those for all workloads.

    :raises NotModelledError: where istiod's merge depends on how the rules are exported, or the caller's labels are not known
    """
    special = [r for r in rules if "workloadSelector" in r["spec"]]
    general = [r for r in rules if "workloadSelector" not in r["spec"]]
    exports = {_exported(r) for r in general}
    if len(exports) > 1 or (special and any("." in to for to in exports)):
        raise NotModelledError(f"{title(general[0])}: spec.exportTo")
    selectors = [dict(r["spec"]["workloadSelector"].get("matchLabels", {})) for r in special]
    for rule, selector in zip(special, selectors, strict=True):
        if caller.has(selector) is None:
            raise NotModelledError(f"{title(rule)}: spec.workloadSelector")
    ours = next((s for s in selectors if caller.has(s)), None)
    return general if ours is None else [r for r, s in zip(special, selectors, strict=True) if s == ours]


def _refuse_policies(objects: Objects, host: str, owner: str) -> None:
    """Make sure that no policy of the Gateway API says how a host is called: istiod makes a DestinationRule of it.

    :raises NotModelledError: if one does
    """
    for one in of_kind(objects, "BackendTLSPolicy"):
        # Of a ServiceEntry, the name says nothing about its hosts.
        named = [to["name"] == host.partition(".")[0] or to["kind"] != "Service" for to in one["spec"].get("targetRefs") or []]
        if namespace_of(one) == owner and any(named):
            raise NotModelledError(f"{title(one)}: spec")


def rules_for(objects: Objects, host: str, caller: Caller, mesh: Mesh, owner: str | None = None) -> list[View]:
    """The DestinationRules that apply to calls of ``caller`` to ``host``, the first one first; the others stay as they are.

    :param host: full name of the service, or host of a ServiceEntry
    :param owner: namespace of the service or ServiceEntry; by default, the one in the name of a service
    :raises NotModelledError: where istiod's merge depends on how the rules are exported, or it makes a rule of another object
    """
    rules = sorted(views_of(objects, "DestinationRule"), key=age)
    owner = service_namespace(host, mesh.domain) if owner is None else owner
    _refuse_policies(objects, host, owner)
    return _selected(_candidates(rules, host, caller, owner, mesh), caller)


def merged(rules: Sequence[View]) -> Applied:
    """What rules of one host set together."""
    name, policy, subsets = "", None, dict[str, View]()
    for rule in rules:
        if "trafficPolicy" in rule["spec"]:
            if policy is None:
                name, policy = title(rule), rule["spec"]["trafficPolicy"] or View({})
            else:
                rule["spec"].accept("trafficPolicy")
        for subset in rule["spec"].get("subsets", []):
            if subset["name"] in subsets:
                subset.accept_all()
            else:
                subsets[subset["name"]] = subset
    return Applied(name or (title(rules[0]) if rules else ""), policy, subsets)


def applied_rules(objects: Objects, host: str, caller: Caller, mesh: Mesh | None = None, owner: str | None = None) -> Applied:
    """What DestinationRules set together for calls of ``caller`` to ``host``; the others are of no bearing.

    Parameters and errors are those of :func:`rules_for`.
    """
    objects = [one if isinstance(one, View) else View(one) for one in objects]
    chosen = rules_for(objects, host, caller, mesh or Mesh(), owner)
    accept_others(objects, chosen)
    return merged(chosen)


def accept_others(objects: Objects, chosen: Sequence[View]) -> None:
    """Say that all DestinationRules but ``chosen`` have no bearing."""
    for rule in views_of(objects, "DestinationRule"):
        # By identity: to compare two views would read them.
        if not any(rule is one for one in chosen):
            rule["spec"].accept_all()


def _of_port(policy: View, port: int | None) -> tuple[View, bool]:
    """The settings of a port, which inherit nothing; without any, those of the whole policy, and False."""
    by_port = policy.get("portLevelSettings") or []
    if by_port and port is None:
        raise NotModelledError(f"DestinationRule: {policy.path_of('portLevelSettings')}")
    found = next((setting for setting in by_port if setting["port"]["number"] == port), None)
    for setting in by_port:
        if setting is not found:
            setting.accept_all()
    if found is None:
        return policy, False
    policy.accept(*(key for key in policy if key != "portLevelSettings"))
    return found, True


def _values(policy: View, names: Sequence[str]) -> Iterator[tuple[str, View]]:
    for name in names:
        if name in SET_WHEN_EMPTY and name in policy and not policy.data[name]:
            raise NotModelledError(f"DestinationRule: {policy.path_of(name)}")
        if isinstance(value := policy.get(name), View):
            yield name, value


def settings(applied: Applied, port: int | None, subset: str = "") -> dict[str, View]:
    """The settings that apply to one port of a subset: ``connectionPool``, ``loadBalancer``, ``outlierDetection``, ``tls`` ...

    What another one overrides, and settings of other ports, have no bearing; of the rest, what nobody reads stays unread.

    :param subset: '' for the whole service
    :raises NotModelledError: if there are settings of ports and the port is not known
    """
    found: dict[str, View] = {}
    for name, one in applied.subsets.items():
        if name != subset:
            one.accept_all()
    if applied.policy is not None:
        policy, by_port = _of_port(applied.policy, port)
        found |= _values(policy, BY_PORT if by_port else (*BY_PORT, *OTHERS))
    own = applied.subsets.get(subset)
    if own is not None and "trafficPolicy" in own:
        policy, by_port = _of_port(own["trafficPolicy"] or View({}), port)
        replaced = dict(_values(policy, BY_PORT if by_port else (*BY_PORT, *OTHERS)))
        for name in BY_PORT if by_port else tuple(replaced):
            if name in found:
                found.pop(name).accept_all()
        found |= replaced
    return found
