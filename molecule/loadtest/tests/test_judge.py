"""``make judge`` on a namespace that the lab knows nothing of: its rules pass, and fail once the cluster does not fit them."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml

from tests import lab

SHOP, PROBES = "judged-shop", "istio-lab-judge"
IMAGE = "registry.istio.io/release/examples-bookinfo-productpage-v1:1.20.3"
VERSIONS = ("v1", "v2", "v3")


def deployment(version: str) -> dict[str, Any]:
    """A web server; the Deployment selects by another label than the subset, so that pods can be relabelled."""
    container = {
        "name": "web", "image": IMAGE, "imagePullPolicy": "IfNotPresent", "command": ["python3", "-m", "http.server", "8000"],
        "ports": [{"containerPort": 8000}], "readinessProbe": {"tcpSocket": {"port": 8000}, "periodSeconds": 1},
    }  # fmt: skip
    labels = {"app": "web", "track": version}
    return {
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": f"web-{version}", "namespace": SHOP},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": {**labels, "version": version}},
                "spec": {"containers": [container], "terminationGracePeriodSeconds": 1},
            },
        },
    }  # fmt: skip


def to(**weights: int) -> dict[str, Any]:
    return {"route": [{"destination": {"host": "web", "subset": name}, "weight": weight} for name, weight in weights.items()]}


ROUTES: list[dict[str, Any]] = [
    {"match": [{"headers": {"end-user": {"exact": "jason"}}}], **to(v2=100)},
    {"match": [{"uri": {"prefix": "/old"}}], "redirect": {"uri": "/new"}},
    {
        "match": [{"uri": {"regex": "/teapots?/[0-9]+"}}],
        "directResponse": {"status": 418, "body": {"string": "short and stout"}},
    },
    {
        "match": [{"uri": {"exact": "/late"}}, {"uri": {"exact": "/later"}}],
        "fault": {"delay": {"fixedDelay": "1s", "percentage": {"value": 100}}},
        **to(v1=100),
    },
    {
        "match": [{"queryParams": {"fail": {"exact": "1"}}}],
        "fault": {"abort": {"httpStatus": 503, "percentage": {"value": 100}}},
        **to(v1=100),
    },
    {"timeout": "5s", **to(v1=70, v3=30)},
]


def rule(name: str, routes: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": {"name": name, "namespace": SHOP},
        "spec": {"hosts": ["web"], "http": routes},
    }  # fmt: skip


OBJECTS: list[dict[str, Any]] = [
    {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SHOP, "labels": {"istio-injection": "enabled"}}},
    {
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": SHOP},
        "spec": {"selector": {"app": "web"}, "ports": [{"name": "http", "port": 80, "targetPort": 8000}]},
    },
    *(deployment(version) for version in VERSIONS),
    {
        "apiVersion": "networking.istio.io/v1", "kind": "DestinationRule", "metadata": {"name": "web", "namespace": SHOP},
        "spec": {"host": "web", "subsets": [{"name": version, "labels": {"version": version}} for version in VERSIONS]},
    },
    rule("web", ROUTES),
]  # fmt: skip


def apply(*objects: dict[str, Any]) -> None:
    lab.kubectl("apply", "--filename", "-", stdin=yaml.safe_dump_all(objects))


@pytest.fixture(scope="module")
def shop() -> Iterator[None]:
    apply(*OBJECTS)
    try:
        for version in VERSIONS:
            lab.kubectl("-n", SHOP, "rollout", "status", f"deployment/web-{version}", "--timeout", "120s")
        yield
    finally:
        lab.kubectl("delete", "namespace", SHOP, "--wait=true")


def judge(results: Path, *words: str) -> subprocess.Popen[str]:
    command = [
        sys.executable, "-m", "loadtests.judge", "--kubeconfig", str(lab.KUBECONFIG), "--namespace", SHOP,
        "--gateway", lab.gateway_url(), "--results", str(results), "--rate", "100", *words,
    ]  # fmt: skip
    return subprocess.Popen(command, cwd=lab.PROJECT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def judged(results: Path, *words: str) -> tuple[int, str, dict[str, Any]]:
    """Exit status, output and verdict of a run."""
    run = judge(results, *(words or (f"--confirm={SHOP}",)))
    output, _ = run.communicate(timeout=400)
    file = results / SHOP / "verdict.json"
    return run.returncode, output, json.loads(file.read_text()) if file.exists() else {}


def probes_left() -> str:
    return lab.kubectl("get", "namespace", PROBES, "--ignore-not-found", "--output", "name")


@pytest.mark.usefixtures("shop")
def test_the_plan_has_every_route_and_sends_nothing(tmp_path: Path) -> None:
    status, output, verdict = judged(tmp_path, "--plan")
    assert (status, verdict, probes_left()) == (0, {}, "")
    assert [f"VirtualService web: spec.http[{n}]" in output for n, _ in enumerate(ROUTES)] == [True] * len(ROUTES)
    assert "Cannot be judged" not in output
    status, output, _ = judged(tmp_path, "--rate=50")
    assert (status, output) == (
        1,
        f"CONFIRM: {SHOP} is not the lab's; accepted: CONFIRM={SHOP}, once you have seen the plan (PLAN=1); nothing was sent\n",
    )  # fmt: skip


@pytest.mark.usefixtures("shop")
def test_rules_that_the_mesh_follows_pass_and_nothing_is_left(tmp_path: Path) -> None:
    status, output, verdict = judged(tmp_path)
    assert (status, verdict["outcome"]) == (0, "PASS"), output
    assert {one["name"] for one in verdict["classes"]} == {f"VirtualService web: spec.http[{n}]" for n, _ in enumerate(ROUTES)}
    assert set(verdict["sources"]) == {"clients", "the probe's counters"}
    suite = ElementTree.parse(tmp_path / SHOP / "verdict.xml").getroot()  # noqa: S314 - our own file
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == (str(len(ROUTES)), "0", "0")
    assert probes_left() == ""


@pytest.mark.usefixtures("shop")
def test_pods_that_are_relabelled_fail(tmp_path: Path) -> None:
    lab.kubectl("-n", SHOP, "label", "pods", "--selector", "track=v2", "version=v9", "--overwrite")
    try:
        status, output, verdict = judged(tmp_path)
    finally:
        lab.kubectl("-n", SHOP, "label", "pods", "--selector", "track=v2", "version=v2", "--overwrite")
    assert (status, verdict["outcome"]) == (1, "FAIL"), output
    assert "subset v2 of web.judged-shop.svc.cluster.local selects no running pod" in verdict["reasons"][0]


@pytest.mark.usefixtures("shop")
def test_a_younger_rule_for_the_same_host_fails_and_the_older_one_is_named(tmp_path: Path) -> None:
    apply(rule("younger", [to(v2=100)]))
    try:
        status, output, verdict = judged(tmp_path)
    finally:
        lab.kubectl("-n", SHOP, "delete", "virtualservice", "younger")
    assert (status, verdict["outcome"]) == (1, "FAIL"), output
    assert "sidecars follow VirtualService web alone" in output


@pytest.mark.usefixtures("shop")
def test_a_rule_that_is_edited_during_the_run_voids_it(tmp_path: Path) -> None:
    run = judge(tmp_path, f"--confirm={SHOP}")
    until = time.monotonic() + 90
    while not any(pod["status"].get("phase") == "Running" for pod in lab.items("pods", PROBES)):
        assert time.monotonic() < until
        time.sleep(0.2)
    apply(rule("web", [*ROUTES[:-1], to(v1=50, v3=50)]))
    try:
        output, _ = run.communicate(timeout=400)
    finally:
        apply(rule("web", ROUTES))
    verdict = json.loads((tmp_path / SHOP / "verdict.json").read_text())
    assert (run.returncode, verdict["outcome"]) == (2, "VOID"), output
    assert probes_left() == ""


@pytest.mark.usefixtures("shop")
def test_a_run_that_is_interrupted_leaves_nothing(tmp_path: Path) -> None:
    run = judge(tmp_path, f"--confirm={SHOP}")
    until = time.monotonic() + 60
    while not probes_left():
        assert time.monotonic() < until
        time.sleep(0.2)
    run.send_signal(signal.SIGINT)
    output, _ = run.communicate(timeout=90)
    assert run.returncode == 2, output
    assert "interrupted by SIGINT" in output
    assert json.loads((tmp_path / SHOP / "verdict.json").read_text())["outcome"] == "VOID"
    assert probes_left() == ""
