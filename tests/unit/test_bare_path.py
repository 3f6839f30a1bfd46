"""`make test` hides the host's toolchains: what the lab needs, it brings."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.unit.test_inputs import PROJECT


def test_toolchains_are_hidden_and_nothing_else(tmp_path: Path) -> None:
    host = tmp_path / "host"
    host.mkdir()
    for name in ("go", "javac", "node", "gcc-12", "tar", "python3.11"):
        (host / name).write_text("#!/bin/sh\n")
        (host / name).chmod(0o755)
    told = subprocess.run(
        [str(PROJECT / "scripts/bare-path.sh"), str(tmp_path / "bare")],
        env={"PATH": f"{host}:{os.environ['PATH']}"}, capture_output=True, text=True, check=True,
    ).stdout.strip()  # fmt: skip
    assert told == str(tmp_path / "bare")
    assert {p.name for p in Path(told).iterdir()} >= {"tar", "python3.11", "apt-get", "bash"}
    assert [name for name in ("go", "javac", "node", "gcc-12", "gcc", "npm") if shutil.which(name, path=told)] == []


@pytest.mark.skipif("bare-path" not in os.environ["PATH"], reason="only `make test` hides them")
@pytest.mark.parametrize("name", ["go", "java", "node", "ruby", "gcc"])
def test_this_run_does_not_see_them(name: str) -> None:
    assert shutil.which(name) is None
