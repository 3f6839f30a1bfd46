"""The verdict's statistics compared with savvi, which implements the same sequential test (arXiv 2011.03567)."""

from __future__ import annotations

import math
import random
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from loadtests import verdict

SPLITS = ((0.5, 0.5), (0.75, 0.25), (0.5, 0.25, 0.25), (0.25, 0.25, 0.25, 0.25), (0.875, 0.125))
"""Sums of powers of 2: savvi accepts only shares that sum to exactly 1."""
ALPHA = 0.01


@pytest.fixture
def savvi(monkeypatch: pytest.MonkeyPatch) -> Any:
    """savvi's test; it imports matplotlib, which it does not require and which is not used here."""
    for name in ("matplotlib", "matplotlib.pyplot"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    from savvi.multinomial import Multinomial

    return Multinomial


def observed(test: Any, shares: Sequence[float], counts: Sequence[int], strength: float) -> Any:
    """A savvi test that has received these counts."""
    made = test(ALPHA, np.array(shares), strength)
    made.update(np.array(counts))
    return made


def counts_of(shares: Sequence[float], true: Sequence[float], n: int, rng: random.Random) -> list[int]:
    drawn = rng.choices(range(len(shares)), true, k=n)
    return [drawn.count(arm) for arm in range(len(shares))]


@pytest.mark.parametrize("shares", SPLITS)
def test_the_e_value_is_the_mean_of_savvis_for_each_prior(savvi: Any, shares: tuple[float, ...]) -> None:
    rng = random.Random(len(shares))
    for n in (1, 20, 300, 2000):
        # savvi's odds are not logarithms, and overflow if the shares are much farther off.
        for true in (shares, (shares[0] - 0.1, shares[1] + 0.1, *shares[2:])):
            counts = counts_of(shares, true, n, rng)
            theirs = [observed(savvi, shares, counts, strength).odds for strength in verdict.PRIOR_STRENGTHS]
            ours = verdict.log_e_value(counts, shares)
            assert ours == pytest.approx(math.log(sum(theirs) / len(theirs)), abs=1e-6), (shares, counts)


@pytest.mark.parametrize("shares", SPLITS)
def test_the_interval_is_savvis_for_one_prior(savvi: Any, shares: tuple[float, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verdict, "PRIOR_STRENGTHS", (100.0,))
    rng = random.Random(10 + len(shares))
    for n in (40, 800):
        counts = counts_of(shares, shares, n, rng)
        theirs = observed(savvi, shares, counts, 100.0).calculate_conf_int()
        for arm in range(len(shares)):
            assert verdict.interval(counts, shares, arm, ALPHA) == pytest.approx(tuple(theirs[arm]), abs=1e-4), (counts, arm)
