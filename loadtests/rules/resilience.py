"""What rules about resilience and load promise, outcome by outcome: pure functions for ``question.Contract``."""

from __future__ import annotations

from math import factorial
from typing import Any

from loadtests.rules.declared import BrokenPromiseError, Objects
from loadtests.rules.promises import Request, Shares, named, only, route, seconds


def _retries(objects: Objects, request: Request) -> dict[str, Any]:
    retries = route(objects, request).get("retries")
    if retries is None:
        raise BrokenPromiseError(f"VirtualService {request['virtual_service']} says nothing about retries")
    return dict(retries)


def attempted(objects: Objects, request: Request) -> Shares:
    """Retries in front of a server that answers at the attempt ``wanted`` only, as that server counts attempts.

    :param request: ``late_seconds`` where early attempts do not fail but come late
    """
    retries = _retries(objects, request)
    tries, wanted = 1 + int(retries["attempts"]), int(request["wanted"])
    if "late_seconds" in request and request["late_seconds"] <= seconds(retries.get("perTryTimeout", "1000h")):
        return {"HTTP 200 at attempt 1": 1.0}
    return {f"HTTP 200 at attempt {wanted}" if wanted <= tries else f"HTTP 503 at attempt {tries}": 1.0}


def grpc_timed_out(objects: Objects, request: Request) -> Shares:
    """A time-out for a call that is answered after ``seconds``: its end, or OK."""
    limit = seconds(route(objects, request).get("timeout", "0s"))
    if 0 < limit < request["seconds"]:
        return {f"out of time after {limit:.0f} s": 1.0}
    return {f"OK after {request['seconds']} s": 1.0}


def grpc_attempted(objects: Objects, request: Request) -> Shares:
    """Retries in front of a server that is UNAVAILABLE until the attempt ``wanted``, as that server tells attempts."""
    retries = _retries(objects, request)
    tries, wanted = 1 + int(retries["attempts"]), int(request["wanted"])
    return {f"OK at attempt {wanted}" if wanted <= tries else f"UNAVAILABLE at attempt {tries}": 1.0}


def _policy(objects: Objects, request: Request) -> dict[str, Any]:
    return dict(named(objects, "DestinationRule", request["destination_rule"]).get("trafficPolicy", {}))


def pooled(objects: Objects, request: Request) -> Shares:
    """A connection pool under ``burst`` calls at once: as many are served as have a connection or may wait for one."""
    pool, burst = _policy(objects, request).get("connectionPool", {}), int(request["burst"])
    connections = pool.get("tcp", {}).get("maxConnections", burst)
    served = min(burst, connections + pool.get("http", {}).get("http1MaxPendingRequests", burst))
    return {f"{served} of {burst} served, {burst - served} turned away": 1.0}


def ejected(objects: Objects, request: Request) -> Shares:
    """Outlier detection over a ``row`` of calls to pods of which one always fails; ``later``: whether it comes back."""
    detection = _policy(objects, request).get("outlierDetection")
    if detection is None:
        raise BrokenPromiseError(f"DestinationRule {request['destination_rule']} says nothing about outlier detection")
    if request.get("later"):
        return {"grows": 1.0}
    return {f"at most {detection.get('consecutive5xxErrors', 5)} of {request['row']} failed": 1.0}


def limited(objects: Objects, request: Request) -> Shares:
    """A local rate limit over a ``row`` of quick requests that starts with a full bucket of its own."""
    (patch,) = named(objects, "EnvoyFilter", request["envoy_filter"])["configPatches"]
    limits = patch["patch"]["value"]["typed_config"]["descriptors"]
    tokens = [limit["token_bucket"]["max_tokens"] for limit in limits if limit["entries"][0].get("value") == request["uri"]]
    row = int(request["row"])
    return {f"{min([row, *tokens])} of {row} answered": 1.0}


def balanced(objects: Objects, request: Request) -> Shares:
    """A load balancer over a ``row`` of calls to ``pods`` pods: whether each pod gets as many of them."""
    name, row, pods = _policy(objects, request).get("loadBalancer", {}).get("simple", ""), request["row"], request["pods"]
    by_chance = factorial(row) / factorial(row // pods) ** pods / pods**row
    even = {"ROUND_ROBIN": 1.0, "RANDOM": by_chance}.get(name)
    if even is None:
        raise BrokenPromiseError(f"DestinationRule {request['destination_rule']}: {name or 'no policy'} promises no turns")
    return only({"in turn": even, "not in turn": 1 - even})


def stuck(objects: Objects, request: Request) -> Shares:
    """A hash of the request's ``header`` over a ``row`` of requests of one user: one pod, or one of ``pods`` each time."""
    hashed = _policy(objects, request).get("loadBalancer", {}).get("consistentHash", {})
    if hashed.get("httpHeaderName") == request["header"]:
        return {"one pod": 1.0}
    alone = (1 / request["pods"]) ** (request["row"] - 1)
    return {"one pod": alone, "several pods": 1 - alone}


def uniform(objects: Objects, request: Request) -> Shares:
    """A load balancer over the pods of a StatefulSet, by name: each as often as any other."""
    name = _policy(objects, request).get("loadBalancer", {}).get("simple", "")
    if name not in ("RANDOM", "ROUND_ROBIN"):
        raise BrokenPromiseError(
            f"DestinationRule {request['destination_rule']}: {name or 'no policy'} promises no equal shares"
        )
    pods, stateful_set = named(objects, "StatefulSet", request["stateful_set"])["replicas"], request["stateful_set"]
    return {f"{stateful_set}-{i}": 1 / pods for i in range(pods)}
