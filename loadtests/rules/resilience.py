"""What rules about resilience and load promise, outcome by outcome: pure functions for ``question.Contract``."""

from __future__ import annotations

from math import factorial

from loadtests.rules.actions import seconds
from loadtests.rules.calls import Caller
from loadtests.rules.declared import BrokenPromiseError, NotModelledError, Objects, Shares
from loadtests.rules.destinations import applied_rules, qualified, settings
from loadtests.rules.promises import Request, named, only
from loadtests.rules.view import View
from loadtests.rules.workloads import applying, called_workload, spec_of, title

UNLIMITED = 2**32 - 1
"""What Istio takes for a limit of a connection pool that is not set."""
MAX_EJECTION_PERCENT = 10
"""Envoy's own, which holds where a rule does not say."""
LOCAL_RATE_LIMIT = "envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit"
INSERTED = ("INSERT_BEFORE", "INSERT_FIRST")
"""Operations of an EnvoyFilter that put a filter in front of the one that routes."""


def _settings(objects: Objects, request: Request) -> tuple[str, dict[str, View]]:
    """How messages name the DestinationRule that applies to the request's calls, and the settings that it makes.

    :param request: the called service: ``app``, ``namespace``, ``port``; its caller: ``caller`` (labels), and
        ``caller_namespace`` where it is another one
    """
    namespace = str(request.get("namespace", ""))
    caller = Caller(request.get("caller_namespace", namespace), request.get("caller", {}))
    applied = applied_rules(objects, qualified(request["app"], namespace), caller)
    return applied.rule or f"the rules of {request['app']}", settings(applied, request.get("port"))


def pooled(objects: Objects, request: Request) -> Shares:
    """A connection pool under ``burst`` calls at once: as many are served as have a connection or may wait for one.

    :raises NotModelledError: if there may be fewer requests than calls at once
    """
    (name, found), burst = _settings(objects, request), int(request["burst"])
    for setting in ("loadBalancer", "outlierDetection"):
        if setting in found:
            found[setting].accept()  # no answer fails, and all pods are alike
    pool = found.get("connectionPool", View({}))
    tcp, http = pool.get("tcp") or View({}), pool.get("http") or View({})
    connections = int(tcp.get("maxConnections", 0)) or UNLIMITED
    tcp.accept("connectTimeout", "idleTimeout", "tcpKeepalive")
    # A new connection takes the place of one that is spent, nothing is retried, and calls are HTTP/1.1.
    http.accept("maxRequestsPerConnection", "idleTimeout", "maxRetries", "maxConcurrentStreams", "useClientProtocol")
    if int(http.get("http2MaxRequests", 0) or burst) < burst:
        raise NotModelledError(f"{name}: {http.path_of('http2MaxRequests')}")
    served = min(burst, connections + (int(http.get("http1MaxPendingRequests", 0)) or UNLIMITED))
    return {f"{served} of {burst} served, {burst - served} turned away": 1.0}


def _failures_until_ejection(detection: View) -> int:
    """How many 503 in a row eject a pod; 0 if they do not."""
    limits = [int(detection.get("consecutive5xxErrors", 5)), int(detection.get("consecutiveGatewayErrors", 0))]
    detection.accept("splitExternalLocalOriginErrors", "consecutiveLocalOriginFailures")  # each call gets an answer
    return min((limit for limit in limits if limit), default=0)


def ejected(objects: Objects, request: Request) -> Shares:
    """Outlier detection over a ``row`` of calls to ``pods`` pods of which one always fails; ``later``: whether it comes back.

    :raises NotModelledError: if the pods do not take turns, or the ejected one is not back within seconds
    """
    name, found = _settings(objects, request)
    detection = found.get("outlierDetection")
    if not detection:
        raise BrokenPromiseError(f"{name} says nothing about outlier detection")
    failures, row, pods = _failures_until_ejection(detection), int(request["row"]), int(request["pods"])
    times = [seconds(detection.get("interval", "10s")), seconds(detection.get("baseEjectionTime", "30s"))]
    balancer = found.get("loadBalancer", View({}))
    turns = balancer.get("simple", "")
    if int(detection.get("minHealthPercent", 0)) * pods > 100 * (pods - 1):
        raise NotModelledError(f"{name}: {detection.path_of('minHealthPercent')}")
    # As many pods may be left out as the percentage has room for, the first included.
    if pods * int(detection.get("maxEjectionPercent", 0) or MAX_EJECTION_PERCENT) < 100 or failures == 0:
        if turns != "ROUND_ROBIN":
            raise NotModelledError(f"{name}: {balancer.path_of('simple')}")
        return {"does not grow" if request.get("later") else f"{row // pods} of {row} failed": 1.0}
    if request.get("later"):
        if sum(times) > request["seconds"] / 3:
            raise NotModelledError(f"{name}: {detection.path_of('baseEjectionTime')}")
        return {"grows": 1.0}
    return {f"at most {failures} of {row} failed": 1.0}


