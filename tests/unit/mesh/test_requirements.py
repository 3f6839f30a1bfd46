"""Programs that a run requires."""

from __future__ import annotations

from typing import Any

import pytest

from loadtests.mesh.cluster import Cluster, ClusterError, RefusedByServerError
from loadtests.mesh.requirements import Program

ZIPKIN = Program("telemetry", "zipkin", "run make telemetry")


def answering(monkeypatch: pytest.MonkeyPatch, answer: dict[str, Any] | Exception) -> Cluster:
    def ask(_: Cluster, path: str) -> dict[str, Any]:
        assert path == "/apis/apps/v1/namespaces/telemetry/deployments/zipkin"
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(Cluster, "ask", ask)
    return Cluster("kubeconfig", "echo")


def test_a_program_that_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    ZIPKIN(answering(monkeypatch, {"status": {"availableReplicas": 1}}))


TOLD = "zipkin of namespace telemetry, which this entry needs,"


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ({"status": {}}, f"{TOLD} is not available"),
        ({"status": {"availableReplicas": 0}}, f"{TOLD} is not available"),
        (RefusedByServerError("HTTP 404", 404), f"{TOLD} is missing: run make telemetry"),
        (RefusedByServerError("HTTP 403", 403), "HTTP 403"),
        (ClusterError("no answer"), "no answer"),
    ],
)
def test_a_program_that_is_not_there_is_named(answer: Any, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ClusterError) as error:
        ZIPKIN(answering(monkeypatch, answer))
    assert str(error.value) == words
