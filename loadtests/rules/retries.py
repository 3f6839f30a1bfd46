"""What rules about retries and timeouts declare for calls that fail or are late: functions for ``question.ResponseCheck``."""

from __future__ import annotations

from collections.abc import Sequence

from loadtests.rules.actions import retries_of, timeout_of
from loadtests.rules.asked import destinations_of, route_of
from loadtests.rules.calls import Retries
from loadtests.rules.expectations import NotModelledError, Shares
from loadtests.rules.responses import Request
from loadtests.rules.view import View

SERVER_ERRORS = ("5xx", "gateway-error")
"""Conditions that a 503 fulfils (Envoy's ``x-envoy-retry-on``)."""
OUT_OF_TIME = (*SERVER_ERRORS, "reset")
"""Conditions that an attempt fulfils that has run out of time, for Envoy resets it."""
OTHER_CONDITIONS = (
    "connect-failure", "refused-stream", "reset", "reset-before-request", "retriable-4xx", "unavailable", "cancelled",
    "deadline-exceeded", "internal", "resource-exhausted", "http3-post-connect-failure", "retriable-status-codes",
)  # fmt: skip


def again(retries: Retries, status: int | str) -> bool:
    """Whether an attempt that ended with a status is followed by another one.

    :param status: an HTTP status, or gRPC's name of one in lower case
    :raises NotModelledError: if ``retryOn`` names a condition that the lab does not know
    """
    conditions = retries.retry_on
    strange = [c for c in conditions if c not in (*SERVER_ERRORS, *OTHER_CONDITIONS) and not c.isdecimal()]
    if strange:
        raise NotModelledError(f"retryOn: {', '.join(strange)}")
    if isinstance(status, str):
        return status in conditions
    return str(status) in conditions or (500 <= status < 600 and "5xx" in conditions) or (
        status in (502, 503, 504) and "gateway-error" in conditions
    )  # fmt: skip


def _retries(objects: Sequence[View], request: Request) -> Retries:
    """The retries of the route that takes the call, which leads somewhere and does nothing else; the mesh's if it says none."""
    asked = route_of(objects, request["call"])
    destinations_of(asked)
    asked.route.accept("name", "corsPolicy")
    return retries_of(asked.route, asked.taken.world.mesh)


def _tries(retries: Retries, status: int | str) -> int:
    """How often a request is tried that ends with ``status`` each time."""
    return 1 + (retries.attempts if again(retries, status) else 0)


def attempted(objects: Sequence[View], request: Request) -> Shares:
    """Retries in front of a server that answers at the attempt ``wanted`` only, as that server counts attempts.

    :param request: ``late_seconds`` where early attempts do not fail but come late
    """
    retries, wanted = _retries(objects, request), int(request["wanted"])
    if "late_seconds" in request:
        if not 0 < (retries.per_try or 0) < request["late_seconds"]:
            return {"HTTP 200 at attempt 1": 1.0}
        again(retries, 504)
        # An attempt out of time counts as 504 for the client, but not for the retry.
        tries = 1 + (retries.attempts if set(retries.retry_on) & set(OUT_OF_TIME) else 0)
        return {f"HTTP 200 at attempt {wanted}" if wanted <= tries else "HTTP 504": 1.0}
    tries = _tries(retries, 503)
    return {f"HTTP 200 at attempt {wanted}" if wanted <= tries else f"HTTP 503 at attempt {tries}": 1.0}


def grpc_attempted(objects: Sequence[View], request: Request) -> Shares:
    """Retries in front of a server that is UNAVAILABLE until the attempt ``wanted``, as that server tells attempts."""
    retries, wanted = _retries(objects, request), int(request["wanted"])
    tries = _tries(retries, "unavailable")
    return {f"OK at attempt {wanted}" if wanted <= tries else f"UNAVAILABLE at attempt {tries}": 1.0}


def grpc_timed_out(objects: Sequence[View], request: Request) -> Shares:
    """A time-out for a call that is answered after ``seconds``: its end, or OK."""
    asked = route_of(objects, request["call"])
    destinations_of(asked)
    asked.route.accept("name", "corsPolicy")
    limit = timeout_of(asked.route) or 0.0
    if 0 < limit < request["seconds"]:
        return {f"out of time after {limit:.0f} s": 1.0}
    return {f"OK after {request['seconds']} s": 1.0}
