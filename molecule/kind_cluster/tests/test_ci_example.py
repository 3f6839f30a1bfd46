"""The script for CI in the documentation, from nothing to a verdict and back: it leaves a report and nothing else."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from xml.etree import ElementTree

import yaml

from tests import lab

IMAGE = "registry.istio.io/release/examples-bookinfo-productpage-v1:1.20.3"
LABELS = {"app": "web", "version": "v1"}
WEB = {
    "name": "web", "image": IMAGE, "imagePullPolicy": "IfNotPresent", "command": ["python3", "-m", "http.server", "8000"],
    "ports": [{"containerPort": 8000}], "readinessProbe": {"tcpSocket": {"port": 8000}, "periodSeconds": 1},
}  # fmt: skip
OBJECTS = [
    {
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"},
        "spec": {"selector": {"app": "web"}, "ports": [{"name": "http", "port": 80, "targetPort": 8000}]},
    },
    {
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
        "spec": {
            "selector": {"matchLabels": LABELS},
            "template": {"metadata": {"labels": LABELS}, "spec": {"containers": [WEB]}},
        },
    },
    {
        "apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": {"name": "web"},
        "spec": {"hosts": ["web"], "http": [
            {"match": [{"uri": {"prefix": "/old"}}], "redirect": {"uri": "/new"}},
            {"route": [{"destination": {"host": "web"}}]},
        ]},
    },
]  # fmt: skip


def test_the_script_judges_manifests_in_a_lab_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "deploy").mkdir()
    (tmp_path / "deploy/shop.yaml").write_text(yaml.safe_dump_all(OBJECTS))
    (tmp_path / "deploy/kustomization.yaml").write_text("resources: [shop.yaml]\n")
    before = lab.traces()
    done = subprocess.run(
        [str(lab.PROJECT / "docs/examples/judge.sh"), "deploy", "shop"], cwd=tmp_path, capture_output=True, text=True,
        check=False, timeout=1800, env={**os.environ, "LAB": f"{lab.NAME}-ci"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    verdict = json.loads((tmp_path / "reports/verdict.json").read_text())
    assert (verdict["outcome"], len(verdict["classes"])) == ("PASS", 2)
    (suite,) = ElementTree.parse(tmp_path / "reports/verdict.xml").iter("testsuite")  # noqa: S314 - our own file
    assert (suite.get("tests"), len(suite.findall(".//failure")), len(suite.findall(".//error"))) == ("2", 0, 0)
    assert lab.traces() == before, "the script left something behind"
