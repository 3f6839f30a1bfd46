"""Checks a lab and its host, and says how to mend what is broken: ``make doctor``; ``JSON=1`` for programs.

It changes nothing. What cannot be checked, because something before it is broken, says so and is never taken for sound.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from loadtests.mesh import propagation
from loadtests.mesh.cluster import Cluster, ClusterError, words_of
from plugins.action.check_host import Host, host_errors, look
from plugins.action.lab_namespace import PART_OF
from plugins.modules.wait_workloads import pod_reasons, rollout_gaps

PROJECT = Path(__file__).resolve().parent.parent
MAKE_LAB = "make lab"
MESH = "istio-system"
IMAGE = "image of the nodes"
TIMEOUT_SECONDS = 20
LEASE_SECONDS = 10
"""How often a kubelet renews its node's lease."""
SKEW_SECONDS = 30
"""Clocks further apart than this break certificates that are new, and the comparison of logs."""
HOST_DISK_GIB, HOST_MEMORY_GIB = 5, 1
"""What a host needs beside a lab that is there, as the preflight has it."""
Objects = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Check:
    """One line of the report."""

    name: str
    ok: bool | None
    """None where it could not be checked."""
    found: str
    fix: str = ""

    def line(self, width: int) -> str:
        """As it is printed; ``width`` is that of the longest name."""
        mark = {True: "✓", False: "✗", None: "-"}[self.ok]
        return f"{mark} {self.name:<{width}}  {self.found}" + (f"; fix: {self.fix}" if self.fix else "")


# -- what was found, judged (pure) -----------------------------------------------------------------------------------------


def host(found: Host, disk_gib: float, memory_gib: float) -> Check:
    """User, memory and disk of this host."""
    if errors := host_errors(found, disk_gib, memory_gib):
        return Check("host", False, "; ".join(errors))
    return Check("host", True, f"{found.disk_gib:.0f} GiB of disk and {found.memory_gib:.0f} GiB of memory are free")


def containers(states: Mapping[str, str], engine: str) -> Check:
    """The containers that are the cluster's nodes: name -> state, as the engine has it."""
    stopped = [f"{name} is {state}" for name, state in states.items() if state != "running"]
    if not states:
        return Check("nodes' containers", False, f"{engine} has none of this lab", MAKE_LAB)
    if stopped:
        return Check("nodes' containers", False, ", ".join(stopped), f"{MAKE_LAB} (it starts them)")
    return Check("nodes' containers", True, f"{len(states)} running")


def nodes(found: Objects) -> Check:
    """Whether each node is ready and has room."""
    wrong = []
    for node in found:
        for condition in node.get("status", {}).get("conditions", []):
            if condition["status"] != ("True" if condition["type"] == "Ready" else "False"):
                wrong.append(
                    f"{node['metadata']['name']}: {condition['type']} is {condition['status']}, {condition.get('message', '')}"
                )
    if wrong or not found:
        return Check("nodes", False, "; ".join(wrong) or "the cluster has none", "free disk or memory, then " + MAKE_LAB)
    return Check("nodes", True, f"{len(found)} ready")


def clocks(leases: Objects, now: datetime) -> Check:
    """Each node's clock against this host's, by the lease that its kubelet renews every ten seconds."""
    wrong = []
    for lease in leases:
        renewed = datetime.fromisoformat(lease["spec"]["renewTime"])
        late = (now - renewed).total_seconds()
        if not -SKEW_SECONDS < late < LEASE_SECONDS + SKEW_SECONDS:
            when = f"{late:.0f} s ago" if late > 0 else f"{-late:.0f} s in the future"
            wrong.append(f"{lease['metadata']['name']} was last heard of {when}")
    if wrong or not leases:
        return Check("clocks", False, "; ".join(wrong) or "no node has a lease", "set the clocks of node and host by NTP")
    return Check("clocks", True, f"less than {SKEW_SECONDS} s apart")


def workloads(name: str, found: Objects, pods: Objects) -> Check:
    """Whether everything is rolled out; else why the pods are not ready."""
    gaps = rollout_gaps(list(map(dict, found)))
    if not found:
        return Check(name, False, "there is none", MAKE_LAB)
    if gaps:
        return Check(
            name, False, "; ".join([*gaps, *pod_reasons(list(map(dict, pods)))]), f"{MAKE_LAB}, or mend what the pods say"
        )
    return Check(name, True, f"{len(found)} Deployments are rolled out")


