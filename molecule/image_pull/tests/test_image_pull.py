"""image_source: pull, against Debian's docker-registry on loopback, filled with the built images under official names."""

from __future__ import annotations

import json
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from tests import lab

VERSIONS = yaml.safe_load((lab.PROJECT / "playbooks/group_vars/all/versions.yml").read_text())
OFFICIAL = [f"release/{n}:{VERSIONS['lab_versions']['istio']}" for n in ("pilot", "proxyv2")] + [
    f"release/examples-bookinfo-{n}:{VERSIONS['lab_versions']['bookinfo']}" for n in VERSIONS["lab_bookinfo_images"]
]
NAME = f"{lab.NAME}-pull"


@dataclass(frozen=True)
class Registry:
    address: str
    node: str


def podman(*arguments: str) -> str:
    done = subprocess.run(["podman", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"podman {' '.join(arguments)}: {done.stderr}"
    return done.stdout


def artifacts(state: Path, **variables: object) -> subprocess.CompletedProcess[str]:
    return lab.playbook("build_artifacts.yml", {"XDG_STATE_HOME": str(state)}, lab_name=NAME, image_source="pull", **variables)


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    folder = tmp_path_factory.mktemp("registry")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = {
        "version": 0.1,
        "storage": {"filesystem": {"rootdirectory": str(folder / "data")}},
        "http": {"addr": f"127.0.0.1:{port}"},
    }
    (folder / "config.yml").write_text(yaml.safe_dump(settings))
    with open(folder / "log", "w") as log:
        server = subprocess.Popen(["docker-registry", "serve", str(folder / "config.yml")], stdout=log, stderr=log)
        try:
            for _ in range(50):
                with socket.socket() as probe:
                    if probe.connect_ex(("127.0.0.1", port)) == 0:
                        break
                time.sleep(0.1)
            # Fast compression: what is tested is the way of the images, not their size.
            push = ["push", "--quiet", "--tls-verify=false", "--compression-format", "zstd"]
            for name in OFFICIAL:
                podman(*push, f"registry.istio.io/{name}", f"docker://127.0.0.1:{port}/istio/{name}")
            cluster = json.loads((lab.STATE / "cluster.json").read_text())
            target = f"127.0.0.1:{port}/hub/kindest/node:v{VERSIONS['lab_versions']['kubernetes']}"
            podman(*push, "--digestfile", str(folder / "digest"), cluster["image"], f"docker://{target}")
            # From here on only the registry has them under these names.
            for name in OFFICIAL:
                podman("untag", f"registry.istio.io/{name}", f"registry.istio.io/{name}")
            reference = f"kindest/node:v{VERSIONS['lab_versions']['kubernetes']}@{(folder / 'digest').read_text().strip()}"
            yield Registry(f"127.0.0.1:{port}", reference)
        finally:
            server.terminate()
            server.wait(timeout=20)


def mirrors(registry: Registry) -> dict[str, str]:
    release = f"{registry.address}/istio/release"
    return {
        "mesh_images_mirror": release,
        "sample_images_mirror": release,
        "node_image_mirror": f"{registry.address}/hub",
        "node_image_pull_ref": registry.node,
    }


def test_every_image_comes_under_its_official_name(registry: Registry, tmp_path: Path) -> None:
    assert subprocess.run(["podman", "image", "exists", f"registry.istio.io/{OFFICIAL[0]}"], check=False).returncode == 1
    done = artifacts(tmp_path, **mirrors(registry))
    assert done.returncode == 0, done.stdout[-3000:]
    assert "images: pull (image_source says so)" in done.stdout
    for name in [*(f"registry.istio.io/{n}" for n in OFFICIAL), registry.node.split("@")[0]]:
        assert subprocess.run(["podman", "image", "exists", name], check=False).returncode == 0, name
    again = artifacts(tmp_path, **mirrors(registry))
    assert again.returncode == 0, again.stdout[-3000:]
    assert "changed=0" in again.stdout


def test_an_unreachable_mirror_is_named_with_the_fix(tmp_path: Path) -> None:
    done = artifacts(
        tmp_path, mesh_images_mirror="127.0.0.1:9/none", sample_images_mirror="127.0.0.1:9/none", sample_images_tag="0.0.0"
    )
    assert done.returncode != 0
    assert "127.0.0.1:9/none/examples-bookinfo-productpage-v1:0.0.0 could not be pulled" in lab.words(done.stdout)
    assert "set a mirror or image_source: build" in lab.words(done.stdout)
