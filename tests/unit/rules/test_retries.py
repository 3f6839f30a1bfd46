"""Expectations for retries and timeouts, case by case."""

from __future__ import annotations

from typing import Any

import pytest

from loadtests.rules import retries
from loadtests.rules.calls import Call, Caller
from loadtests.rules.view import View, not_modelled, viewed

CALL = Call("echo:8080", 8080, Caller("echo", {"app": "client"}))
METADATA = {"name": "echo", "namespace": "echo"}
SERVICE = {"kind": "Service", "metadata": METADATA, "spec": {"ports": [{"name": "http", "port": 8080}]}}


def ruled(**route: Any) -> list[View]:
    """A rule for echo."""
    routes = [{"route": [{"destination": {"host": "echo"}}], **route}]
    return viewed([{"kind": "VirtualService", "metadata": METADATA, "spec": {"hosts": ["echo"], "http": routes}}, SERVICE])


def retrying(**given: Any) -> list[View]:
    return ruled(retries=given)


@pytest.mark.parametrize(
    ("attempts", "wanted", "outcome"),
    [
        (4, 3, "HTTP 200 at attempt 3"),
        (2, 3, "HTTP 200 at attempt 3"),
        (1, 3, "HTTP 503 at attempt 2"),
        (0, 1, "HTTP 200 at attempt 1"),
    ],
)
def test_attempts_as_the_server_counts_them(attempts: int, wanted: int, outcome: str) -> None:
    request = {"call": CALL, "wanted": wanted}
    assert retries.attempted(retrying(attempts=attempts, retryOn="5xx"), request) == {outcome: 1.0}


@pytest.mark.parametrize(("limit", "attempt"), [("0.3s", 2), ("2s", 1)])
def test_a_slow_attempt_times_out_only_if_its_limit_is_shorter(limit: str, attempt: int) -> None:
    request = {"call": CALL, "wanted": 2, "late_seconds": 1.0}
    found = retries.attempted(retrying(attempts=4, perTryTimeout=limit, retryOn="5xx"), request)
    assert found == {f"HTTP 200 at attempt {attempt}": 1.0}


def test_where_a_rule_says_nothing_of_retries_those_of_the_mesh_count() -> None:
    assert retries.attempted(ruled(), {"call": CALL, "wanted": 3}) == {"HTTP 503 at attempt 1": 1.0}
    assert retries.attempted(ruled(), {"call": CALL, "wanted": 2, "late_seconds": 1.0}) == {"HTTP 200 at attempt 1": 1.0}
    assert retries.grpc_attempted(ruled(), {"call": CALL, "wanted": 3}) == {"OK at attempt 3": 1.0}
    assert retries.grpc_attempted(ruled(), {"call": CALL, "wanted": 4}) == {"UNAVAILABLE at attempt 3": 1.0}


@pytest.mark.parametrize(
    ("retry_on", "outcome"),
    [
        ("reset", "HTTP 200 at attempt 2"),
        ("gateway-error", "HTTP 200 at attempt 2"),
        ("reset-before-request", "HTTP 504"),
        ("504,503", "HTTP 504"),
        ("connect-failure,refused-stream", "HTTP 504"),
    ],
)
def test_an_attempt_that_runs_out_of_time_is_a_reset_and_no_answer(retry_on: str, outcome: str) -> None:
    request = {"call": CALL, "wanted": 2, "late_seconds": 1.0}
    assert retries.attempted(retrying(attempts=4, perTryTimeout="0.3s", retryOn=retry_on), request) == {outcome: 1.0}


def test_attempts_default_to_none() -> None:
    assert retries.attempted(retrying(retryOn="5xx"), {"call": CALL, "wanted": 2}) == {"HTTP 503 at attempt 1": 1.0}


def test_a_timeout_beside_retries_is_unknown() -> None:
    objects = ruled(retries={"attempts": 1, "retryOn": "5xx"}, timeout="1s")
    retries.attempted(objects, {"call": CALL, "wanted": 1})
    assert not_modelled(objects) == ("VirtualService echo: spec.http[0].timeout",)


@pytest.mark.parametrize(
    ("limit", "seconds", "outcome"),
    [("1s", 3, "out of time after 1 s"), ("1s", 0, "OK after 0 s"), ("0s", 3, "OK after 3 s"), ("5s", 3, "OK after 3 s")],
)
def test_grpc_timeouts(limit: str, seconds: int, outcome: str) -> None:
    assert retries.grpc_timed_out(ruled(timeout=limit), {"call": CALL, "seconds": seconds}) == {outcome: 1.0}


@pytest.mark.parametrize(("attempts", "outcome"), [(3, "OK at attempt 3"), (1, "UNAVAILABLE at attempt 2")])
def test_grpc_retries(attempts: int, outcome: str) -> None:
    assert retries.grpc_attempted(retrying(attempts=attempts), {"call": CALL, "wanted": 3}) == {outcome: 1.0}
