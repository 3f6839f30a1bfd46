"""The lab's reader of routing rules, compared with istiod's own translation over generated rules and calls."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, Phase, assume, given, settings

from loadtests.rules.calls import Call, Routed
from loadtests.rules.expectations import BrokenPromiseError, NotModelledError
from loadtests.rules.routing import route_call
from loadtests.rules.view import not_modelled, viewed
from tests import tiers
from tests.oracle import outcomes, program, worlds

CALLS = 10
"""Calls in each world."""
WORLDS, PAIRS = (26, 200) if tiers.is_core() else (260, 2000)
"""Generated worlds, some of them duplicates; distinct pairs of rules and call that must be compared."""
UNKNOWN = 0.05
"""Share of calls that the reader may leave UNKNOWN."""
BROKEN, OPEN = "leads nowhere", "not modelled"


@pytest.fixture(scope="module")
def oracle() -> Iterator[program.Oracle]:
    with program.Oracle(program.built()) as running:
        yield running


def read(world: worlds.World, call: Call) -> Routed | str:
    """The lab's expectation for a call; BROKEN or OPEN if there is none."""
    settings = {"kind": "MeshConfig", "metadata": {"name": "istio"}, "spec": world.mesh_config}
    seen = viewed([*world.objects, settings])
    try:
        found = route_call(seen, call)
    except NotModelledError:
        return OPEN
    except BrokenPromiseError:
        return BROKEN
    return OPEN if not_modelled(seen) else outcomes.plain(found, call)


def kind(found: Routed | str) -> str:
    """The kind of outcome, to count what has been compared."""
    if isinstance(found, str):
        return found
    if found.no_route:
        return found.no_route.name
    parts = ("redirect", "direct_response", "fault", "mirrors", "rewrite", "timeout")
    return next((part for part in parts if getattr(found, part)), "split" if len(found.destinations) > 1 else "one destination")


def test_calls_go_where_istiod_sends_them(oracle: program.Oracle) -> None:
    compared: dict[str, str] = {}

    @settings(
        max_examples=WORLDS, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck),
        phases=(Phase.generate, Phase.shrink),
    )  # fmt: skip
    @given(worlds.worlds(CALLS))
    def compare(world: worlds.World) -> None:
        answers = oracle.ask(world.objects, [outcomes.asked(call) for call in world.calls], world.mesh_config)
        assume(answers is not None)
        for call, answer in zip(world.calls, answers or [], strict=True):
            ours = read(world, call)
            compared[f"{world} {call}"] = kind(ours)
            if ours is OPEN:
                continue
            assert "error" not in answer, answer
            theirs = BROKEN if outcomes.is_broken(answer) else outcomes.plain(outcomes.routed(answer), call)
            assert ours == theirs, f"{call}\nby {answer['via']}"

    compare()
    kinds = Counter(compared.values())
    print(f"{len(compared)} calls compared: {dict(kinds.most_common())}")
    assert len(compared) >= PAIRS
    assert kinds[OPEN] <= UNKNOWN * len(compared)
