"""The mesh as installed by the role."""

from __future__ import annotations

import subprocess

import yaml

from tests import lab


def test_istiod_and_both_gateways_are_available() -> None:
    available = {
        d["metadata"]["name"]: d["status"].get("availableReplicas", 0) for d in lab.items("deployments", "istio-system")
    }
    assert available == {"istiod": 1, "istio-ingressgateway": 1, "istio-egressgateway": 1}


def test_unknown_hosts_are_blocked() -> None:
    mesh = next(c for c in lab.items("configmaps", "istio-system") if c["metadata"]["name"] == "istio")
    assert yaml.safe_load(mesh["data"]["mesh"])["outboundTrafficPolicy"]["mode"] == "REGISTRY_ONLY"
    ratings = lab.pod("ratings", "ratings")
    answer = ratings.run("curl -s -o /dev/null -m 10 -w '%{http_code}' http://unknown.lab.internal/")
    # A name that does not resolve never reaches the proxy, so try an address too.
    by_address = ratings.run(
        "curl -s -o /dev/null -m 10 -w '%{http_code}' -H 'Host: unknown.lab.internal' http://198.51.100.7/"
    )
    assert by_address.stdout == "502"
    assert answer.stdout in ("000", "502")


def test_the_gateways_service_is_a_node_port() -> None:
    service = next(s for s in lab.items("services", "istio-system") if s["metadata"]["name"] == "istio-ingressgateway")
    ports = {p["name"]: p.get("nodePort") for p in service["spec"]["ports"]}
    assert service["spec"]["type"] == "NodePort"
    assert ports["http2"] == 30080


def test_every_proxy_is_in_sync() -> None:
    done = subprocess.run(
        ["istioctl", "--kubeconfig", str(lab.KUBECONFIG), "proxy-status"], capture_output=True, text=True, check=True
    )
    assert "istio-ingressgateway" in done.stdout
    assert "STALE" not in done.stdout


def test_commands_are_on_the_labs_path_with_completion() -> None:
    script = 'eval "$(make --no-print-directory env LAB=$0)" && command -v istioctl kubectl && complete -p kubectl istioctl'
    done = subprocess.run(["bash", "-c", script, lab.NAME], capture_output=True, text=True, check=False, cwd=lab.PROJECT)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(str(lab.STATE / "bin")) == 2
