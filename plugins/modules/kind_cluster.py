#!/usr/bin/python
"""Ansible module: a kind cluster that answers, kept, repaired or replaced as it needs."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: kind_cluster
short_description: Keeps, repairs, replaces or creates a kind cluster
description:
  - A cluster counts as whole only once its record was written, which happens when kind is done, its API answers and, if they
    are waited for, its nodes are Ready and its DNS answers; one without a record was interrupted and is replaced.
  - Stopped node containers (a reboot) are started again, and a lost kubeconfig is written again; if the API does not come back,
    the cluster is replaced.
  - The network of kind, which all clusters of an engine share, is locked until a new cluster's nodes are on it.
  - Nodes receive the proxies of this process's environment, but for one at a loopback address, which a node cannot reach.
  - Each node mounts the folder C(claim), which exists before the first of them does. A cluster of that name whose nodes do not
    mount it is somebody else's, whatever the lab's folder says - it is refused and left as it is.
options:
  name: {description: Name of the cluster., type: str, required: true}
  state: {description: Whether it shall exist., type: str, choices: [present, absent], default: present}
  config: {description: kind's configuration as YAML text., type: str, default: ""}
  config_copy: {description: 'File for a copy of the configuration, for people; made with mode 0600.', type: path}
  image: {description: Node image., type: str, default: ""}
  engine: {description: Container engine., type: str, choices: [podman, docker], default: podman}
  kubeconfig: {description: Kubeconfig of this cluster alone; made with mode 0600., type: path, required: true}
  record: {description: File that says of what a whole cluster was made., type: path, required: true}
  claim: {description: Folder that marks the nodes as this lab's; C(config) mounts it., type: path, required: true}
  log: {description: File for kind's output., type: path, required: true}
  timeout: {description: Seconds that the API and the nodes may take., type: int, default: 180}
  wait_for_nodes:
    description: Whether nodes of a new cluster shall be Ready as well, and its DNS.
    type: bool
    default: true
author: istio-lab developers
"""

EXAMPLES = r"""
- name: A cluster
  kind_cluster:
    name: istio-lab
    config: "{{ lookup('ansible.builtin.template', 'kind.yaml.j2') }}"
    image: localhost/istio-lab/node:0123456789abcdef
    kubeconfig: /root/.local/state/istio-lab/istio-lab/kubeconfig
    record: /root/.local/state/istio-lab/istio-lab/cluster.json
    claim: /root/.local/state/istio-lab/istio-lab/claim
    log: /root/.local/state/istio-lab/istio-lab/log/kind.log
"""

RETURN = r"""
action:
  description: What was done.
  returned: success
  type: str
  sample: keep
reason:
  description: Why.
  returned: success
  type: str
"""


CLAIMED_AT = "/etc/istio-lab"
"""Where a node of a lab mounts the lab's claim. The engine keeps the source of a mount after its folder is gone."""
NETWORK = "kind"
NETWORK_LABEL = "istio-lab.network=made"
"""Of a network that a lab made: the last lab to go removes it."""
SUBNET = "fc00:f853:ccd:e793::/64"
"""kind's own choice for a network of that name, so that clusters of others find it as kind would have made it."""
PROXIES = ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY")
"""What kind hands to nodes; it adds the cluster's own networks and names to what is reached without."""


@dataclass(frozen=True)
class Node:
    """A node container: its state (running, exited, created ...), the claim that it mounts ("" for none), and its volumes."""

    state: str
    claim: str = ""
    volumes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Found:
    """What was found: node container -> its state, whether a record lies there and names what is wanted, and the claim."""

    nodes: dict[str, str]
    recorded: bool
    as_wanted: bool
    claimed: bool = True


def read_nodes(inspected: list[dict[str, Any]]) -> dict[str, Node]:
    """Node container -> what it is.

    :param inspected: as ``podman inspect`` and ``docker inspect`` print it
    """
    found = {}
    for container in inspected:
        mounts = container.get("Mounts") or []
        claims = [m["Source"] for m in mounts if m["Destination"] == CLAIMED_AT and m["Type"] == "bind"]
        volumes = tuple(m["Name"] for m in mounts if m["Type"] == "volume")
        found[container["Name"].lstrip("/")] = Node(container["State"]["Status"], "".join(claims), volumes)
    return found


def is_loopback(proxy: str) -> bool:
    """Whether a proxy is reached at this machine's own address, by which a node reaches itself.

    :param proxy: as variables have it, with or without a scheme
    """
    host = urlsplit(proxy if "//" in proxy else f"//{proxy}").hostname or ""
    return host in ("localhost", "::1") or host.startswith("127.")


