"""Action ``check_host``: can this host carry the lab? Asked before anything is changed."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

GIB = 1024**3


@dataclass(frozen=True)
class Host:
    """What was found: user id, free disk and available memory in GiB, commands on PATH, ports in use."""

    uid: int
    disk_gib: float
    memory_gib: float
    missing_tools: tuple[str, ...]
    busy_ports: tuple[int, ...]
    silent_engine: str = ""
    """What docker said instead of its version; empty when it answers or is not asked for."""


def host_errors(host: Host, disk_gib: float, memory_gib: float) -> list[str]:
    """What is wrong with ``host``, each with the way out; empty when it will do."""
    errors = []
    if host.uid != 0:
        errors.append(f"user: uid {host.uid} runs this; kind's nodes need root: run it as root (sudo make lab)")
    if host.disk_gib < disk_gib:
        errors.append(
            f"lab_min_disk_gib: {host.disk_gib:.1f} GiB of disk are free; accepted: {disk_gib:g} or more; "
            "free some or point XDG_CACHE_HOME at a larger disk"
        )
    if host.memory_gib < memory_gib:
        errors.append(
            f"lab_min_memory_gib: {host.memory_gib:.1f} GiB of memory are available; accepted: {memory_gib:g} or more; "
            "stop something else or take a larger host"
        )
    errors += [f"{tool}: not on PATH; install Debian's package that has it" for tool in host.missing_tools]
    errors += [
        f"kind_cluster_gateway_port: {port} is in use on 127.0.0.1; accepted: a free port, or 0 to have one chosen"
        for port in host.busy_ports
    ]
    if host.silent_engine:
        errors.append(
            f"lab_engine: docker was given, but its daemon does not answer ({host.silent_engine}); "
            "accepted: podman, or docker with its daemon running"
        )
    return errors


def port_is_busy(port: int) -> bool:
    """Whether something listens on 127.0.0.1:``port`` (binding it fails)."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False


def silence_of(engine: str) -> str:
    """Why docker does not answer; '' when it does, and for podman, which has no daemon and is installed by the lab."""
    if engine != "docker":
        return ""
    try:
        done = subprocess.run(
            ["docker", "version", "--format", "{{.Server.Version}}"], capture_output=True, text=True, check=False, timeout=20
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return "" if done.returncode == 0 else (done.stderr.strip().splitlines() or ["no output"])[-1]


def existing_parent(path: Path) -> Path:
    """The nearest folder at or above ``path`` that exists."""
    while not path.exists():
        path = path.parent
    return path


def look(args: dict[str, Any]) -> Host:
    """Read this host."""
    memory = next(
        int(line.split()[1]) for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemAvailable")
    )
    return Host(
        uid=os.geteuid(),
        disk_gib=shutil.disk_usage(existing_parent(Path(args["disk"]))).free / GIB,
        memory_gib=memory * 1024 / GIB,
        missing_tools=tuple(tool for tool in args["tools"] if shutil.which(tool) is None),
        busy_ports=tuple(int(p) for p in args["ports"] if int(p) and port_is_busy(int(p))),
        silent_engine=silence_of(args["engine"]),
    )


class ActionModule(ActionBase):
    """Runs on the controller; changes nothing."""

    TRANSFERS_FILES = False

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """:raises AnsibleActionFail: one line that names what is missing and the fix"""
        result = super().run(tmp, task_vars)
        args = self._task.args
        errors = host_errors(look(args), float(args["disk_gib"]), float(args["memory_gib"]))
        if errors:
            raise AnsibleActionFail(f"{'; '.join(errors)}; nothing was changed")
        return {**result, "changed": False}
