"""What EnvoyFilters put into the proxies of called pods: each patch with its value."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from loadtests.rules.expectations import NotModelledError, Objects
from loadtests.rules.extensions import extensions_of
from loadtests.rules.responses import Request
from loadtests.rules.view import View, title
from loadtests.rules.workloads import called_workload, spec_of

CONNECTION_MANAGER = "envoy.filters.network.http_connection_manager"
INBOUND = {"context": "SIDECAR_INBOUND"}
"""Match of all routes of inbound requests, and of a filter that they all pass."""
IN_FRONT = {**INBOUND, "listener": {"filterChain": {"filter": {"name": CONNECTION_MANAGER}}}}
"""Match of such a filter, as Istio's documentation writes it."""
INSERTED = ("INSERT_BEFORE", "INSERT_FIRST")
"""Operations that put a filter in front of the one that routes."""


@dataclass(frozen=True)
class Patch:
    """One patch of an EnvoyFilter.

    :param value: what it inserts or merges
    """

    rule: View
    view: View
    value: View

    @property
    def config(self) -> View:
        """The configuration of a filter."""
        return part(self.value, "typed_config")

    @property
    def route(self) -> View:
        """What it says of a route."""
        return part(self.value, "route")

    @property
    def filter(self) -> View:
        """The configuration of a filter that all inbound requests pass.

        :raises NotModelledError: if they do not, or it does not insert one
        """
        self._refuse_other("HTTP_FILTER", (INBOUND, IN_FRONT), INSERTED)
        self.value.accept("name")
        return self.config

    def refuse_some_routes(self) -> None:
        """Make sure that it is merged into all routes of inbound requests.

        :raises NotModelledError: if it is not
        """
        self._refuse_other("HTTP_ROUTE", (INBOUND,), ("MERGE",))

    def _refuse_other(self, place: str, matches: Sequence[Mapping[str, Any]], operations: Sequence[str]) -> None:
        if self.view["applyTo"] != place or part(self.view, "match").data not in matches:
            raise NotModelledError(f"{title(self.rule)}: {self.view.path_of('match')}")
        if self.view["patch"].get("operation") not in operations:
            raise NotModelledError(f"{title(self.rule)}: {self.view['patch'].path_of('operation')}")
        self.view.accept("match")

    def is_of_type(self, name: str) -> bool:
        """Whether it is the configuration of a filter of a type."""
        return str(self.config.get("@type", "")).endswith(name)


def part(view: View, name: str) -> View:
    """A part of an object; an empty one where it is not set."""
    found: View = view.get(name) or View({})
    return found


def patches_of(objects: Objects, request: Request, concerns: Callable[[Patch], bool]) -> Iterator[Patch]:
    """The patches of the called pods' proxies that concern a question; what others do is not modelled, and stays unread.

    :param request: ``app`` and ``namespace`` of the called pods
    """
    for rule in extensions_of(objects, called_workload(objects, request)):
        # The order among patches (``priority``) has no bearing, for a question counts one.
        for view in spec_of(rule).get("configPatches") or []:
            looked_at = view.afresh()
            if concerns(Patch(rule, looked_at, part(looked_at["patch"], "value"))):
                found = Patch(rule, view, part(view["patch"], "value"))
                found.config.accept("@type")
                yield found