def _local_limits(objects: Objects, request: Request) -> list[View]:
    """The local rate limits of the called pods: the configuration of each filter that an EnvoyFilter inserts for them.

    :raises NotModelledError: if one is not inserted for all inbound requests
    """
    found = []
    for rule in applying(objects, "EnvoyFilter", called_workload(objects, request)):
        for patch in spec_of(rule).get("configPatches") or []:
            value = (patch["patch"].get("value") or View({})).get("typed_config") or View({})
            if not str(value.get("@type", "")).endswith(LOCAL_RATE_LIMIT):
                patch.accept()  # what other filters do is not modelled, and the mesh has some of its own
                continue
            match, operation = patch.get("match") or View({}), patch["patch"].get("operation")
            if patch["applyTo"] != "HTTP_FILTER" or match.get("context") != "SIDECAR_INBOUND" or operation not in INSERTED:
                raise NotModelledError(f"{title(rule)}: {patch.path_of('match')}")
            match.accept("listener")
            patch["patch"]["value"].accept("name")
            found.append(value)
    return found


def limited(objects: Objects, request: Request) -> Shares:
    """A local rate limit over a ``row`` of quick requests that starts with a full bucket of its own.

    :raises NotModelledError: if several limits apply, or one does not apply to all requests
    """
    row, found = int(request["row"]), _local_limits(objects, request)
    if len(found) > 1:
        raise NotModelledError("several EnvoyFilters limit the rate of one workload")
    tokens = [row]
    for limits in found:
        limits.accept("stat_prefix", "token_bucket", "rate_limits")
        for switch in ("filter_enabled", "filter_enforced"):
            share = limits[switch]
            share.accept("runtime_key")
            if (share["default_value"]["numerator"], share["default_value"].get("denominator", "HUNDRED")) != (100, "HUNDRED"):
                raise NotModelledError(f"EnvoyFilter: {limits.path_of(switch)}.default_value")
        for limit in limits["descriptors"]:
            limit["token_bucket"].accept("tokens_per_fill", "fill_interval")
            limit.accept("entries")
            if limit["entries"][0].get("value") == request["uri"]:
                tokens.append(int(limit["token_bucket"]["max_tokens"]))
            else:
                limit.accept()
    return {f"{min(tokens)} of {row} answered": 1.0}


def _load_balancer(objects: Objects, request: Request) -> tuple[str, View]:
    """How messages name the rule, and its load balancer; where no pod fails, none is ejected."""
    name, found = _settings(objects, request)
    if "outlierDetection" in found:
        found["outlierDetection"].accept()
    return name, found.get("loadBalancer", View({}))


def balanced(objects: Objects, request: Request) -> Shares:
    """A load balancer over a ``row`` of calls to ``pods`` pods: whether each pod gets as many of them."""
    (rule, balancer), row, pods = _load_balancer(objects, request), request["row"], request["pods"]
    name = balancer.get("simple", "")
    by_chance = factorial(row) / factorial(row // pods) ** pods / pods**row
    even = {"ROUND_ROBIN": 1.0, "RANDOM": by_chance}.get(name)
    if even is None:
        raise BrokenPromiseError(f"{rule}: {name or 'no policy'} promises no turns")
    return only({"in turn": even, "not in turn": 1 - even})


def stuck(objects: Objects, request: Request) -> Shares:
    """A hash of the request's ``header`` over a ``row`` of requests of one user: one pod, or one of ``pods`` each time.

    :raises NotModelledError: if another load balancer than RANDOM or ROUND_ROBIN stands in the place of the hash
    """
    name, balancer = _load_balancer(objects, request)
    hashed = balancer.get("consistentHash") or View({})
    hashed.accept("ringHash", "maglev", "minimumRingSize")  # they say how evenly users are spread
    if str(hashed.get("httpHeaderName", "")).lower() == request["header"]:
        return {"one pod": 1.0}
    if hashed or balancer.get("simple") not in ("RANDOM", "ROUND_ROBIN"):
        raise NotModelledError(f"{name}: {balancer.path_of('consistentHash' if hashed else 'simple')}")
    alone = (1 / request["pods"]) ** (request["row"] - 1)
    return {"one pod": alone, "several pods": 1 - alone}


def uniform(objects: Objects, request: Request) -> Shares:
    """A load balancer over the pods of a StatefulSet, by name: each as often as any other."""
    rule, balancer = _load_balancer(objects, request)
    name = balancer.get("simple", "")
    if name not in ("RANDOM", "ROUND_ROBIN"):
        raise BrokenPromiseError(f"{rule}: {name or 'no policy'} promises no equal shares")
    pods, stateful_set = named(objects, "StatefulSet", request["stateful_set"])["replicas"], request["stateful_set"]
    return {f"{stateful_set}-{i}": 1 / pods for i in range(pods)}
