"""The pods that send requests from within the mesh: in a namespace of the lab's own, which goes when the run has ended."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

from loadtests import ending
from loadtests.judge import probe
from loadtests.judge.lines import Answer
from loadtests.judge.reach import ACCOUNT, PART_OF, PROBES
from loadtests.mesh.cluster import Cluster, ClusterError, path_of
from loadtests.rules.calls import Caller

IMAGE = "registry.istio.io/release/examples-bookinfo-productpage-v1:1.20.3"
"""What the pods run, for there is a Python in it, and every lab has it."""
READY_SECONDS, GONE_SECONDS = 90, 90
LONGEST_SECONDS = 3600
"""A pod ends by then, whatever becomes of the run."""
INJECTING = ("istio-injection", "istio.io/rev")
"""Labels of a namespace by which its pods get a sidecar."""
PROGRAM = f"{Path(probe.__file__).read_text()}\n\nmain()\n"
"""What sends, wherever it runs."""
Request = tuple[str, int, str, str, dict[str, str]]
"""Address, port, method, path with query, headers."""


def callers_of(callers: Sequence[Caller]) -> dict[str, Mapping[str, str]]:
    """Name of a pod -> its labels, for callers in the mesh."""
    found: list[Mapping[str, str]] = []
    for caller in callers:
        if caller.gateway is None and caller.labels not in found:
            found.append(caller.labels)
    return {f"probe-{number}": labels for number, labels in enumerate(found)}


def objects_for(callers: Mapping[str, Mapping[str, str]], injecting: Mapping[str, str]) -> list[dict[str, Any]]:
    """The namespace, and all that is in it.

    :param callers: labels of each pod, by its name
    :param injecting: labels by which its pods get a sidecar
    """
    place = {"namespace": PROBES, "labels": PART_OF}
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": PROBES, "labels": {**PART_OF, **injecting}}}
    # Their proxies log all requests, whatever the mesh says.
    telemetry = {
        "apiVersion": "telemetry.istio.io/v1", "kind": "Telemetry", "metadata": {"name": "access-log", **place},
        "spec": {"accessLogging": [{"providers": [{"name": "envoy"}]}]},
    }  # fmt: skip
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": ACCOUNT, **place}}
    return [namespace, account, telemetry, *(_pod(name, labels) for name, labels in callers.items())]


def _pod(name: str, labels: Mapping[str, str]) -> dict[str, Any]:
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
        "metadata": {"name": name, "namespace": PROBES, "labels": dict(labels), "annotations": annotations},
        "spec": {
            "serviceAccountName": ACCOUNT,
            "containers": [container], "terminationGracePeriodSeconds": 1, "automountServiceAccountToken": False,
            "activeDeadlineSeconds": LONGEST_SECONDS,
        },
    }  # fmt: skip


def is_ours(cluster: Cluster) -> bool | None:
    """Whether the namespace is the lab's; None if there is none.

    :raises ClusterError: if the cluster does not answer
    """
    told = cluster.kubectl("get", "namespace", PROBES, "--ignore-not-found", "--output", "json")
    return PART_OF.items() <= json.loads(told)["metadata"].get("labels", {}).items() if told.strip() else None


def start(cluster: Cluster, callers: Mapping[str, Mapping[str, str]], injecting: Mapping[str, str]) -> None:
    """Create the pods, and wait until they are ready.

    :raises ClusterError: if the cluster refuses, or a pod does not start in time
    """
    if is_ours(cluster):
        remove(cluster)  # of a run that was killed
    manifest = {"apiVersion": "v1", "kind": "List", "items": objects_for(callers, injecting)}
    with ending.unbroken():  # or whoever cleans up might look before it is there
        replace(cluster, namespace=PROBES).kubectl("create", "--filename", "-", stdin=json.dumps(manifest))
    if not callers:
        return
    waiting = ["wait", "--for=condition=Ready", "pod", "--all", f"--timeout={READY_SECONDS}s"]
    command = ["kubectl", "--kubeconfig", cluster.kubeconfig, "--namespace", PROBES, *waiting]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=READY_SECONDS + 20)
    if done.returncode:
        raise ClusterError(f"the probe in namespace {PROBES} does not start: {why_not_ready(cluster) or done.stderr.strip()}")


def why_not_ready(cluster: Cluster) -> str:
    """What a pod waits for, in the cluster's words."""
    for pod in cluster.items("pods", namespace=PROBES):
        for one in pod["status"].get("initContainerStatuses", []) + pod["status"].get("containerStatuses", []):
            if (waiting := one.get("state", {}).get("waiting")) and waiting.get("reason") != "PodInitializing":
                return f"{waiting.get('reason', '')}: {waiting.get('message', '')} (image {one.get('image', '')})".strip()
    return ""


def remove(cluster: Cluster) -> None:
    """Delete the namespace, if it is the lab's, with all that is in it.

    :raises ClusterError: if the cluster does not answer, or it is not gone in time
    """
    until = time.monotonic() + GONE_SECONDS
    if is_ours(cluster):
        cluster.kubectl("delete", "namespace", PROBES, "--wait=false")
    while is_ours(cluster):
        if time.monotonic() > until:
            raise ClusterError(f"it is not gone after {GONE_SECONDS} s")
        time.sleep(1)


def log_of(cluster: Cluster, namespace: str, pod: str, since: str) -> str:
    """The access log of a pod's proxy.

    :param since: an earlier moment, as Kubernetes writes times
    :raises ClusterError: if the cluster does not answer, or refuses
    """
    path = f"{path_of('pods', namespace)}/{pod}/log"
    return cluster.read(path, container="istio-proxy", sinceTime=since).decode(errors="replace")


class Sender:
    """A process that sends batches of requests, in a pod or on this machine."""

    def __init__(self, cluster: Cluster | None, pod: str = "") -> None:
        """Start it.

        :param cluster: of the pod; None for this machine
        """
        inside = [sys.executable, "-I", "-c"]
        if cluster is not None:
            inside = ["kubectl", "--kubeconfig", cluster.kubeconfig, "--namespace", PROBES, "exec", "--stdin", pod]
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
            told = back.readline()
            return [Answer(*answer) for answer in json.loads(told)]
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
