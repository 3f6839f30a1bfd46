"""What GRPCRoutes of a Gateway declare for one call: pure functions for ``question.ResponseCheck``.

They are merged and ordered as HTTPRoutes are, but match the service and the method that are called instead of a path.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from loadtests.rules.backends import shares_of_backends
from loadtests.rules.conditions import expression
from loadtests.rules.expectations import NotModelledError, Objects, Shares
from loadtests.rules.ingress import OF_CLIENTS, Way, first_way, header_holds, routes_for
from loadtests.rules.responses import Request
from loadtests.rules.view import View
from loadtests.rules.workloads import spec_of

NOT_TAKEN: Shares = {"UNIMPLEMENTED": 1.0}
"""What gRPC makes of the gateway's 404."""
UNASKED = (
    *OF_CLIENTS, "content-type", "te", "grpc-accept-encoding", "grpc-encoding", "grpc-timeout", "x-forwarded-for",
    "x-forwarded-proto", "x-request-id",
)  # fmt: skip
"""Headers that gRPC clients, or the gateway itself, send unasked."""
EXACT, BEGINNING, EXPRESSION, ANY = 3, 2, 1, 0
"""How paths are matched, and in which order they are tried."""


@dataclass(frozen=True)
class Path:
    """The paths that a match asks for, as istiod writes them.

    :param rank: the higher, the earlier it is tried
    :param text: a path, what it begins with, or an expression
    """

    rank: int
    text: str = ""

    def takes(self, uri: str) -> bool:
        """Whether a path is one of them."""
        if self.rank == EXPRESSION:
            return expression(self.text, uri)
        return uri == self.text if self.rank == EXACT else uri.startswith(self.text)


def path_of(method: View) -> Path:
    """The paths that a match asks for by service and method."""
    service, name = method.get("service") or "", method.get("method") or ""
    if not service and not name:
        return Path(ANY)
    if method.get("type", "Exact") == "Exact" and service:
        return Path(EXACT, f"/{service}/{name}") if name else Path(BEGINNING, f"/{service}/")
    return Path(EXPRESSION, f"/{service or '[^/]+'}/{name or '.+'}")


def _takes(match: View, path: Path, request: Request) -> bool:
    headers = {key.lower(): value for key, value in request.get("headers", {}).items()}
    held = [header_holds(one, one["name"].lower(), headers, UNASKED) for one in match.get("headers") or []]
    return path.takes(request["uri"]) and all(held)


def grpc_ways(route: View, request: Request) -> Iterator[Way]:
    """The matches of a GRPCRoute, ranked by kind and length of the path, and number of headers; none at all comes last."""
    for rule in spec_of(route).get("rules") or []:
        for match in rule.get("matches") or [None]:
            seen = match if match is not None else View({})
            path = path_of(seen.get("method") or View({}))
            rank = (match is not None, path.rank, len(path.text), len(seen.get("headers") or []))
            yield Way(route, rank, match, rule, partial(_takes, seen, path, request))


def grpc_shared(objects: Objects, request: Request) -> Shares:
    """Shares of a GRPCRoute's rule by the names of the services that it leads to; gRPC's status if no rule takes the call.

    Filters stay unread.

    :param request: ``gateway``: namespace and name of the Gateway; ``authority``; ``uri``: ``/service/method``; ``headers``;
        ``answers``: services that answer this call
    :raises NoExpectationError: if no route of the Gateway is for the host
    :raises NotModelledError: if the call is led to another service, or to none
    """
    ways = [way for route in routes_for(objects, "GRPCRoute", request) for way in grpc_ways(route, request)]
    chosen = first_way(ways)
    if chosen is None:
        return NOT_TAKEN
    chosen.rule.accept("name")
    shares = shares_of_backends(objects, chosen.item, chosen.rule.get("backendRefs") or [], request)
    if not shares:
        # Istio's gateway responds UNKNOWN, where the Gateway API asks for UNAVAILABLE.
        raise NotModelledError(f"{chosen.title}: {chosen.rule.path_of('backendRefs')}")
    return shares
