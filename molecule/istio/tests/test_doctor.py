"""`make doctor` and `make diagnose` on a lab: sound, without its control plane, and with nothing secret in the archive."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import lab

CANARY = "the-canary-that-nobody-may-read"


def doctor() -> tuple[int, dict[str, dict[str, Any]]]:
    command = [sys.executable, "-m", "scripts.doctor", "--state", str(lab.STATE), "--json"]
    done = subprocess.run(command, cwd=lab.PROJECT, capture_output=True, text=True, check=False, timeout=120)
    return done.returncode, {check["name"]: check for check in json.loads(done.stdout)}


def test_a_sound_lab_is_called_sound() -> None:
    status, checks = doctor()
    assert {name: check["found"] for name, check in checks.items() if not check["ok"]} == {}
    assert status == 0
    assert len(checks) == 11
    assert int(checks["proxies"]["found"].split()[0]) >= 8, "Bookinfo's six and both gateways"


def unscheduled() -> list[str]:
    """Pods that fit on no node; the pod from before the change stays as long as there is such a one."""
    return [
        pod["metadata"]["name"]
        for pod in lab.items("pods", "istio-system")
        for condition in pod["status"].get("conditions", [])
        if (condition["type"], condition["status"]) == ("PodScheduled", "False")
    ]


def test_a_gateway_that_is_not_rolled_out_is_named_with_the_reason() -> None:
    change = {"spec": {"template": {"spec": {"nodeSelector": {"nobody": "has-this"}}}}}
    lab.kubectl("-n", "istio-system", "patch", "deployment", "istio-egressgateway", "--patch", json.dumps(change))
    try:
        until = time.monotonic() + 60
        while not (pending := unscheduled()) and time.monotonic() < until:
            time.sleep(1)
        assert pending
        status, checks = doctor()
        assert status == 1
        assert [name for name, check in checks.items() if not check["ok"]] == ["mesh"]
        assert "istio-egressgateway" in checks["mesh"]["found"]
        assert "didn't match Pod's node affinity/selector" in checks["mesh"]["found"]
    finally:
        lab.kubectl("-n", "istio-system", "rollout", "undo", "deployment/istio-egressgateway")
        lab.kubectl("-n", "istio-system", "rollout", "status", "deployment/istio-egressgateway", "--timeout=90s")


@pytest.fixture
def canary() -> Iterator[None]:
    """A Secret, and its value where it can come to light: in a rule, so in proxies, and in a log of the lab's own."""
    log, encoded = lab.STATE / "log/canary.log", base64.b64encode(CANARY.encode()).decode()
    metadata = {"name": "canary", "namespace": "bookinfo"}
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": {"p": encoded}}
    route = {"headers": {"request": {"set": {"x-canary": CANARY}}}, "route": [{"destination": {"host": "details"}}]}
    rule = {
        "apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": metadata,
        "spec": {"hosts": ["canary.lab.internal"], "http": [route]},
    }  # fmt: skip
    for planted in (secret, rule):
        lab.kubectl("apply", "-f", "-", stdin=json.dumps(planted))
    log.write_text(f"{CANARY}\n{encoded}\n")
    yield
    lab.kubectl("-n", "bookinfo", "delete", "secret/canary", "virtualservice/canary")
    log.unlink()


@pytest.mark.usefixtures("canary")
def test_the_archive_tells_what_a_fault_needs_and_no_secret(tmp_path: Path) -> None:
    target = tmp_path / "found.tar.gz"
    command = [sys.executable, "-m", "scripts.diagnose", "--state", str(lab.STATE), "--file", str(target)]
    done = subprocess.run(command, cwd=lab.PROJECT, capture_output=True, text=True, check=False, timeout=300)
    assert (done.returncode, done.stderr) == (0, "")
    with tarfile.open(target) as archive:
        texts = {m.name.partition("/")[2]: archive.extractfile(m) for m in archive.getmembers()}
        files = {name: file.read().decode() for name, file in texts.items() if file}
    assert [name for name in files if name.endswith(".missing")] == []
    rules = files["mesh/rules/virtualservices.networking.istio.io.yaml"]
    assert "canary.lab.internal" in rules, "the rule is in it"
    assert "x-canary: (removed)" in rules
    assert "canary.lab.internal" in "".join(text for name, text in files.items() if name.startswith("mesh/proxies/bookinfo/"))
    assert files["lab/log/canary.log"] == "(removed)\n(removed)"
    passwords = [*(lab.STATE / "ui-password").read_text().split()] if (lab.STATE / "ui-password").exists() else []
    for secret in (CANARY, base64.b64encode(CANARY.encode()).decode(), *passwords):
        assert [name for name, text in files.items() if secret in text] == []
    assert [name for name, text in files.items() if "PRIVATE KEY-----" in text] == []
