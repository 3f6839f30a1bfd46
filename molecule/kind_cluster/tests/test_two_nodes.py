"""Two nodes: pods reach each other across nodes, by address and through a Service."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import lab

NAME = f"{lab.NAME}-two"
STATE = lab.STATE.parent / NAME
IMAGE = "registry.istio.io/release/examples-bookinfo-ratings-v1:1.20.3"


def kubectl(*arguments: str, stdin: str | None = None) -> str:
    return lab.kubectl(*arguments, stdin=stdin, kubeconfig=STATE / "kubeconfig")


def play(name: str) -> subprocess.CompletedProcess[str]:
    return lab.playbook(name, lab_name=NAME, kind_cluster_nodes=2)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Path]:
    before = lab.traces()
    (STATE / "bin").parent.mkdir(parents=True, exist_ok=True)
    for link in ("bin", "containers.conf"):
        if not (STATE / link).exists():
            (STATE / link).symlink_to(lab.STATE / link)
    made = play("create_cluster.yml")
    try:
        assert made.returncode == 0, made.stdout[-3000:]
        # Like a sample with an external service.
        outside = ["podman", "run", "--detach", "--name", f"{NAME}-outside", "--network", "kind", "--pull", "never",
                   "--stop-timeout", "1"]  # fmt: skip
        subprocess.run([*outside, "--label", f"istio-lab.lab={NAME}", IMAGE, "sleep", "600"], check=True)
        with Path("/etc/hosts").open("a") as hosts:
            hosts.write(f"127.0.0.1 two.lab.internal # istio-lab {NAME} webfront\n")
        assert f"container {NAME}-outside" in lab.traces()
        # Make sure that the comparison below can fail: now there are traces.
        assert {t.split()[0] for t in lab.traces() - before} >= {"container", "volume", "process", "folder", "hosts"}
        yield STATE
    finally:
        removed = play("destroy_lab.yml")
    assert removed.returncode == 0, removed.stdout[-3000:]
    assert lab.traces() == before, "destroy left something behind"


def pod(name: str, node: str) -> dict[str, object]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {
            "nodeName": node,
            "tolerations": [{"operator": "Exists"}],
            "containers": [{"name": "web", "image": IMAGE, "imagePullPolicy": "Never"}],
        },
    }


def test_pods_reach_each_other_across_nodes(cluster: Path) -> None:
    nodes = [n["metadata"]["name"] for n in json.loads(kubectl("get", "nodes", "-o", "json"))["items"]]
    assert len(nodes) == 2
    dns = json.loads(kubectl("get", "deployment", "coredns", "--namespace=kube-system", "-o", "json"))
    assert dns["status"].get("availableReplicas", 0) >= 1, "the cluster was reported as created without DNS"
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "far"},
        "spec": {"selector": {"app": "far"}, "ports": [{"port": 9080}]},
    }
    objects = {"apiVersion": "v1", "kind": "List", "items": [pod("near", nodes[0]), pod("far", nodes[1]), service]}
    kubectl("apply", "-f", "-", stdin=json.dumps(objects))
    kubectl("wait", "--for=condition=Ready", "pod/near", "pod/far", "--timeout=120s")
    far = json.loads(kubectl("get", "pod", "far", "-o", "json"))
    near = json.loads(kubectl("get", "pod", "near", "-o", "json"))
    assert far["spec"]["nodeName"] != near["spec"]["nodeName"]
    # A new Service reaches the nodes and CoreDNS a moment after its pod is Ready.
    patient = ["--silent", "--max-time", "10", "--retry", "5", "--retry-all-errors", "--retry-delay", "1"]
    for target in (far["status"]["podIP"], "far"):
        answer = kubectl("exec", "near", "--", "curl", *patient, f"http://{target}:9080/ratings/0")
        assert json.loads(answer)["ratings"] == {"Reviewer1": 5, "Reviewer2": 4}
