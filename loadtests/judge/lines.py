"""What a request's line in the access log of the caller's proxy, together with the answer, says about where it went."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from loadtests.judge.checks import Check
from loadtests.judge.guards import DENIED, LET_IN, REJECTED, WITHOUT
from loadtests.rules.fates import abort_outcome, delayed_outcome, destination_outcome, direct_outcome, redirect_outcome
from loadtests.rules.security import REFUSED
from loadtests.verdict import ERROR

LINE = re.compile(
    r'^\[\S+\] "\S+ \S+ \S+" (?P<status>\d+) (?P<flags>\S+) (?P<details>.+?) \S+ "[^"]*" \S+ \S+ (?P<milliseconds>\d+) \S+ '
    r'"[^"]*" "(?P<agent>[^"]*)" "(?P<id>[^"]*)" "(?P<authority>[^"]*)" "(?P<host>[^"]*)" '
    r"(?P<cluster>\S+) \S+ \S+ (?P<peer>\S+) \S+ \S+$"
)
"""A line of Istio's default format."""
ANSWERED = ("via_upstream", "response_timeout", "upstream_per_try_timeout")
"""What is logged where a request has reached its destination, whatever came of it there."""
UNCONNECTED = frozenset(("UF", "UH", "UO", "NR", "NC", "URX"))
"""Flags of connections that did not reach a destination."""
BY_POLICY = "RBAC: access denied"
"""The text of a proxy that denies a request."""
BY_ISSUER = "Jwt issuer is not configured"
"""The text of a proxy that rejects a token of an unknown issuer."""
CLOSED = ("ConnectionResetError", "RemoteDisconnected")
"""How a client's error begins that was connected and got no answer; one that nobody listens to gets another one."""
EARLY = 0.05
"""By how many seconds a delay may seem shorter than it is."""


@dataclass(frozen=True)
class Answer:
    """What a client got.

    :param status: 0 without an answer; ``text`` then says why
    :param headers: by lower-case name
    """

    status: int
    location: str
    text: str
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Line:
    """A line of an access log.

    :param cluster: of the upstream: ``outbound|9080|v2|reviews.shop.svc.cluster.local``; ``-`` if there was none
    :param host: address of the upstream, with its port
    :param authority: that the upstream was asked for
    """

    status: int
    flags: frozenset[str]
    details: str
    seconds: float
    cluster: str
    host: str
    authority: str = ""


def lines_by_mark(log: str, prefix: str) -> dict[str, Line]:
    """The lines of requests that carry a mark, by it.

    :param prefix: what marks begin with
    """
    found = {}
    for text in log.splitlines():
        if prefix in text and (line := LINE.match(text)):
            mark = next((line[name] for name in ("id", "agent") if line[name].startswith(prefix)), "")
            found[mark] = _line(line)
    found.pop("", None)
    return found


def _line(line: re.Match[str]) -> Line:
    return Line(
        int(line["status"]), frozenset(line["flags"].split(",")), line["details"], int(line["milliseconds"]) / 1000,
        line["cluster"], line["host"], line["authority"],
    )  # fmt: skip


def lines_by_peer(log: str, peers: Mapping[str, str]) -> dict[str, Line]:
    """The lines of connections, by the mark of each.

    :param peers: a client's address with its port, as the proxy sees it -> mark
    """
    found = {}
    for text in log.splitlines():
        if (line := LINE.match(text)) and line["agent"] == "-" and (mark := peers.get(line["peer"])):
            found[mark] = _line(line)
    return found


def destination_of(cluster: str, domain: str) -> str:
    """The outcome of a request to an upstream cluster; '' if it is none of a service."""
    parts = cluster.partition(";")[0].split("|")
    if len(parts) != 4 or not parts[1].isdecimal():
        return ""
    return destination_outcome(parts[3], int(parts[1]), parts[2], domain)


@dataclass(frozen=True)
class Ground:
    """What is known of where requests may arrive.

    :param namespace: that is judged
    :param pods: labels of its pods, by address
    """

    namespace: str
    domain: str
    pods: Mapping[str, Mapping[str, str]]


