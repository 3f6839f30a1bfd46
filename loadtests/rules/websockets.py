"""How long the mesh keeps WebSocket connections open: pure functions for ``question.ResponseCheck``."""

from __future__ import annotations

import math
from collections.abc import Sequence

from loadtests.rules.actions import seconds
from loadtests.rules.expectations import NotModelledError, Objects, Shares
from loadtests.rules.patches import patches_of
from loadtests.rules.responses import Request
from loadtests.rules.routing import accept_inert
from loadtests.rules.straight import straight_to
from loadtests.rules.view import View

FIELD, OTHERWISE = "idle_timeout", "idleTimeout"
"""Of a route of Envoy's, in two spellings: how long a stream may be silent, an upgraded one as well. Istio sets none."""

CLOSING_SECONDS = 5.0
"""Each proxy on the way gives what it has sent a second to arrive before it closes a connection."""


def _idle_seconds(objects: Objects, request: Request) -> float:
    """How long the proxies of the called pods keep a silent stream open; infinite if no EnvoyFilter limits it.

    :raises NotModelledError: if one says it for some routes only, or several do
    """
    found = []
    for patch in patches_of(objects, request, lambda one: FIELD in one.route or OTHERWISE in one.route):
        patch.refuse_some_routes()
        found.append(seconds(patch.route.get(FIELD) or patch.route[OTHERWISE]))
    if len(found) > 1:
        raise NotModelledError(f"several EnvoyFilters set the {FIELD} of one workload")
    return found[0] if found and found[0] else math.inf


def closed_when_silent(objects: Sequence[View], request: Request) -> Shares:
    """A WebSocket on which messages are sent now and then: whether, and when, it is closed because of the silence between them.

    :param request: ``call``; the service: ``app``, ``namespace``, ``port``; ``seconds``: how long the client stays;
        ``silence``: between two of its messages
    :raises NotModelledError: if calls may go elsewhere, or it is up to chance what comes first
    """
    led = straight_to(objects, request)
    accept_inert(led.taken)  # an upgrade that succeeds is not tried again
    idle, stays, silence = _idle_seconds(objects, request), float(request["seconds"]), float(request["silence"])
    if abs(idle - silence) < 1 or (idle < silence and stays < idle + CLOSING_SECONDS + 1) or (idle < math.inf and idle % 1):
        raise NotModelledError(f"EnvoyFilter: {FIELD} of {idle:g} s, for a client that is silent for {silence:g} s")
    return {
        f"at most {idle + CLOSING_SECONDS:.0f} s of silence, then closed"
        if idle < silence
        else f"open after {stays:.0f} s": 1.0
    }
