"""What a plan consists of: routes with their requests, and what there are none for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from loadtests.rules.calls import Call
from loadtests.rules.fates import Fate
from loadtests.verdict import MARGIN, Expected, Outcome, judge_class

SCHEME = "tcp"
"""Of calls that are connections."""
MOST = 100_000
"""Requests above which nobody estimates."""


@dataclass(frozen=True)
class Check:
    """One route, and requests that it takes; or one client, and what it may ask.

    :param name: how messages name the route
    :param calls: sent in turn; all have the same fate
    :param fate: what is expected to become of them
    :param guard: whether it is about who may call, and not about where calls go
    """

    name: str
    calls: tuple[Call, ...]
    fate: Fate
    guard: bool = False

    @property
    def by_gateway(self) -> bool:
        """Whether its requests enter by a gateway."""
        return self.calls[0].caller.gateway is not None

    @property
    def connects(self) -> bool:
        """Whether it is about connections, of which no proxy reads the content."""
        return self.calls[0].scheme == SCHEME

    @property
    def requests(self) -> int:
        """About how many a verdict needs if the mesh does what the rules say: no less than one for each call."""
        return max(needed(self.fate.shares), len(self.calls))


@dataclass(frozen=True)
class Gap:
    """A part of the rules that no request is sent for.

    :param where: kind, name and path of the field
    :param outcome: FAIL if the rules themselves are wrong, else UNKNOWN
    """

    where: str
    why: str
    outcome: Outcome = Outcome.UNKNOWN


@dataclass(frozen=True)
class Idle:
    """A route that no request reaches if the mesh does what the rules say: an earlier one of the same rule takes them all.

    :param where: kind, name and path of the field
    """

    where: str
    why: str


@dataclass(frozen=True)
class Plan:
    """What to ask, and what cannot be judged.

    :param unseen: fields that apply to what is asked, and that the verdict is not about
    :param warnings: what is probably wrong, though the rules are followed
    """

    namespace: str
    checks: tuple[Check, ...] = ()
    gaps: tuple[Gap, ...] = ()
    unseen: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def expected(self) -> Expected:
        """The expectation of all checks; gaps are no part of it."""
        return Expected({check.name: check.fate.shares for check in self.checks})


def narrowed(plan: Plan, only: str) -> Plan:
    """The plan for one of its checks alone: gaps and warnings, which are about others, are left out.

    :param only: the check's name; '' for all of them
    :return: without checks if it has none of that name
    """
    return replace(plan, checks=tuple(one for one in plan.checks if one.name == only), gaps=(), warnings=()) if only else plan


def grouped(name: str, found: Sequence[tuple[Call, Fate]]) -> Iterator[Check]:
    """Requests of the same fate are one check."""
    groups: list[tuple[Fate, list[Call]]] = []
    for call, fate in found:
        same = next((calls for other, calls in groups if other == fate), None)
        if same is None:
            groups.append((fate, [call]))
        elif call not in same:
            same.append(call)
    for number, (fate, calls) in enumerate(groups, 1):
        yield Check(name if len(groups) == 1 else f"{name} ({number})", tuple(calls), fate)


def needed(shares: Mapping[str, float]) -> int:
    """About how many requests a verdict on shares needs if they are true."""
    n = 40
    while n < MOST:
        counts = {outcome: round(share * n) for outcome, share in shares.items()}
        if judge_class("", shares, counts, Expected({"": shares}, MARGIN)).outcome is Outcome.PASS:
            break
        n = n * 9 // 8
    return n
