"""Requests that a route's conditions hold for, the simplest first. Which of them it takes, the reader of rules decides."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice, product

import rstr

from loadtests.rules.calls import Call
from loadtests.rules.conditions import UNASKED, UNASKED_PREFIXES, expression, only_presence
from loadtests.rules.expectations import NoExpectationError
from loadtests.rules.layers import Layers

SOME = "istio-lab"
"""A value that nobody asks for: of a header that only has to be there, or must not be what it would be otherwise."""
MOST = 4000
"""Candidates that are tried for one condition."""
SAMPLES, KEPT = 60, 6
"""How many values of a regular expression are drawn, and how many of them are tried."""
UNSAFE = re.compile(r"[^A-Za-z0-9/._~=,:;@+-]")
"""Characters that no request needs: a sample has a letter instead, wherever the expression accepts that."""
UNSENT = re.compile(r"[\s?#%]")
"""Characters that a path on the wire does not have as they are."""

Options = tuple[str | None, ...]
"""Values to try; None for none at all."""


@dataclass(frozen=True)
class Way:
    """How requests may be made.

    :param methods: that may be sent
    :param hosts: authorities that may be asked for
    :param start: what all requests have in common
    """

    methods: tuple[str, ...]
    hosts: tuple[str, ...]
    start: Call


def values_of(pattern: str) -> list[str]:
    """Values that a regular expression takes, the shortest first; the same ones each time.

    :return: empty if none was found
    """
    draw = rstr.Rstr(random.Random(pattern))  # noqa: S311 - samples, not secrets
    found: dict[str, None] = {}
    for _ in range(SAMPLES):
        try:
            drawn = draw.xeger(pattern)
        except Exception:  # any: of what the package does not know, there are no samples
            return []
        for value in (UNSAFE.sub("a", drawn), drawn):
            if value.isascii() and value.isprintable() and value == value.strip() and _fits(pattern, value):
                found |= dict.fromkeys((_shortened(pattern, value), value))
                break
    return sorted(found, key=lambda value: (len(value), value))[:KEPT]


def _shortened(pattern: str, value: str) -> str:
    """A value without the characters that the expression can do without."""
    for number in reversed(range(len(value))):
        shorter = value[:number] + value[number + 1 :]
        if shorter == shorter.strip() and shorter and _fits(pattern, shorter):
            value = shorter
    return value


def _fits(pattern: str, value: str) -> bool:
    try:
        return expression(pattern, value)
    except NoExpectationError:
        return False


def fitting(match: Mapping[str, str]) -> list[str]:
    """Values for which a StringMatch holds."""
    if only_presence(match):
        return [SOME]
    kind, wanted = next(iter(match.items()))
    if kind == "regex":
        return values_of(wanted)
    return [wanted] if kind == "exact" else [wanted, f"{wanted}{SOME}"]


def candidates(own: Layers | None, earlier: Sequence[Layers], way: Way) -> Iterator[Call]:
    """Calls that a condition may hold for, and none of those before it.

    Where the condition does not say, both what avoids the earlier ones and what is simplest is tried.
    """
    headers = _headers(own, earlier)
    query = _named(own, earlier, "queryParams", "")
    wanted = [
        _paths(own), methods_for(own, way.methods), _hosts(own, way), *headers.values(), *query.values(),
    ]  # fmt: skip
    for path, method, host, *rest in islice(product(*wanted), MOST):
        values = iter(rest)
        sent = {name: value for name, value in zip(headers, values, strict=False) if value is not None}
        asked = {name: value for name, value in zip(query, rest[len(headers) :], strict=True) if value is not None}
        yield replace(
            way.start, host=str(host), uri=str(path), method=str(method), headers={**way.start.headers, **sent}, query=asked
        )


def _paths(own: Layers | None) -> Options:
    match = own.get("uri") if own is not None else None
    if not match:
        return ("/", f"/{SOME}")
    found = fitting(match)
    if "prefix" in match:
        found.append(f"{match['prefix'].rstrip('/')}/{SOME}")
    return tuple(dict.fromkeys(path for path in found if path.startswith("/") and not UNSENT.search(path)))


def methods_for(own: Layers | None, methods: tuple[str, ...]) -> tuple[str, ...]:
    """Those of the methods for which a condition holds."""
    match = own.get("method") if own is not None else None
    return methods if not match else tuple(method for method in methods if _takes(match, method))


def _takes(match: Mapping[str, str], value: str) -> bool:
    kind, wanted = next(iter(match.items()))
    return _fits(wanted, value) if kind == "regex" else value == wanted if kind == "exact" else value.startswith(wanted)


def _hosts(own: Layers | None, way: Way) -> Options:
    match = own.get("authority") if own is not None else None
    return way.hosts if not match else tuple(host for host in way.hosts if _takes(match, host))


def _headers(own: Layers | None, earlier: Sequence[Layers]) -> dict[str, Options]:
    """Values of each header that the branch or one before it names, by lower-case name."""
    found = {name.lower(): options for name, options in _named(own, earlier, "headers", "withoutHeaders").items()}
    for condition in (*([own] if own is not None else []), *earlier):
        for name, table in condition.table("withoutHeaders").items():
            # Avoided by having the header, as the earlier branch does not want it.
            unwanted = fitting(table[name]) if condition is not own else []
            options = found.get(name.lower(), (None, SOME))
            found[name.lower()] = tuple(dict.fromkeys((*options, *unwanted)))
    return {name: options for name, options in found.items() if not is_of_proxies(name)}


def is_of_proxies(header: str) -> bool:
    """Whether proxies set or change a header themselves, so that no value of it is planned."""
    return header != "user-agent" and (header in UNASKED or header.startswith(UNASKED_PREFIXES))


def _named(own: Layers | None, earlier: Sequence[Layers], key: str, negated: str) -> dict[str, Options]:
    wanted = own.table(key) if own is not None else {}
    found: dict[str, Options] = {name: tuple(fitting(table[name])) or (None,) for name, table in wanted.items()}
    unwanted = set(own.table(negated)) if own is not None and negated else set()
    for condition in earlier:
        for name, table in condition.table(key).items():
            if name not in found:
                found[name] = (None, SOME) if name not in unwanted else (None, SOME, *fitting(table[name]))
    return found
