"""An entry and a sample from outside the checkout, with its image as an archive: judged both ways."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests import lab

SHOP, NAME, HOST = "own-shop", "checkout-canary", "checkout.example.com"
KEPT, IMAGE = "registry.istio.io/release/examples-bookinfo-productpage-v1:1.20.3", "localhost/own-shop:1"
LABELS = {"app": "web", "version": "v1"}
WEB = {
    "name": "web", "image": IMAGE, "imagePullPolicy": "Never", "command": ["python3", "-m", "http.server", "8000"],
    "ports": [{"containerPort": 8000}], "readinessProbe": {"tcpSocket": {"port": 8000}, "periodSeconds": 1},
}  # fmt: skip
TEMPLATE = {"metadata": {"labels": LABELS}, "spec": {"containers": [WEB], "terminationGracePeriodSeconds": 1}}
OBJECTS = [
    {
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"},
        "spec": {"selector": {"app": "web"}, "ports": [{"name": "http", "port": 80, "targetPort": 8000}]},
    },
    {
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
        "spec": {"selector": {"matchLabels": LABELS}, "template": TEMPLATE},
    },
]  # fmt: skip
SERVERS = [{"port": {"number": 8080, "name": "http", "protocol": "HTTP"}, "hosts": [HOST]}]
ROUTES = [
    {"match": [{"uri": {"prefix": "/old"}}], "redirect": {"uri": "/new", "redirectCode": 308}},
    {"route": [{"destination": {"host": "web"}}]},
]
POLICY = [
    {
        "apiVersion": "networking.istio.io/v1", "kind": "Gateway", "metadata": {"name": "checkout"},
        "spec": {"selector": {"istio": "ingressgateway"}, "servers": SERVERS},
    },
    {
        "apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": {"name": "checkout"},
        "spec": {"hosts": [HOST], "gateways": ["checkout"], "http": ROUTES},
    },
]  # fmt: skip
REFUSING = {
    "name": "envoy.filters.http.fault",
    "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault",
        "abort": {"http_status": 403, "percentage": {"numerator": 100}},
    },
}
IN_FRONT_OF_ROUTER = {
    "name": "envoy.filters.network.http_connection_manager", "subFilter": {"name": "envoy.filters.http.router"},
}  # fmt: skip
BROKEN = {
    "apiVersion": "networking.istio.io/v1alpha3", "kind": "EnvoyFilter", "metadata": {"name": "web"},
    "spec": {
        "workloadSelector": {"labels": {"app": "web"}},
        "configPatches": [{
            "applyTo": "HTTP_FILTER",
            "match": {"context": "SIDECAR_INBOUND", "listener": {"filterChain": {"filter": IN_FRONT_OF_ROUTER}}},
            "patch": {"operation": "INSERT_BEFORE", "value": REFUSING},
        }],
    },
}  # fmt: skip
TRAFFIC = f"""from loadtests.clients.http import Fetch
from loadtests.entries.question import GATEWAY, ROUTING, ResponseCheck, enters
from loadtests.rules.responses import answered

PATHS = {{"moved": "/old", "shop": "/"}}
QUESTION = ResponseCheck(
    namespace="{SHOP}",
    kinds=ROUTING,
    expectation=answered,
    classes={{name: {{"call": enters("{HOST}", "{SHOP}/checkout", uri), "answers": ("/",)}} for name, uri in PATHS.items()}},
    proxies=(GATEWAY,),
)
TRAFFIC = {{name: Fetch(uri, "{HOST}") for name, uri in PATHS.items()}}
"""


@pytest.fixture
def team(tmp_path: Path) -> Iterator[Path]:
    """A repository with an entry, and a sample whose image no registry has."""
    entry, deploy = tmp_path / f"mesh/{NAME}", tmp_path / "deploy"
    for folder in (entry, deploy / "images"):
        folder.mkdir(parents=True)
    (entry / "policy.yaml").write_text(yaml.safe_dump_all(POLICY))
    (entry / "control.yaml").write_text(yaml.safe_dump_all([BROKEN, *POLICY]))
    (entry / "traffic.py").write_text(TRAFFIC)
    (deploy / "shop.yaml").write_text(yaml.safe_dump_all(OBJECTS))
    (deploy / "kustomization.yaml").write_text("resources: [shop.yaml]\n")
    for words in (
        ["tag", KEPT, IMAGE],
        ["save", "--quiet", "--output", str(deploy / "images/shop.tar"), IMAGE],
        ["untag", IMAGE, IMAGE],  # without a name, all of them go, that of the sample too
    ):
        subprocess.run(["podman", *words], check=True, capture_output=True)
    try:
        yield tmp_path
    finally:
        lab.kubectl("delete", "namespace", SHOP, "--ignore-not-found", "--wait=true")


def test_an_entry_and_a_sample_of_somebody_elses_are_judged_both_ways(team: Path) -> None:
    own = str(team / f"mesh/{NAME}")
    missing = lab.playbook("run_loadtest.yml", lab_entry=own)
    assert missing.returncode == 1
    assert f"whose namespace {SHOP} does not exist or lacks the lab's label" in lab.words(missing.stdout)
    passed = lab.playbook("run_loadtest.yml", lab_own_sample=str(team / "deploy"), lab_entry=own)
    assert passed.returncode == 0, passed.stdout[-3000:]
    failed = lab.playbook("run_loadtest.yml", lab_variant="control", lab_entry=own)
    assert failed.returncode == 1, failed.stdout[-3000:]
    verdict = json.loads((lab.STATE / f"results/control/{NAME}/verdict.json").read_text())
    outcomes = {one["name"]: one["outcome"] for one in verdict["classes"]}
    assert (verdict["facts"]["entry"], outcomes["shop"], outcomes["moved"] != "FAIL") == (NAME, "FAIL", True)


def test_an_entry_that_is_written_from_rules_in_force_is_judged_both_ways(team: Path) -> None:
    """Its calls enter by the gateway; with the control, the pods' proxies close every connection."""
    ours, new = str(team / f"mesh/{NAME}"), team / "mesh/written"
    assert lab.playbook("run_loadtest.yml", lab_own_sample=str(team / "deploy"), lab_entry=ours).returncode == 0
    command = [str(lab.PROJECT / "scripts/run.py"), "new", f"LAB={lab.NAME}", f"ENTRY={new}", f"NAMESPACE={SHOP}"]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (made.returncode, made.stderr) == (0, ""), made.stdout
    assert sorted(file.name for file in new.iterdir()) == ["README.md", "control.yaml", "policy.yaml", "traffic.py"]
    passed = lab.playbook("run_loadtest.yml", lab_entry=str(new))
    assert passed.returncode == 0, passed.stdout[-3000:]
    failed = lab.playbook("run_loadtest.yml", lab_variant="control", lab_entry=str(new))
    assert failed.returncode == 1, failed.stdout[-3000:]
    verdict = json.loads((lab.STATE / "results/control/written/verdict.json").read_text())
    outcomes = {one["name"].partition(" by ")[0]: one["outcome"] for one in verdict["classes"]}
    assert outcomes["VirtualService checkout: spec.http[1]"] == "FAIL"
