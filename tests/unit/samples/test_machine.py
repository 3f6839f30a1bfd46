"""The machine sample: when its program is ill, how answers are read, and when the machine counts as missing."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from loadtests.clients.http import ANSWERS, AWAY
from loadtests.mesh.cluster import Cluster, ClusterError
from loadtests.samples import machine
from tests.unit import programs
from tests.unit.test_inputs import PROJECT


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("APP", "machine")
    return programs.load("samples/machine/src/machine.py")


def test_the_program_falls_ill_when_it_is_called_and_recovers_when_it_is_left_alone(program: Any) -> None:
    health, alone, well = program.Health(), program.ALONE_SECONDS, program.WELL_SECONDS
    assert health.ill_for(100.0) == 0
    for at in (100.0, 102.0, 104.0):
        health.ail(at)
    assert health.ill_for(104 + alone - 0.1) == pytest.approx(4 + alone - 0.1)
    assert health.ill_for(104 + alone) == 0
    health.ail(104 + alone + well - 0.1)
    assert health.ill_for(104 + alone + well) == 0, "well for a while"
    health.ail(104 + alone + well)
    assert health.ill_for(105 + alone + well) == 1


def test_it_is_not_ill_for_ever_if_it_is_called_all_the_time(program: Any) -> None:
    health = program.Health()
    for at in range(int(program.LONGEST_SECONDS) + 1):
        health.ail(float(at))
    assert health.ill_for(program.LONGEST_SECONDS - 1) > machine.LATEST_SECONDS
    assert health.ill_for(program.LONGEST_SECONDS) == 0


def test_it_fails_its_health_check_while_it_is_ill_and_still_answers(program: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SimpleNamespace(now=50.0)
    monkeypatch.setattr(program.time, "monotonic", lambda: clock.now)
    assert program.answer("/health", {})[0] == 200
    assert program.answer("/ailing", {"a": "b"}) == (200, {"app": "machine", "ill_seconds": 0.0, "headers": {"a": "b"}})
    clock.now += 2
    assert program.answer("/health", {})[0] == 503
    assert program.answer("/", {}) == (200, {"app": "machine", "ill_seconds": 2.0, "headers": {}})
    assert program.answer("/x", {})[0] == 404


def test_clients_and_program_mean_the_same_times(program: Any) -> None:
    assert machine.CHECK_SECONDS < machine.LATEST_SECONDS < program.LONGEST_SECONDS, "else it recovers though it is called"
    assert program.ALONE_SECONDS < machine.SETTLED_SECONDS
    (outside,) = yaml.safe_load((PROJECT / "samples/machine/outside.yml").read_text())
    assert (outside["name"], outside["workload_group"]) == (machine.MACHINE["machine"], machine.MACHINE["group"])


@pytest.fixture
def closing() -> Iterator[int]:
    """The port of a server that closes every connection once it was asked something."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                connection.recv(1000)
                connection.close()

        threading.Thread(target=serve, daemon=True).start()
        yield server.getsockname()[1]


def test_only_a_connection_that_was_closed_is_a_refusal(program: Any, closing: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        free = server.getsockname()[1]

    def seen(url: str) -> str:
        return machine.admission(SimpleNamespace(json=lambda: program.call(url)))

    assert seen(f"http://127.0.0.1:{closing}/") == "refused"
    assert seen(f"http://127.0.0.1:{free}/") == "no connection: MaxRetryError"
    assert seen("http://machine.invalid/") == "no connection: MaxRetryError"
    assert machine.admission(reported(200)) == "HTTP 200"


def reported(status: int, body: Any = "") -> Any:
    return SimpleNamespace(json=lambda: {"status": status, "body": body})


@pytest.mark.parametrize(
    ("response", "seen"),
    [
        (reported(200, {"ill_seconds": 0.0}), ANSWERS),
        (reported(200, {"ill_seconds": 19.9}), ANSWERS),
        (reported(200, {"ill_seconds": 20.1}), "called while it is ill"),
        (reported(503, "no healthy upstream"), AWAY),
        (reported(503, "upstream connect error"), "HTTP 503 upstream connect error"),
        (reported(403, "RBAC: access denied"), "HTTP 403 RBAC: access denied"),
    ],
)
def test_what_one_call_says_of_the_machine(response: Any, seen: str) -> None:
    assert machine.presence(response) == seen


def test_identity_is_what_the_called_program_received() -> None:
    answer = reported(200, {"headers": {"x-forwarded-client-cert": "By=spiffe://a;Hash=x;URI=spiffe://b"}})
    assert machine.identity(answer) == "spiffe://b"
    assert machine.identity(reported(200, {"headers": {}})) == "nobody"
    assert machine.identity(reported(503, "no healthy upstream")) == "HTTP 503"


@dataclass(frozen=True)
class There(Cluster):
    """The members, and what a pod without a sidecar sees at the machine's address."""

    members: list[dict[str, Any]] = field(default_factory=list)
    seen: dict[str, Any] = field(default_factory=lambda: {"status": 0, "error": "ProtocolError"})

    def ask(self, path: str, **query: str) -> dict[str, Any]:
        assert path == "/api/v1/namespaces/m/services/legacy:http/proxy/call/machine.outside.internal/"
        return self.seen

    def items(self, *kinds: str, namespace: str = "") -> list[dict[str, Any]]:
        assert kinds == (machine.ENTRIES,)
        return self.members


def member(group: str = "machine", well: str = "True", since: float = 60, gone: bool = False) -> dict[str, Any]:
    changed = (datetime.now(UTC) - timedelta(seconds=since)).isoformat()
    condition = {"type": "Healthy", "status": well, "lastTransitionTime": changed}
    return {
        "metadata": {"annotations": {machine.GROUP: group, **({machine.DISCONNECTED: changed} if gone else {})}},
        "status": {"conditions": [{**condition, "type": "Other"}, condition]},
    }


@pytest.mark.parametrize("members", [[], [{"metadata": {}}], [member("another")], [member(gone=True)]])
@pytest.mark.parametrize("required", [machine.connected, machine.well])
def test_a_missing_machine_is_named(required: Any, members: list[dict[str, Any]]) -> None:
    with pytest.raises(ClusterError, match="missing: no WorkloadEntry of WorkloadGroup machine in namespace m "):
        required(There("kubeconfig", "m", members=members))


@pytest.mark.parametrize("required", [machine.connected, machine.well])
def test_a_machine_that_ended_without_a_word_is_missing_though_istiod_knows_it(required: Any) -> None:
    required(There("kubeconfig", "m", members=[member()], seen={"status": 200, "body": {}}))
    with pytest.raises(ClusterError, match=r"missing: nothing is at machine\.outside\.internal \(MaxRetryError\)"):
        required(There("kubeconfig", "m", members=[member()], seen={"status": 0, "error": "MaxRetryError"}))


def test_a_machine_has_to_be_well_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    def of(*members: dict[str, Any]) -> There:
        return There("kubeconfig", "m", members=list(members))

    gone = member(gone=True)
    machine.well(of(gone, member()))
    monkeypatch.setattr(machine, "WAIT_SECONDS", 0.2)
    monkeypatch.setattr(machine, "POLL_SECONDS", 0.05)
    for one in (member(well="False"), member(since=machine.SETTLED_SECONDS - 1)):
        machine.connected(of(one))
        with pytest.raises(ClusterError, match="the virtual machine fails its health check"):
            machine.well(of(one))
