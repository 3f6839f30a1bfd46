"""The lab's readers of routing rules, compared with istiod's own translation over generated rules and calls."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, assume, given, settings

from loadtests.rules.calls import Routed
from tests import tiers
from tests.oracle import comparison, ingresses, mistakes, outcomes, program, routes, worlds
from tests.oracle.comparison import OPEN, Found
from tests.oracle.mistakes import MISTAKES

Answers = list[dict[str, Any]]

CALLS = 10
"""Calls in each world."""
GENERATED = {
    "rules": worlds.worlds(CALLS),
    "routes of the Gateway API": routes.worlds(CALLS),
    "TLSRoutes": routes.tls_worlds(len(routes.HOSTS)),
    "TCPRoutes": routes.tcp_worlds(len(routes.TCP_PORTS)),
    "Ingresses": ingresses.worlds(CALLS),
}
COMPARED = (
    {"rules": (24, 160), "routes of the Gateway API": (10, 60), "TLSRoutes": (3, 8), "TCPRoutes": (3, 6), "Ingresses": (4, 30)}
    if tiers.is_core()
    else {
        "rules": (200, 1500), "routes of the Gateway API": (120, 800), "TLSRoutes": (30, 80), "TCPRoutes": (60, 120),
        "Ingresses": (90, 600),
    }
)  # fmt: skip
"""Generated worlds, some of them duplicates; distinct pairs of rules and call that must be compared."""
UNKNOWN = 0.05
"""Share of calls that the reader may leave UNKNOWN."""


@pytest.fixture(scope="module")
def oracle() -> Iterator[program.Oracle]:
    with program.Oracle(program.built()) as running:
        yield running


def kind(found: Found) -> str:
    """The kind of outcome, to count what has been compared."""
    if isinstance(found, str):
        return found
    if isinstance(found, dict):
        return "split" if len(found) > 1 else next(iter(found))
    return kind_of_route(found)


def kind_of_route(found: Routed) -> str:
    """The kind of what a route does."""
    if found.no_route:
        return found.no_route.name
    parts = ("redirect", "direct_response", "fault", "mirrors", "rewrite", "timeout")
    return next((part for part in parts if getattr(found, part)), "split" if len(found.destinations) > 1 else "one destination")


def each_world(oracle: program.Oracle, what: str, examples: int, look: Callable[[worlds.World, Answers], None]) -> None:
    """Generate worlds, the same ones each time, and look at what istiod does with the calls of each."""

    @settings(
        max_examples=examples, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck),
        phases=(Phase.generate, Phase.shrink),
    )  # fmt: skip
    @given(GENERATED[what])
    def ask(world: worlds.World) -> None:
        answers = oracle.ask(world.objects, [outcomes.asked(call) for call in world.calls], world.mesh_config)
        assume(answers is not None)
        look(world, answers or [])

    ask()


@pytest.fixture(scope="module")
def answered(oracle: program.Oracle) -> dict[str, list[mistakes.Answered]]:
    """What is generated, with what istiod makes of it."""
    found: dict[str, list[mistakes.Answered]] = {what: [] for what in GENERATED}
    for what, (examples, _) in COMPARED.items():
        each_world(oracle, what, examples, lambda *world, of=what: found[of].append(world))
    return found


def agree(world: worlds.World, answers: Answers) -> None:
    for pair in comparison.compared(world, answers):
        assert pair.agrees, f"{pair.call}\nby {pair.via}\nours   {pair.ours}\ntheirs {pair.theirs}"


def test_calls_go_where_istiod_sends_them(oracle: program.Oracle, answered: dict[str, list[mistakes.Answered]]) -> None:
    kinds: Counter[str] = Counter()
    for what, (examples, wanted) in COMPARED.items():
        pairs = [pair for world in answered[what] for pair in comparison.compared(*world)]
        if not all(pair.agrees for pair in pairs):
            each_world(oracle, what, examples, agree)  # fails with the smallest world
        distinct = {f"{pair.world} {pair.call}": kind(pair.ours) for pair in pairs}
        assert len(distinct) >= wanted, what
        kinds += Counter(distinct.values())
    print(f"{kinds.total()} calls compared: {dict(kinds.most_common())}")
    assert kinds[OPEN] <= UNKNOWN * kinds.total()


def test_a_copy_without_a_mistake_agrees(answered: dict[str, list[mistakes.Answered]], tmp_path: Path) -> None:
    assert mistakes.first_disagreement(None, chain(*answered.values()), tmp_path) == ""


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_in_the_reader_is_noticed(answered: dict[str, list[mistakes.Answered]], tmp_path: Path, mistake: str) -> None:
    assert mistakes.first_disagreement(MISTAKES[mistake], chain(*answered.values()), tmp_path)
