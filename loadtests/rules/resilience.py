"""What rules about resilience and load declare, outcome by outcome: pure functions for ``question.ResponseCheck``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import factorial

from loadtests.rules.actions import retries_of, seconds
from loadtests.rules.calls import Retries
from loadtests.rules.expectations import NoExpectationError, NotModelledError, Shares
from loadtests.rules.localities import fallback
from loadtests.rules.patches import patches_of
from loadtests.rules.responses import Request, named, only
from loadtests.rules.retries import again
from loadtests.rules.straight import straight_to
from loadtests.rules.view import View
from loadtests.rules.world import Taken

UNLIMITED = 2**32 - 1
"""What Istio takes for a limit of a connection pool that is not set."""
MAX_EJECTION_PERCENT = 10
"""Envoy's own, which holds where a rule does not say."""
LOCAL_RATE_LIMIT = "envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit"


@dataclass(frozen=True)
class Led:
    """How calls of a request come to the service that they are for.

    :param rule: how messages name the DestinationRule that applies to them
    :param settings: that it makes, by name
    :param retries: with the path of what says so
    """

    rule: str
    settings: dict[str, View]
    retries: tuple[Retries, str]

    def refuse_retries(self, status: int) -> None:
        """Make sure that a call that is answered with a status is not tried again.

        :raises NotModelledError: if it is
        """
        retries, path = self.retries
        if retries.attempts and again(retries, status):
            raise NotModelledError(path)


def _retries(taken: Taken) -> tuple[Retries, str]:
    """What is tried again, with the path of what says so.

    :raises NotModelledError: if each attempt is given a time
    """
    route = taken.branch.route if taken.branch is not None else None
    says = route is not None and "retries" in route
    path = route.path_of("retries") if route is not None and says else "MeshConfig: defaultHttpRetryPolicy"
    retries = retries_of(route, taken.world.mesh)
    if retries.per_try is not None:
        raise NotModelledError(f"{path}.perTryTimeout")
    return retries, path


def led_to_service(objects: Sequence[View], request: Request) -> Led:
    """How calls come to the service that they are for.

    :param request: ``call``; the service: ``app``, ``namespace``, ``port``
    :raises NoExpectationError: if nothing takes the call
    :raises NotModelledError: if rules do more with some of the calls than to send them to that service
    """
    found = straight_to(objects, request)
    return Led(found.rule, found.settings, _retries(found.taken))


def pooled(objects: Sequence[View], request: Request) -> Shares:
    """A connection pool under ``burst`` calls at once: as many are served as have a connection or may wait for one.

    :raises NotModelledError: if there may be fewer requests than calls at once, or if it depends on the time that it takes to
        connect how many are served
    """
    # Calls that the pool rejects are never tried again, and the others are answered.
    led, burst = led_to_service(objects, request), int(request["burst"])
    name, found = led.rule, led.settings
    for setting in ("loadBalancer", "outlierDetection"):
        if setting in found:
            found[setting].accept_all()  # no answer fails, and all pods are alike
    pool = found.get("connectionPool", View({}))
    tcp, http = pool.get("tcp") or View({}), pool.get("http") or View({})
    connections = int(tcp.get("maxConnections", 0)) or UNLIMITED
    tcp.accept("connectTimeout", "idleTimeout", "tcpKeepalive")
    # A new connection takes the place of one that is spent, nothing is retried, and calls are HTTP/1.1.
    http.accept("maxRequestsPerConnection", "idleTimeout", "maxRetries", "maxConcurrentStreams", "useClientProtocol")
    if int(http.get("http2MaxRequests", 0) or burst) < burst:
        raise NotModelledError(f"{name}: {http.path_of('http2MaxRequests')}")
    waiting = int(http.get("http1MaxPendingRequests", 0)) or UNLIMITED
    # A call waits while its connection is made, so where there may be several, it depends on the time that this takes how many
    # wait at once. The first call has its connection before the others come.
    if connections > 1 and waiting < burst - 1:
        raise NotModelledError(f"{name}: {http.path_of('http1MaxPendingRequests')}")
    served = min(burst, connections + waiting)
    return {f"{served} of {burst} served, {burst - served} rejected": 1.0}


def _failures_until_ejection(detection: View) -> int:
    """How many 503 in a row eject a pod; 0 if they do not."""
    limits = [int(detection.get("consecutive5xxErrors", 5)), int(detection.get("consecutiveGatewayErrors", 0))]
    detection.accept("splitExternalLocalOriginErrors", "consecutiveLocalOriginFailures")  # each call gets an answer
    return min((limit for limit in limits if limit), default=0)


