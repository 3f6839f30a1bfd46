"""The pods that send requests from within the mesh: in a namespace of the lab's own, which goes when the run has ended."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

from loadtests import ending
from loadtests.judge import probe
from loadtests.judge.guards import WITHOUT
from loadtests.judge.lines import Answer
from loadtests.judge.reach import ACCOUNT, KEPT, PROBES
from loadtests.mesh import propagation
from loadtests.mesh.cluster import Cluster, ClusterError, path_of
from loadtests.rules.calls import Caller
from loadtests.rules.workloads import GUEST, PART_OF

IMAGE = "registry.istio.io/release/examples-bookinfo-productpage-v1:1.20.3"
"""What the pods run, for there is a Python in it, and every lab has it."""
READY_SECONDS, GONE_SECONDS = 90, 90
LONGEST_SECONDS = 3600
"""A pod ends by then, whatever becomes of the run."""
INJECTING = ("istio-injection", "istio.io/rev")
"""Labels of a namespace by which its pods get a sidecar."""
ASKING = {"sidecar.istio.io/inject": "true"}
"""The label of a pod that asks for a sidecar."""
PROGRAM = f"{Path(probe.__file__).read_text()}\n\nmain()\n"
"""What sends, wherever it runs."""
PREFIX = "istio-lab-probe-"
"""What names of pods begin with."""
Request = tuple[str, int, str, str, dict[str, str], str]
"""Address, port, method, path with query, headers, and the server name of TLS; '' for plain text."""


def callers_of(callers: Sequence[Caller]) -> dict[str, Caller]:
    """Name of a pod -> what it is, for callers in the mesh."""
    found: list[Caller] = []
    for caller in callers:
        if caller.gateway is None and caller not in found:
            found.append(caller)
    return {f"{PREFIX}{number}": caller for number, caller in enumerate(found)}


def hosts_of(callers: Mapping[str, Caller]) -> list[str]:
    """The namespaces in which pods run beside the probes' own."""
    return sorted({caller.namespace for caller in callers.values()} - {PROBES})


def objects_for(callers: Mapping[str, Caller], injecting: Mapping[str, str], *, kept: bool = False) -> list[dict[str, Any]]:
    """The namespace, and all that is in it; and the pods that run in others, whose proxies log as well.

    :param callers: what each pod is, by its name
    :param injecting: labels by which pods get a sidecar
    :param kept: whether the namespace is there already, without such labels
    """
    place = {"namespace": PROBES, "labels": PART_OF}
    logging = {"accessLogging": [{"providers": [{"name": "envoy"}]}]}
    guests = [
        {
            "apiVersion": "telemetry.istio.io/v1", "kind": "Telemetry",
            "metadata": {"name": GUEST, "namespace": namespace, "labels": PART_OF},
            "spec": {"selector": {"matchLabels": {"app": GUEST, **PART_OF}}, **logging},
        }
        for namespace in hosts_of(callers)
    ]  # fmt: skip
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": PROBES, "labels": {**PART_OF, **injecting}}}
    # Their proxies log all requests, whatever the mesh says.
    telemetry = {
        "apiVersion": "telemetry.istio.io/v1", "kind": "Telemetry", "metadata": {"name": "access-log", **place},
        "spec": logging,
    }  # fmt: skip
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": ACCOUNT, **place}}
    pods = [_pod(name, caller, injecting, itself=kept or caller.namespace != PROBES) for name, caller in callers.items()]
    return [*([] if kept else [namespace]), account, telemetry, *guests, *pods]


