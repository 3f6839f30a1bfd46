"""What the rules make of a request that was constructed, or why that is not known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from loadtests.judge.checks import Gap
from loadtests.judge.reach import Seen
from loadtests.rules.expectations import NoExpectationError, NotModelledError
from loadtests.rules.mesh_config import mesh_of, read_proxies
from loadtests.rules.view import View, not_modelled, viewed
from loadtests.verdict import Outcome

Told = TypeVar("Told")


def foreseen(seen: Seen, read: Callable[[Sequence[View]], Told]) -> Told | Gap:
    """What ``read`` tells of the rules, if it leaves no field of them open; else a gap, without the place that it is about.

    :param read: raises NotModelledError or NoExpectationError where no expectation follows from the rules
    """
    views = viewed(seen.objects)
    mesh_of(views)  # settings of the mesh and its proxies that are not modelled leave it open
    read_proxies(views, seen.settings.namespace)
    try:
        expectation = read(views)
    except NotModelledError as reason:
        return Gap("", f"not modelled: {reason}")
    except NoExpectationError as reason:
        return Gap("", str(reason), Outcome.FAIL)
    paths = not_modelled(views)
    return Gap("", f"not modelled: {', '.join(paths)}") if paths else expectation
