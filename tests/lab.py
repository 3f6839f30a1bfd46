"""Helpers for tests on a live lab: its state folder, kubectl, and its pods as testinfra hosts."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import testinfra

from loadtests.entries import entry, policy
from loadtests.mesh.cluster import Cluster

PROJECT = Path(__file__).resolve().parent.parent
NAME = os.environ.get("LAB_TEST_NAME", "istio-lab-test")
STATE = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state") / "istio-lab" / NAME
KUBECONFIG = STATE / "kubeconfig"
SECONDS_TO_HOLD = 60.0
"""How long role traffic_policy waits for the proxies to be in sync."""
# As in `make env`, also for a playbook with a separate state folder.
os.environ["PATH"] = f"{STATE / 'bin'}:{os.environ['PATH']}"
if (STATE / "containers.conf").exists():
    os.environ["CONTAINERS_CONF"] = str(STATE / "containers.conf")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def gateway_address(kind: str) -> str:
    """HOST:PORT of the gateway's ``https`` or ``tcp`` port; the base URL for ``http``."""
    return str(json.loads((STATE / "gateway.json").read_text())[kind])


def gateway_url() -> str:
    return gateway_address("http")


def kubectl(*arguments: str, stdin: str | None = None, kubeconfig: Path = KUBECONFIG) -> str:
    command = ["kubectl", "--kubeconfig", str(kubeconfig), *arguments]
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False, timeout=180)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
    return done.stdout


def items(kind: str, namespace: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(kubectl("-n", namespace, "get", kind, "-o", "json"))["items"]
    return found


def pod_name(app: str, version: str = "v1", namespace: str = "bookinfo") -> str:
    return next(
        str(p["metadata"]["name"])
        for p in items("pods", namespace)
        if p["metadata"]["labels"].get("app") == app and p["metadata"]["labels"].get("version", version) == version
        if not p["metadata"].get("deletionTimestamp")
    )


def pod(app: str, container: str, version: str = "v1", namespace: str = "bookinfo") -> Any:
    name = pod_name(app, version, namespace)
    return testinfra.get_host(f"kubectl://{name}?namespace={namespace}&container={container}&kubeconfig={KUBECONFIG}")


def failed_calls(app: str) -> str:
    """The last calls of an app of Bookinfo that failed, as its proxy logged them: why a client had no proper answer."""
    log = kubectl("-n", "bookinfo", "logs", f"--selector=app={app}", "--container=istio-proxy", "--tail=2000")
    return "\n".join([line for line in log.splitlines() if re.search(r'HTTP/\S+" (?:0|5\d\d) ', line)][-20:])


def playbook(name: str, environment: dict[str, str] | None = None, **variables: object) -> subprocess.CompletedProcess[str]:
    """Run a playbook as a user does, with errors in its output; ``lab_name`` is the test lab's by default."""
    command, settings = _command(name, environment or {}, variables)
    return subprocess.run(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        cwd=PROJECT,
        timeout=2400,
        env=settings,
    )


def start_playbook(name: str, environment: dict[str, str], **variables: object) -> subprocess.Popen[str]:
    """Start a playbook in its own process group."""
    command, settings = _command(name, environment, variables)
    quiet = subprocess.DEVNULL
    return subprocess.Popen(command, cwd=PROJECT, env=settings, stdout=quiet, stderr=quiet, text=True, start_new_session=True)


def apply(name: str, variant: str = "policy") -> None:
    """Apply a Bookinfo entry with the code that apply_policy.yml runs; the playbook takes longer and has separate tests."""
    cluster = Cluster(str(KUBECONFIG), entry.load(name).question.namespace)
    assert cluster.namespace == "bookinfo", "another sample would have to be deployed first"
    policy.put(cluster, name, variant, entry.CATALOGUE)
    if variant == "policy":
        assert policy.wait(cluster, name, SECONDS_TO_HOLD) == []


def _command(name: str, environment: dict[str, str], variables: dict[str, object]) -> tuple[list[str], dict[str, str]]:
    given = json.dumps({"lab_name": NAME, **variables})
    plain = {"ANSIBLE_CONFIG": str(PROJECT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1", "ANSIBLE_FORCE_COLOR": "0"}
    command = [str(PROJECT / ".venv/bin/ansible-playbook"), "-e", given, *options(name)]
    return command, {**os.environ, **plain, **environment}


def browser_tests(path: str) -> subprocess.CompletedProcess[str]:
    """Run page tests on this lab in a separate process, because playwright and gevent do not mix."""
    command = [sys.executable, "-m", "pytest", "-q", path]
    if scenario := os.environ.get("MOLECULE_SCENARIO_NAME"):
        command.append(f"--junitxml={PROJECT / f'build/junit-{scenario}-{Path(path).stem}.xml'}")
    settings = {**os.environ, "LAB_TEST_NAME": NAME}
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=PROJECT, timeout=600, env=settings)


def options(name: str) -> list[str]:
    """Split off options before the playbook's name: ``--check create_cluster.yml``."""
    *flags, file = name.split()
    return [*flags, str(PROJECT / "playbooks" / file)]


def words(text: str) -> str:
    """Undo Ansible's wrapping of long messages."""
    return " ".join(text.split())


def traces() -> set[str]:
    """Everything on this host that a lab could leave behind: containers, networks, volumes, processes, folders, hosts."""
    found: set[str] = set()
    engine = shutil.which("podman")  # missing before the first lab on a new machine
    for kind, command in {
        "container": ["ps", "--all", "--format", "{{.Names}}"],
        "network": ["network", "ls", "--format", "{{.Name}}"],
        "volume": ["volume", "ls", "--quiet"],
    }.items():
        listed = subprocess.run([engine, *command], capture_output=True, text=True, check=True).stdout if engine else ""
        # The network podman belongs to the engine.
        found |= {f"{kind} {line}" for line in listed.split() if (kind, line) != ("network", "podman")}
    # Only names that a lab starts: other processes of the host may come and go.
    processes = subprocess.run(["pgrep", "-a", "conmon|locust|kind"], capture_output=True, text=True, check=False).stdout
    found |= {f"process {line.split(maxsplit=1)[0]}" for line in processes.splitlines()}
    found |= {f"folder {folder.name}" for folder in STATE.parent.glob("*")}
    return found | {f"hosts {line}" for line in Path("/etc/hosts").read_text().splitlines()}