def outcome_of(check: Check, answer: Answer, line: Line | None, ground: Ground) -> tuple[str, str]:
    """The outcome of a request, and in words why it is an error; '' if it is none.

    :param line: None if the proxy logged none
    """
    if check.guard:
        return _let_in(answer, line, any(WITHOUT.items() <= call.caller.labels.items() for call in check.calls))
    if line is None:
        return ERROR, answer.text if not answer.status else f"HTTP {answer.status}, of which the proxy logged nothing"
    if check.connects:
        return _connected(check, line, ground)
    if answer.status != line.status:
        return ERROR, f"{f'HTTP {answer.status}' if answer.status else answer.text}, where the proxy logged HTTP {line.status}"
    outcome = _as_changed(_outcome(check, answer, line, ground), check, answer, line)
    if outcome == ERROR:
        return ERROR, f"HTTP {line.status} {line.details.partition('{')[0]}"
    if "DI" not in line.flags:
        return outcome, ""
    late = check.fate.delay if line.seconds >= check.fate.delay - EARLY else line.seconds
    return delayed_outcome(outcome, late), ""


def _connected(check: Check, line: Line, ground: Ground) -> tuple[str, str]:
    """Where a connection went: the proxy accepts it before it knows whether anybody answers."""
    if line.host == "-" or line.flags & UNCONNECTED:
        return ERROR, f"connection to {line.cluster} failed ({','.join(sorted(line.flags))})"
    return _arrived(check, line, ground), ""


def _let_in(answer: Answer, line: Line | None, plain: bool) -> tuple[str, str]:
    """Whether a client was let in: nothing but a policy's own words, or a connection that was closed, says that it was not.

    :param plain: whether the client has no proxy, and so no log
    """
    if not plain and (line is None or line.details.partition("{")[0] not in ANSWERED):
        return ERROR, f"HTTP {line.status} {line.details.partition('{')[0]}" if line is not None else "nothing was logged"
    if answer.status:
        if answer.status == 401 and answer.text.strip() == BY_ISSUER:
            return REJECTED, ""
        return (DENIED if answer.status == 403 and answer.text.strip() == BY_POLICY else LET_IN), ""
    return (REFUSED, "") if plain and answer.text.startswith(CLOSED) else (ERROR, answer.text)


def _outcome(check: Check, answer: Answer, line: Line, ground: Ground) -> str:
    if "FI" in line.flags:
        return abort_outcome(line.status)
    if line.details == "direct_response":
        return redirect_outcome(line.status, answer.location) if answer.location else direct_outcome(line.status, answer.text)
    if line.details == "route_not_found":
        return "HTTP 404 without a route"
    return _arrived(check, line, ground) if line.details.partition("{")[0] in ANSWERED else ERROR


def _arrived(check: Check, line: Line, ground: Ground) -> str:
    """The destination that was reached; in other words, if it was at a pod that is none of its."""
    name = destination_of(line.cluster, ground.domain)
    place, address = check.fate.places.get(name), line.host.rpartition(":")[0].strip("[]")
    # Of pods of other namespaces, nothing is known but the destination.
    if place is None or place.namespace != ground.namespace or not place.labels:
        return name or f"upstream {line.cluster}"
    if not place.labels.items() <= ground.pods.get(address, {}).items():
        return f"{name}, but at another pod ({address})"
    return name


def _as_changed(outcome: str, check: Check, answer: Answer, line: Line) -> str:
    """The outcome of a request that has arrived, with what was not changed of it or its answer as the rules say."""
    fate = check.fate
    if outcome not in fate.places:
        return outcome
    if fate.authority is not None and line.authority != fate.authority:
        outcome += f", but as {line.authority}"
    for name, value in fate.response.items():
        if (received := answer.headers.get(name)) != value:
            outcome += f", but with {name}: {received}" if received is not None else f", but without {name}"
    return outcome