def proxies(status: Objects, pods: Objects) -> Check:
    """Whether each running proxy is connected to istiod and has all that was pushed.

    :param status: ``ClientConfig`` of each proxy, as ``istioctl proxy-status`` prints it
    """
    # Named pod.namespace.
    known = {config["node"]["id"]: config for config in status}
    wrong, count = [], 0
    for pod in pods:
        ending = pod["metadata"].get("deletionTimestamp") or pod.get("status", {}).get("phase") != "Running"
        if ending or not propagation.has_proxy(pod):
            continue
        count, name = count + 1, f"{pod['metadata']['name']}.{pod['metadata']['namespace']}"
        behind = sorted({one["configStatus"] for one in known.get(name, {}).get("genericXdsConfigs", [])} & {"STALE", "ERROR"})
        if name not in known:
            wrong.append(f"{name} is not connected to istiod")
        elif behind:
            wrong.append(f"{name} is {', '.join(behind)}")
    if wrong:
        return Check("proxies", False, "; ".join(wrong), "make explain POD=..., or delete the pod")
    return Check("proxies", True, f"{count} in sync")


def gateway(url: str, answer: str) -> Check:
    """What the lab's page answers through the gateway: a status, or why there was none."""
    if answer == "200":
        return Check("gateway", True, f"{url} answers")
    return Check("gateway", False, f"{url}: {answer}", MAKE_LAB)


# -- looking -------------------------------------------------------------------------------------------------------------


def run(*command: str) -> str:
    """Standard output of a command.

    :raises ClusterError: if it fails; the message is its last line
    """
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=TIMEOUT_SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ClusterError(str(error)) from error
    if done.returncode:
        raise ClusterError(f"{command[0]}: {(done.stderr.strip().splitlines() or ['?'])[-1]}")
    return done.stdout


def json_documents(text: str) -> Iterable[dict[str, Any]]:
    """One document after the other, as istioctl prints them: one for each istiod."""
    decoder, left = json.JSONDecoder(), text.strip()
    while left:
        document, end = decoder.raw_decode(left)
        yield document
        left = left[end:].strip()


def answer_of(url: str) -> str:
    """The status that a page answers with, or why it does not."""
    try:
        # Not through the user's proxy: that is how the lab itself reaches its gateway.
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=TIMEOUT_SECONDS) as response:
            return str(response.status)
    except urllib.error.HTTPError as error:
        return f"HTTP {error.code}"
    except OSError as error:
        return str(error)


