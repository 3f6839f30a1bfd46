"""What rules about resilience and load promise, outcome by outcome: pure functions for ``question.Contract``."""

from __future__ import annotations

from math import factorial

from loadtests.rules.declared import BrokenPromiseError, NotModelledError, Objects, Shares, legs
from loadtests.rules.promises import Request, named, only, route, seconds
from loadtests.rules.view import View

DEFAULT_RETRY_ON = ("connect-failure", "refused-stream", "unavailable", "cancelled")
"""What Istio 1.31 retries where a rule does not say (the API's text of ``retryOn``)."""
SERVER_ERRORS = ("5xx", "gateway-error")
"""Conditions that a 503, and an attempt that has run out of time, fulfil (Envoy's ``x-envoy-retry-on``)."""
OTHER_CONDITIONS = (
    "connect-failure", "refused-stream", "reset", "reset-before-request", "retriable-4xx", "unavailable", "cancelled",
    "deadline-exceeded", "internal", "resource-exhausted", "http3-post-connect-failure",
)  # fmt: skip
UNLIMITED = 2**32 - 1
"""What Istio takes for a limit of a connection pool that is not set."""
MAX_EJECTION_PERCENT = 10
"""Envoy's own, which holds where a rule does not say."""


def retried(retries: View, status: int | str) -> bool:
    """Whether an attempt that ended with a status is followed by another one.

    :param status: an HTTP status, or gRPC's name of one in lower case
    :raises NotModelledError: if ``retryOn`` names a condition that the lab does not know
    """
    text = str(retries.get("retryOn", ""))
    conditions = [c.strip() for c in text.split(",") if c.strip()] or list(DEFAULT_RETRY_ON)
    strange = [c for c in conditions if c not in (*SERVER_ERRORS, *OTHER_CONDITIONS) and not c.isdecimal()]
    if strange:
        raise NotModelledError(f"{retries.path_of('retryOn')}: {', '.join(strange)}")
    if isinstance(status, str):
        return status in conditions
    return str(status) in conditions or (500 <= status < 600 and "5xx" in conditions) or (
        status in (502, 503, 504) and "gateway-error" in conditions
    )  # fmt: skip


def _retries(objects: Objects, request: Request) -> View:
    """The retries of the request's route, which leads somewhere and does nothing else.

    :raises BrokenPromiseError: if the rule says nothing about retries
    """
    taken = route(objects, request)
    if "retries" not in taken:
        raise BrokenPromiseError(f"VirtualService {request['virtual_service']} says nothing about retries")
    legs(taken)
    taken.accept("name", "corsPolicy")
    retries: View = taken["retries"]
    return retries


def _tries(retries: View, status: int | str) -> int:
    """How often a request is tried that ends with ``status`` each time."""
    attempts = int(retries.get("attempts", 2))  # read in any case: where nothing is retried, it has no effect
    return 1 + (attempts if retried(retries, status) else 0)


def attempted(objects: Objects, request: Request) -> Shares:
    """Retries in front of a server that answers at the attempt ``wanted`` only, as that server counts attempts.

    :param request: ``late_seconds`` where early attempts do not fail but come late
    """
    retries = _retries(objects, request)
    limit, wanted = seconds(retries.get("perTryTimeout", "0s")), int(request["wanted"])
    if "late_seconds" in request:
        if not 0 < limit < request["late_seconds"]:
            retries.accept()
            return {"HTTP 200 at attempt 1": 1.0}
        # An attempt out of time counts as 504 for the client, and as a server error for the retry.
        conditions = {c.strip() for c in str(retries.get("retryOn", "")).split(",")}
        attempts = int(retries.get("attempts", 2))
        tries = 1 + (attempts if conditions & set(SERVER_ERRORS) else 0)
        retried(retries, 504)
        return {f"HTTP 200 at attempt {wanted}" if wanted <= tries else "HTTP 504": 1.0}
    tries = _tries(retries, 503)
    return {f"HTTP 200 at attempt {wanted}" if wanted <= tries else f"HTTP 503 at attempt {tries}": 1.0}


def grpc_timed_out(objects: Objects, request: Request) -> Shares:
    """A time-out for a call that is answered after ``seconds``: its end, or OK."""
    taken = route(objects, request)
    legs(taken)
    taken.accept("name", "corsPolicy")
    limit = seconds(taken.get("timeout", "0s"))
    if 0 < limit < request["seconds"]:
        return {f"out of time after {limit:.0f} s": 1.0}
    return {f"OK after {request['seconds']} s": 1.0}


def grpc_attempted(objects: Objects, request: Request) -> Shares:
    """Retries in front of a server that is UNAVAILABLE until the attempt ``wanted``, as that server tells attempts."""
    retries = _retries(objects, request)
    retries.get("perTryTimeout")  # it answers at once
    tries, wanted = _tries(retries, "unavailable"), int(request["wanted"])
    return {f"OK at attempt {wanted}" if wanted <= tries else f"UNAVAILABLE at attempt {tries}": 1.0}


def _policy(objects: Objects, request: Request) -> View:
    """The traffic policy of the request's DestinationRule.

    :raises BrokenPromiseError: if it is not in force
    """
    spec = named(objects, "DestinationRule", request["destination_rule"])
    spec.accept("host")
    policy = spec.get("trafficPolicy", {})
    return policy if isinstance(policy, View) else View(policy)


