"""A virtual machine that ends: the run is void and names it, and the next application of the entry runs it again."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests import lab

ENTRY, MACHINE = "virtual-machine", f"{lab.NAME}-machine"


def engine(*arguments: str) -> str:
    return subprocess.run(["podman", *arguments], capture_output=True, text=True, check=True, timeout=60).stdout


def running() -> set[str]:
    return {name for name in engine("ps", "--format", "{{.Names}}").split() if name.startswith(MACHINE)}


def judged(results: Path) -> dict[str, Any]:
    command = [
        sys.executable, "-m", "locust", "--locustfile", "loadtests/run/locustfile.py", "--headless", "--only-summary",
        "--host", lab.gateway_url(), "--users", "20", "--spawn-rate", "20", "--entry", ENTRY,
        "--kubeconfig", str(lab.KUBECONFIG), "--results", str(results),
    ]  # fmt: skip
    subprocess.run(command, cwd=lab.PROJECT, capture_output=True, check=False, timeout=400)
    verdict: dict[str, Any] = json.loads((results / ENTRY / "verdict.json").read_text())
    return verdict


def applied() -> None:
    done = lab.playbook("apply_policy.yml", lab_entry=ENTRY)
    assert done.returncode == 0, done.stdout[-2000:]


@pytest.mark.parametrize("ended", [[f"{MACHINE}-proxy"], [MACHINE, f"{MACHINE}-proxy"]], ids=["its proxy", "the whole machine"])
def test_a_machine_that_has_ended_voids_the_run_and_is_run_anew_with_its_entry(ended: list[str], tmp_path: Path) -> None:
    applied()
    engine("kill", *ended)
    without = judged(tmp_path)
    assert (without["outcome"], without["n"]) == ("VOID", 0)
    # With the whole machine, nobody is left to end the connection to istiod.
    assert "the virtual machine is missing: no" in without["reasons"][0]
    applied()
    assert running() == {MACHINE, f"{MACHINE}-proxy"}
    assert judged(tmp_path)["outcome"] == "PASS"