def ejected(objects: Sequence[View], request: Request) -> Shares:
    """Outlier detection over a ``row`` of calls to ``pods`` pods of which one always fails; ``later``: whether it comes back.

    :raises NotModelledError: if the pods do not take turns, or the ejected one is not back within seconds
    """
    led = led_to_service(objects, request)
    name, found = led.rule, led.settings
    led.refuse_retries(503)
    detection = found.get("outlierDetection")
    if not detection:
        raise NoExpectationError(f"{name} says nothing about outlier detection")
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


def failed_over(objects: Sequence[View], request: Request) -> Shares:
    """Rows of calls before, while, and after the pods of the nearest place fail with 503: who answers them.

    :param request: as :func:`loadtests.rules.localities.near` has it; ``row``: calls while they fail; ``seconds``: how long the
        caller waits until they are back
    :raises NoExpectationError: if no place can take over
    :raises NotModelledError: if several pods or apps are in the nearest place, or several apps in the other one, calls are
        tried again, the row ends before the pods are ejected, or they are not back in time
    """
    led = led_to_service(objects, request)
    led.refuse_retries(503)
    places, name, row = fallback(objects, request), led.rule, int(request["row"])
    if places.near.total() > 1 or len(places.far) > 1:
        raise NotModelledError(f"{name}: several pods are in the nearest place, or several apps in the one that takes over")
    (near,), (far,) = places.near, places.far
    led.settings["loadBalancer"].accept("simple")  # the nearest place has one pod, and those that take over are alike
    detection = led.settings["outlierDetection"]
    failures = _failures_until_ejection(detection)
    times = [seconds(detection.get("interval", "10s")), seconds(detection.get("baseEjectionTime", "30s"))]
    if int(detection.get("minHealthPercent", 0)):
        raise NotModelledError(f"{name}: {detection.path_of('minHealthPercent')}")
    if places.pods * int(detection.get("maxEjectionPercent", 0) or MAX_EJECTION_PERCENT) < 100 or failures == 0:
        return {f"{row} of {row} failed; {near}, then nobody, then {near}": 1.0}
    if row <= failures:
        raise NotModelledError(f"{name}: {detection.path_of('consecutive5xxErrors')}")
    if sum(times) > request["seconds"] / 3:
        raise NotModelledError(f"{name}: {detection.path_of('baseEjectionTime')}")
    return {f"at most {failures} of {row} failed; {near}, then {far}, then {near}": 1.0}


def limited(objects: Sequence[View], request: Request) -> Shares:
    """A local rate limit over a ``row`` of quick requests that starts with a full bucket of its own.

    :raises NotModelledError: if several limits apply, or one does not apply to all requests
    """
    led, row = led_to_service(objects, request), int(request["row"])
    found = [patch.filter for patch in patches_of(objects, request, lambda one: one.is_of_type(LOCAL_RATE_LIMIT))]
    led.refuse_retries(429)
    for setting in ("loadBalancer", "outlierDetection"):
        if setting in led.settings:
            led.settings[setting].accept_all()  # there is one pod, and a limit is not a failure of it
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
            if limit["entries"][0].get("value") == request["call"].uri:
                tokens.append(int(limit["token_bucket"]["max_tokens"]))
            else:
                limit.accept_all()
    return {f"{min(tokens)} of {row} answered": 1.0}


def _load_balancer(objects: Sequence[View], request: Request) -> tuple[str, View]:
    """How messages name the rule, and its load balancer; where no pod fails, none is ejected, and nothing is tried again."""
    led = led_to_service(objects, request)
    if "outlierDetection" in led.settings:
        led.settings["outlierDetection"].accept_all()
    return led.rule, led.settings.get("loadBalancer", View({}))


def balanced(objects: Sequence[View], request: Request) -> Shares:
    """A load balancer over a ``row`` of calls to ``pods`` pods: whether each pod gets as many of them."""
    (rule, balancer), row, pods = _load_balancer(objects, request), request["row"], request["pods"]
    name = balancer.get("simple", "")
    by_chance = factorial(row) / factorial(row // pods) ** pods / pods**row
    even = {"ROUND_ROBIN": 1.0, "RANDOM": by_chance}.get(name)
    if even is None:
        raise NoExpectationError(f"{rule}: {name or 'no policy'} guarantees no turns")
    return only({"in turn": even, "not in turn": 1 - even})


def stuck(objects: Sequence[View], request: Request) -> Shares:
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


def uniform(objects: Sequence[View], request: Request) -> Shares:
    """A load balancer over the pods of a StatefulSet, by name: each as often as any other."""
    rule, balancer = _load_balancer(objects, request)
    name = balancer.get("simple", "")
    if name not in ("RANDOM", "ROUND_ROBIN"):
        raise NoExpectationError(f"{rule}: {name or 'no policy'} guarantees no equal shares")
    pods, stateful_set = named(objects, "StatefulSet", request["stateful_set"])["replicas"], request["stateful_set"]
    return {f"{stateful_set}-{i}": 1 / pods for i in range(pods)}
