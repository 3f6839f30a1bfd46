"""image_source: pull, from Debian's docker-registry on this machine, which holds the built images under official names."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests
import yaml

from tests import lab
from tests.registry import served

VERSIONS = yaml.safe_load((lab.PROJECT / "playbooks/group_vars/all/versions.yml").read_text())
OFFICIAL = [f"release/{n}:{VERSIONS['lab_versions']['istio']}" for n in ("pilot", "proxyv2")] + [
    f"release/examples-bookinfo-{n}:{VERSIONS['lab_versions']['bookinfo']}" for n in VERSIONS["lab_bookinfo_images"]
]
NAME = f"{lab.NAME}-pull"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "istio-lab"


@dataclass(frozen=True)
class Registry:
    address: str
    node: str


def podman(*arguments: str) -> str:
    done = subprocess.run(["podman", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"podman {' '.join(arguments)}: {done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    folder = tmp_path_factory.mktemp("registry")
    with served(folder) as address:
        # An interrupted run may have left only the lab's own names for the images.
        for name in (n for n in OFFICIAL if not in_store(f"registry.istio.io/{n}")):
            short = name.rpartition("/")[2].partition(":")[0].removeprefix("examples-bookinfo-")
            built = podman("images", "--filter", f"reference=localhost/istio-lab/{short}", "--format", "{{.ID}}").split()
            podman("tag", built[0], f"registry.istio.io/{name}")
        # Fast compression: the test is about the path of the images, not their size.
        push = ["push", "--quiet", "--tls-verify=false", "--compression-format", "zstd"]
        for name in OFFICIAL:
            podman(*push, f"registry.istio.io/{name}", f"docker://{address}/istio/{name}")
        cluster = json.loads((lab.STATE / "cluster.json").read_text())
        target = f"{address}/hub/kindest/node:v{VERSIONS['lab_versions']['kubernetes']}"
        podman(*push, "--digestfile", str(folder / "digest"), cluster["image"], f"docker://{target}")
        # From now on, only the registry has the images under these names.
        for name in OFFICIAL:
            podman("untag", f"registry.istio.io/{name}", f"registry.istio.io/{name}")
        reference = f"kindest/node:v{VERSIONS['lab_versions']['kubernetes']}@{(folder / 'digest').read_text().strip()}"
        yield Registry(address, reference)
    # The names under which they were pulled are useless once the registry is gone.
    pulled = [n for n in podman("images", "--format", "{{.Repository}}:{{.Tag}}").split() if n.startswith(f"{address}/")]
    if pulled:
        podman("rmi", *pulled)


def mirrors(registry: Registry) -> dict[str, object]:
    return {
        "lab_name": NAME,
        "image_source": "pull",
        "lab_mirrors": {
            "registry.istio.io": f"http://{registry.address}/istio",
            "docker.io": f"http://{registry.address}/hub",
        },
        "images_node_official": registry.node,
        # The images in the registry under official names are the built ones.
        "istio_upstream_envoy": True,
        "kind_cluster_image": f"docker.io/{registry.node.split('@')[0]}",
        "binaries_go_cache_dir": str(CACHE / "go"),
    }


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A separate home directory: its only cache is what Go has compiled before."""
    folder = tmp_path_factory.mktemp("home")
    return {"XDG_STATE_HOME": str(folder / "state"), "XDG_CACHE_HOME": str(folder / "cache")}


def in_store(name: str) -> bool:
    return subprocess.run(["podman", "image", "exists", name], check=False).returncode == 0


def processes(words: str) -> list[int]:
    """Ids of processes whose command line contains ``words``, without this test's own."""
    found = subprocess.run(["pgrep", "--full", "--", words], capture_output=True, text=True, check=False).stdout
    return [int(pid) for pid in found.split() if int(pid) != os.getpid()]


def test_an_interrupted_compile_leaves_nothing_to_reuse(registry: Registry, home: dict[str, str]) -> None:
    given = {**mirrors(registry), "lab_name": NAME}
    folder = Path(home["XDG_CACHE_HOME"]) / "istio-lab/binaries"
    run = lab.start_playbook("build_artifacts.yml", home, **given)
    until = time.monotonic() + 120
    while not list(folder.glob("*/*.partial")) and time.monotonic() < until:
        time.sleep(0.2)
    time.sleep(3)  # while it is compiling
    os.killpg(run.pid, signal.SIGKILL)
    run.wait(timeout=20)
    # The compile and Ansible's worker run in separate processes; a power cut would end them too.
    for pid in processes(str(folder)) + processes(f'"lab_name": "{NAME}"'):
        os.kill(pid, signal.SIGKILL)
    assert list(folder.glob("*/*.partial")), "the compile finished before it could be interrupted"
    assert not [f for f in folder.glob("*/*") if f.is_dir() and f.suffix != ".partial"]


def test_every_image_comes_under_its_official_name(registry: Registry, home: dict[str, str]) -> None:
    assert not in_store(f"registry.istio.io/{OFFICIAL[0]}")
    done = lab.playbook("build_artifacts.yml", home, **mirrors(registry))
    assert done.returncode == 0, done.stdout[-3000:]
    assert "images: pull (image_source says so)" in done.stdout
    for name in [*(f"registry.istio.io/{n}" for n in OFFICIAL), f"docker.io/{registry.node.split('@')[0]}"]:
        assert in_store(name), name
    # The programs whose compile was interrupted are complete now.
    folder = Path(home["XDG_CACHE_HOME"]) / "istio-lab/binaries"
    (made,) = [f.parent for f in folder.glob("*/*/istioctl")]
    for program in ("kind", "kubectl", "istioctl"):
        assert subprocess.run([str(made / program), "--help"], capture_output=True, check=False).returncode == 0
    again = lab.playbook("build_artifacts.yml", home, **mirrors(registry))
    assert again.returncode == 0, again.stdout[-3000:]
    assert "changed=0" in again.stdout


