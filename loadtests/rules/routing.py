"""Where the mesh sends a call: all rules together, as istiod translates them for the caller's proxy."""

from __future__ import annotations

from collections.abc import Sequence

from loadtests.rules.calls import Call, Mesh, Routed
from loadtests.rules.declared import NotModelledError
from loadtests.rules.view import View


def route_call(objects: Sequence[View], call: Call, mesh: Mesh | None = None) -> Routed:
    """What the mesh does with ``call``.

    :param objects: all rules and services of all namespaces that bear on it
    :raises BrokenPromiseError: if the rules contradict themselves
    :raises NotModelledError: naming the field that is not modelled
    """
    raise NotModelledError(f"calls to {call.host}")
