"""A mesh with another profile, installed on a separate cluster and removed again."""

from __future__ import annotations

import json
from pathlib import Path

from tests import lab

NAME = f"{lab.NAME}-bare"


def test_profiles_and_an_uninstall_that_leaves_nothing(tmp_path: Path) -> None:
    home = {"XDG_STATE_HOME": str(tmp_path)}
    kubeconfig = tmp_path / "istio-lab" / NAME / "kubeconfig"

    def available(kind: str = "deployments") -> set[str]:
        objects = json.loads(lab.kubectl("get", kind, "-A", "-o", "json", kubeconfig=kubeconfig))["items"]
        return {d["metadata"]["name"] for d in objects if d["metadata"]["namespace"] == "istio-system"}

    try:
        made = lab.playbook("create_cluster.yml", home, lab_name=NAME)
        assert made.returncode == 0, made.stdout[-3000:]
        for profile, workloads in (("minimal", {"istiod"}), ("default", {"istiod", "istio-ingressgateway"})):
            installed = lab.playbook("install_mesh.yml", home, lab_name=NAME, istio_profile=profile)
            assert installed.returncode == 0, installed.stdout[-3000:]
            assert available() == workloads
        # A workload with a sidecar, which it must lose.
        lab.kubectl("create", "namespace", "app", kubeconfig=kubeconfig)
        lab.kubectl("label", "namespace", "app", "istio-injection=enabled", kubeconfig=kubeconfig)
        image = "docker.io/library/nginx:1.28"
        # Ends on SIGTERM: as PID 1 of its container, sleep alone would ignore it.
        waits = ["sh", "-c", "trap exit TERM; sleep infinity & wait"]
        lab.kubectl("-n", "app", "create", "deployment", "web", f"--image={image}", "--", *waits, kubeconfig=kubeconfig)
        lab.kubectl("-n", "app", "rollout", "status", "deployment/web", "--timeout=120s", kubeconfig=kubeconfig)
        removed = lab.playbook("uninstall_mesh.yml", home, lab_name=NAME)
        assert removed.returncode == 0, removed.stdout[-3000:]
        assert "no namespace, custom resource definition, webhook, cluster role or injected pod" in lab.words(removed.stdout)
        for kind in (
            "customresourcedefinitions",
            "mutatingwebhookconfigurations",
            "validatingwebhookconfigurations",
            "clusterroles",
        ):
            assert "istio" not in lab.kubectl("get", kind, "-o", "name", kubeconfig=kubeconfig), kind
        (web,) = json.loads(lab.kubectl("-n", "app", "get", "pods", "-o", "json", kubeconfig=kubeconfig))["items"]
        assert [c["name"] for c in web["spec"]["containers"]] == ["nginx"]
        again = lab.playbook("uninstall_mesh.yml", home, lab_name=NAME)
        assert "changed=0" in again.stdout, again.stdout[-2000:]
    finally:
        gone = lab.playbook("destroy_lab.yml", home, lab_name=NAME)
    assert gone.returncode == 0, gone.stdout[-3000:]
