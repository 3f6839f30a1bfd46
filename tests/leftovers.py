"""What an interrupted run of the gate left on this host, found by what only its tests have and by nothing broader."""

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
"""Of every lab and cluster that tests make, behind the name of the test lab."""
CONTAINERS = ("-ratings-mongodb",)
"""Of containers that are in none of them."""
VARIABLE = "LAB_TEST_RUN"
"""Set by the gate for whatever it starts, to the name of the test lab; nothing else has it."""
SPARED = ("aardvark-dns", "apt-get", "catatonit", "conmon", "dpkg", "netavark")
"""Commands that are left alone though a test started them: the engine's serve other labs too, and packages go in whole."""
TEMPORARY = lab.PROJECT / "build/tmp"
"""Where pytest keeps temporary folders in a run of the gate."""
FOLDERS = (TEMPORARY, lab.PROJECT / "build/molecule", lab.PROJECT / "build/bare")
HOSTS = Path("/etc/hosts")
LOCK = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "istio-lab" / f"{lab.NAME}.lock"
SECONDS = 20.0


class RunningError(Exception):
    """Another run of the gate has the same test lab; the message is one line."""


@contextmanager
def only_run() -> Iterator[None]:
    """Keep every other run away from this test lab; the lock goes with this process, however that ends.

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
    """Every lab and cluster that tests make."""
    return [lab.NAME + suffix for suffix in SUFFIXES]


def belongs(command: str, environment: bytes) -> bool:
    """Whether a process was started by a run of the gate.

    :param command: its short name, as ``ps -o comm`` has it
    :param environment: as /proc has it
    """
    return f"{VARIABLE}={lab.NAME}".encode() in environment.split(b"\0") and command not in SPARED


def processes() -> dict[int, str]:
    """Processes that a run of the gate started and that go on: id -> command line."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if not belongs((folder / "comm").read_text().strip(), (folder / "environ").read_bytes()):
                continue
            line = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
        except OSError:  # it has ended, or is another user's
            continue
        if line and int(folder.name) != os.getpid():  # one without has ended, but for its parent's notice
            found[int(folder.name)] = line
    return found


def end_processes() -> list[str]:
    """End them all, those included that they start meanwhile; which those were, in words.

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
    """The words that a container engine prints; none where it does not answer."""
    listed = subprocess.run([engine, *arguments], capture_output=True, text=True, check=False)
    return listed.stdout.split() if listed.returncode == 0 else []


def containers(engine: str) -> list[str]:
    """Ids of the tests' containers."""
    filters = [f"label={label}={name}" for name in names() for label in ("io.x-k8s.kind.cluster", "istio-lab.lab")]
    filters += [f"name=^{lab.NAME}{suffix}$" for suffix in CONTAINERS]
    return sorted({one for by in filters for one in engine_says(engine, "ps", "--all", "--quiet", "--filter", by)})


def remove_containers(engine: str) -> list[str]:
    """Remove them with their volumes, and the network of kind if a lab made it and no cluster is on it; how many, in words."""
    if shutil.which(engine) is None or not (ids := containers(engine)):
        return []
    subprocess.run([engine, "rm", "--force", "--volumes", *ids], capture_output=True, text=True, check=True)
    made = engine_says(engine, "network", "inspect", "--format", '{{index .Labels "istio-lab.network"}}', "kind") == ["made"]
    if made and not engine_says(engine, "ps", "--all", "--quiet", "--filter", "label=io.x-k8s.kind.cluster"):
        subprocess.run([engine, "network", "rm", "kind"], capture_output=True, check=False)  # it refuses while it is in use
    return [f"{len(ids)} containers of {engine}"]


def without(lines: Iterable[str]) -> list[str]:
    """Lines of a hosts file but for those that a test lab has put there."""
    return [line for line in lines if not any(f"# istio-lab {name} " in f"{line} " for name in names())]


def remove(*, folders: bool = True) -> list[str]:
    """Remove all of it; what that was, in words.

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
