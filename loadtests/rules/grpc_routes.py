"""What GRPCRoutes of a Gateway promise for one call: pure functions for ``question.ResponseCheck``.

They are merged and ordered as HTTPRoutes are, but match the service and the method that are called instead of a path.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from loadtests.rules.backends import shares_of_backends
from loadtests.rules.expectations import NotModelledError, Objects, Shares
from loadtests.rules.ingress import OF_CLIENTS, Way, first_way, header_holds, routes_for
from loadtests.rules.promises import Request
from loadtests.rules.view import View, title
from loadtests.rules.workloads import spec_of

NOT_TAKEN: Shares = {"UNIMPLEMENTED": 1.0}
"""What gRPC makes of the gateway's 404."""
UNASKED = (
    *OF_CLIENTS, "content-type", "te", "grpc-accept-encoding", "grpc-encoding", "grpc-timeout", "x-forwarded-for",
    "x-forwarded-proto", "x-request-id",
)  # fmt: skip
"""Headers that gRPC clients, or the gateway itself, send unasked."""


def _takes(route: View, match: View, request: Request) -> bool:
    """Whether a match takes a call.

    :raises NotModelledError: if it asks for a service or method by a regular expression
    """
    method = match.get("method") or View({})
    if method.get("type", "Exact") != "Exact":
        raise NotModelledError(f"{title(route)}: {method.path_of('type')}")
    service, _, name = request["uri"].removeprefix("/").partition("/")
    headers = {key.lower(): value for key, value in request.get("headers", {}).items()}
    parts = [
        method.get("service") in (None, "", service),
        method.get("method") in (None, "", name),
        *[header_holds(one, one["name"].lower(), headers, UNASKED) for one in match.get("headers") or []],
    ]
    return all(parts)


def _rank(match: View) -> tuple[int, ...]:
    """What orders the matches of GRPCRoutes: the length of the service, then of the method, then the number of headers."""
    method = match.get("method") or View({})
    return len(method.get("service") or ""), len(method.get("method") or ""), len(match.get("headers") or [])


def _ways(route: View, request: Request) -> Iterator[Way]:
    for rule in spec_of(route).get("rules") or []:
        for match in rule.get("matches") or [None]:
            seen = match or View({})
            yield Way(route, _rank(seen), match, rule, partial(_takes, route, seen, request))


def grpc_shared(objects: Objects, request: Request) -> Shares:
    """Shares of a GRPCRoute's rule by the names of the services that it leads to; gRPC's status if no rule takes the call.

    Filters stay unread.

    :param request: ``gateway``: namespace and name of the Gateway; ``authority``; ``uri``: ``/service/method``; ``headers``;
        ``answers``: services that answer this call
    :raises BrokenPromiseError: if no route of the Gateway is for the host
    :raises NotModelledError: if the call is led to another service, or to none
    """
    ways = [way for route in routes_for(objects, "GRPCRoute", request) for way in _ways(route, request)]
    chosen = first_way(ways)
    if chosen is None:
        return NOT_TAKEN
    chosen.rule.accept("name")
    shares = shares_of_backends(objects, chosen.item, chosen.rule.get("backendRefs") or [], request)
    if not shares:
        # Istio's gateway responds UNKNOWN, where the Gateway API asks for UNAVAILABLE.
        raise NotModelledError(f"{chosen.title}: {chosen.rule.path_of('backendRefs')}")
    return shares