def refusal(name: str, nodes: Mapping[str, Node], claim: str, engine: str) -> str:
    """Why this cluster is none of the lab's, with the way out; "" when all of it is.

    :param claim: the lab's own
    """
    others = {
        node: found.claim
        for node, found in nodes.items()
        if not found.claim or os.path.realpath(found.claim) != os.path.realpath(claim)
    }
    if not others:
        return ""
    labs = sorted({os.path.dirname(claimed) for claimed in others.values() if claimed})
    whose = f"belongs to the lab in {labs[0]}" if labs else "was not made by this lab"
    delete = f"{'KIND_EXPERIMENTAL_PROVIDER=podman ' if engine == 'podman' else ''}kind delete cluster --name {name}"
    return (
        f"lab_name: {name} was given, but a kind cluster {name} exists in {engine} ({', '.join(sorted(others))}) that {whose}; "
        f"accepted: another name (LAB=name), or this one after `{delete}`; nothing was changed"
    )


def decide(found: Found) -> tuple[str, str]:
    """What to do with what was found.

    :return: (action, reason); action is one of create, keep, start, replace
    """
    if not found.nodes:
        return "create", "no node container was found"
    if not found.claimed:
        return "replace", "the lab's folder was removed while its cluster was left"
    if not found.recorded:
        return "replace", "an interrupted creation left half a cluster behind"
    if not found.as_wanted:
        return "replace", "node image or configuration are not those of the cluster that was found"
    stopped = sorted(name for name, state in found.nodes.items() if state != "running")
    if stopped:
        return "start", f"stopped: {', '.join(stopped)} (a reboot does this)"
    return "keep", "all nodes run"


def left_behind(pods: list[dict[str, Any]], since: str) -> list[str]:
    """Pods that still show what they were before ``since``: right after a restart, Ready is an old story.

    :param since: time in the API's own form (RFC 3339, seconds, Z)
    """
    late = []
    for pod in pods:
        statuses = pod.get("status", {}).get("containerStatuses", [])
        fresh = [s for s in statuses if s.get("ready") and s.get("state", {}).get("running", {}).get("startedAt", "") >= since]
        if pod.get("status", {}).get("phase") not in ("Succeeded", "Failed") and len(fresh) < len(pod["spec"]["containers"]):
            late.append(f"{pod['metadata']['namespace']}/{pod['metadata']['name']}")
    return late


def why_not(stderr: str) -> str:
    """The reason in kind's words: what the command it called said at last, for kind itself only quotes the command.

    :param stderr: kind's, which has ``ERROR: ...`` and, after a command that failed, ``Command Output: ...``
    """
    _, _, output = stderr.partition("Command Output:")
    if lines := [line.strip() for line in output.splitlines() if line.strip()]:
        return next((line for line in lines if line.startswith("Error")), lines[-1])
    return next((line for line in stderr.splitlines() if "ERROR" in line), stderr.strip()[-300:])


