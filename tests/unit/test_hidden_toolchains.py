"""`make test` hides the host's toolchains, because the lab brings its own."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.unit.test_inputs import PROJECT


def refuses(name: str, path: str) -> bool:
    done = subprocess.run(["sh", "-c", f"{name} version"], env={"PATH": path}, capture_output=True, text=True, check=False)
    return done.returncode == 127 and "must not use" in done.stderr


def test_toolchains_refuse_and_others_do_not(tmp_path: Path) -> None:
    subprocess.run([str(PROJECT / "scripts/hide-toolchains.sh"), str(tmp_path)], check=True)
    path = f"{tmp_path}:{os.environ['PATH']}"
    assert all(refuses(name, path) for name in ("go", "javac", "node", "gcc", "npm"))
    assert not refuses("tar", path)


@pytest.mark.skipif("hidden-toolchains" not in os.environ["PATH"], reason="only `make test` hides them")
@pytest.mark.parametrize("name", ["go", "java", "node", "ruby", "gcc"])
def test_this_run_does_not_use_them(name: str) -> None:
    # The lab's own Go, in its virtual environment, comes first; there must be no other after it.
    assert refuses(name, ":".join(p for p in os.environ["PATH"].split(":") if ".venv" not in p))
