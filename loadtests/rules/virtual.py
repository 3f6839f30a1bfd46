"""VirtualServices as istiod takes them: names in full, delegates merged, in the order of precedence."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product, takewhile

from loadtests.rules import hosts
from loadtests.rules.calls import Call, Mesh
from loadtests.rules.conditions import holds, is_for, takes_all
from loadtests.rules.expectations import NotModelledError, namespace_of
from loadtests.rules.layers import INHERITED, MESH, Layers, Part, gateway_name
from loadtests.rules.registry import EVERYBODY, NOBODY, OWN, exports, is_given, of_kind
from loadtests.rules.view import View, title


@dataclass(frozen=True)
class Rule:
    """A VirtualService for hosts.

    :param written: the hosts in full
    :param gateways: ``namespace/name`` each, and ``mesh``
    """

    item: View
    written: tuple[str, ...]
    gateways: frozenset[str]
    export: frozenset[str]

    @property
    def namespace(self) -> str:
        """Its namespace."""
        return namespace_of(self.item)

    @property
    def title(self) -> str:
        """How messages name it."""
        return title(self.item)

    @property
    def names(self) -> tuple[str, ...]:
        """Its hosts in full, in lower case."""
        return tuple(name.lower() for name in self.written)

    def part(self, view: View) -> Part:
        """Something that it says."""
        return Part(view, self.item)


@dataclass(frozen=True)
class Branch:
    """One route of a rule with one of its conditions, or none, as Envoy has it."""

    rule: Rule
    route: Layers
    condition: Layers | None = None

    @property
    def is_http(self) -> bool:
        """Whether it routes requests, not connections."""
        return self.route.parts[0].path.startswith("spec.http[")


def _rule(item: View, mesh: Mesh) -> Rule:
    spec, owner = item["spec"], namespace_of(item)
    written = tuple(hosts.long_name(str(name), owner, mesh.domain) for name in spec.get("hosts", []))
    return Rule(
        item,
        written,
        frozenset(gateway_name(str(name), owner) for name in spec.get("gateways") or [MESH]),
        frozenset(owner if one == OWN else one for one in exports(spec)) or frozenset((EVERYBODY,)),
    )


def rules_of(objects: Sequence[View], mesh: Mesh) -> list[Rule]:
    """All VirtualServices, delegates too, the oldest first."""
    return [_rule(item, mesh) for item in of_kind(objects, "VirtualService")]


def given_to(rules: Sequence[Rule], gateway: str, namespace: str) -> list[Rule]:
    """The rules that proxies of a namespace get for a gateway, or for ``mesh``.

    First those of the namespace for itself, then those of others for it, then those for everybody.
    """
    bound = [r for r in rules if r.names and gateway in r.gateways]
    public = [r for r in bound if EVERYBODY in r.export]
    private = [r for r in bound if not {EVERYBODY, NOBODY} & r.export and namespace in r.export]
    own = [r for r in private if r.namespace == namespace]
    return [*own, *(r for r in private if r.namespace != namespace), *public]


def branches_for(rule: Rule, rules: Sequence[Rule], call: Call, gateway: str) -> list[Branch]:
    """The routes of a rule that the caller's proxy gets, up to one that takes everything."""
    found = []
    for branch in branches_of(rule, rules):
        if branch.condition is not None and not is_for(branch.condition, call, gateway):
            continue
        found.append(branch)
        if takes_all(branch.condition):
            break
    return found


def first_taken(branches: Sequence[Branch], call: Call) -> Branch | None:
    """The first route that takes a call.

    Where a condition holds as far as it is modelled, another one of the same route that holds is as good; what remains unread
    of the condition that counts stays so.
    """
    for number, branch in enumerate(branches):
        if _takes(branch, call):
            of_route = takewhile(partial(_same_route, branch), branches[number:])
            whole = (b for b in of_route if _takes(b, call) and (b.condition is None or not b.condition.unread()))
            return branch if "rewrite" in branch.route else next(whole, branch)
    return None


def _takes(branch: Branch, call: Call) -> bool:
    return branch.condition is None or holds(branch.condition, call)


def _same_route(one: Branch, other: Branch) -> bool:
    return one.route is other.route