class Kind:
    """The commands; every one is logged."""

    def __init__(self, module: AnsibleModule) -> None:
        self.module = module
        self.params = module.params
        useless = {name for name in PROXIES if is_loopback(os.environ.get(name, ""))}
        self.environment = {name: value for name, value in os.environ.items() if name not in useless}
        self.environment["KIND_EXPERIMENTAL_PROVIDER"] = self.params["engine"]

    def run(self, *command: str, stdin: str | None = None, quiet: bool = False) -> subprocess.CompletedProcess[str]:
        """Run ``command``, with its output in the log as well unless it is ``quiet``."""
        done = subprocess.run(command, input=stdin or "", capture_output=True, text=True, check=False, env=self.environment)
        if not quiet and Path(self.params["log"]).parent.exists():  # there is none where a lab that never was is removed
            with open(self.params["log"], "a") as log:
                at = time.strftime("%H:%M:%S")
                log.write(f"{at} $ {' '.join(command)} -> {done.returncode}\n{done.stdout}{done.stderr}")
        return done

    def nodes(self) -> dict[str, Node]:
        """The node containers of that name, whoever made them."""
        if shutil.which(self.params["engine"]) is None:
            return {}
        engine, label = self.params["engine"], f"label=io.x-k8s.kind.cluster={self.params['name']}"
        listed = self.run(engine, "ps", "--all", "--quiet", "--filter", label)
        if not (ids := listed.stdout.split()) and listed.returncode == 0:
            return {}
        inspected = self.run(engine, "inspect", *ids, quiet=True) if ids else listed
        if inspected.returncode:
            self.module.fail_json(msg=f"{engine} does not answer: {inspected.stderr.strip()}")
        return read_nodes(json.loads(inspected.stdout))

    def refuse_others(self, nodes: Mapping[str, Node]) -> None:
        """Fail if the cluster is not this lab's."""
        if why := refusal(self.params["name"], nodes, self.params["claim"], self.params["engine"]):
            self.module.fail_json(msg=why)

    def wanted(self) -> str:
        """Digest of what the cluster shall be made of."""
        return hashlib.sha256(json.dumps([self.params["config"], self.params["image"]]).encode()).hexdigest()

    def found(self) -> Found:
        """Look."""
        record = Path(self.params["record"])
        written = json.loads(record.read_text()).get("made_of") if record.exists() else None
        nodes = self.nodes()
        self.refuse_others(nodes)
        claimed = Path(self.params["claim"]).exists()
        return Found({n: node.state for n, node in nodes.items()}, written is not None, written == self.wanted(), claimed)

    def claim(self) -> None:
        """Make the folder that marks the nodes as this lab's: before they are made, and before they are started again."""
        Path(self.params["claim"]).mkdir(mode=0o700, parents=True, exist_ok=True)
        (Path(self.params["claim"]) / "lab").write_text(self.params["name"] + "\n")

    @contextmanager
    def locked_network(self) -> Iterator[None]:
        """Keep kind's network for a cluster without a node yet: destroy_lab.yml would remove it with the last other lab.

        The lock is on the engine's program, which is there wherever its network is. Clusters may be made side by side.
        """
        if (program := shutil.which(self.params["engine"])) is None:
            self.module.fail_json(msg=f"{self.params['engine']}: not on PATH")
        with open(program, "rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH)
            yield

    def make_network(self) -> None:
        """Make kind's network, marked as the lab's, where there is none: kind would make the same without a mark."""
        engine, options = self.params["engine"], []
        if self.run(engine, "network", "inspect", NETWORK, quiet=True).returncode == 0:
            return
        if engine == "docker":
            mtu = self.run(
                engine, "network", "inspect", "bridge", "--format", '{{index .Options "com.docker.network.driver.mtu"}}'
            ).stdout.strip()
            options += ["--opt=com.docker.network.bridge.enable_ip_masquerade=true"]
            options += [f"--opt=com.docker.network.driver.mtu={mtu}"] if mtu.isdigit() else []
        for family in (["--ipv6", f"--subnet={SUBNET}"], []):  # not every host has IPv6
            command = ["network", "create", "--driver=bridge", f"--label={NETWORK_LABEL}", *options, *family, NETWORK]
            if self.run(engine, *command).returncode == 0:
                return

    def delete(self) -> None:
        """Remove the cluster's containers, exactly their volumes, and what the lab's folder says of it.

        Not by ``kind delete``, which finds volumes by a label that says a node's name and not whose it was.
        """
        nodes = self.nodes()
        self.refuse_others(nodes)
        # Nothing in it is to be saved: an orderly end of the node's systemd would only take its ten seconds.
        for node, found in nodes.items():
            if found.state == "running":
                self.run(self.params["engine"], "kill", node)
            self.run(self.params["engine"], "rm", "--force", "--volumes", node)
            for volume in found.volumes:
                self.run(self.params["engine"], "volume", "rm", volume)
        if left := self.nodes():
            self.module.fail_json(msg=f"{', '.join(sorted(left))} could not be removed; log: {self.params['log']}")
        for file in ("kubeconfig", "record"):
            Path(self.params[file]).unlink(missing_ok=True)

    def restore_kubeconfig(self) -> None:
        """Write the kubeconfig again, from the control plane's own."""
        kubeconfig = Path(self.params["kubeconfig"])
        kubeconfig.unlink(missing_ok=True)
        kubeconfig.touch(mode=0o600)
        self.run("kind", "export", "kubeconfig", "--name", self.params["name"], "--kubeconfig", str(kubeconfig))

    def answers(self, seconds: float, nodes: bool = True) -> bool:
        """Whether the API server is ready and, with ``nodes``, all nodes are, within ``seconds``."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            kubectl = ["kubectl", "--kubeconfig", self.params["kubeconfig"], "--request-timeout=10s"]
            left = max(1, int(until - time.monotonic()))
            wait = ["wait", "--for=condition=Ready", "nodes", "--all", f"--timeout={left}s"]
            ready = self.run(*kubectl, "get", "--raw", "/readyz").returncode == 0
            if ready and (not nodes or self.run(*kubectl[:-1], *wait).returncode == 0):
                return True
            time.sleep(1)
        return False

    def resolves(self, seconds: int) -> bool:
        """Whether CoreDNS is there within ``seconds``: before, a pod's lookups fail."""
        rollout = ["rollout", "status", "deployment/coredns", "--namespace=kube-system", f"--timeout={seconds}s"]
        return self.run("kubectl", "--kubeconfig", self.params["kubeconfig"], *rollout).returncode == 0

    def settled(self, since: str, seconds: float) -> bool:
        """Whether every pod has restarted since ``since`` and is ready, within ``seconds``."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            done = self.run("kubectl", "--kubeconfig", self.params["kubeconfig"], "get", "pods", "-A", "-o", "json", quiet=True)
            if done.returncode == 0 and not left_behind(json.loads(done.stdout)["items"], since):
                return True
            time.sleep(2)
        return False

    def why(self) -> str:
        """The cluster's own words on why it is not ready."""
        done = self.run(
            "kubectl", "--kubeconfig", self.params["kubeconfig"], "--request-timeout=10s", "get", "nodes", "-o",
            "jsonpath={range .items[*]}{.metadata.name}: {.status.conditions[?(@.type=='Ready')].message}{'; '}{end}",
        )  # fmt: skip
        return done.stdout.strip() or (done.stderr.strip().splitlines() or ["no answer from the API"])[-1]

    def create(self) -> None:
        """Claim, create, wait, write the record."""
        self.claim()
        Path(self.params["kubeconfig"]).unlink(missing_ok=True)
        if copy := self.params["config_copy"]:
            Path(copy).touch(mode=0o600)
            Path(copy).write_text(self.params["config"])
        with self.locked_network():
            self.make_network()
            done = self.run(
                "kind", "create", "cluster", "--name", self.params["name"], "--image", self.params["image"],
                "--kubeconfig", self.params["kubeconfig"], "--config", "-", stdin=self.params["config"],
            )  # fmt: skip
        if done.returncode:
            self.module.fail_json(
                msg=f"kind could not create {self.params['name']}: {why_not(done.stderr)}; log: {self.params['log']}"
            )
        Path(self.params["kubeconfig"]).chmod(0o600)
        if not self.answers(self.params["timeout"], self.params["wait_for_nodes"]):
            took = f"{self.params['timeout']} s: {self.why()}; log: {self.params['log']}"
            self.module.fail_json(msg=f"{self.params['name']}'s nodes were not Ready in {took}")
        if self.params["wait_for_nodes"] and not self.resolves(self.params["timeout"]):
            self.module.fail_json(msg=f"{self.params['name']}'s CoreDNS was not ready; log: {self.params['log']}")
        record = {"made_of": self.wanted(), "image": self.params["image"], "engine": self.params["engine"]}
        Path(self.params["record"]).write_text(json.dumps(record) + "\n")


def other_engine(record: Path, engine: str) -> str | None:
    """The engine that runs this lab, if it is not ``engine``."""
    made_with = json.loads(record.read_text()).get("engine", engine) if record.exists() else engine
    return None if made_with == engine else str(made_with)


def present(kind: Kind, module: AnsibleModule) -> tuple[str, str]:
    """Bring the cluster about; the action that was taken in the end, and why."""
    if other := other_engine(Path(module.params["record"]), module.params["engine"]):
        module.fail_json(
            msg=f"lab_engine: {module.params['engine']} was given, but this lab was made with {other}; accepted: {other}; "
            "leave it out, or make destroy first; nothing was changed"
        )
    action, reason = decide(kind.found())
    if module.check_mode:
        return action, reason
    since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    if action == "start":
        kind.claim()
        for node in kind.nodes():
            kind.run(module.params["engine"], "start", node)
    if action in ("start", "keep") and not Path(module.params["kubeconfig"]).exists():
        kind.restore_kubeconfig()
        action, reason = ("repair", "its kubeconfig was gone") if action == "keep" else (action, reason)
    if action in ("start", "keep", "repair") and not kind.answers(module.params["timeout"] if action == "start" else 20):
        action, reason = "replace", f"its API did not answer: {kind.why()}"
    elif action == "start" and not kind.settled(since, module.params["timeout"]):
        reason += "; not every pod is back yet"
    if action == "replace":
        kind.delete()
    if action in ("replace", "create"):
        kind.create()
    return action, reason


def main() -> None:
    """Entry point that Ansible calls."""
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "config": {"type": "str", "default": ""},
            "config_copy": {"type": "path"},
            "image": {"type": "str", "default": ""},
            "engine": {"type": "str", "choices": ["podman", "docker"], "default": "podman"},
            "kubeconfig": {"type": "path", "required": True},
            "record": {"type": "path", "required": True},
            "claim": {"type": "path", "required": True},
            "log": {"type": "path", "required": True},
            "timeout": {"type": "int", "default": 180},
            "wait_for_nodes": {"type": "bool", "default": True},
        },
        supports_check_mode=True,
    )
    kind = Kind(module)
    if module.params["state"] == "absent":
        nodes = kind.nodes()
        kind.refuse_others(nodes)
        there = bool(nodes)
        if there and not module.check_mode:
            kind.delete()
        module.exit_json(changed=there, action="delete" if there else "keep", reason="asked for")
    action, reason = present(kind, module)
    module.exit_json(changed=action != "keep", action=action, reason=reason)


if __name__ == "__main__":
    main()