def _pod(name: str, caller: Caller, injecting: Mapping[str, str], *, itself: bool) -> dict[str, Any]:
    # A pod in a namespace whose pods get no sidecar asks for one itself, of the same revision.
    revision = {label: value for label, value in injecting.items() if label == "istio.io/rev"} if itself else {}
    asking = {**ASKING, **revision} if itself else {}
    container = {
        "name": "probe", "image": IMAGE, "imagePullPolicy": "IfNotPresent", "command": ["sleep", "infinity"],
        "securityContext": {
            "allowPrivilegeEscalation": False, "runAsNonRoot": True, "runAsUser": 1000, "capabilities": {"drop": ["ALL"]},
        },
        "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}},
    }  # fmt: skip
    # How many requests went to each upstream is a source of the verdict.
    annotations = {"sidecar.istio.io/statsInclusionPrefixes": "cluster.outbound"}
    return {
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": name, "namespace": caller.namespace, "labels": {**asking, **caller.labels}, "annotations": annotations,
        },
        "spec": {
            "serviceAccountName": caller.account or ACCOUNT,
            "containers": [container], "terminationGracePeriodSeconds": 1, "automountServiceAccountToken": False,
            "activeDeadlineSeconds": LONGEST_SECONDS,
        },
    }  # fmt: skip


def labels_of(cluster: Cluster) -> Mapping[str, str] | None:
    """The namespace's labels; None if there is no such namespace.

    :raises ClusterError: if the cluster does not answer
    """
    printed = cluster.kubectl("get", "namespace", PROBES, "--ignore-not-found", "--output", "json")
    if not printed.strip():
        return None
    labels: Mapping[str, str] = json.loads(printed)["metadata"].get("labels", {})
    return labels


def is_ours(cluster: Cluster) -> bool | None:
    """Whether the namespace is the lab's; None if there is none.

    :raises ClusterError: if the cluster does not answer
    """
    labels = labels_of(cluster)
    return None if labels is None else PART_OF.items() <= labels.items()


def is_kept(cluster: Cluster) -> bool:
    """Whether the namespace is the lab's, and outlives a run.

    :raises ClusterError: if the cluster does not answer
    """
    return (PART_OF | KEPT).items() <= (labels_of(cluster) or {}).items()


def start(cluster: Cluster, callers: Mapping[str, Caller], injecting: Mapping[str, str]) -> None:
    """Create the pods, and wait until they are ready.

    :raises ClusterError: if the cluster refuses, or a pod does not start in time
    """
    remove(cluster, hosts_of(callers))  # of a run that was killed
    made = objects_for(callers, injecting, kept=is_kept(cluster))
    with ending.unbroken():  # or whoever cleans up might look before it is there
        for namespace in sorted({caller.namespace for caller in callers.values()}):
            items = [one for one in made if one["metadata"].get("namespace", PROBES) == namespace]
            manifest = json.dumps({"apiVersion": "v1", "kind": "List", "items": items})
            replace(cluster, namespace=namespace).kubectl("create", "--filename", "-", stdin=manifest)
    for namespace in {caller.namespace: None for caller in callers.values()}:
        names = [name for name, caller in callers.items() if caller.namespace == namespace]
        waiting = ["wait", "--for=condition=Ready", f"--timeout={READY_SECONDS}s", *(f"pod/{name}" for name in names)]
        command = ["kubectl", "--kubeconfig", cluster.kubeconfig, "--namespace", namespace, *waiting]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=READY_SECONDS + 20)
        if done.returncode:
            why = why_not_ready(cluster, namespace, names) or done.stderr.strip()
            raise ClusterError(f"the probe in namespace {namespace} does not start: {why}")
        for pod in cluster.items("pods", namespace=namespace):
            caller = callers.get(pod["metadata"]["name"])
            if caller is not None and not WITHOUT.items() <= caller.labels.items() and not propagation.has_proxy(pod):
                raise ClusterError(f"the probe in namespace {namespace} gets no sidecar")


def why_not_ready(cluster: Cluster, namespace: str, names: Sequence[str]) -> str:
    """What one of some pods waits for, in the cluster's words."""
    for pod in (one for one in cluster.items("pods", namespace=namespace) if one["metadata"]["name"] in names):
        for one in pod["status"].get("initContainerStatuses", []) + pod["status"].get("containerStatuses", []):
            if (waiting := one.get("state", {}).get("waiting")) and waiting.get("reason") != "PodInitializing":
                return f"{waiting.get('reason', '')}: {waiting.get('message', '')} (image {one.get('image', '')})".strip()
    return ""