@dataclass(frozen=True)
class Lab:
    """A lab, by its folder."""

    state: Path
    cache: Path

    @classmethod
    def opened(cls, state: Path) -> Lab:
        """The lab of that folder; its engine's settings hold for this process from now on."""
        if (settings := state / "containers.conf").exists():
            os.environ["CONTAINERS_CONF"] = str(settings)
        return cls(state, Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "istio-lab")

    def kept(self, name: str) -> dict[str, Any]:
        """One of the lab's records; empty where it is not there or is broken."""
        try:
            read: dict[str, Any] = json.loads((self.state / name).read_text())
        except (OSError, ValueError):
            return {}
        return read

    @property
    def name(self) -> str:
        """The lab's name."""
        return self.state.name

    @property
    def engine(self) -> str:
        """What runs its nodes; '' for a cluster that the lab did not make here."""
        return str(self.kept("cluster.json").get("engine", ""))

    @property
    def cluster(self) -> Cluster:
        """Its cluster."""
        return Cluster(str(self.state / "kubeconfig"), "")

    def check_host(self) -> Check:
        """This host."""
        settings = yaml.safe_load((PROJECT / "playbooks/group_vars/all/lab.yml").read_text())
        # As much as the preflight wants: most of it is taken by a lab that is there.
        disk, memory = (
            (HOST_DISK_GIB, HOST_MEMORY_GIB) if self.engine else (settings["lab_min_disk_gib"], settings["lab_min_memory_gib"])
        )
        found = look({"disk": str(self.cache), "tools": [], "ports": [], "engine": self.engine or "podman"})
        return host(found, disk, memory)

    def check_engine(self) -> Check:
        """podman or docker."""
        version = run(self.engine, "version", "--format", "{{.Client.Version}}").strip()
        return Check("engine", True, f"{self.engine} {version}")

    def check_image(self) -> Check:
        """The nodes' image: without it, a node that is lost cannot be made again at once."""
        image = str(self.kept("cluster.json").get("image", ""))
        if run(self.engine, "image", "ls", "--quiet", image).strip():
            return Check(IMAGE, True, image)
        return Check(IMAGE, False, f"{image} is gone", f"{MAKE_LAB} (it builds or pulls it)")

    def check_containers(self) -> Check:
        """The nodes' containers."""
        label = f"label=io.x-k8s.kind.cluster={self.name}"
        found = run(self.engine, "ps", "--all", "--quiet", "--filter", label).split()
        printed = run(self.engine, "inspect", "--format", "{{.Name}} {{.State.Status}}", *found) if found else ""
        return containers(dict(line.lstrip("/").split(maxsplit=1) for line in printed.splitlines()), self.engine)

    def check_api(self) -> Check:
        """The API server."""
        self.cluster.read("/readyz")
        return Check("API server", True, f"Kubernetes {self.cluster.ask('/version')['gitVersion']} answers")

    def check_nodes(self) -> Check:
        """The nodes."""
        return nodes(self.cluster.everywhere("nodes"))

    def check_clocks(self) -> Check:
        """The nodes' clocks."""
        leases = self.cluster.items("leases.coordination.k8s.io", namespace="kube-node-lease")
        return clocks(leases, datetime.now(UTC))

    def check_mesh(self) -> Check:
        """Control plane and gateway."""
        return workloads("mesh", *(self.cluster.items(kind, namespace=MESH) for kind in ("deployments.apps", "pods")))

    def check_samples(self) -> Check:
        """What the lab has deployed."""
        own = [one["metadata"] for one in self.cluster.everywhere("namespaces")]
        namespaces = {one["name"] for one in own if PART_OF.items() <= one.get("labels", {}).items()} - {MESH}
        found = [one for one in self.cluster.everywhere("deployments.apps") if one["metadata"]["namespace"] in namespaces]
        pods = [one for one in self.cluster.everywhere("pods") if one["metadata"]["namespace"] in namespaces]
        return workloads("samples", found, pods)

    def check_proxies(self) -> Check:
        """Whether the proxies are in sync."""
        printed = self.cluster.istioctl("proxy-status", "--output", "json")
        status = [config for document in json_documents(printed) for config in document.get("resources", [])]
        return proxies(status, self.cluster.everywhere("pods"))

    def check_gateway(self) -> Check:
        """The way from this host to Bookinfo's page."""
        url = f"{self.kept('gateway.json').get('http', '')}/productpage"
        return gateway(url, answer_of(url))

    def checks(self) -> Iterable[Check]:
        """All of them, in the order in which one thing stands on another."""
        yield self.check_host()
        if not (self.state / "kubeconfig").is_file():
            yield Check("lab", False, f"lab {self.name} does not exist", f"{MAKE_LAB} LAB={self.name}")
            return
        groups: list[list[tuple[str, Callable[[], Check]]]] = [
            [("API server", self.check_api)],
            [
                ("nodes", self.check_nodes), ("clocks", self.check_clocks), ("mesh", self.check_mesh),
                ("samples", self.check_samples), ("proxies", self.check_proxies), ("gateway", self.check_gateway),
            ],
        ]  # fmt: skip
        if self.engine:
            groups.insert(0, [("engine", self.check_engine)])
            groups.insert(1, [(IMAGE, self.check_image), ("nodes' containers", self.check_containers)])
        broken = ""
        for group in groups:
            made = [
                attempt(name, check) if not broken else Check(name, None, f"not checked: {broken}") for name, check in group
            ]
            yield from made
            # The image is needed only once a node has to be made again.
            broken = broken or next((f"{c.name}: {c.found}" for c in made if c.ok is False and c.name != IMAGE), "")


def attempt(name: str, check: Callable[[], Check]) -> Check:
    """A check, or why it failed."""
    try:
        return check()
    except Exception as error:  # any: whatever a check ends with is what is broken
        return Check(name, False, words_of(error), MAKE_LAB)


def main() -> int:
    """0 when all is sound, else 1."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--state", type=Path, required=True)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    lab, made = Lab.opened(options.state), []
    width = 18
    for check in lab.checks():
        made.append(check)
        if not options.json:
            print(check.line(width), flush=True)
    if options.json:
        print(json.dumps([asdict(check) for check in made], indent=2))
    return 0 if all(check.ok for check in made) else 1


if __name__ == "__main__":
    sys.exit(main())
