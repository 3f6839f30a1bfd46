"""A cluster that the lab did not create, with other workloads on it: refused, used, and left as it was."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from tests import lab
from tests.foreign import CLUSTER, ENTRIES, IMAGE, STATE, Foreign, alone, expected, lines


@pytest.fixture(scope="module")
def before(foreign: Foreign) -> dict[str, Any]:
    """The cluster before the lab was installed."""
    return foreign.everything()


def refused(done: subprocess.CompletedProcess[str], *words: str) -> None:
    """Refused with one line; nothing is changed and no folder is created."""
    assert done.returncode != 0
    output = lab.words(done.stdout)
    for word in (*words, "nothing was changed"):
        assert word in output, done.stdout[-3000:]
    assert "changed=0" in done.stdout
    assert not STATE.exists()


def test_an_invalid_kubeconfig_is_refused(foreign: Foreign, before: dict[str, Any], tmp_path: Path) -> None:
    def given(name: str) -> subprocess.CompletedProcess[str]:
        return foreign.play("site.yml", existing_cluster_kubeconfig=str(tmp_path / name))

    refused(given("none"), "existing_cluster_kubeconfig", "No such file")
    (tmp_path / "text").write_text("not a kubeconfig")
    refused(given("text"), "which is no kubeconfig")
    unknown = foreign.play("site.yml", existing_cluster_context="prod")
    refused(unknown, "existing_cluster_context: prod was given", f"kind-{CLUSTER}")
    nobody = yaml.safe_load(foreign.kubeconfig.read_text())
    nobody["clusters"][0]["cluster"]["server"] = "https://127.0.0.1:9"
    (tmp_path / "nobody").write_text(yaml.safe_dump(nobody))
    refused(given("nobody"), "the cluster does not answer")


def test_a_user_without_rights_is_refused_with_the_missing_ones(
    foreign: Foreign, before: dict[str, Any], tmp_path: Path
) -> None:
    weak = yaml.safe_load(foreign.kubeconfig.read_text())
    weak["users"][0]["user"] = {"token": foreign.kubectl("create", "token", "default", "--namespace=shop").strip()}
    (tmp_path / "weak").write_text(yaml.safe_dump(weak))
    done = foreign.play("site.yml", existing_cluster_kubeconfig=str(tmp_path / "weak"))
    refused(done, "its user lacks rights: list namespaces", "cluster-admin")
    assert weak["users"][0]["user"]["token"] not in done.stdout


def test_taken_names_and_other_meshes_are_refused(foreign: Foreign, before: dict[str, Any]) -> None:
    foreign.kubectl("create", "namespace", "bookinfo")
    foreign.kubectl("label", "namespace", "shop", "istio-injection=enabled")
    labels = {"app": "istiod"}
    pod = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "discovery", "image": IMAGE}]}}
    other = {
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "istiod", "namespace": "shop", "labels": labels},
        "spec": {"replicas": 0, "selector": {"matchLabels": labels}, "template": pod},
    }  # fmt: skip
    foreign.kubectl("apply", "-f", "-", stdin=json.dumps(other))
    try:
        done = foreign.play("site.yml")
    finally:
        foreign.kubectl("delete", "namespace", "bookinfo")
        foreign.kubectl("label", "namespace", "shop", "istio-injection-")
        foreign.kubectl("-n", "shop", "delete", "deployment", "istiod")
    refused(
        done, "namespace bookinfo is there and is not the lab's", "another Istio is there: shop/istiod",
        "namespace shop asks for sidecars",
    )  # fmt: skip
    refused(foreign.play("site.yml", existing_cluster_min_memory_gib=4000), "existing_cluster_min_memory_gib", "4000 GiB")


def test_the_lab_runs_beside_other_workloads(foreign: Foreign, before: dict[str, Any]) -> None:
    done = foreign.play("site.yml")
    assert done.returncode == 0, done.stdout[-3000:]
    assert "the gateway by NodePort (nodes are reached from here" in lab.words(done.stdout)
    url = json.loads((STATE / "gateway.json").read_text())["http"]
    assert "<title>Simple Bookstore App</title>" in requests.get(f"{url}/productpage", timeout=10).text
    assert (STATE / "kubeconfig").stat().st_mode & 0o777 == 0o600
    again = foreign.play("site.yml")
    assert "changed=0" in again.stdout, again.stdout[-3000:]
    now = foreign.everything()
    assert {name: now.get(name) for name in before} == before, "the lab changed objects that it does not own"
    assert set(now) - set(before), "the comparison detects differences"


def test_locally_built_images_need_a_registry(foreign: Foreign) -> None:
    for given, where, words in (
        ("", "cluster", "lab_registry: nothing was given, and loadtest_where: cluster needs a registry"),
        ("", "local", "lab_registry: nothing was given, and sample greeter needs a registry"),
        ("http://127.0.0.1:9", "local", "lab_registry: http://127.0.0.1:9 was given; accepted: HOST[:PORT][/PATH]"),
    ):
        wrong = foreign.play("run_loadtest.yml", lab_entry="grpc-balance", loadtest_where=where, lab_registry=given)
        assert wrong.returncode != 0
        assert words in lab.words(wrong.stdout), wrong.stdout[-3000:]
        assert "changed=0" in wrong.stdout


def test_an_unreachable_gateway_is_forwarded(foreign: Foreign) -> None:
    done = foreign.play("site.yml", existing_cluster_reach="port-forward")
    assert done.returncode == 0, done.stdout[-3000:]
    service = json.loads(foreign.kubectl("-n", "istio-system", "get", "service", "istio-ingressgateway", "-o", "json"))
    assert service["spec"]["type"] == "ClusterIP"
    at = (STATE / "gateway.json").read_text()
    url = json.loads(at)["http"]
    assert url.startswith("http://127.0.0.1:")
    assert "<title>Simple Bookstore App</title>" in requests.get(f"{url}/productpage", timeout=10).text
    again = foreign.play("site.yml")
    assert "changed=0" in again.stdout, again.stdout[-3000:]


def test_the_same_entries_give_the_same_report_as_on_kind(foreign: Foreign, registry: str, here: None) -> None:
    at = (STATE / "gateway.json").read_text()
    # As after a reboot: the next command restarts the forwarding on the same ports.
    os.killpg(int((STATE / "forward.pid").read_text()), signal.SIGKILL)
    with alone():
        there = foreign.play(
            "verify_catalogue.yml", lab_verify_entries=ENTRIES, lab_registry=f"{registry}/lab", lab_registry_tls_verify=False
        )
    assert there.returncode == 0, there.stdout[-3000:]
    assert lines(STATE) == lines(lab.STATE)
    assert [line["entry"] for line in lines(STATE)] == sorted(ENTRIES)
    assert expected(STATE) == expected(lab.STATE)
    assert (STATE / "gateway.json").read_text() == at


def test_entries_that_need_a_local_container_are_refused(foreign: Foreign) -> None:
    done = foreign.play("run_loadtest.yml", lab_entry="egress-blocked")
    assert done.returncode != 0
    assert "egress-blocked was given, whose sample runs a program outside the cluster" in lab.words(done.stdout)


def test_a_lab_keeps_its_cluster(foreign: Foreign) -> None:
    done = foreign.play("site.yml", existing_cluster_kubeconfig=str(lab.KUBECONFIG))
    assert done.returncode != 0
    assert "existing_cluster_kubeconfig: this lab is on https://127.0.0.1:" in lab.words(done.stdout), done.stdout[-2000:]


def test_a_cluster_that_does_not_respond_is_not_forgotten_silently(foreign: Foreign) -> None:
    kept = (STATE / "kubeconfig").read_text()
    gone = yaml.safe_load(kept)
    gone["clusters"][0]["cluster"]["server"] = "https://127.0.0.1:9"
    (STATE / "kubeconfig").write_text(yaml.safe_dump(gone))
    try:
        done = foreign.play("destroy_lab.yml")
    finally:
        (STATE / "kubeconfig").write_text(kept)
    assert done.returncode != 0
    assert "lab_destroy_forget: false, and the cluster does not answer" in lab.words(done.stdout), done.stdout[-2000:]


def test_destroy_leaves_the_cluster_as_it_was(foreign: Foreign, before: dict[str, Any]) -> None:
    url = json.loads((STATE / "gateway.json").read_text())["http"]
    assert requests.get(f"{url}/productpage", timeout=10).ok
    done = foreign.play("destroy_lab.yml")
    assert done.returncode == 0, done.stdout[-3000:]
    assert not STATE.exists()
    with pytest.raises(requests.ConnectionError):
        requests.get(f"{url}/productpage", timeout=10)
    until = time.monotonic() + 30  # the API server drops removed CRDs a moment later
    while (now := foreign.everything()) != before and time.monotonic() < until:
        time.sleep(1)
    assert set(now) == set(before)
    assert now == before
    again = foreign.play("destroy_lab.yml")
    assert "changed=0" in again.stdout, again.stdout[-2000:]
