"""What the cluster's own rules promise, read from the VirtualService and DestinationRule that are in force now.

Nothing here knows a scenario's numbers: edit a rule with kubectl, and the expectation follows.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from loadtests.rules.view import View, not_modelled, one_holds, viewed
from loadtests.verdict import Declared

Objects = Sequence[Mapping[str, Any]]
"""Kubernetes objects as the API gives them."""
Route = tuple[tuple[str, int], ...]
"""One HTTP route: (subset, weight) of each destination; a subset of '' is the whole service."""
Shares = dict[str, float]
"""Share of each outcome, fractions of 1."""
MESH = "mesh"
"""The gateway name that stands for all sidecars."""


class BrokenPromiseError(Exception):
    """The rules make no promise for a request; the message says why."""


class NotModelledError(Exception):
    """What the rules say goes beyond what the lab models; the message names the field."""


@dataclass(frozen=True)
class Rules:
    """The rules in force for one question."""

    declared: Declared
    routes: tuple[Route, ...]
    generation: str
    """Changes whenever a rule's spec does; metadata and status do not count."""

    @property
    def whole_service(self) -> bool:
        """Whether the rule names no subsets, so that every answer counts for the service."""
        return all(not subset for route in self.routes for subset, _ in route)


def of_kind(objects: Objects, kind: str) -> list[Mapping[str, Any]]:
    """The objects of one kind."""
    return [o for o in objects if o["kind"] == kind]


def views_of(objects: Objects, kind: str) -> list[View]:
    """The objects of one kind, as views; an object that is one keeps its notes."""
    return [o if isinstance(o, View) else View(o) for o in of_kind(objects, kind)]


def full_name(host: str, namespace: str) -> str:
    """``service.namespace`` of a Service's host as a rule writes it: short names are completed with the rule's namespace."""
    name, _, rest = host.partition(".")
    if not rest:
        return f"{name}.{namespace}"
    inside = re.fullmatch(r"([^.]+)(\.svc(\.cluster\.local)?)?", rest)
    return f"{name}.{inside[1]}" if inside else host


def placed(objects: Objects, namespace: str) -> list[Mapping[str, Any]]:
    """The same objects; those of a file that do not say belong to ``namespace``."""
    return [{**o, "metadata": {"namespace": namespace, **o["metadata"]}} for o in objects]


def namespace_of(rule: Mapping[str, Any], otherwise: str = "") -> str:
    """Namespace of an object; ``otherwise`` where it does not say (a file that has not been applied)."""
    return str(rule["metadata"].get("namespace", otherwise))


def string_match(match: Mapping[str, str], value: str | None, ignore_case: bool = False) -> bool:
    """Istio's StringMatch; an empty one asks only that the value is there.

    :raises BrokenPromiseError: if its regular expression is none
    """
    if value is None:
        return False
    kind, wanted = next(iter(match.items()), ("", ""))
    if kind == "regex":
        try:
            return wanted == "*" or re.fullmatch(wanted, value) is not None
        except re.error as error:
            raise BrokenPromiseError(f"{wanted} is no regular expression: {error}") from error
    if ignore_case:
        wanted, value = wanted.lower(), value.lower()
    tests = {"exact": value == wanted, "prefix": value.startswith(wanted), "": True}
    if kind not in tests:
        raise NotModelledError(f"a match by {kind}")
    return tests[kind]


def matches(rule: Mapping[str, Any], request: Mapping[str, Any], gateway: str | None = MESH) -> bool:
    """Whether what the lab models of one HTTPMatchRequest holds for a request (all of its parts must).

    A condition that hangs on what the request does not tell (``port``, say, or a label of the caller) is left unread.

    :param gateway: by which gateway the request comes; None if it is not known
    """
    condition = rule if isinstance(rule, View) else View(rule)
    headers = {name.lower(): value for name, value in request.get("headers", {}).items()}
    labels, query = request.get("caller", {}), request.get("query", {})
    fold = bool(condition.get("ignoreUriCase", False))
    parts = [string_match(m, headers.get(name.lower())) for name, m in condition.get("headers", {}).items()]
    parts += [not string_match(m, headers.get(name.lower())) for name, m in condition.get("withoutHeaders", {}).items()]
    parts += [string_match(m, query.get(name)) for name, m in condition.get("queryParams", {}).items()]
    parts += [string_match(condition[key], request.get(key)) for key in ("method", "authority") if key in condition]
    if "uri" in condition:
        parts.append(string_match(condition["uri"], request.get("uri"), fold))
    if "scheme" in condition:
        parts.append(string_match(condition["scheme"], request.get("scheme", "http")))
    if "port" in condition and "port" in request:
        parts.append(condition["port"] == request["port"])
    if "gateways" in condition and gateway is not None:
        parts.append(gateway in condition["gateways"])
    wanted = condition.get("sourceLabels", {})
    parts += [wanted[name] == labels[name] for name in wanted if name in labels]
    condition.accept("name")
    return all(parts)


