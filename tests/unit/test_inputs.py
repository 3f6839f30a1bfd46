"""Bad input, refused by the real playbook with the variable, what was given, and what is accepted."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

PROJECT = Path(__file__).resolve().parents[2]


def plugin(kind: str, name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"lab_{kind}_{name}", PROJECT / "plugins" / kind / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look up their module
    spec.loader.exec_module(module)
    return module


check_inputs = plugin("action", "check_inputs")
check_host = plugin("action", "check_host")

BAD: list[tuple[dict[str, Any], str, str]] = [
    ({"image_source": "bild"}, "image_source", "one of: pull, build, auto"),
    ({"image_source": ["build"]}, "image_source", "one of: pull, build, auto"),
    ({"image_sorce": "build"}, "image_sorce", "did you mean image_source"),
    ({"lab_name": "My Lab"}, "lab_name", "lower-case"),
    ({"lab_name": ""}, "lab_name", "lower-case"),
    ({"lab_architecture": "riscv64"}, "lab_architecture", "one of: amd64, arm64"),
    ({"lab_engine": "containerd"}, "lab_engine", "one of: podman, docker"),
    ({"lab_nmae": "x"}, "lab_nmae", "did you mean lab_name"),
    ({"kind_cluster_nodes": "two"}, "kind_cluster_nodes", "one of: 1, 2, 3, 4, 5"),
    ({"kind_cluster_nodes": 0}, "kind_cluster_nodes", "one of: 1, 2, 3, 4, 5"),
    ({"kind_cluster_nods": 2}, "kind_cluster_nods", "did you mean kind_cluster_nodes"),
    ({"kind_cluster_gateway_port": 70000}, "kind_cluster_gateway_port", "0 to 65535"),
    ({"kind_cluster_gateway_port": "http"}, "kind_cluster_gateway_port", "type int"),
    ({"kind_cluster_engine": "lxc"}, "kind_cluster_engine", "one of: podman"),
    ({"kind_cluster_load_images": "one"}, "kind_cluster_load_images", "type list"),
    ({"kind_cluster_image": {"a": 1}}, "kind_cluster_image", "type str"),
    ({"container_engine_instal": True}, "container_engine_instal", "did you mean container_engine_install"),
    ({"container_engine_install": "perhaps"}, "container_engine_install", "type bool"),
    ({"istio_profile": "dmeo"}, "istio_profile", "one of: demo, default, minimal"),
    ({"istio_outbound_policy": "DENY"}, "istio_outbound_policy", "one of: REGISTRY_ONLY, ALLOW_ANY"),
    ({"istio_gateway_node_port": 80}, "istio_gateway_node_port", "30000 to 32767"),
    ({"istio_verison": "1.31.1"}, "istio_verison", "did you mean istio_version"),
    ({"samples_timeout": "soon"}, "samples_timeout", "type int"),
    ({"samples_gateway_ulr": "x"}, "samples_gateway_ulr", "did you mean samples_gateway_url"),
    ({"lab_variant": "contrl"}, "lab_variant", "one of: policy, control"),
    ({"loadtest_users": 0}, "loadtest_users", "1 to 500"),
    ({"loadtest_processes": 99}, "loadtest_processes", "one of: 1, 2, 3, 4, 8"),
    ({"lab_entry": ""}, "lab_entry", "make catalogue"),
    ({"loadtest_seed": [1]}, "loadtest_seed", "type int"),
    ({"nodes": 2}, "nodes", "no such variable"),
]


@pytest.mark.parametrize(("given", "variable", "accepted"), BAD, ids=[f"{v}={json.dumps(g[v])}" for g, v, _ in BAD])
def test_bad_variable_is_refused_before_anything_is_changed(
    given: dict[str, Any], variable: str, accepted: str, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "ansible", "playbook", "-i", "inventories/kind", "-e", json.dumps(given)]
    environment = {
        **os.environ, "XDG_STATE_HOME": str(tmp_path / "state"), "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "ANSIBLE_CONFIG": str(PROJECT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1", "COLUMNS": "2000",
    }  # fmt: skip
    done = subprocess.run(
        [*command, "playbooks/create_cluster.yml"],
        capture_output=True, text=True, check=False, cwd=PROJECT, env=environment, timeout=60,
    )  # fmt: skip
    lines = [line for line in (done.stdout + done.stderr).splitlines() if line.startswith("[ERROR]")]
    assert done.returncode != 0
    assert lines, done.stdout
    assert f"{variable}: " in lines[0]
    assert accepted in lines[0]
    assert "nothing was changed" in lines[0]
    home = tmp_path / "state"  # made for the lab's lock, as ~/.local/state is
    assert [path for path in tmp_path.rglob("*") if path != home] == [], "something was written"


HOST = check_host.Host(uid=0, disk_gib=100.0, memory_gib=20.0, missing_tools=(), busy_ports=())


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"uid": 1000}, "run it as root"),
        ({"disk_gib": 3.0}, "3.0 GiB of disk are free; accepted: 25 or more"),
        ({"memory_gib": 2.0}, "2.0 GiB of memory are available; accepted: 6 or more"),
        ({"missing_tools": ("tar",)}, "tar: not on PATH"),
        ({"silent_engine": "no socket"}, "lab_engine: docker was given, but its daemon does not answer (no socket)"),
        ({"busy_ports": (8080,)}, "kind_cluster_gateway_port: 8080 is in use"),
    ],
)
def test_an_unsuitable_host_is_refused(changes: dict[str, Any], words: str) -> None:
    errors = check_host.host_errors(check_host.Host(**{**vars(HOST), **changes}), 25, 6)
    assert len(errors) == 1
    assert words in errors[0]


def test_a_suitable_host_is_accepted() -> None:
    assert check_host.host_errors(HOST, 25, 6) == []


def test_a_listening_port_is_seen_as_busy() -> None:
    import socket

    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        assert check_host.port_is_busy(server.getsockname()[1])
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    assert not check_host.port_is_busy(port)
