"""Sidecar injection: by the namespace's label, by hand, and opt-out; and the explanation of an injected pod."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator

import pytest

from tests import lab

IMAGE = "docker.io/library/nginx:1.28"
NAMESPACE = f"{lab.NAME}-injection"


def manifest(name: str, labels: str = "") -> str:
    return f"""
apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}}}
spec:
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata: {{labels: {{app: {name}{labels}}}}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
        - name: nginx
          image: {IMAGE}
          imagePullPolicy: IfNotPresent
          command: [sleep, infinity]
"""


@pytest.fixture
def namespace() -> Iterator[str]:
    lab.kubectl("create", "namespace", NAMESPACE)
    try:
        yield NAMESPACE
    finally:
        lab.kubectl("delete", "namespace", NAMESPACE, "--wait=true", "--timeout=120s")


def ready(name: str) -> str:
    """Ready containers in a Deployment's pod, in kubectl's format: 2/2."""
    lab.kubectl("-n", NAMESPACE, "rollout", "status", f"deployment/{name}", "--timeout=120s")
    pods = [p for p in lab.items("pods", NAMESPACE) if p["metadata"]["labels"]["app"] == name]
    (pod,) = [p for p in pods if not p["metadata"].get("deletionTimestamp")]
    sidecars = [c for c in pod["spec"].get("initContainers", []) if c.get("restartPolicy") == "Always"]
    status = pod["status"].get("initContainerStatuses", []) + pod["status"]["containerStatuses"]
    long_lived = [s for s in status if s["name"] in {c["name"] for c in pod["spec"]["containers"] + sidecars}]
    return f"{sum(s['ready'] for s in long_lived)}/{len(long_lived)}"


def test_a_label_injects_new_pods_and_a_pod_may_opt_out(namespace: str) -> None:
    lab.kubectl("-n", namespace, "apply", "-f", "-", stdin=manifest("nginx"))
    assert ready("nginx") == "1/1"
    lab.kubectl("label", "namespace", namespace, "istio-injection=enabled")
    assert ready("nginx") == "1/1", "the label does not change existing pods"
    lab.kubectl("-n", namespace, "rollout", "restart", "deployment/nginx")
    assert ready("nginx") == "2/2"
    lab.kubectl("-n", namespace, "apply", "-f", "-", stdin=manifest("plain", ', sidecar.istio.io/inject: "false"'))
    assert ready("plain") == "1/1"


def test_a_manifest_is_injected_by_hand(namespace: str) -> None:
    injected = subprocess.run(
        ["istioctl", "--kubeconfig", str(lab.KUBECONFIG), "kube-inject", "--filename", "-"],
        input=manifest("nginx"), capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    lab.kubectl("-n", namespace, "apply", "-f", "-", stdin=injected)
    assert ready("nginx") == "2/2"
    assert "istio-injection" not in json.loads(lab.kubectl("get", "namespace", namespace, "-o", "json"))["metadata"]["labels"]


def test_a_pod_is_explained_with_the_iptables_rules_of_its_requests() -> None:
    def explain(pod: str) -> subprocess.CompletedProcess[str]:
        command = ["make", "--no-print-directory", "explain", f"LAB={lab.NAME}", f"POD={pod}"]
        return subprocess.run(command, cwd=lab.PROJECT, capture_output=True, text=True, check=False)

    done = explain("bookinfo/ratings-v1")
    assert done.returncode == 0, done.stderr
    sections = {part.splitlines()[0]: part for part in done.stdout.split("\n\n") if part.strip()}
    came_in = sections["A request from outside to port 9080 took these rules"]
    went_out = sections["A connection from the pod to kubernetes.default took these rules"]
    assert "-A ISTIO_IN_REDIRECT -p tcp -j REDIRECT --to-ports 15006" in came_in
    assert "--to-ports 15001" not in came_in
    assert "-A ISTIO_REDIRECT -p tcp -j REDIRECT --to-ports 15001" in went_out
    assert "--to-ports 15006" not in went_out
    assert "istio-proxy: native sidecar" in done.stdout
    assert "pilot-agent proxy sidecar" in sections["Processes of the sidecar"]
    assert "15090: Envoy's statistics" in sections["Ports that are listened on"]
    assert "when it does not answer: Fail; its authority: O=cluster.local" in sections["Webhooks that inject such a pod"]
    refused = explain("bookinfo/no-such-pod")
    assert refused.returncode != 0
    assert "POD: 'no-such-pod' was given; accepted: one of details-v1-" in refused.stderr
    bare = explain("kube-system/coredns")
    assert "has no sidecar; accepted: an injected pod" in bare.stderr
