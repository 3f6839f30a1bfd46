"""The lab in one file: refused if damaged or for another host; installs a lab on a bare system without a network."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import lab

BUNDLE = lab.PROJECT / "build/istio-lab.bundle"
HEADER_BYTES = 512
LIMIT_GB = 1.5
CHECK = "roles/bundle/files/check_machine.py"


def header() -> dict[str, Any]:
    with open(BUNDLE, "rb") as opened:
        content: dict[str, Any] = json.loads(opened.read(HEADER_BYTES))
    return content


def unbundled(file: Path, home: Path) -> subprocess.CompletedProcess[str]:
    """Run the first step of make lab BUNDLE=file, with a separate cache."""
    command = ["make", "-s", "unbundle", f"BUNDLE={file}"]
    environment = {**os.environ, "XDG_CACHE_HOME": str(home)}
    return subprocess.run(command, cwd=lab.PROJECT, env=environment, capture_output=True, text=True, check=False, timeout=120)


def refused(file: Path, home: Path, words: str) -> None:
    done = unbundled(file, home)
    assert done.returncode != 0
    errors = [line for line in done.stderr.splitlines() if not line.startswith("make")]
    assert len(errors) == 1, errors
    assert errors[0].startswith(f"BUNDLE: {file} was given, "), errors
    assert words in errors[0]
    assert "nothing was changed" in errors[0]
    assert not list(home.rglob("*.deb")), "something was unpacked"


def test_a_bundle_stays_below_its_size_limit(record_property: Callable[[str, object], None]) -> None:
    record_property("bytes", BUNDLE.stat().st_size)
    assert BUNDLE.stat().st_size / 1e9 <= LIMIT_GB
    assert BUNDLE.stat().st_size == HEADER_BYTES + header()["size"]


@pytest.mark.parametrize("where", ["in the digest", "in the middle", "at the end"])
def test_a_changed_byte_is_refused(where: str, tmp_path: Path) -> None:
    at = {"in the digest": BUNDLE.open("rb").read(HEADER_BYTES).index(header()["sha256"].encode()) + 5,
          "in the middle": HEADER_BYTES + header()["size"] // 2, "at the end": BUNDLE.stat().st_size - 1}[where]  # fmt: skip
    with open(BUNDLE, "r+b") as opened:
        opened.seek(at)
        (byte,) = opened.read(1)
        other = b"0" if byte != ord("0") else b"1"
        try:
            opened.seek(at)
            opened.write(other)
            opened.flush()
            refused(BUNDLE, tmp_path, "it was changed or damaged")
        finally:
            opened.seek(at)
            opened.write(bytes([byte]))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"architecture": "riscv64"}, "which is for architecture riscv64; accepted on this host: one for x86_64"),
        ({"release": "debian 11"}, "which is for release debian 11; accepted on this host: one for debian 12"),
        ({"format": 2}, "which is no bundle of this lab"),
        ({"size": 1}, "copy it again"),
    ],
)
def test_a_bundle_for_another_host_is_refused(changes: dict[str, Any], words: str, tmp_path: Path) -> None:
    file = tmp_path / "other.bundle"
    file.write_bytes(json.dumps(header() | changes).encode().ljust(HEADER_BYTES) + b"rest")
    refused(file, tmp_path / "home", words)


def test_other_files_are_refused(tmp_path: Path) -> None:
    refused(tmp_path / "none", tmp_path / "home", "No such file")
    (tmp_path / "text").write_text("not a bundle")
    refused(tmp_path / "text", tmp_path / "home", "which is no bundle of this lab")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A bare Debian: python3 and make, and the project as it is in the bundle."""
    # Not in /tmp, which may be in memory.
    folder = lab.PROJECT / "build/bare"
    remove(folder)
    folder.mkdir(parents=True)
    listed = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(CODENAME) $(COMPONENT) $(REPO_URI)", "Created-By: Packages"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    mirror = next(line.split()[2] for line in listed.splitlines() if line.startswith("bookworm main "))
    subprocess.run(
        ["debootstrap", "--variant=minbase", "--include=python3,make", "bookworm", str(folder), mirror],
        check=True, capture_output=True, timeout=300,
    )  # fmt: skip
    with open(BUNDLE, "rb") as opened:
        opened.seek(HEADER_BYTES)
        subprocess.run(["tar", "--extract", "--directory", str(folder / "root"), "project"], stdin=opened, check=True)
    yield folder
    remove(folder)


def remove(folder: Path) -> None:
    # podman's mounts there disappeared with its namespace.
    shutil.rmtree(folder, ignore_errors=True)


def bare(root: Path, script: str) -> subprocess.CompletedProcess[str]:
    """Run a script on the bare system; its child processes end with it."""
    alone = ["unshare", "--net", "--mount", "--pid", "--fork", "--uts", "--ipc", "--kill-child"]
    inside = [str(lab.PROJECT / "tests/bare.sh"), str(root), str(BUNDLE.parent), "bash", "-c", script]
    return subprocess.run([*alone, *inside], capture_output=True, text=True, check=False, timeout=900)