def test_a_lab_comes_up_from_pulled_images(registry: Registry, home: dict[str, str]) -> None:
    given = mirrors(registry)
    node = [f"{NAME}-control-plane", "ctr", "--namespace", "k8s.io", "images"]
    # The workloads that the lab starts; the variants of ratings and details would take the same path.
    workloads = [f"registry.istio.io/{n}" for n in OFFICIAL if not re.search("ratings-v-|ratings-v2|details-v2|mysqldb", n)]
    given["kind_cluster_load_images"] = workloads

    def held() -> set[str]:
        return set(podman("exec", *node, "ls", "--quiet").split())

    try:
        made = lab.playbook("create_cluster.yml", home, **given)
        assert made.returncode == 0, made.stdout[-3000:]
        # An official node image has none of them, so they are removed from this one, which was built here.
        podman("exec", *node, "rm", "--sync", *workloads)
        assert not held() & set(workloads)
        done = lab.playbook("site.yml", home, **given)
        assert done.returncode == 0, done.stdout[-3000:]
        assert held() >= set(workloads)
        # The node itself pulls other images that a pod needs from the mirror.
        (extra,) = (f"registry.istio.io/{n}" for n in OFFICIAL if "details-v2" in n)
        podman("exec", *node, "rm", "--sync", extra)
        there = Path(home["XDG_STATE_HOME"]) / "istio-lab" / NAME / "kubeconfig"
        lab.kubectl("run", "extra", f"--image={extra}", kubeconfig=there)
        lab.kubectl("wait", "--for=condition=Ready", "pod/extra", "--timeout=120s", kubeconfig=there)
        assert extra in held()
        port = (Path(home["XDG_STATE_HOME"]) / "istio-lab" / NAME / "gateway_port").read_text().strip()
        assert "<title>Simple Bookstore App</title>" in requests.get(f"http://127.0.0.1:{port}/productpage", timeout=10).text
        again = lab.playbook("site.yml", home, **given)
        assert "changed=0" in again.stdout, again.stdout[-3000:]
    finally:
        removed = lab.playbook("destroy_lab.yml", home, lab_name=NAME)
    assert removed.returncode == 0, removed.stdout[-3000:]


def test_an_unreachable_mirror_is_named_with_the_fix(tmp_path: Path) -> None:
    home = {"XDG_STATE_HOME": str(tmp_path)}
    none = "127.0.0.1:9/none"
    done = lab.playbook(
        "build_artifacts.yml", home, lab_name=NAME, image_source="pull", images_hub_mirror=none, images_bookinfo_version="0.0.0"
    )
    assert done.returncode != 0
    assert "127.0.0.1:9/none/examples-bookinfo-productpage-v1:0.0.0 could not be pulled" in lab.words(done.stdout)
    assert "set a mirror or image_source: build" in lab.words(done.stdout)


def test_an_interrupted_image_build_tags_nothing(tmp_path: Path) -> None:
    # A command that is unique to this run, so that nothing from an earlier run in the store or layer cache matches.
    name, key = f"localhost/istio-lab/{lab.NAME}-cut-off", hashlib.sha256(str(time.time_ns()).encode()).hexdigest()[:16]
    base = podman("image", "ls", "--filter", "reference=localhost/istio-lab/base", "--format", "{{.ID}}").split()[0]
    context, wait, log = tmp_path / "context", tmp_path / "wait", tmp_path / "log"
    context.mkdir()
    wait.mkdir()
    (wait / "long").touch()
    (context / "Containerfile").write_text(
        f"FROM {base}\nRUN echo {key}; if [ -e /wait/long ]; then sleep 300; fi; echo done >/done\n"
    )
    given = {"name": name, "key": key, "context": str(context), "volumes": {str(wait): "/wait"}, "log": str(log)}
    ansible = [str(lab.PROJECT / ".venv/bin/ansible"), "localhost", "-m", "keyed_image", "-a", json.dumps(given)]
    environment = {**os.environ, "ANSIBLE_CONFIG": str(lab.PROJECT / "ansible.cfg")}

    def begun() -> bool:
        return log.exists() and f"RUN echo {key}" in log.read_text()

    with open(tmp_path / "said", "w") as said:
        run = subprocess.Popen(
            ansible,
            cwd=lab.PROJECT,
            env=environment,
            stdout=said,
            stderr=said,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
    try:
        # A busy disk may delay podman for a minute; the loop ends when the build does.
        until = time.monotonic() + 300
        while not begun() and run.poll() is None and time.monotonic() < until:
            time.sleep(0.2)
        assert begun(), f"the build did not begin: {(tmp_path / 'said').read_text()} {log.read_text() if log.exists() else ''}"
        time.sleep(1)
        os.killpg(run.pid, signal.SIGKILL)
        run.wait(timeout=20)
        assert not in_store(f"{name}:{key}")
        (wait / "long").unlink()
        done = subprocess.run(
            ansible, cwd=lab.PROJECT, env=environment, capture_output=True, text=True, check=False, timeout=300
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert in_store(f"{name}:{key}")
    finally:
        for pid in processes(f"echo {key}"):  # processes of the interrupted build
            os.kill(pid, signal.SIGKILL)
        podman("rmi", "--force", "--ignore", f"{name}:{key}")
