"""The way to a gateway that has no address: ports of 127.0.0.1, forwarded to its Service until they are given up.

``forward.py start STATE KUBECONFIG`` writes STATE/gateway.json and prints ``started`` or ``kept``; ``forward.py stop STATE``
prints ``stopped`` where one ran. ``kubectl port-forward`` keeps to one pod, and ends with it or when a connection is refused
there; a process of its own (``run``) starts it anew.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from pathlib import Path

# Ports of the Service, by the names that gateway.json has for them.
PORTS = {"http": 80, "https": 443, "tcp": 31400}
SECONDS_TO_START = 30.0
SECONDS_TO_STOP = 10.0
PAUSE_SECONDS = 0.2


def running(state: Path) -> int:
    """The process id of this lab's forward, 0 when there is none: an id alone may be another's after a reboot."""
    try:
        pid = int((state / "forward.pid").read_text())
        told = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except (OSError, ValueError):
        return 0
    return pid if [b"run", os.fsencode(state)] == told[2:4] else 0


def chosen(kept: Iterable[int]) -> list[int]:
    """A free port for each of PORTS: those that were ``kept``, unless somebody has taken one meanwhile."""
    with contextlib.ExitStack() as stack:
        try:
            held = [stack.enter_context(socket.create_server(("127.0.0.1", port))) for port in kept]
        except OSError:
            held = []
        while len(held) < len(PORTS):
            held.append(stack.enter_context(socket.create_server(("127.0.0.1", 0))))
        return [server.getsockname()[1] for server in held]


def listens(port: int) -> bool:
    """Whether somebody listens on a port of 127.0.0.1; a connection would end the forward of a port that nobody serves yet."""
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError:
        return True
    return False


def start(state: Path, kubeconfig: str) -> int:
    """0 when the gateway's ports are there, with what was done on standard output; else 1, and why on standard error."""
    file = state / "gateway.json"
    before = json.loads(file.read_text()) if file.exists() else {}
    ours = before.get("by") == "port-forward"
    if ours and running(state):
        print("kept")
        return 0
    ports = chosen([int(before[name].rpartition(":")[2]) for name in PORTS] if ours else [])
    log = state / "log/forward.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a") as told:
        command = [sys.executable, str(Path(__file__).resolve()), "run", str(state), kubeconfig, *map(str, ports)]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=told, stderr=told, start_new_session=True)
    (state / "forward.pid").write_text(f"{process.pid}\n")
    until = time.monotonic() + SECONDS_TO_START
    while not all(map(listens, ports)):
        if process.poll() is not None or time.monotonic() > until:
            stop(state)
            last = (log.read_text().strip().splitlines() or ["nothing was told"])[-1]
            print(f"the gateway's ports are not forwarded: {last}; log: {log}", file=sys.stderr)
            return 1
        time.sleep(0.2)
    at = {name: f"127.0.0.1:{port}" for name, port in zip(PORTS, ports, strict=True)}
    partial = file.with_suffix(".partial")
    partial.touch(mode=0o600)
    partial.write_text(json.dumps({**at, "http": f"http://{at['http']}", "by": "port-forward"}) + "\n")
    partial.replace(file)
    print("started")
    return 0


def stop(state: Path) -> int:
    """0; the forward and its kubectl are one process group, which is gone at the end."""
    if pid := running(state):
        until = time.monotonic() + SECONDS_TO_STOP
        os.killpg(pid, signal.SIGTERM)
        while running(state):
            if time.monotonic() > until:
                os.killpg(pid, signal.SIGKILL)
            time.sleep(0.05)
        print("stopped")
    (state / "forward.pid").unlink(missing_ok=True)
    return 0


def run(kubeconfig: str, ports: list[str]) -> int:
    """Forwards, for as long as the kubeconfig is there: a lab's folder that is removed takes its forward along.

    Each port by a kubectl of its own: one that is not served ends with every connection, and would take the others along.
    """
    kubectl = ["kubectl", "--kubeconfig", kubeconfig, "--namespace", "istio-system", "port-forward", "--address", "127.0.0.1"]

    def keep(here: str, there: int) -> None:
        while Path(kubeconfig).exists():
            subprocess.run(
                [*kubectl, "service/istio-ingressgateway", f"{here}:{there}"], stdout=subprocess.DEVNULL, check=False
            )
            time.sleep(PAUSE_SECONDS)

    threads = [threading.Thread(target=keep, args=pair) for pair in zip(ports, PORTS.values(), strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return 0


def main() -> int:
    """The exit status of what the first argument asks for."""
    verb, state, *rest = sys.argv[1:]
    if verb == "start":
        return start(Path(state), rest[0])
    return run(rest[0], rest[1:]) if verb == "run" else stop(Path(state))


if __name__ == "__main__":
    sys.exit(main())
