"""The gateways of the mesh, as the cluster has them."""

from __future__ import annotations

from typing import Any

import yaml

from tests.unit.test_inputs import PROJECT

EGRESS: dict[str, Any] = {
    "kind": "Service",
    "metadata": {"name": "istio-egressgateway", "namespace": "istio-system", "uid": "e", "generation": 1},
    "spec": {"ports": [{"name": "http2", "port": 80, "targetPort": 8080}]},
}
INGRESS: dict[str, Any] = {
    "kind": "Service",
    "metadata": {"name": "istio-ingressgateway", "namespace": "istio-system", "uid": "i", "generation": 1},
    "spec": {
        "ports": [
            {"name": "http2", "port": 80, "targetPort": 8080}, {"name": "https", "port": 443, "targetPort": 8443},
            {"name": "tcp", "port": 31400, "targetPort": 31400}, {"name": "tls", "port": 15443, "targetPort": 15443},
        ],
        "selector": {"app": "istio-ingressgateway", "istio": "ingressgateway"},
    },
}  # fmt: skip


def of_mesh() -> list[dict[str, Any]]:
    """Both Services, and the Gateway that the lab makes for routes of the Gateway API."""
    made = yaml.safe_load((PROJECT / "roles/istio/files/gateway.yaml").read_text())
    made["metadata"] |= {"uid": "ingress", "generation": 1}
    return [EGRESS, INGRESS, made]