def accept_others(rules: Sequence[Rule], taken: Branch | None) -> None:
    """Say that all that is not of the branch taken has no bearing: other rules, routes and conditions."""
    parts = [] if taken is None else [*taken.route.parts, *(taken.condition.parts if taken.condition is not None else ())]
    for rule in rules:
        paths = {part.path for part in parts if part.rule is rule.item}
        spec = rule.item["spec"]
        if not paths:
            spec.accept_all()
            continue
        spec.accept("hosts", "gateways", "exportTo")
        for route in (route for kind in ("http", "tcp", "tls") for route in spec.get(kind, [])):
            if route.path_of("") not in paths:
                route.accept_all()
                continue
            for match in route.get("match", []):
                if match.path_of("") not in paths:
                    match.accept_all()


def branches_of(rule: Rule, rules: Sequence[Rule]) -> Iterator[Branch]:
    """The HTTP routes of a rule with each of their conditions, whichever proxies get them."""
    for view in rule.item["spec"].get("http", []):
        part = rule.part(view)
        conditions = [part.below(match) for match in view.get("match", [])]
        if "delegate" in view:
            yield from _delegated(rule, part, conditions, rules)
        else:
            route = Layers(part)
            for condition in _alternatives(conditions):
                yield Branch(rule, route, condition)


def _alternatives(conditions: Sequence[Part]) -> list[Layers | None]:
    """Conditions of which one must hold; one that is none, if there are none."""
    return [Layers(condition) for condition in conditions] or [None]


def _delegated(rule: Rule, root: Part, outer: Sequence[Part], rules: Sequence[Rule]) -> Iterator[Branch]:
    """The routes of a delegate, each within a condition of the route that leads to it; beside all of them, it has no effect."""
    to = root.view["delegate"]
    if "name" not in to:
        raise NotModelledError(", ".join(f"{root.title}: {path}" for path in to.unread()))
    name, owner = to["name"], to.get("namespace") or rule.namespace
    found = next((r for r in rules if not r.names and (r.item["metadata"]["name"], r.namespace) == (name, owner)), None)
    if found is None or not is_given(found.export, owner, rule.namespace):
        return
    for view in found.item["spec"].get("http", []):
        inner = found.part(view)
        if "delegate" in view:
            raise NotModelledError(f"{found.title}: {view.path_of('delegate')}")
        route = Layers(inner, root, inherited=INHERITED)
        for condition in _within([inner.below(match) for match in view.get("match", [])], outer):
            yield Branch(rule, route, condition)


def _within(inner: Sequence[Part], outer: Sequence[Part]) -> list[Layers | None]:
    """The conditions of a delegate's route together with those of the route that leads to it; none if one fits none of them."""
    if not inner or not outer:
        return _alternatives((*inner, *outer))
    fitting = [(i, o) for i, o in product(inner, outer) if not _contradict(i, o)]
    every = all(any(i is one for i, _ in fitting) for one in inner)
    return [Layers(i, o) for i, o in fitting] if every else []


def _contradict(inner: Part, outer: Part) -> bool:
    """Whether a delegate's condition is not within one of the route that leads to it, as istiod compares them."""
    one, other = inner.view, outer.view
    for key in ("uri", "scheme", "method", "authority"):
        if key in one and key in other and not is_narrower(one[key], other[key]):
            return True
    for key in ("headers", "withoutHeaders", "queryParams"):
        mine, theirs = one.get(key) or {}, other.get(key) or {}
        if any(name in theirs and not is_narrower(mine[name], theirs[name]) for name in mine):
            return True
    if bool(one.get("ignoreUriCase")) != bool(other.get("ignoreUriCase")):
        return True
    ports = {port for port in (one.get("port", 0), other.get("port", 0)) if port}
    wanted = other.get("sourceNamespace", "")
    mine, theirs = one.get("sourceLabels") or {}, other.get("sourceLabels") or {}
    gateways = [{gateway_name(g, part.namespace) for g in part.view.get("gateways", [])} for part in (inner, outer)]
    return (
        len(ports) > 1
        or (wanted != "" and one.get("sourceNamespace", "") != wanted)
        or any(name in theirs and mine[name] != theirs[name] for name in mine)
        or (all(gateways) and not gateways[0] <= gateways[1])
    )


def is_narrower(one: Mapping[str, str], other: Mapping[str, str]) -> bool:
    """Whether a StringMatch is within another one; expressions are within nothing."""
    (kind, value), (other_kind, other_value) = (next(iter(m.items()), ("", "")) for m in (one, other))
    if other_kind == "exact":
        return kind == "exact" and value == other_value
    if other_kind == "prefix":
        return kind in ("exact", "prefix") and value.startswith(other_value)
    return False
