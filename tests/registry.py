"""Debian's docker-registry for one test, reachable from this machine and from the nodes of its clusters."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import requests
import yaml

from tests import lab

SECONDS_TO_START = 20.0


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """HOST:PORT of a registry without a certificate, on this machine's address in kind's network; data in ``folder``."""
    network = subprocess.run(["podman", "network", "inspect", "kind"], capture_output=True, text=True, check=True).stdout
    gateway = next(subnet["gateway"] for subnet in json.loads(network)[0]["subnets"] if "." in subnet["gateway"])
    address = f"{gateway}:{lab.free_port()}"
    settings = {"version": 0.1, "storage": {"filesystem": {"rootdirectory": str(folder / "data")}}, "http": {"addr": address}}
    (folder / "config.yml").write_text(yaml.safe_dump(settings))
    with open(folder / "log", "w") as log:
        server = subprocess.Popen(["docker-registry", "serve", str(folder / "config.yml")], stdout=log, stderr=log)
        try:
            until = time.monotonic() + SECONDS_TO_START
            while not answers(address) and server.poll() is None and time.monotonic() < until:
                time.sleep(0.1)
            assert answers(address), (folder / "log").read_text()
            yield address
        finally:
            server.terminate()
            server.wait(timeout=20)


def answers(address: str) -> bool:
    """Whether the registry responds."""
    try:
        return requests.get(f"http://{address}/v2/", timeout=2).ok
    except requests.ConnectionError:
        return False
