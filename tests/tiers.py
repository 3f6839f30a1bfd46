"""The two tiers of the regression gate, read from tests/tiers.yml."""

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
"""Environment variable: ``core`` or ``full``; if it is not set, all requested tests run."""


class UnknownScenarioError(Exception):
    """``ONLY`` names no scenario in the tier; the message is one line that lists the valid names."""


def is_core() -> bool:
    """Whether this is a run of the core tier."""
    return os.environ.get(VARIABLE) == "core"


def core_entries() -> list[str]:
    """Catalogue entries that the core tier judges, sorted."""
    return [name for name in entry.names() if name not in TIERS["full_only"]["entries"]]


def entries() -> list[str]:
    """Catalogue entries that this run judges together, sorted; some are judged by another scenario."""
    together = core_entries() if is_core() else entry.names()
    return [name for name in together if name not in TIERS["judged_by"]]


def full_only_scenarios() -> Mapping[str, str]:
    """Scenario -> why only the full tier runs it."""
    found: Mapping[str, str] = TIERS["full_only"]["scenarios"]
    return found


def scenarios(tier: str, only: str = "", known: Sequence[str] | None = None) -> list[str]:
    """The scenarios of one tier, in Molecule's order, without `default`, which owns the lab.

    :param only: the requested scenario; empty for all
    :param known: every scenario; those in molecule/ if None
    :raises UnknownScenarioError: if the scenario does not exist or is not in the tier
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
        raise UnknownScenarioError(f"ONLY: {only} was given, which only make test-full runs; {accepted}; nothing was changed")
    near = difflib.get_close_matches(only, every, n=1)
    hint = f" (did you mean {near[0]}?)" if near else ""
    raise UnknownScenarioError(f"ONLY: {only} was given{hint}; {accepted}; nothing was changed")


def is_full_only(node: str, listed: Iterable[str]) -> bool:
    """Whether only the full tier runs a test.

    :param node: its pytest node id, ``path::test[case]``
    :param listed: paths, or paths with a test's name
    """
    return any(node == name or node.startswith((f"{name}::", f"{name}[")) for name in listed)


def deselect(config: Any, items: list[Any]) -> None:
    """Deselect full-tier tests in a core run; used as pytest's hook ``pytest_collection_modifyitems``."""
    if not is_core():
        return
    left_out = [item for item in items if is_full_only(item.nodeid, TIERS["full_only"]["tests"])]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]
