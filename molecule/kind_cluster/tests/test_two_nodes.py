"""Two nodes, on a host that has a proxy: pods reach each other across nodes, and images are pulled through the proxy."""

from __future__ import annotations

import json
import re
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path

import pytest

from tests import lab

NAME = f"{lab.NAME}-two"
STATE = lab.STATE.parent / NAME
IMAGES = (lab.STATE / "image_source").read_text().strip() if lab.STATE.exists() else "auto"
"""Where images come from: through the proxy below, no registry is found."""
IMAGE = "registry.istio.io/release/examples-bookinfo-ratings-v1:1.20.3"


def kubectl(*arguments: str, stdin: str | None = None) -> str:
    return lab.kubectl(*arguments, stdin=stdin, kubeconfig=STATE / "kubeconfig")


def play(name: str, proxy: str = "") -> subprocess.CompletedProcess[str]:
    proxies = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY"), proxy)
    return lab.playbook(name, proxies, lab_name=NAME, kind_cluster_nodes=2, image_source=IMAGES)


ASKED: list[str] = []
"""What the proxy was asked for."""


class Proxy(BaseHTTPRequestHandler):
    """A proxy that leads nowhere."""

    def do_CONNECT(self) -> None:
        ASKED.append(self.path)
        self.send_error(502)

    do_GET = do_CONNECT  # noqa: N815 - as above

    def log_message(self, *_: object) -> None:
        """Nothing."""


@contextmanager
def served_proxy() -> Iterator[str]:
    """The proxy, at this machine's address in the nodes' network."""
    (network,) = json.loads(subprocess.run(["podman", "network", "inspect", "kind"], capture_output=True, check=True).stdout)
    (gateway,) = [s["gateway"] for s in network["subnets"] if ip_address(s["gateway"]).version == 4]
    with ThreadingHTTPServer(("", 0), Proxy) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://{gateway}:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="module")
def cluster() -> Iterator[Path]:
    with served_proxy() as proxy:
        yield from made(proxy)


def made(proxy: str) -> Iterator[Path]:
    """The cluster, and its end."""
    before = lab.traces()
    (STATE / "bin").parent.mkdir(parents=True, exist_ok=True)
    for link in ("bin", "containers.conf"):
        if not (STATE / link).exists():
            (STATE / link).symlink_to(lab.STATE / link)
    done = play("create_cluster.yml", proxy)
    try:
        assert done.returncode == 0, done.stdout[-3000:]
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


def pod(name: str, node: str, image: str = IMAGE, pull: str = "Never") -> dict[str, object]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {
            "nodeName": node,
            "tolerations": [{"operator": "Exists"}],
            "containers": [{"name": "web", "image": image, "imagePullPolicy": pull}],
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


@pytest.mark.parametrize("node", ["control-plane", "worker"])
def test_a_node_pulls_images_through_the_hosts_proxy_and_reaches_the_cluster_directly(cluster: Path, node: str) -> None:
    registry = f"{node}.example.invalid"
    kubectl("apply", "-f", "-", stdin=json.dumps(pod(node, f"{NAME}-{node}", f"{registry}/lab:1", "Always")))
    until = time.monotonic() + 60
    while f"{registry}:443" not in ASKED:
        assert time.monotonic() < until, ASKED
        time.sleep(0.2)
    # The API server asks the node's kubelet, and a pod.
    kubectl("get", "--raw", f"/api/v1/nodes/{NAME}-{node}/proxy/healthz")
    kubectl("get", "--raw", "/api/v1/namespaces/kube-system/services/kube-dns:metrics/proxy/metrics")
    assert not [name for name in ASKED if re.search(rf"(\d+\.){{3}}\d+|\.svc\b|{NAME}", name)]