def pooled(objects: Objects, request: Request) -> Shares:
    """A connection pool under ``burst`` calls at once: as many are served as have a connection or may wait for one."""
    pool, burst = _policy(objects, request).get("connectionPool", {}), int(request["burst"])
    connections = int(pool.get("tcp", {}).get("maxConnections", 0)) or UNLIMITED
    http = pool.get("http", {})
    http.get("maxRequestsPerConnection")  # a new connection takes the place of one that is spent
    served = min(burst, connections + (int(http.get("http1MaxPendingRequests", 0)) or UNLIMITED))
    return {f"{served} of {burst} served, {burst - served} turned away": 1.0}


def ejected(objects: Objects, request: Request) -> Shares:
    """Outlier detection over a ``row`` of calls to ``pods`` pods of which one always fails; ``later``: whether it comes back.

    :raises NotModelledError: if the pods do not take turns, or the ejected one is not back within seconds
    """
    policy, name = _policy(objects, request), request["destination_rule"]
    detection = policy.get("outlierDetection")
    if not detection:
        raise BrokenPromiseError(f"DestinationRule {name} says nothing about outlier detection")
    failures, row, pods = int(detection.get("consecutive5xxErrors", 5)), int(request["row"]), int(request["pods"])
    times = [seconds(detection.get("interval", "10s")), seconds(detection.get("baseEjectionTime", "30s"))]
    turns = policy.get("loadBalancer", {}).get("simple", "")
    # As many pods may be left out as the percentage has room for, the first included.
    if pods * int(detection.get("maxEjectionPercent", MAX_EJECTION_PERCENT)) < 100 or failures == 0:
        if turns != "ROUND_ROBIN":
            raise NotModelledError(f"DestinationRule {name}: spec.trafficPolicy.loadBalancer")
        return {"does not grow" if request.get("later") else f"{row // pods} of {row} failed": 1.0}
    if request.get("later"):
        if sum(times) > request["seconds"] / 3:
            raise NotModelledError(f"DestinationRule {name}: {detection.path_of('baseEjectionTime')}")
        return {"grows": 1.0}
    return {f"at most {failures} of {row} failed": 1.0}


def limited(objects: Objects, request: Request) -> Shares:
    """A local rate limit over a ``row`` of quick requests that starts with a full bucket of its own.

    :raises NotModelledError: if the filter is not one patch, or does not apply to all requests
    """
    spec, row = named(objects, "EnvoyFilter", request["envoy_filter"]), int(request["row"])
    spec.accept("workloadSelector")
    if len(spec["configPatches"]) != 1:
        raise NotModelledError(f"EnvoyFilter {request['envoy_filter']}: spec.configPatches")
    patch = spec["configPatches"][0]
    patch.accept("applyTo", "match")
    patch["patch"].accept("operation")
    patch["patch"]["value"].accept("name")
    limits = patch["patch"]["value"]["typed_config"]
    limits.accept("@type", "stat_prefix", "token_bucket", "rate_limits")
    for switch in ("filter_enabled", "filter_enforced"):
        share = limits[switch]
        share.accept("runtime_key")
        if (share["default_value"]["numerator"], share["default_value"].get("denominator", "HUNDRED")) != (100, "HUNDRED"):
            raise NotModelledError(f"EnvoyFilter {request['envoy_filter']}: {limits.path_of(switch)}.default_value")
    tokens = [row]
    for limit in limits["descriptors"]:
        limit["token_bucket"].accept("tokens_per_fill", "fill_interval")
        limit.accept("entries")
        if limit["entries"][0].get("value") == request["uri"]:
            tokens.append(int(limit["token_bucket"]["max_tokens"]))
        else:
            limit.accept()
    return {f"{min(tokens)} of {row} answered": 1.0}


def balanced(objects: Objects, request: Request) -> Shares:
    """A load balancer over a ``row`` of calls to ``pods`` pods: whether each pod gets as many of them."""
    name, row, pods = _policy(objects, request).get("loadBalancer", {}).get("simple", ""), request["row"], request["pods"]
    by_chance = factorial(row) / factorial(row // pods) ** pods / pods**row
    even = {"ROUND_ROBIN": 1.0, "RANDOM": by_chance}.get(name)
    if even is None:
        raise BrokenPromiseError(f"DestinationRule {request['destination_rule']}: {name or 'no policy'} promises no turns")
    return only({"in turn": even, "not in turn": 1 - even})


def stuck(objects: Objects, request: Request) -> Shares:
    """A hash of the request's ``header`` over a ``row`` of requests of one user: one pod, or one of ``pods`` each time.

    :raises NotModelledError: if another load balancer than RANDOM or ROUND_ROBIN stands in the place of the hash
    """
    balancer = _policy(objects, request).get("loadBalancer", {})
    hashed = balancer.get("consistentHash", {})
    if hashed.get("httpHeaderName") == request["header"]:
        return {"one pod": 1.0}
    if hashed:
        raise NotModelledError(f"DestinationRule {request['destination_rule']}: {balancer.path_of('consistentHash')}")
    balancer.get("simple")
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
