"""The machine sample for entries: a virtual machine outside the cluster, and who calls it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from loadtests.clients.http import ANSWERS, AWAY
from loadtests.entries.question import MACHINES, SECURITY
from loadtests.mesh.cluster import Cluster, ClusterError
from loadtests.rules.authorization import OK
from loadtests.samples.echo import called, called_text, caller_shown

MACHINE = {"namespace": "machine", "machine": "machine", "group": "machine", "port": 8080, "method": "GET", "sidecar": True}
"""The virtual machine, and how it is called, and calls."""
KINDS = (*SECURITY, MACHINES)
BY_POD, BY_LEGACY, BY_MACHINE = "pod.machine.lab.internal", "legacy.machine.lab.internal", "machine.lab.internal"
"""Hosts of those who are asked to call."""
WITNESS = "legacy:http"
"""Service and port of the pod without a sidecar that looks whether the machine is there."""
ADDRESS = "machine.outside.internal"
"""The name by which pods outside the mesh find the machine: for Kubernetes, its Service has no endpoints."""
REMEDY = "apply the entry again, which runs the machine again"
ENTRIES = "workloadentries.networking.istio.io"
GROUP, DISCONNECTED = "istio.io/autoRegistrationGroup", "istio.io/disconnectedAt"
"""Annotations of a WorkloadEntry that istiod has made: its group, and since when its proxy is gone."""
CLOSED = "ProtocolError"
"""How the program reports a connection that was closed without a response."""
CHECK_SECONDS, LATEST_SECONDS = 5, 20
"""How long the health check may take to find that the machine is ill, and how long it may be called then, on a loaded host."""
SETTLED_SECONDS, WAIT_SECONDS, POLL_SECONDS = 8.0, 60.0, 1.0
"""How long the machine has to be well before a run, and how long to wait for that: an earlier run may have left it ill."""


def _member(cluster: Cluster) -> Mapping[str, Any]:
    """The WorkloadEntry of the machine whose proxy is connected to istiod.

    :raises ClusterError: if there is none
    """
    for member in cluster.items(ENTRIES):
        annotations = member["metadata"].get("annotations", {})
        if annotations.get(GROUP) == MACHINE["group"] and DISCONNECTED not in annotations:
            return member
    raise ClusterError(
        f"the virtual machine is missing: no WorkloadEntry of WorkloadGroup {MACHINE['group']} in namespace {cluster.namespace}"
        f" is connected to istiod; {REMEDY}"
    )


def _reach(cluster: Cluster) -> None:
    """Make sure that something is at the machine's address: istiod takes a while to notice one that ended without a word.

    :raises ClusterError: if there is nothing
    """
    answer = cluster.ask(f"/api/v1/namespaces/{cluster.namespace}/services/{WITNESS}/proxy/call/{ADDRESS}/")
    if not answer["status"] and answer["error"] != CLOSED:
        raise ClusterError(f"the virtual machine is missing: nothing is at {ADDRESS} ({answer['error']}); {REMEDY}")


def connected(cluster: Cluster) -> None:
    """Make sure that the virtual machine is a member of the mesh at this moment, well or ill.

    :raises ClusterError: if it is not
    """
    _member(cluster)
    _reach(cluster)


def _seconds_well(member: Mapping[str, Any], now: float) -> float:
    """How long istiod has known that the machine is well; -1 if it is not."""
    for condition in member.get("status", {}).get("conditions", []):
        if condition["type"] == "Healthy" and condition["status"] == "True":
            return now - datetime.fromisoformat(condition["lastTransitionTime"]).timestamp()
    return -1.0


def well(cluster: Cluster) -> None:
    """Wait until the virtual machine has been well for a while.

    :raises ClusterError: if it is missing, or ill for too long
    """
    connected(cluster)
    until = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < until:
        if _seconds_well(_member(cluster), time.time()) > SETTLED_SECONDS:
            return
        time.sleep(POLL_SECONDS)
    raise ClusterError("the virtual machine fails its health check")


def identity(response: Any) -> str:
    """The SPIFFE name that the called program received; what the caller saw if it was not answered."""
    return caller_shown(response) if response.json()["status"] == OK else called(response)


def admission(response: Any) -> str:
    """The status that a caller received, or ``refused`` if its connection was closed: it has to be there to be refused."""
    error = response.json().get("error")
    return called(response) if error in (None, CLOSED) else f"no connection: {error}"


def presence(response: Any) -> str:
    """Whether the machine answered a caller, or the caller's proxy has nobody to send calls to; any other outcome as it is."""
    body = response.json()
    if body["status"] == OK:
        ill = body["body"]["ill_seconds"] > LATEST_SECONDS
        return "called while it is ill" if ill else ANSWERS
    text = called_text(response)
    return AWAY if text == "HTTP 503 no healthy upstream" else text
