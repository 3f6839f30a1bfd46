"""Whether conditions of an HTTP route hold for a call, as Envoy checks them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from loadtests.rules.calls import Call
from loadtests.rules.expectations import NoExpectationError, NotModelledError
from loadtests.rules.layers import Layers, gateway_name

CLAIMS = "@request.auth.claims"
"""What names of headers begin with that stand for claims of a token."""

UNASKED = ("accept", "accept-encoding", "connection", "content-length", "host", "user-agent", "x-request-id")
"""Headers that clients and proxies send unasked ..."""
UNASKED_PREFIXES = ("x-forwarded-", "x-envoy-", "x-b3-")
"""... and what others of that sort begin with."""

OF_THE_PROXY = (
    "name",
    "statPrefix",
    "ignoreUriCase",
    "port",
    "gateways",
    "sourceLabels",
    "sourceNamespace",
)
"""Fields of a condition that say which proxies get it, and some that say nothing."""


def expression(pattern: str, value: str) -> bool:
    """Whether a regular expression takes all of a value.

    :raises NoExpectationError: if it is none
    """
    try:
        return re.fullmatch(pattern, value, re.ASCII) is not None
    except re.error as error:
        raise NoExpectationError(f"{pattern} is no regular expression: {error}") from error


def only_presence(match: Mapping[str, str]) -> bool:
    """Whether a match asks only that the value is there: an empty one, or the expression ``*``."""
    return not match or match.get("regex") == "*"


def text_match(match: Mapping[str, str], value: str, fold: bool = False) -> bool:
    """Istio's StringMatch for a value that is there.

    :param fold: upper and lower case are the same, except in expressions
    :raises NoExpectationError: if its regular expression is none
    """
    kind, wanted = next(iter(match.items()))
    if kind == "regex":
        return expression(wanted, value)
    if fold:
        wanted, value = wanted.lower(), value.lower()
    if kind == "exact":
        return value == wanted
    if kind == "prefix":
        return value.startswith(wanted)
    raise NotModelledError(f"a match by {kind}")


def present(match: Mapping[str, str], value: str | None) -> bool:
    """A match for a value that may be absent, in which case it does not hold."""
    return value is not None and (only_presence(match) or text_match(match, value))


def without(match: Mapping[str, str], value: str | None) -> bool:
    """One of ``withoutHeaders``: a header that is absent counts as an empty one, unless presence alone is asked for."""
    return value is None if only_presence(match) else not text_match(match, value or "")


def path_match(match: Mapping[str, str], uri: str, fold: bool) -> bool:
    """A match for the path; an empty one takes them all."""
    return not match or text_match(match, uri, fold)


def is_known(header: str, call: Call) -> bool:
    """Whether a call says what a header's value is, or that it has no such header.

    :param header: in lower case
    """
    unasked = header in UNASKED or header.startswith(UNASKED_PREFIXES)
    return header not in call.varied and (header in call.headers or not unasked)


def _named(condition: Layers, key: str, call: Call) -> Iterator[tuple[Mapping[str, str], str | None]]:
    """Each match of a field by name, with the call's value.

    :raises NotModelledError: if the value is not known: a claim of a token, a header that is sent unasked
    """
    for name, table in condition.table(key).items():
        if name.startswith(CLAIMS) or (key != "queryParams" and not is_known(name.lower(), call)):
            raise NotModelledError(f"{condition.path_of(key)}.{name}")
        yield table[name], call.query.get(name) if key == "queryParams" else call.headers.get(name.lower())


def holds(condition: Layers, call: Call) -> bool:
    """Whether a condition holds, apart from what ``is_for`` checks. What is not modelled stays unread, and counts as true."""
    fold = bool(condition.get("ignoreUriCase"))
    parts = [present(match, value) for match, value in _named(condition, "headers", call)]
    parts += [without(match, value) for match, value in _named(condition, "withoutHeaders", call)]
    parts += [present(match, value) for match, value in _named(condition, "queryParams", call)]
    for key, value in (("method", call.method), ("authority", call.host), ("scheme", call.scheme)):
        if key in condition and f":{key}" in call.varied:
            raise NotModelledError(condition.path_of(key))
        if key in condition:
            parts.append(present(condition[key], value))
    if "uri" in condition:
        parts.append(path_match(condition["uri"], call.uri, fold))
    condition.accept("name", "statPrefix")
    return all(parts)


def is_for(condition: Layers, call: Call, gateway: str) -> bool:
    """Whether a proxy is given a route with a condition: by port, gateway, labels and namespace of the caller.

    A label of which nobody knows whether the caller has it stays unread, and counts as there.

    :param gateway: ``namespace/name``, or ``mesh``
    """
    if condition.get("port", 0) not in (0, call.port):
        return False
    if gateways := condition.get("gateways"):
        # Istio takes no notice of the caller's labels then.
        condition.accept("sourceLabels", "sourceNamespace")
        return gateway in {gateway_name(name, condition.part_of("gateways").namespace) for name in gateways}
    if condition.get("sourceNamespace", "") not in ("", call.caller.namespace):
        return False
    wanted, caller = condition.table("sourceLabels"), call.caller
    known = {name: table[name] for name, table in wanted.items() if caller.all_labels or name in caller.labels}
    return caller.has(known) is not False


def takes_all(condition: Layers | None) -> bool:
    """Whether a condition is none for Envoy: a path of ``/`` or ``.*``, and nothing else."""
    if condition is None:
        return True
    if any(key not in (*OF_THE_PROXY, "uri", "headers", "withoutHeaders", "queryParams") for key in condition):
        return False
    if any(condition.table(key) for key in ("headers", "withoutHeaders", "queryParams")):
        return False
    uri = condition.get("uri") or {}
    return not uri or uri.get("prefix") == "/" or uri.get("regex") == ".*"
