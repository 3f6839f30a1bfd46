"""Which outcome a gRPC call has that fails."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import grpc
import pytest

from loadtests.samples import greeter
from loadtests.verdict import ERROR


class FailedCallError(grpc.RpcError):  # type: ignore[misc] # grpc has no types
    """What a stub raises."""

    def __init__(self, code: grpc.StatusCode) -> None:
        """A call that failed with a status."""
        self._code = code

    def code(self) -> grpc.StatusCode:
        """Its status."""
        return self._code


@pytest.mark.parametrize(
    ("code", "outcome"),
    [
        (grpc.StatusCode.PERMISSION_DENIED, "PERMISSION_DENIED"),
        (grpc.StatusCode.UNIMPLEMENTED, "UNIMPLEMENTED"),
        # The client sets these as well, if there is no response.
        (grpc.StatusCode.UNAVAILABLE, ERROR),
        (grpc.StatusCode.DEADLINE_EXCEEDED, ERROR),
    ],
)
def test_a_status_is_an_outcome_unless_the_client_may_have_set_it(code: grpc.StatusCode, outcome: str) -> None:
    sent: list[Any] = []
    reported: list[Any] = []

    def say(request: Any, timeout: float, metadata: Any) -> Any:
        sent.append((request.name, metadata))
        raise FailedCallError(code)

    events = SimpleNamespace(request=SimpleNamespace(fire=lambda **request: reported.append(request["exception"])))
    client = SimpleNamespace(hello=say, environment=SimpleNamespace(events=events))
    assert greeter.Hello("a.lab", {"x-who": "me"}).visit(client) == outcome
    assert sent == [("lab", (("x-who", "me"),))]
    assert [failed is not None for failed in reported] == [outcome == ERROR]