def taken(route: View, request: Mapping[str, Any], gateway: str | None = MESH) -> bool:
    """Whether a route takes the request; of one that does, conditions that are not modelled stay unread."""
    conditions = route.get("match", [])
    if not conditions or one_holds(conditions, lambda condition: matches(condition, request, gateway)):
        return True
    route.accept()  # whatever else it says, this request does not take it
    return False


def route_for(routes: Iterable[Any], request: Mapping[str, Any], gateway: str | None = MESH) -> View | None:
    """The first route that takes the request, as Envoy would choose it; those after it have no bearing."""
    chosen = None
    for one in routes:
        route = one if isinstance(one, View) else View(one)
        if chosen is not None:
            route.accept()
        elif taken(route, request, gateway):
            chosen = route
    return chosen


def legs(route: Mapping[str, Any]) -> list[tuple[str, str, int]]:
    """Host, subset and weight of each destination of a route; a lone destination has all the weight, whatever it says."""
    destinations = route.get("route", [])
    found = []
    for one in destinations:
        to = one["destination"]
        to.get("port", {}).get("number")  # the port of the service, which has no bearing on which pods answer
        weight = one.get("weight", 0)
        found.append((str(to["host"]), str(to.get("subset", "")), 100 if len(destinations) == 1 else int(weight)))
    return found


def weights(route: Mapping[str, Any]) -> Route:
    """Destinations of one HTTP route by subset."""
    return tuple((subset, weight) for _, subset, weight in legs(route))


def shares_of(route: Route) -> dict[str, float]:
    """Share of each subset, fractions of 1: its weight, of the sum of all."""
    total = sum(weight for _, weight in route)
    shares: dict[str, float] = {}
    for subset, weight in route:
        shares[subset] = shares.get(subset, 0.0) + (weight / total if total else 0.0)
    return shares


def weightless(virtual_service: Mapping[str, Any]) -> list[str]:
    """Routes whose weights sum to 0: Istio refuses them."""
    return [
        f"VirtualService {virtual_service['metadata']['name']}: spec.http[{number}]: weights sum to 0"
        for number, route in enumerate(virtual_service["spec"].get("http", []))
        if route.get("route") and sum(weight for _, weight in weights(route)) == 0
    ]


def contradictions(virtual_service: Mapping[str, Any], rules: Objects, namespace: str = "") -> list[str]:
    """What makes a rule impossible to hold: weights that sum to 0, subsets that no DestinationRule of that service has.

    :param namespace: of objects that do not say
    """
    name, found = virtual_service["metadata"]["name"], weightless(virtual_service)
    own = namespace_of(virtual_service, namespace)
    subsets = {
        (full_name(r["spec"]["host"], namespace_of(r, namespace)), s["name"])
        for r in rules
        for s in r["spec"].get("subsets", [])
    }
    for route in virtual_service["spec"].get("http", []):
        for host, subset, _ in legs(route):
            if subset and (full_name(host, own), subset) not in subsets:
                found.append(f"VirtualService {name}: no DestinationRule of {host} has a subset {subset}")
    return found


def bound_to(virtual_service: Mapping[str, Any]) -> set[str]:
    """Gateways that a VirtualService is bound to."""
    return set(virtual_service["spec"].get("gateways", [MESH]))


def overruled(ours: Mapping[str, Any], objects: Objects, namespace: str = "") -> list[str]:
    """Why sidecars do not follow ``ours``: of several VirtualServices for one host, they follow the oldest alone.

    At a gateway, those rules are merged instead.
    """

    def hosts(rule: Mapping[str, Any]) -> set[str]:
        return {full_name(host, namespace_of(rule, namespace)) for host in rule["spec"].get("hosts", [])}

    def age(rule: Mapping[str, Any]) -> tuple[str, str]:
        return str(rule["metadata"].get("creationTimestamp", "")), str(rule["metadata"]["name"])

    if MESH not in bound_to(ours):
        return []
    name, found = ours["metadata"]["name"], []
    for other in of_kind(objects, "VirtualService"):
        both = sorted(hosts(ours) & hosts(other))
        if other["metadata"]["name"] == name or MESH not in bound_to(other) or not both:
            continue
        older, newer = (o["metadata"]["name"] for o in sorted((ours, other), key=age))
        host = both[0].removesuffix(".")
        found.append(f"VirtualServices {older} and {newer} are both for {host}: sidecars follow {older} alone; merge them")
    return found


