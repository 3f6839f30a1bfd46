"""A kind cluster that the lab did not create, with other workloads, and the lab's playbooks on it."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loadtests.entries import entry
from tests import lab

CLUSTER = f"{lab.NAME}-foreign"
NAME = f"{lab.NAME}-existing"
STATE = lab.STATE.parent / NAME
IMAGE = "registry.istio.io/release/examples-bookinfo-ratings-v1:1.20.3"
# Entries that are compared with the lab on kind. One of each kind: a split, an ingress, clients that the gateway rejects, a
# response from the mesh itself, a call that the mesh rejects.
# With LAB_TEST_ENTRIES=all, every entry that other clusters support: half an hour.
COMPARED = ["reviews-90-10", "ingress-reachability", "gateway-mutual-tls", "cors", "mtls-strict"]
OUTSIDE = {file.parent.name for file in (lab.PROJECT / "samples").glob("*/outside.yml")}
EVERY = sorted(name for name in entry.names() if entry.load(name).question.namespace not in OUTSIDE)
ENTRIES = EVERY if os.environ.get("LAB_TEST_ENTRIES") == "all" else COMPARED
# The node looks here for per-registry settings.
REGISTRIES = """
[plugins."io.containerd.grpc.v1.cri".registry]
config_path = "/etc/containerd/certs.d"
"""
# Resource kinds that a cluster changes by itself all the time.
RESTLESS = {"events", "events.events.k8s.io", "leases.coordination.k8s.io", "componentstatuses"}


@dataclass(frozen=True)
class Foreign:
    """The cluster, with its owner's kubeconfig."""

    kubeconfig: Path

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        return lab.kubectl(*arguments, stdin=stdin, kubeconfig=self.kubeconfig)

    def everything(self) -> dict[str, Any]:
        """Every object, without its status and the server's metadata."""
        kinds = set(self.kubectl("api-resources", "--verbs=list", "--output=name").split()) - RESTLESS
        found = {}
        for item in json.loads(self.kubectl("get", ",".join(sorted(kinds)), "--all-namespaces", "-o", "json"))["items"]:
            about = item.pop("metadata")
            item.pop("status", None)
            kept = {key: about.get(key) for key in ("uid", "labels", "annotations")}
            found[f"{item['kind']} {about.get('namespace', '')}/{about['name']}"] = {**item, **kept}
        return found

    def play(self, name: str, **variables: object) -> subprocess.CompletedProcess[str]:
        """Run a playbook with the inventory for existing clusters."""
        given: dict[str, object] = {"lab_name": NAME, "image_source": "build", **variables}
        given.setdefault("existing_cluster_kubeconfig", str(self.kubeconfig))
        return lab.playbook(f"-i inventories/existing {name}", None, **given)


def run(*command: str) -> str:
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "KIND_EXPERIMENTAL_PROVIDER": "podman"}
    )
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr[-2000:]}"
    return done.stdout


@contextmanager
def alone() -> Iterator[None]:
    """Pause the lab's own cluster if all entries are judged: with two on a small machine, timed entries would be late."""
    if ENTRIES is not EVERY:
        yield
        return
    nodes = run("podman", "ps", "--filter", f"label=io.x-k8s.kind.cluster={lab.NAME}", "--format", "{{.Names}}").split()
    run("podman", "pause", *nodes)
    try:
        yield
    finally:
        run("podman", "unpause", *nodes)


def of_others() -> list[dict[str, Any]]:
    """Workloads of somebody else on the cluster."""
    pod = {
        "metadata": {"labels": {"app": "till"}},
        "spec": {"containers": [{"name": "till", "image": IMAGE, "imagePullPolicy": "Never"}]},
    }
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop", "labels": {"team": "till"}}},
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "prices", "namespace": "shop"}, "data": {"book": "11"}},
        {
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "till", "namespace": "shop"},
            "spec": {"replicas": 1, "selector": {"matchLabels": {"app": "till"}}, "template": pod},
        },
        {
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": "till", "namespace": "shop"},
            "spec": {"type": "NodePort", "selector": {"app": "till"}, "ports": [{"port": 9080, "nodePort": 30080}]},
        },
        {
            "apiVersion": "networking.k8s.io/v1", "kind": "IngressClass", "metadata": {"name": "shop"},
            "spec": {"controller": "shop.example/ingress"},
        },
        {
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "shop-reader"},
            "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}],
        },
    ]  # fmt: skip


def lines(state: Path) -> list[dict[str, Any]]:
    """The catalogue's report on the entries, without the parts that vary with the traffic."""
    report = json.loads((state / "results/catalogue.json").read_text())
    return [{key: line[key] for key in ("entry", "aim", "outcome", "readme")} for line in report]


def expected(state: Path) -> dict[str, Any]:
    """The expectations from the cluster's rules, as recorded in the verdicts."""
    found = {name: json.loads((state / f"results/{name}/verdict.json").read_text()) for name in ENTRIES}
    return {
        name: [(c["name"], [(s["version"], s["expected"]) for s in c["shares"]]) for c in verdict["classes"]]
        for name, verdict in found.items()
    }
