"""What the reader and istiod make of the same calls; as a program, it names the first call on which they disagree."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loadtests.rules.calls import Call, NoRoute, Routed
from loadtests.rules.expectations import NoExpectationError, NotModelledError, Shares
from loadtests.rules.grpc_routes import grpc_shared
from loadtests.rules.ingress import http_shared
from loadtests.rules.ingresses import ingress_shared
from loadtests.rules.l4_routes import tcp_shared, tls_passed
from loadtests.rules.routing import route_call
from loadtests.rules.view import View, not_modelled, viewed
from tests.oracle import outcomes, routes
from tests.oracle.worlds import World

BROKEN, OPEN = "leads nowhere", "not modelled"
Found = Routed | Shares | str
"""What becomes of a call: of the Gateway API and Ingresses, only the shares of what answers; or BROKEN, or OPEN."""
READERS = {
    "HTTPRoute": http_shared, "GRPCRoute": grpc_shared, "TLSRoute": tls_passed, "TCPRoute": tcp_shared,
    "Ingress": ingress_shared,
}  # fmt: skip


@dataclass(frozen=True)
class Pair:
    """Both sides of one call.

    :param via: the path that it takes in istiod's translation
    """

    world: World
    call: Call
    ours: Found
    theirs: Found
    via: str

    @property
    def agrees(self) -> bool:
        """Whether both say the same, as far as the reader says anything.

        What it calls broken is a share that fails, or a TLS connection that is closed.
        """
        if self.ours is BROKEN and isinstance(self.theirs, dict):
            return not outcomes.FAILED.isdisjoint(self.theirs)
        if self.ours is BROKEN and isinstance(self.theirs, Routed):
            return self.theirs.no_route is NoRoute.CLOSED
        return self.ours is OPEN or self.ours == self.theirs


def read(world: World, call: Call) -> Found:
    """The lab's expectation for a call."""
    settings = {"kind": "MeshConfig", "metadata": {"name": "istio"}, "spec": world.mesh_config}
    seen = viewed([*world.objects, settings])
    try:
        found = _read(seen, world, call)
    except NotModelledError:
        return OPEN
    except NoExpectationError:
        return BROKEN
    return OPEN if not_modelled(seen) else found


def _read(seen: Sequence[View], world: World, call: Call) -> Found:
    if world.routes:
        return outcomes.rounded(READERS[world.routes](seen, routes.asked(call, world.objects)))
    return outcomes.plain(route_call(seen, call), call)


def translated(world: World, call: Call, answer: Mapping[str, Any]) -> Found:
    """What istiod makes of it, in the reader's words; the oracle's own error, if it failed."""
    if "error" in answer:
        return str(answer["error"])
    if world.routes:
        return outcomes.rounded(outcomes.shares(answer, world.routes, routes.NAMESPACE))
    return BROKEN if outcomes.is_broken(answer) else outcomes.plain(outcomes.routed(answer), call)


def compared(world: World, answers: Sequence[Mapping[str, Any]]) -> Iterator[Pair]:
    """Both sides of every call of a world."""
    for call, answer in zip(world.calls, answers, strict=True):
        yield Pair(world, call, read(world, call), translated(world, call, answer), answer.get("via", ""))


if __name__ == "__main__":
    recorded = pickle.loads(Path(sys.argv[1]).read_bytes())  # noqa: S301 (the test that runs this has written it)
    pairs = (pair for world, answers in recorded for pair in compared(world, answers))
    print(next((pair.call for pair in pairs if not pair.agrees), ""))
