"""Leftovers of an interrupted run of the gate on this host, identified only by features unique to its tests."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests import lab

SUFFIXES = ("", "-ack", "-bare", "-docker", "-existing", "-foreign", "-large", "-other", "-pull", "-two")
"""Suffixes of the labs and clusters that tests create, after the test lab's name."""
CONTAINERS = ("-ratings-mongodb",)
"""Prefixes of containers outside those labs."""
VARIABLE = "LAB_TEST_RUN"
"""Set by the gate to the test lab's name for everything that it starts; nothing else has it."""
SPARED = ("aardvark-dns", "apt-get", "catatonit", "conmon", "dpkg", "netavark")
"""Commands that are left alone although a test started them: engines serve other labs too, and packages install as a whole."""
TEMPORARY = lab.PROJECT / "build/tmp"
"""pytest's temporary folders in a run of the gate."""
FOLDERS = (TEMPORARY, lab.PROJECT / "build/molecule", lab.PROJECT / "build/bare")
HOSTS = Path("/etc/hosts")
LOCK = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "istio-lab" / f"{lab.NAME}.lock"
SECONDS = 20.0


class RunningError(Exception):
    """Another run of the gate uses the same test lab; the message is one line."""


@contextmanager
def only_run() -> Iterator[None]:
    """Lock this test lab against other runs; the lock ends with this process in any case.

    :raises RunningError: if there is another run
    """
    LOCK.parent.mkdir(parents=True, exist_ok=True)
    with LOCK.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RunningError(
                f"LAB_TEST_NAME: {lab.NAME} is in use by another make test; accepted: another name, or this one when that has "
                "ended; nothing was changed"
            ) from error
        yield


def names() -> list[str]:
    """Names of all labs and clusters that tests create."""
    return [lab.NAME + suffix for suffix in SUFFIXES]


def belongs(command: str, environment: bytes) -> bool:
    """Whether a run of the gate started a process.

    :param command: its short name, as ``ps -o comm`` has it
    :param environment: as /proc has it
    """
    return f"{VARIABLE}={lab.NAME}".encode() in environment.split(b"\0") and command not in SPARED


def processes() -> dict[int, str]:
    """Running processes that a run of the gate started: id -> command line."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if not belongs((folder / "comm").read_text().strip(), (folder / "environ").read_bytes()):
                continue
            line = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
        except OSError:  # it has ended, or belongs to another user
            continue
        if line and int(folder.name) != os.getpid():  # without a command line, it is a zombie
            found[int(folder.name)] = line
    return found


def end_processes() -> list[str]:
    """End all of them, including new children, and return a description of each.

    :raises TimeoutError: if some go on all the same
    """
    done: dict[int, str] = {}
    until = time.monotonic() + SECONDS
    while found := processes():
        if time.monotonic() > until:
            raise TimeoutError(f"processes of an earlier run do not end: {', '.join(map(str, found))}")
        for pid, line in found.items():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
            done[pid] = line
        time.sleep(0.1)
    return [f"process {pid}: {line[:100]}" for pid, line in done.items()]


def engine_says(engine: str, *arguments: str) -> list[str]:
    """The words that a container engine prints; empty if it fails."""
    listed = subprocess.run([engine, *arguments], capture_output=True, text=True, check=False)
    return listed.stdout.split() if listed.returncode == 0 else []


def containers(engine: str) -> list[str]:
    """Ids of the containers that tests created."""
    filters = [f"label={label}={name}" for name in names() for label in ("io.x-k8s.kind.cluster", "istio-lab.lab")]
    filters += [f"name=^{lab.NAME}{suffix}$" for suffix in CONTAINERS]
    return sorted({one for by in filters for one in engine_says(engine, "ps", "--all", "--quiet", "--filter", by)})


def remove_containers(engine: str) -> list[str]:
    """Remove them with their volumes, and kind's network if a lab created it and no cluster uses it; returns descriptions."""
    if shutil.which(engine) is None or not (ids := containers(engine)):
        return []
    subprocess.run([engine, "rm", "--force", "--volumes", *ids], capture_output=True, text=True, check=True)
    made = engine_says(engine, "network", "inspect", "--format", '{{index .Labels "istio-lab.network"}}', "kind") == ["made"]
    if made and not engine_says(engine, "ps", "--all", "--quiet", "--filter", "label=io.x-k8s.kind.cluster"):
        subprocess.run([engine, "network", "rm", "kind"], capture_output=True, check=False)  # fails while it is in use
    return [f"{len(ids)} containers of {engine}"]


def without(lines: Iterable[str]) -> list[str]:
    """Lines of a hosts file, without those of test labs."""
    return [line for line in lines if not any(f"# istio-lab {name} " in f"{line} " for name in names())]


def remove(*, folders: bool = True) -> list[str]:
    """Remove all leftovers and return descriptions.

    :param folders: whether temporary folders go too; what is in them may tell why a test failed
    """
    done = [*end_processes(), *remove_containers("podman"), *remove_containers("docker")]
    for folder in [*(lab.STATE.parent / name for name in names()), *(FOLDERS if folders else ())]:
        if folder.exists():
            shutil.rmtree(folder)
            done.append(str(folder))
    lines = HOSTS.read_text().splitlines()
    if (kept := without(lines)) != lines:
        HOSTS.write_text("\n".join(kept) + "\n")  # in place: in a container the file is a mount
        done.append(f"lines of {HOSTS}")
    return done
