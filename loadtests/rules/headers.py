"""What a route makes of headers, in the order in which Envoy changes them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from loadtests.rules.expectations import NotModelledError
from loadtests.rules.layers import Layers

Values = Mapping[str, tuple[str, ...]]
"""Values of each header, by lower-case name, in their order."""
REQUEST, RESPONSE = "request", "response"


@dataclass(frozen=True)
class Change:
    """What one level of Envoy's route does with headers: it removes first, then sets, then adds.

    :param values: lower-case name, value, and whether it takes the place of the values before it
    """

    removed: tuple[str, ...] = ()
    values: tuple[tuple[str, str, bool], ...] = ()

    def __add__(self, other: Change) -> Change:
        """Both as one level."""
        return Change(self.removed + other.removed, self.values + other.values)


def change_of(headers: Mapping[str, Any], direction: str, path: str) -> Change:
    """Read one direction of ``headers`` of a route or a destination.

    :param path: how messages name them
    :raises NotModelledError: if the authority is changed, or a value is empty or holds Envoy's variables
    """
    changes = headers.get(direction, {})
    removed = tuple(str(name).lower() for name in changes.get("remove", []))
    values = []
    for kind in ("set", "add"):
        named = changes.get(kind, {})
        for name in sorted(named):
            value = str(named[name])
            if name.lower() == "host" or name.startswith(":") or not value or "%" in value:
                raise NotModelledError(f"{path}.{direction}.{kind}.{name}")
            values.append((name.lower(), value, kind == "set"))
    return Change(removed, tuple(values))


def levels_of(route: Layers, direction: str) -> list[tuple[Change, ...]]:
    """For each destination with a share, the changes to its requests or responses, the first level first.

    A lone destination's changes are part of the route's; of several, each has its own, which Envoy makes before the route's.

    :raises NotModelledError: see :func:`change_of`
    """
    outer = change_of(route.get("headers", {}), direction, route.path_of("headers"))
    inner = list(_inner(route.get("route", []), direction, route.path_of("route")))
    if len(route.get("route", [])) == 1:
        return [(outer + own,) for own in inner]
    return [(own, outer) for own in inner]


def _inner(destinations: Sequence[Any], direction: str, path: str) -> Iterator[Change]:
    for number, one in enumerate(destinations):
        if len(destinations) > 1 and not one.get("weight", 0):
            one.accept("headers")
        else:
            yield change_of(one.get("headers", {}), direction, f"{path}[{number}].headers")


def changed(headers: Values, levels: Sequence[Change]) -> dict[str, tuple[str, ...]]:
    """Headers after all levels have changed them."""
    found = dict(headers)
    for level in levels:
        for name in level.removed:
            found.pop(name, None)
        for name, value, replaces in sorted(level.values, key=lambda one: not one[2]):
            found[name] = (value,) if replaces else (*found.get(name, ()), value)
    return found


def touched(levels: Sequence[Change]) -> set[str]:
    """The names of all headers that levels change."""
    return {name for level in levels for name in (*level.removed, *(name for name, _, _ in level.values))}


def text_of(headers: Iterable[tuple[str, str]], prefix: str) -> str:
    """Headers whose names begin with ``prefix``, as outcomes have them: ``x-lab-a: 1, 2; x-lab-b: 3``.

    :param headers: name and value; several of one name in their order
    """
    seen: dict[str, list[str]] = {}
    for name, value in headers:
        if name.lower().startswith(prefix):
            seen.setdefault(name.lower(), []).append(value)
    return "; ".join(f"{name}: {', '.join(seen[name])}" for name in sorted(seen)) or "none"
