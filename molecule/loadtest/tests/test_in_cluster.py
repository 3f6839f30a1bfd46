"""Load from within the cluster: master and workers there, the same verdict; a worker that is lost during a run."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests

from loadtests.console import judging
from tests import lab

NAMESPACE = "istio-lab-load"
RESULTS = lab.STATE / "results"


def verdict_of(name: str, variant: str = "") -> dict[str, Any]:
    found: dict[str, Any] = json.loads((RESULTS / variant / name / "verdict.json").read_text())
    return found


def kubectl(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command that may fail."""
    command = ["kubectl", "--kubeconfig", str(lab.KUBECONFIG), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def workers() -> list[str]:
    return [
        str(p["metadata"]["name"])
        for p in lab.items("pods", NAMESPACE)
        if p["metadata"]["labels"]["app"] == "locust-worker" and p["status"]["phase"] == "Running"
    ]


def settles(look: Callable[[], Any], seconds: float) -> Any:
    """The first result of ``look`` that is not empty, or the last one when the time is up."""
    deadline = time.monotonic() + seconds
    while not (found := look()) and time.monotonic() < deadline:
        time.sleep(1)
    return found


def reached(session: requests.Session, url: str) -> bool:
    """Whether a page responds; at first, the port is not forwarded yet."""
    try:
        return session.get(url, timeout=5).ok
    except requests.ConnectionError:
        return False


def finished(session: requests.Session, base: str) -> dict[str, Any]:
    """The final verdict of the run; empty until then."""
    verdict: dict[str, Any] = session.get(f"{base}/mesh/verdict", timeout=10).json()
    return verdict if verdict["finished"] else {}


def own_remarks(verdict: dict[str, Any]) -> list[str]:
    """Remarks of a verdict, without the one on what the account of the senders may not read."""
    remarks: list[str] = verdict["facts"]["remarks"]
    return [remark for remark in remarks if not remark.startswith("rules of other namespaces than ")]


@pytest.fixture(scope="module")
def judged() -> dict[str, Any]:
    done = lab.playbook("run_loadtest.yml", lab_entry="reviews-80-20", loadtest_where="cluster", loadtest_workers=2)
    assert done.returncode == 0, done.stdout[-3000:]
    return verdict_of("reviews-80-20")


def test_workers_in_the_cluster_reach_the_same_verdict(judged: dict[str, Any]) -> None:
    assert judged["outcome"] == "PASS"
    assert own_remarks(judged) == []
    # The report comes from a run with the pod's Python, not this machine's.
    assert judged["facts"]["versions"]["python"].startswith("3.13")
    assert set(judged["sources"]) >= {"clients", "the proxies"}


def test_no_sender_is_left(judged: dict[str, Any]) -> None:
    deadline = time.monotonic() + 30
    while lab.items("pods", NAMESPACE) and time.monotonic() < deadline:
        time.sleep(1)
    assert lab.items("pods", NAMESPACE) == []


def test_a_broken_rule_fails_from_within_the_cluster(judged: dict[str, Any]) -> None:
    done = lab.playbook(
        "run_loadtest.yml", lab_entry="reviews-80-20", lab_variant="control", loadtest_where="cluster",
        loadtest_workers=2,
    )  # fmt: skip
    assert done.returncode == 1
    assert "reviews-80-20: FAIL" in lab.words(done.stdout)
    assert verdict_of("reviews-80-20", "control")["outcome"] == "FAIL"


def test_the_senders_have_only_the_rights_they_need(judged: dict[str, Any]) -> None:
    def may(*asked: str) -> bool:
        return kubectl("auth", "can-i", *asked, "--as", f"system:serviceaccount:{NAMESPACE}:locust").stdout.strip() == "yes"

    assert may("list", "virtualservices.networking.istio.io", "-n", "bookinfo")
    assert may("create", "serviceentries.networking.istio.io", "-n", "bookinfo")
    assert may("get", "pods", "--subresource=proxy", "-n", "istio-system")
    for refused in (
        ("list", "virtualservices.networking.istio.io", "-n", "default"), ("get", "secrets", "-n", "istio-system"),
        ("create", "virtualservices.networking.istio.io", "-n", "bookinfo"), ("create", "secrets", "-n", "bookinfo"),
        ("create", "roles.rbac.authorization.k8s.io", "-n", "bookinfo"), ("get", "secrets", "-n", "kube-system"),
        ("delete", "pods", "-n", "bookinfo"), ("get", "nodes"),
        ("impersonate", "serviceaccounts/default", "-n", "bookinfo"), ("create", "namespaces"),
        ("create", "pods/exec", "-n", "bookinfo"), ("get", "secrets", "-n", "bookinfo"), ("list", "secrets", "-n", "bookinfo"),
        ("get", "secrets/mysql-credentials", "-n", "shadow"),
    ):  # fmt: skip
        assert not may(*refused), refused


@pytest.fixture
def console() -> Iterator[int]:
    """The console in the cluster, with its port forwarded."""
    done = lab.playbook("run_console.yml", loadtest_workers=2)
    assert done.returncode == 0, done.stdout[-3000:]
    yield lab.free_port()
    lab.kubectl("-n", NAMESPACE, "delete", "deployment", "--all", "--wait=false")


def test_a_lost_worker_is_reported_and_the_verdict_stands() -> None:
    run = lab.start_playbook(
        "run_loadtest.yml", {}, lab_entry="full-link", loadtest_where="cluster", loadtest_workers=2, loadtest_users=10
    )
    try:
        deadline = time.monotonic() + 240
        log = ""
        while "counting starts" not in log and time.monotonic() < deadline:
            time.sleep(1)
            log = kubectl("-n", NAMESPACE, "logs", "deploy/locust-master").stdout
        assert "counting starts" in log
        time.sleep(5)
        lab.kubectl("-n", NAMESPACE, "delete", "pod", workers()[0], "--grace-period=0", "--force")
        run.wait(timeout=300)
    finally:
        if run.poll() is None:
            run.terminate()
            run.wait(timeout=60)
    verdict = verdict_of("full-link")
    assert verdict["outcome"] == "PASS", verdict["reasons"]
    (remark,) = own_remarks(verdict)
    assert "was lost: up to" in remark


def test_the_page_in_the_cluster_starts_an_entry_and_shows_its_verdict(console: int) -> None:
    command = [sys.executable, "scripts/open.py", "--kubeconfig", str(lab.KUBECONFIG), "--port", str(console), "console"]
    base, session = f"http://127.0.0.1:{console}", requests.Session()
    session.headers["Origin"] = base
    with subprocess.Popen(command, cwd=lab.PROJECT, stdout=subprocess.PIPE, text=True) as opened:
        try:
            answered = settles(lambda: reached(session, f"{base}/login"), 60)
            assert answered, "no page"
            session.post(
                f"{base}/login_submit",
                data={"username": "operator", "password": (lab.STATE / "ui-password").read_text().strip()},
            )
            assert session.get(f"{base}/mesh/judge").json() == {"active": False, "not_here": judging.NOT_HERE}
            # The console in the cluster has the rights of its own account, and no kubeconfig.
            put = session.post(f"{base}/mesh/entry", json={"entry": "reviews-80-20"})
            assert put.status_code == 200, put.text
            session.post(
                f"{base}/swarm", data={"user_count": 20, "spawn_rate": 20, "entry": "reviews-80-20"}
            ).raise_for_status()
            ended = settles(lambda: finished(session, base), 200)
            assert ended
            assert ended["outcome"] == "PASS", ended["reasons"]
        finally:
            opened.terminate()
    # Other pods cannot reach the page: it listens on 127.0.0.1 in its own pod.
    master = next(p for p in lab.items("pods", NAMESPACE) if p["metadata"]["labels"]["app"] == "locust-master")
    ask = f"import socket; socket.create_connection(('{master['status']['podIP']}', 8089), timeout=3)"
    assert "ConnectionRefusedError" in kubectl("-n", NAMESPACE, "exec", workers()[0], "--", "python3", "-c", ask).stderr
