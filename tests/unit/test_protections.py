"""What the live mesh is asked under generated rules: how much of it the readers leave open, without a cluster."""

from __future__ import annotations

from itertools import islice
from typing import Any

from tests.oracle import protections
from tests.unit.entries.test_expected import entrances, sample

EVERY = 8
"""Of the rounds, one in so many is looked at here."""


def expected(*rounds: protections.Round) -> tuple[int, list[str]]:
    """How many expectations there are under rules, and why some are left open."""
    total, left_open = 0, list[str]()
    for one in rounds:
        rules: list[dict[str, Any]] = [
            {**rule, "metadata": {**rule["metadata"], "uid": str(number), "generation": 1}}
            for number, rule in enumerate(one.rules)
        ]
        for check, traffic in protections.asked(one):
            found = check.expect([*rules, *sample("echo"), *entrances("echo")]).expected
            assert not found.broken
            total += len(traffic)
            left_open += [f"{name}: {', '.join(found.unknown[name])}" for name in traffic if name in found.unknown]
    return total, left_open


def test_beside_the_rules_of_the_sample_alone_nothing_is_left_open() -> None:
    assert expected(protections.Round([])) == (len(protections.ASKED) + len(protections.TOKENS), [])


def test_generated_rules_leave_few_expectations_open() -> None:
    total, left_open = expected(*islice(protections.rounds(), 0, None, EVERY))
    assert len(left_open) <= protections.LEFT_OPEN * total, left_open
