"""What `make doctor` makes of what it finds: what is broken is named with its fix, and nothing unseen is taken for sound."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from plugins.action.check_host import Host
from scripts import doctor
from scripts.doctor import Check, Lab

NOW = datetime(2026, 11, 26, 12, 0, tzinfo=UTC)


def node(**conditions: str) -> dict[str, Any]:
    statuses = {"Ready": "True", "DiskPressure": "False", **conditions}
    found = [{"type": kind, "status": status, "message": f"{kind} says so"} for kind, status in statuses.items()]
    return {"metadata": {"name": "n1"}, "status": {"conditions": found}}


def lease(seconds: float) -> dict[str, Any]:
    renewed = (NOW - timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")
    return {"metadata": {"name": "n1"}, "spec": {"renewTime": renewed}}


def deployment(available: int) -> dict[str, Any]:
    status = {"observedGeneration": 1, "updatedReplicas": 1, "availableReplicas": available, "replicas": 1}
    return {"kind": "Deployment", "metadata": {"name": "istiod", "generation": 1}, "spec": {"replicas": 1}, "status": status}


def pod(name: str, phase: str = "Running", *, sidecar: bool = True, going: bool = False) -> dict[str, Any]:
    ending = {"deletionTimestamp": "2026-11-26T12:00:00Z"} if going else {}
    parts = [{"name": "app"}, *([{"name": "istio-proxy"}] if sidecar else [])]
    return {
        "metadata": {"name": name, "namespace": "shop", **ending},
        "spec": {"containers": parts},
        "status": {"phase": phase},
    }


def config(name: str, *statuses: str) -> dict[str, Any]:
    return {"node": {"id": f"{name}.shop"}, "genericXdsConfigs": [{"configStatus": status} for status in statuses]}


WAITING = {
    "metadata": {"name": "istiod-1"}, "spec": {"containers": []},
    "status": {"containerStatuses": [
        {"name": "discovery", "ready": False, "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "again"}}}
    ]},
}  # fmt: skip


@pytest.mark.parametrize(
    ("check", "words"),
    [
        (doctor.host(Host(0, 100, 20, (), ()), 5, 1), ""),
        (doctor.host(Host(0, 4, 20, (), ()), 5, 1), "lab_min_disk_gib: 4.0 GiB of disk are free"),
        (doctor.host(Host(1000, 100, 0.5, (), ()), 5, 1), "user: uid 1000"),
        (doctor.containers({"lab-control-plane": "running"}, "podman"), ""),
        (doctor.containers({"a": "running", "b": "exited"}, "podman"), "b is exited; fix: make lab (it starts them)"),
        (doctor.containers({}, "docker"), "docker has none of this lab"),
        (doctor.nodes([node()]), ""),
        (doctor.nodes([node(Ready="Unknown")]), "n1: Ready is Unknown, Ready says so"),
        (doctor.nodes([node(DiskPressure="True")]), "n1: DiskPressure is True"),
        (doctor.nodes([]), "the cluster has none"),
        (doctor.clocks([lease(12)], NOW), ""),
        (doctor.clocks([lease(300)], NOW), "n1 was last heard of 300 s ago; fix: set the clocks"),
        (doctor.clocks([lease(-300)], NOW), "n1 was last heard of 300 s in the future"),
        (doctor.clocks([], NOW), "no node has a lease"),
        (doctor.workloads("mesh", [deployment(1)], []), ""),
        (doctor.workloads("mesh", [deployment(0)], [WAITING]), "istiod 0/1; istiod-1/discovery: CrashLoopBackOff again"),
        (doctor.workloads("mesh", [], []), "there is none"),
        (doctor.proxies([config("a", "SYNCED", "NOT_SENT")], [pod("a"), pod("b", sidecar=False), pod("c", going=True)]), ""),
        (doctor.proxies([], [pod("a"), pod("b", "Pending")]), "a.shop is not connected to istiod"),
        (doctor.proxies([config("a", "SYNCED", "STALE")], [pod("a")]), "a.shop is STALE"),
        (doctor.gateway("http://lab/", "200"), ""),
        (doctor.gateway("http://lab/", "HTTP 503"), "http://lab/: HTTP 503; fix: make lab"),
    ],
)  # fmt: skip
def test_what_is_found_is_judged(check: Check, words: str) -> None:
    assert check.ok is (not words)
    assert words in check.line(0)


def test_istioctl_prints_one_document_for_each_istiod() -> None:
    assert list(doctor.json_documents('{"a": 1}\n{"b": {}}\n')) == [{"a": 1}, {"b": {}}]
    assert list(doctor.json_documents("")) == []


@dataclass(frozen=True)
class Played(Lab):
    """A lab that is sound, but for one check."""

    broken: str = ""
    error: Exception | None = None

    def __getattribute__(self, name: str) -> Any:
        if not name.startswith("check_"):
            return super().__getattribute__(name)
        what = name.removeprefix("check_")

        def check() -> Check:
            if what != self.broken:
                return Check(what, True, "fine")
            if self.error:
                raise self.error
            return Check({"image": doctor.IMAGE}.get(what, what), False, "gone", "make lab")

        return check


@pytest.fixture
def made(tmp_path: Path) -> Callable[..., list[Check]]:
    def checks(broken: str = "", engine: str = "podman", error: Exception | None = None) -> list[Check]:
        (tmp_path / "kubeconfig").touch()
        (tmp_path / "cluster.json").write_text(json.dumps({"engine": engine}))
        return list(Played(tmp_path, tmp_path, broken, error).checks())

    return checks


def test_everything_is_checked_of_a_lab_and_no_container_of_a_cluster_elsewhere(made: Callable[..., list[Check]]) -> None:
    ours = [name.removeprefix("check_") for name in vars(Lab) if name.startswith("check_")]
    assert sorted(check.name for check in made()) == sorted(ours)
    assert sorted(set(ours) - {check.name for check in made(engine="")}) == ["containers", "engine", "image"]


def test_what_stands_on_something_broken_is_not_taken_for_sound(made: Callable[..., list[Check]]) -> None:
    found = made("containers")
    assert [check.name for check in found if check.ok] == ["host", "engine", "image"]
    left = [check for check in found if check.ok is None]
    assert [check.name for check in left] == ["API server", "nodes", "clocks", "mesh", "samples", "proxies", "gateway"]
    assert {check.found for check in left} == {"not checked: containers: gone"}


def test_a_cluster_that_runs_is_checked_though_its_image_is_gone(made: Callable[..., list[Check]]) -> None:
    assert [check.name for check in made("image") if not check.ok] == [doctor.IMAGE]


def test_a_check_that_fails_is_a_cross(made: Callable[..., list[Check]]) -> None:
    (wrong,) = (check for check in made("proxies", error=RuntimeError("not foreseen")) if not check.ok)
    assert (wrong.name, wrong.ok, wrong.found) == ("proxies", False, "RuntimeError: not foreseen")


def test_a_lab_that_is_not_there_is_said_in_one_line(tmp_path: Path) -> None:
    found = list(Played(tmp_path / "mine", tmp_path).checks())
    assert [check.name for check in found] == ["host", "lab"]
    assert found[1].line(0) == "✗ lab  lab mine does not exist; fix: make lab LAB=mine"


@pytest.mark.parametrize(("broken", "status"), [("", 0), ("mesh", 1)])
def test_the_exit_status_and_the_report_for_programs(
    broken: str,
    status: int,
    made: Callable[..., list[Check]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    found = made(broken)
    monkeypatch.setattr(Lab, "checks", lambda _: iter(found))
    for words in (["--json"], []):
        monkeypatch.setattr("sys.argv", ["doctor", "--state", "nowhere", *words])
        assert doctor.main() == status
        printed = capsys.readouterr().out
        if words:
            assert [one["ok"] for one in json.loads(printed)].count(False) == (1 if broken else 0)
        else:
            assert ("✗ mesh" in printed) is bool(broken)
            assert len(printed.splitlines()) == len(found)