LAB = r"""
set -e
echo "routes: $(wc -l </proc/net/route)"
command -v podman git zstd ip && exit 1
cd /root/project
SECONDS=0; make lab BUNDLE=/given/istio-lab.bundle; echo "lab from bundle: $SECONDS s"
make lab BUNDLE=/given/istio-lab.bundle
make lab BUNDLE=/given/istio-lab.bundle ARGS='-e istio_gateway_type=LoadBalancer'
grep -q '"http": "http://10\.89\.' /root/.local/state/istio-lab/istio-lab/gateway.json
make load ENTRY=reviews-80-20
"""


def test_a_bare_host_without_a_network_gets_a_lab(root: Path, record_property: Callable[[str, object], None]) -> None:
    done = bare(root, LAB)
    output = done.stdout
    (root / "log").write_text(output + done.stderr)
    assert done.returncode == 0, output[-3000:] + done.stderr[-2000:]
    assert "routes: 1\n" in output, "there are routes besides the table's header"
    first, second, balanced, load = re.findall(r"localhost +: ok=\d+ +changed=(\d+)", output)
    assert int(first) > 0
    assert second == "0"
    assert int(balanced) > 0
    assert load
    assert "reviews-80-20: PASS" in lab.words(output)
    (seconds,) = re.findall(r"lab from bundle: (\d+) s", output)
    record_property("seconds from bundle to lab", seconds)


def test_contents_are_listed() -> None:
    listed = ["tar", "--extract", "--to-stdout", "--occurrence", "bom.json"]
    with open(BUNDLE, "rb") as opened:
        opened.seek(HEADER_BYTES)
        bom = json.loads(subprocess.run(listed, stdin=opened, capture_output=True, check=True).stdout)
    assert (bom["bomFormat"], bom["specVersion"]) == ("CycloneDX", "1.6")
    kinds = {c["purl"].split("/")[0] for c in bom["components"] if "purl" in c}
    assert kinds == {"pkg:pypi", "pkg:deb", "pkg:golang", "pkg:npm", "pkg:maven"}
    named = {c["name"] for c in bom["components"]}
    # One component per source, including those in images inside the node image.
    assert {
        "ansible",
        "podman",
        "istio",
        "kubernetes",
        "mongodb",
        "zipkin-server",
        "localhost/istio-lab/node",
        "nginx",
    } <= named


def test_a_lab_refuses_another_architecture() -> None:
    other = "arm64" if os.uname().machine == "x86_64" else "amd64"
    done = lab.playbook("site.yml", lab_name=f"{lab.NAME}-other", lab_architecture=other)
    assert done.returncode != 0
    assert f"lab_architecture: {other} was given, and this machine is {os.uname().machine}" in lab.words(done.stdout)
    assert "changed=0" in done.stdout
    assert not (lab.STATE.parent / f"{lab.NAME}-other").exists()


def role(name: str, tasks: str = "main", **variables: object) -> None:
    """Run a single role with the lab's own variables."""
    command = [
        "ansible",
        "--playbook-dir=playbooks",
        "localhost",
        "--module-name=include_role",
        f"--args=name={name} tasks_from={tasks}",
    ]
    done = subprocess.run(
        [*command, "--extra-vars", json.dumps(variables)],
        cwd=lab.PROJECT,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout[-3000:]


def checked(machine: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, CHECK, machine, "--programs", str(folder)]
    return subprocess.run(command, cwd=lab.PROJECT, capture_output=True, text=True, check=False, timeout=300)


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the test builds for arm64 on x86_64")
@pytest.mark.skipif(
    "binfmt_misc" not in Path("/proc/filesystems").read_text(), reason="this kernel cannot run programs through an emulator"
)
def test_programs_for_another_architecture_are_compiled_here_and_run_there(tmp_path: Path) -> None:
    """Uses the smallest program; make bundle ARCH=arm64 does the same with all of them, which takes an hour."""
    role("container_engine", "emulation", container_engine_machine="aarch64")
    role(
        "binaries", "ready", lab_architecture="arm64", lab_image_source="build",
        binaries_stages={"tools": ["sigs.k8s.io/kind"]},
        binaries_dest=str(tmp_path / "programs"), binaries_log_dir=str(tmp_path),
    )  # fmt: skip
    done = checked("aarch64", tmp_path / "programs")
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"kind: kind v\S+ go\S+ linux/arm64\n", done.stdout)
    wrong = checked("x86_64", tmp_path / "programs")
    assert wrong.returncode != 0
    assert "not for x86_64: " in wrong.stderr
    assert "ARM aarch64" in wrong.stderr
