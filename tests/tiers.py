"""The two tiers of the regression gate, as tests/tiers.yml has them."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from loadtests.entries import entry

PROJECT = Path(__file__).resolve().parent.parent
TIERS: dict[str, Any] = yaml.safe_load((PROJECT / "tests/tiers.yml").read_text())
VARIABLE = "LAB_TEST_TIER"
"""Of the environment: ``core`` or ``full``; everything that is asked for runs where it is not set."""


class UnknownScenarioError(Exception):
    """``ONLY`` names no scenario of the tier; the message is one line that lists the valid names."""


def is_core() -> bool:
    """Whether this is a run of the core tier."""
    return os.environ.get(VARIABLE) == "core"


def core_entries() -> list[str]:
    """Entries of the catalogue that the core tier judges, sorted."""
    return [name for name in entry.names() if name not in TIERS["full_only"]["entries"]]


def entries() -> list[str]:
    """Entries of the catalogue that this run judges, sorted."""
    return core_entries() if is_core() else entry.names()


def full_only_scenarios() -> Mapping[str, str]:
    """Scenario -> why only the full tier runs it."""
    found: Mapping[str, str] = TIERS["full_only"]["scenarios"]
    return found


def scenarios(tier: str, only: str = "", known: Sequence[str] | None = None) -> list[str]:
    """The scenarios of one tier, in Molecule's order; the one that owns the lab, default, is not among them.

    :param only: the one that was asked for; empty for all
    :param known: every scenario; those of molecule/ if None
    :raises UnknownScenarioError: if there is no such scenario, or the tier does not have it
    """
    if known is None:
        known = sorted(file.parent.name for file in PROJECT.glob("molecule/*/molecule.yml"))
    every = [name for name in known if name != "default"]
    here = [name for name in every if tier == "full" or name not in full_only_scenarios()]
    if not only:
        return here
    if only in here:
        return [only]
    accepted = f"accepted: {', '.join(here)}"
    if only in every:
        raise UnknownScenarioError(f"ONLY: {only} was given, which make test-full alone runs; {accepted}; nothing was changed")
    near = difflib.get_close_matches(only, every, n=1)
    hint = f" (did you mean {near[0]}?)" if near else ""
    raise UnknownScenarioError(f"ONLY: {only} was given{hint}; {accepted}; nothing was changed")


def is_full_only(node: str, listed: Iterable[str]) -> bool:
    """Whether a test is among those that only the full tier runs.

    :param node: pytest's name of it, ``path::test[case]``
    :param listed: paths, or paths with the name of a test
    """
    return any(node == name or node.startswith((f"{name}::", f"{name}[")) for name in listed)


def deselect(config: Any, items: list[Any]) -> None:
    """Leave out of a core run what only the full tier runs; what pytest's hook ``pytest_collection_modifyitems`` calls."""
    if not is_core():
        return
    left_out = [item for item in items if is_full_only(item.nodeid, TIERS["full_only"]["tests"])]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]
