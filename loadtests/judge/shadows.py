"""Whether one condition holds for every request that another one holds for."""

from __future__ import annotations

from collections.abc import Mapping

from loadtests.rules.conditions import only_presence, takes_all
from loadtests.rules.layers import Layers
from loadtests.rules.virtual import is_narrower


def covers(one: Layers | None, other: Layers | None) -> bool:
    """Whether a condition surely holds wherever another one does, for proxies that are given both.

    Two different regular expressions are never said to cover one another.
    """
    if takes_all(one):
        return True
    if one is None or other is None or bool(one.get("ignoreUriCase")) != bool(other.get("ignoreUriCase")):
        return False
    for key in ("uri", "scheme", "method", "authority"):
        if one.get(key) and not (other.get(key) and _within(other[key], one[key])):
            # A path begins with a slash, whatever it is.
            if key == "uri" and one["uri"].get("prefix") == "/":
                continue
            return False
    for key in ("headers", "queryParams"):
        mine, theirs = one.table(key), other.table(key)
        for name, table in mine.items():
            if name not in theirs or not (only_presence(table[name]) or _within(theirs[name][name], table[name])):
                return False
    mine, theirs = one.table("withoutHeaders"), other.table("withoutHeaders")
    return all(name in theirs and dict(theirs[name][name]) == dict(table[name]) for name, table in mine.items())


def _within(one: Mapping[str, str], other: Mapping[str, str]) -> bool:
    return dict(one) == dict(other) or is_narrower(one, other)
