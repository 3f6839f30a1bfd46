"""The cluster as created by the role, and its recovery."""

from __future__ import annotations

import json
import socket
import subprocess
import tomllib

from tests import lab

IMAGE = "registry.istio.io/release/examples-bookinfo-productpage-v1:1.20.3"
"""In the engine's store, regardless of the image source: the samples' external services run from it."""


def engine(*arguments: str) -> str:
    return subprocess.run(["podman", *arguments], capture_output=True, text=True, check=True).stdout


def test_kubeconfig_is_the_labs_own_and_private() -> None:
    assert lab.KUBECONFIG.stat().st_mode & 0o777 == 0o600


def test_every_node_is_ready() -> None:
    nodes = json.loads(lab.kubectl("get", "nodes", "-o", "json"))["items"]
    ready = {n["metadata"]["name"]: c["status"] for n in nodes for c in n["status"]["conditions"] if c["type"] == "Ready"}
    assert ready
    assert set(ready.values()) == {"True"}


def test_ports_are_published_on_loopback_only() -> None:
    ports = engine("ps", "--filter", f"label=io.x-k8s.kind.cluster={lab.NAME}", "--format", "{{.Ports}}")
    published = [p for p in ports.replace("\n", ",").split(",") if "->" in p]
    assert published
    assert all(p.strip().startswith("127.0.0.1:") for p in published)


def test_the_gateways_port_is_served() -> None:
    with socket.create_connection(("127.0.0.1", int((lab.STATE / "gateway_port").read_text())), timeout=5):
        pass


def test_the_node_holds_the_images_as_they_were_built() -> None:
    """Same image ids as in the engine's store: comparing only names would miss an image from an older build."""
    ctr = ["exec", f"{lab.NAME}-control-plane", "ctr", "--namespace", "k8s.io"]
    listed = [line.split() for line in engine(*ctr, "images", "ls").splitlines()]
    held = {line[0]: line[2] for line in listed if line[0].startswith(("registry.", "localhost/"))}
    assert len([name for name in held if name.startswith("registry.istio.io/release/")]) >= 14
    for name, digest in held.items():
        manifest = json.loads(engine(*ctr, "content", "get", digest))
        assert (
            manifest["config"]["digest"].removeprefix("sha256:") == engine("image", "inspect", "-f", "{{.Id}}", name).strip()
        ), name


def test_a_node_has_capacity_for_all_threads() -> None:
    """Telemetry and all samples together reach the engine's default limit for one container, 2048."""
    script = "for _ in {1..2500}; do sleep 20 & done; jobs -p | wc -l; kill $(jobs -p)"
    assert engine("exec", f"{lab.NAME}-control-plane", "bash", "-c", script).strip() == "2500"


def test_shims_are_not_polled_every_second() -> None:
    settings = tomllib.loads(engine("exec", f"{lab.NAME}-control-plane", "containerd", "config", "dump"))
    assert settings["plugins"]["io.containerd.cri.v1.runtime"]["stats_collect_period"] == "10s"


def test_only_a_new_lab_needs_host_capacity() -> None:
    there = lab.playbook("create_cluster.yml", lab_min_disk_gib=100_000, lab_min_memory_gib=1000)
    assert there.returncode == 0, there.stdout[-3000:]
    assert "changed=0" in there.stdout
    name = f"{lab.NAME}-large"
    made = lab.playbook("create_cluster.yml", lab_name=name, lab_min_disk_gib=100_000, lab_min_memory_gib=1000)
    assert made.returncode != 0
    assert "lab_min_disk_gib: " in made.stdout
    assert "lab_min_memory_gib: " in made.stdout
    assert not (lab.STATE.parent / name).exists()


def test_stopped_nodes_are_found_started_and_the_page_comes_back() -> None:
    engine("stop", "--time", "20", f"{lab.NAME}-control-plane")
    done = lab.playbook("site.yml")
    assert done.returncode == 0, done.stdout[-3000:]
    assert "start (stopped:" in lab.words(done.stdout)


def test_an_interrupted_creation_is_replaced_not_trusted() -> None:
    # Tests only the decision (check mode): replacing the shared cluster would break the other scenarios.
    record = lab.STATE / "cluster.json"
    kept = record.read_text()
    record.unlink()
    try:
        done = lab.playbook("--check create_cluster.yml")
    finally:
        record.write_text(kept)
    assert "replace (an interrupted creation left half a cluster behind)" in lab.words(done.stdout), done.stdout[-2000:]


def test_a_lost_kubeconfig_is_written_again() -> None:
    node = ["inspect", "--format", "{{.Id}}", f"{lab.NAME}-control-plane"]
    before = engine(*node)
    lab.KUBECONFIG.unlink()
    done = lab.playbook("create_cluster.yml")
    assert "repair (its kubeconfig was gone)" in lab.words(done.stdout), done.stdout[-2000:]
    assert engine(*node) == before
    assert lab.KUBECONFIG.stat().st_mode & 0o777 == 0o600
    assert "Ready" in lab.kubectl("get", "nodes")


def test_another_cluster_is_refused_and_keeps_running() -> None:
    """A fake node of another cluster: for the engine, a cluster is a label."""
    name = f"{lab.NAME}-other"
    node = ["--name", f"{name}-control-plane", "--label", f"io.x-k8s.kind.cluster={name}"]
    made = engine("run", "--detach", "--pull", "never", "--stop-timeout", "1", *node, IMAGE, "sleep", "infinity").strip()
    before = lab.traces()
    try:
        for playbook in ("site.yml", "destroy_lab.yml"):
            done = lab.playbook(playbook, lab_name=name)
            assert done.returncode != 0, done.stdout[-2000:]
            assert f"a kind cluster {name} exists in podman ({name}-control-plane) that was not made by this lab" in lab.words(
                done.stdout
            )
        assert engine("inspect", "--format", "{{.Id}} {{.State.Status}}", f"{name}-control-plane").split() == [made, "running"]
        after = lab.traces()
        assert after - before == set()
        # Helper processes of the engine (conmon) end a while after the command.
        assert {trace for trace in before - after if not trace.startswith("process ")} == set()
    finally:
        engine("rm", "--force", "--volumes", made)
