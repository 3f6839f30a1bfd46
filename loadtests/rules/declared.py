"""What the cluster's own rules promise, read from the VirtualService and DestinationRule that are in force now.

Nothing here knows a scenario's numbers: edit a rule with kubectl, and the expectation follows.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from loadtests.verdict import Declared

Objects = Sequence[Mapping[str, Any]]
"""Kubernetes objects as the API gives them."""
Route = tuple[tuple[str, int], ...]
"""One HTTP route: (subset, weight) of each destination; a subset of '' is the whole service."""


class BrokenPromiseError(Exception):
    """The rules make no promise for a request; the message says why."""


class AboutSplits(Protocol):
    """What ``promise`` needs to know of a ``question.Split``."""

    @property
    def virtual_service(self) -> str:
        """Name of the VirtualService."""

    @property
    def classes(self) -> Mapping[str, Mapping[str, Any]]:
        """Traffic class -> the request as the rules see it."""

    @property
    def margin(self) -> float:
        """Half width of what is accepted around each share."""


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


def string_match(match: Mapping[str, str], value: str | None) -> bool:
    """Istio's StringMatch; an empty one asks only that the value is there."""
    if value is None:
        return False
    kind, wanted = next(iter(match.items()), ("", ""))
    tests = {"exact": value == wanted, "prefix": value.startswith(wanted), "": True}
    return tests[kind] if kind in tests else re.fullmatch(wanted, value) is not None


def matches(condition: Mapping[str, Any], request: Mapping[str, Any]) -> bool:
    """Whether one HTTPMatchRequest holds for a request (all of its parts must)."""
    headers = request.get("headers", {})
    parts = [string_match(m, headers.get(name)) for name, m in condition.get("headers", {}).items()]
    parts += [not string_match(m, headers.get(name)) for name, m in condition.get("withoutHeaders", {}).items()]
    parts += [string_match(condition[key], request.get(key)) for key in ("uri", "method", "authority") if key in condition]
    return all(parts)


def weights(route: Mapping[str, Any]) -> Route:
    """Destinations of one HTTP route; a lone destination has all the weight."""
    destinations = route.get("route", [])
    lone = 100 if len(destinations) == 1 else 0
    return tuple((d["destination"].get("subset", ""), d.get("weight", lone)) for d in destinations)


def shares_of(route: Route) -> dict[str, float]:
    """Share of each subset, fractions of 1."""
    total = sum(weight for _, weight in route)
    shares: dict[str, float] = {}
    for subset, weight in route:
        shares[subset] = shares.get(subset, 0.0) + (weight / total if total else 0.0)
    return shares


def route_for(routes: list[dict[str, Any]], request: Mapping[str, Any]) -> dict[str, Any] | None:
    """The first route that takes the request, as Envoy would choose it."""
    return next((r for r in routes if not r.get("match") or any(matches(m, request) for m in r["match"])), None)


def unbalanced(virtual_service: Mapping[str, Any]) -> list[str]:
    """Routes whose weights do not sum to 100."""
    name, found = virtual_service["metadata"]["name"], []
    for route in virtual_service["spec"].get("http", []):
        total = sum(weight for _, weight in weights(route))
        if route.get("route") and total != 100:
            found.append(f"VirtualService {name}: weights sum to {total}, not 100")
    return found


def contradictions(virtual_service: Mapping[str, Any], rules: Objects) -> list[str]:
    """What makes a rule impossible to hold: weights that do not sum to 100, subsets that no DestinationRule has."""
    name, found = virtual_service["metadata"]["name"], unbalanced(virtual_service)
    subsets = {(r["spec"]["host"].split(".")[0], s["name"]) for r in rules for s in r["spec"].get("subsets", [])}
    for route in virtual_service["spec"].get("http", []):
        for destination in route.get("route", []):
            host, subset = destination["destination"]["host"].split(".")[0], destination["destination"].get("subset")
            if subset and (host, subset) not in subsets:
                found.append(f"VirtualService {name}: no DestinationRule of {host} has a subset {subset}")
    return found


def generation(objects: Objects) -> str:
    """Changes whenever the spec of one of ``objects`` does, or one comes or goes."""
    return ",".join(sorted(f"{o['kind']}/{o['metadata']['uid']}/{o['metadata']['generation']}" for o in objects))


def promise(question: AboutSplits, objects: Objects) -> Rules:
    """The promise that ``objects`` make for ``question``.

    :param objects: VirtualServices and DestinationRules of the namespace
    """
    ours = next((s for s in of_kind(objects, "VirtualService") if s["metadata"]["name"] == question.virtual_service), None)
    if ours is None:
        broken = (f"no VirtualService {question.virtual_service} is in force",)
        return Rules(Declared({}, question.margin, broken=broken), (), generation(objects))
    routes = ours["spec"].get("http", [])
    shares, missing = {}, contradictions(ours, of_kind(objects, "DestinationRule"))
    for name, request in question.classes.items():
        route = route_for(routes, request)
        if route is None:
            missing.append(f"VirtualService {question.virtual_service} has no route for {name}")
        else:
            shares[name] = shares_of(weights(route))
    declared = Declared(shares, question.margin, broken=tuple(missing))
    return Rules(declared, tuple(weights(r) for r in routes), generation(objects))
