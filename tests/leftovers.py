"""What an interrupted run of the tests left on this host, found by the names that tests give and by nothing broader."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterable
from pathlib import Path

from tests import lab

SUFFIXES = ("", "-ack", "-bare", "-docker", "-existing", "-foreign", "-large", "-other", "-pull", "-two")
"""Of every lab and cluster that tests make, behind the name of the test lab."""
CONTAINERS = ("-ratings-mongodb",)
"""Of containers that are in none of them."""
TEMPORARY = lab.PROJECT / "build/tmp"
"""Where pytest keeps temporary folders in a run of the gate: what runs there is a test's."""
HOSTS = Path("/etc/hosts")


def names() -> list[str]:
    """Every lab and cluster that tests make."""
    return [lab.NAME + suffix for suffix in SUFFIXES]


def belongs(command: str) -> bool:
    """Whether a command line is that of a process which tests started: it names a test lab's folder, or a test's own."""
    ours = [f"/istio-lab/{name}/" for name in names()] + [f"lab_name={name} " for name in names()]
    return any(words in f"{command} " for words in [*ours, f"{TEMPORARY}/"])


def processes() -> dict[int, str]:
    """Processes of tests: id -> command line."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
        except OSError:  # it has ended
            continue
        if belongs(command) and int(folder.name) not in (os.getpid(), os.getppid()):
            found[int(folder.name)] = command
    return found


def containers(engine: str) -> list[str]:
    """Ids of the tests' containers; none where the engine is not there or does not answer."""
    if shutil.which(engine) is None:
        return []
    filters = [f"label={label}={name}" for name in names() for label in ("io.x-k8s.kind.cluster", "istio-lab.lab")]
    filters += [f"name=^{lab.NAME}{suffix}$" for suffix in CONTAINERS]
    found: set[str] = set()
    for one in filters:
        listed = subprocess.run(
            [engine, "ps", "--all", "--quiet", "--filter", one], capture_output=True, text=True, check=False
        )
        found |= set(listed.stdout.split())
    return sorted(found)


def without(lines: Iterable[str]) -> list[str]:
    """Lines of a hosts file but for those that a test lab has put there."""
    return [line for line in lines if not any(f"# istio-lab {name} " in f"{line} " for name in names())]


def remove() -> list[str]:
    """Remove all of it; what that was, in words."""
    done = []
    for pid, command in processes().items():
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
        done.append(f"process {pid}: {command[:100]}")
    for engine in ("podman", "docker"):
        if ids := containers(engine):
            subprocess.run([engine, "rm", "--force", "--volumes", *ids], capture_output=True, text=True, check=True)
            done.append(f"{len(ids)} containers of {engine}")
    for folder in [*(lab.STATE.parent / name for name in names()), TEMPORARY, lab.PROJECT / "build/molecule"]:
        if folder.exists():
            shutil.rmtree(folder)
            done.append(str(folder))
    lines = HOSTS.read_text().splitlines()
    if (kept := without(lines)) != lines:
        HOSTS.write_text("\n".join(kept) + "\n")
        done.append(f"lines of {HOSTS}")
    return done