def remove(cluster: Cluster, hosts: Sequence[str] = ()) -> None:
    """Delete the namespace, if it is the lab's, with all that is in it, and what runs in others; if it is kept, what is in it.

    :param hosts: those others
    :raises ClusterError: if the cluster does not answer, or it is not gone in time
    """
    until, kept = time.monotonic() + GONE_SECONDS, is_kept(cluster)
    if kept:
        inside = replace(cluster, namespace=PROBES)
        lab = "=".join(*PART_OF.items())
        inside.kubectl("delete", "pods,serviceaccounts,telemetries.telemetry.istio.io", "--selector", lab, "--ignore-not-found")
        for kind in propagation.KINDS.values():
            inside.kubectl("delete", kind, propagation.NAME, "--ignore-not-found")
    elif is_ours(cluster):
        cluster.kubectl("delete", "namespace", PROBES, "--wait=false")
    ours = ",".join(f"{name}={value}" for name, value in {"app": GUEST, **PART_OF}.items())
    for namespace in hosts:
        there = replace(cluster, namespace=namespace)
        there.kubectl("delete", "pods", "--selector", ours, "--ignore-not-found")
        there.kubectl("delete", "telemetries.telemetry.istio.io", GUEST, "--ignore-not-found")
    while not kept and is_ours(cluster):
        if time.monotonic() > until:
            raise ClusterError(f"it is not gone after {GONE_SECONDS} s")
        time.sleep(1)


def dismiss(kubeconfig: str, namespace: str) -> None:
    """Have the pods that run beside services deleted, and what makes them log, by a process that nobody waits for.

    It is for a process that is about to end, maybe in a thread of its own, whose descendants have been killed.
    """
    ours = ",".join(f"{name}={value}" for name, value in PART_OF.items())
    command = ["kubectl", "--kubeconfig", kubeconfig, "--namespace", namespace, "delete", "--ignore-not-found", "--wait=false"]
    silent = [(os.POSIX_SPAWN_OPEN, stream, os.devnull, os.O_RDWR, 0) for stream in (0, 1, 2)]
    for what in (["pods", "--selector", f"app={GUEST},{ours}"], ["telemetries.telemetry.istio.io", GUEST]):
        os.posix_spawnp("kubectl", [*command, *what], os.environ, file_actions=silent, setsid=True)


def log_of(cluster: Cluster, namespace: str, pod: str, since: str) -> str:
    """The access log of a pod's proxy.

    :param since: an earlier moment, as Kubernetes writes times
    :raises ClusterError: if the cluster does not answer, or refuses
    """
    path = f"{path_of('pods', namespace)}/{pod}/log"
    return cluster.read(path, container="istio-proxy", sinceTime=since).decode(errors="replace")


class Sender:
    """A process that sends batches of requests, in a pod or on this machine."""

    def __init__(self, cluster: Cluster | None, pod: str = "", namespace: str = PROBES) -> None:
        """Start it.

        :param cluster: of the pod; None for this machine
        """
        inside = [sys.executable, "-I", "-c"]
        if cluster is not None:
            inside = ["kubectl", "--kubeconfig", cluster.kubeconfig, "--namespace", namespace, "exec", "--stdin", pod]
            inside += ["--container", "probe", "--", "python3", "-c"]
        self._process = subprocess.Popen(
            [*inside, PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def send(self, requests: Sequence[Request], rate: float) -> list[Answer]:
        """The answers, in the order of the requests.

        :param rate: requests per second
        :raises ClusterError: if the process has ended
        """
        to, back = self._pipes()
        try:
            to.write(json.dumps({"rate": rate, "requests": requests}) + "\n")
            to.flush()
            line = back.readline()
            return [Answer(*answer) for answer in json.loads(line)]
        except (OSError, ValueError) as error:
            self._process.kill()
            said = self._process.stderr.read().strip().splitlines() if self._process.stderr else []
            raise ClusterError(f"the probe has ended: {said[-1] if said else error}") from error

    def stop(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()

    def _pipes(self) -> tuple[IO[str], IO[str]]:
        to, back = self._process.stdin, self._process.stdout
        if to is None or back is None:
            raise ClusterError("the probe has no pipes")
        return to, back