def generation(objects: Objects) -> str:
    """Changes whenever the spec of one of ``objects`` does, or one comes or goes."""
    return ",".join(sorted(f"{o['kind']}/{o['metadata']['uid']}/{o['metadata']['generation']}" for o in objects))


def read_subsets(objects: Objects, host: str, used: set[str], namespace: str) -> None:
    """Read what DestinationRules of ``host`` say as far as it bears on which pods of it answer.

    A load balancer chooses among the pods of one subset; pools and ejections can turn requests away, and stay unread.
    """
    for rule in views_of(objects, "DestinationRule"):
        if full_name(rule["spec"]["host"], namespace_of(rule, namespace)) != host:
            rule["spec"].accept()
            continue
        policy = rule["spec"].get("trafficPolicy", {})
        if isinstance(policy, View):
            policy.accept("loadBalancer")
        for subset in rule["spec"].get("subsets", []):
            if subset["name"] in used:
                subset.accept("labels")
            else:
                subset.accept()


def split_of(objects: Objects, request: Mapping[str, Any], name: str, caller: str, namespace: str) -> Shares:
    """Share of each version for one request.

    :param name: of the VirtualService in ``namespace`` that is judged
    :param caller: label ``app`` of the pods whose proxies apply it

    :raises BrokenPromiseError: if the rule has no route for it
    :raises NotModelledError: if the route leads to several services, for versions tell only those of one apart
    """
    ours = next(o for o in views_of(objects, "VirtualService") if o["metadata"]["name"] == name)
    spec = ours["spec"]
    spec.accept("hosts", "gateways")
    gateways = bound_to(ours)
    gateway = next(iter(gateways)) if len(gateways) == 1 else None
    if MESH in gateways and "*" in spec.get("exportTo", ["*"]):
        spec.accept("exportTo")
    asked = {"caller": {"app": caller}, **request}
    route = route_for(spec.get("http", []), asked, gateway)
    if route is None:
        raise BrokenPromiseError(f"VirtualService {name} has no route")
    # No answer fails, so nothing is tried once more; a page of another origin asks for nothing here.
    route.accept("name", "retries", "corsPolicy")
    services = [full_name(host, namespace) for host, _, _ in legs(route)]
    other = next((number for number, service in enumerate(services) if service != services[0]), None)
    if other is not None:
        raise NotModelledError(f"VirtualService {name}: {route.path_of('route')}[{other}].destination.host")
    read_subsets(objects, services[0], {subset for subset, _ in weights(route)}, namespace)
    return shares_of(weights(route))


def expectations(
    objects: Objects, requests: Mapping[str, Mapping[str, Any]], expect: Callable[[Sequence[View], Mapping[str, Any]], Shares]
) -> tuple[dict[str, Shares], dict[str, tuple[str, ...]], dict[str, str]]:
    """What ``expect`` makes of each request, read by views of its own.

    :return: by name of the request: shares; fields that are not modelled; why the rules make no promise
    """
    shares: dict[str, Shares] = {}
    unknown: dict[str, tuple[str, ...]] = {}
    broken: dict[str, str] = {}
    for name, request in requests.items():
        seen = viewed(objects)
        try:
            found = expect(seen, request)
        except NotModelledError as reason:
            unknown[name] = (str(reason),)
        except BrokenPromiseError as reason:
            broken[name] = str(reason)
        else:
            if paths := not_modelled(seen):
                unknown[name] = paths
            else:
                shares[name] = found
    return shares, unknown, broken


def promise(
    objects: Objects, requests: Mapping[str, Mapping[str, Any]], name: str, caller: str, namespace: str, margin: float
) -> Rules:
    """The promise that ``objects`` make for a split.

    :param objects: VirtualServices and DestinationRules of the namespace
    :param requests: by traffic class; ``name``, ``caller`` and ``namespace`` as :func:`split_of` has them
    :param margin: half width of what is accepted around each share
    """
    ours = next((s for s in views_of(objects, "VirtualService") if s["metadata"]["name"] == name), None)
    if ours is None:
        return Rules(Declared({}, margin, broken=(f"no VirtualService {name} is in force",)), (), generation(objects))
    routes = ours["spec"].get("http", [])
    missing = contradictions(ours, of_kind(objects, "DestinationRule"), namespace) + overruled(ours, objects, namespace)
    shares, unknown, broken = expectations(
        objects, requests, lambda seen, request: split_of(seen, request, name, caller, namespace)
    )
    missing += [f"{reason} for {traffic_class}" for traffic_class, reason in broken.items()]
    declared = Declared(shares, margin, broken=tuple(missing), unknown=unknown)
    return Rules(declared, tuple(weights(r) for r in routes), generation(objects))
