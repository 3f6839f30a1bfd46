"""The account that judges namespaces for the page: it may do what ``make judge`` needs, and nothing else.

The console's own account cannot judge: it neither reads all namespaces' rules nor creates pods, and has to stay that way, for
it answers a browser all day. To run ``make judge`` with the kubeconfig of whoever opened the console would need no account at
all, but would let a page start a process that may do anything in the cluster. So there is a second account. It exists only
while a console is open, the console's account obtains a token of it for each judging, valid for an hour, and in a namespace
that the lab did not create it has rights only if ``make load UI=1`` named that namespace.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from loadtests.console.rights import NAMESPACE, Right, binding, manifest, role, table_of
from loadtests.entries import question
from loadtests.judge.reach import KEPT, PROBES, SYSTEM
from loadtests.judge.rights import CARRIERS, KINDS, TELEMETRIES
from loadtests.mesh import propagation
from loadtests.mesh.cluster import Cluster, ClusterError
from loadtests.rules.workloads import PART_OF, ROOT_NAMESPACE

ACCOUNT = "judge"
NAME = "istio-lab-judge"
"""The role for the whole cluster; those for some namespaces are NAME with an ending."""
LABELS = {**PART_OF, "app.kubernetes.io/component": "judging"}
VALID_SECONDS = 3600
"""How long a token is valid: longer than a run lasts."""
KEEPING = ("get", "list", "watch", "create", "delete")


def _grouped(kinds: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """API group -> plurals of kinds as kubectl lists them."""
    groups: dict[str, list[str]] = {}
    for kind in kinds:
        plural, _, group = kind.partition(".")
        groups.setdefault(group, []).append(plural)
    return {group: tuple(plurals) for group, plurals in groups.items()}


WHOLE = tuple(
    Right(plurals, ("list",), "all rules that may apply to the namespace, and the hosts that they name", group)
    for group, plurals in _grouped(k for k in KINDS if k not in question.WORKLOADS).items()
)
"""Rights in all namespaces."""
FORWARD = Right(("pods/portforward",), ("create", "get"), "a proxy's admin port, to check whether it has the rules")
JUDGED = (
    *(
        Right(plurals, ("list",), "the pods that requests may reach, and their versions", group)
        for group, plurals in _grouped(k for k in KINDS if k in question.WORKLOADS).items()
    ),
    FORWARD,
)
"""Rights in each namespace that may be judged."""
ENTRANCE = (
    Right(("configmaps",), ("get",), "the settings of the mesh, which bear on expectations", names=(question.SETTINGS,)),
    Right(("pods",), ("list",), "the pods of the ingress gateway"),
    Right(("pods/log",), ("get",), "the gateway's access log, which says who answered"),
    FORWARD,
)
"""Rights in the mesh's root namespace, where the ingress gateway is."""
INSIDE = (
    Right(("pods",), KEEPING, "the probes, which send the requests"),
    Right(("serviceaccounts",), KEEPING, "the probes' own ServiceAccount, which has no rights"),
    Right((TELEMETRIES.partition(".")[0],), KEEPING, "the probes' access log", TELEMETRIES.partition(".")[2]),
    Right(("pods/exec",), ("create", "get"), "sending requests, in the probes"),
    Right(("pods/log",), ("get",), "the probes' access logs, which say who answered"),
    Right(("pods/proxy",), ("get",), "the probes' counters, which must agree with the logs"),
    FORWARD,
    Right(
        tuple(kind.partition(".")[0] for kind in CARRIERS), ("get", "list", "watch", "create", "patch", "delete"),
        "the sentinel, which shows when proxies have the rules", "networking.istio.io", names=(propagation.NAME,),
    ),
)  # fmt: skip
"""Rights in the namespace of the probes, which holds nothing else."""
TOKEN = Right(
    ("serviceaccounts/token",), ("create",),
    f"a token of that account, valid for {VALID_SECONDS // 3600} h, when somebody judges", names=(ACCOUNT,),
)  # fmt: skip
"""The one right of the console's account that leads to all of these."""


def look_at(judged: Sequence[str]) -> tuple[Right, ...]:
    """Rights to look at namespaces.

    :param judged: those that may be judged
    """
    names = (PROBES, *judged)
    return (Right(("namespaces",), ("get",), "whether they exist, and are the lab's", names=names),)


def manifests(judged: Sequence[str], console: str) -> list[dict[str, Any]]:
    """Manifests of the account with its rights.

    :param judged: namespaces that may be judged
    :param console: the account that obtains tokens of it
    """
    places = {
        "judged": (JUDGED, judged), "entrance": (ENTRANCE, [ROOT_NAMESPACE]), "probes": (INSIDE, [PROBES]),
    }  # fmt: skip
    return [
        manifest("Namespace", PROBES, labels={**LABELS, **KEPT}),
        manifest("ServiceAccount", ACCOUNT, NAMESPACE, LABELS, automountServiceAccountToken=False),
        role(NAME, (*WHOLE, *look_at(judged)), LABELS),
        binding(NAME, ACCOUNT, labels=LABELS),
        *(role(f"{NAME}-{place}", rights, LABELS) for place, (rights, _) in places.items()),
        *(binding(f"{NAME}-{place}", ACCOUNT, one, LABELS) for place, (_, where) in places.items() for one in where),
        role(f"{NAME}-token", [TOKEN], LABELS),
        binding(f"{NAME}-token", console, NAMESPACE, LABELS),
    ]


def table() -> str:
    """Every right with its reason, as the documentation lists it."""
    places = [
        (WHOLE, "the whole cluster"), (look_at(["…"]), "the whole cluster"), (JUDGED, "each namespace that may be judged"),
        (ENTRANCE, ROOT_NAMESPACE), (INSIDE, PROBES),
    ]  # fmt: skip
    return table_of((right, place) for rights, place in places for right in rights)


def check(judged: Sequence[str], found: Mapping[str, Mapping[str, str]]) -> None:
    """:raises ClusterError: if a namespace cannot be judged, or the one of the probes is not the lab's.

    :param found: the cluster's namespaces, name -> labels
    """
    for name in judged:
        if name in SYSTEM or not re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", name):
            accepted = "namespaces of services, and none of the system, with commas between"
            raise ClusterError(f"NAMESPACE: {name!r} was given; accepted: {accepted}; nothing was changed")
        if name not in found:
            raise ClusterError(
                f"NAMESPACE: there is no namespace {name} in this cluster; accepted: one that exists; nothing was changed"
            )
    if not PART_OF.items() <= found.get(PROBES, PART_OF).items():
        label = "=".join(*PART_OF.items())
        raise ClusterError(
            f"namespace {PROBES}: it exists without the lab's label {label}; accepted: no such namespace; nothing was changed"
        )


def await_end(cluster: Cluster) -> None:
    """Wait until the namespace of the probes is gone, where it is being deleted: nothing can be created in it.

    :raises ClusterError: if that takes longer than 25 s
    """
    cluster.kubectl("wait", "--for=delete", f"namespace/{PROBES}", "--timeout=25s")


def remove(cluster: Cluster) -> list[str]:
    """Remove the account, its rights, and the namespace of the probes.

    :return: what was done, in one line
    :raises ClusterError: if the cluster does not respond or refuses
    """
    labels = ",".join(f"{name}={value}" for name, value in LABELS.items())
    chosen = ("--selector", labels, "--ignore-not-found", "--wait=false")
    whole = replace(cluster, namespace="")  # with one, kubectl refuses to delete what is in others
    whole.kubectl("delete", "rolebindings,serviceaccounts", "--all-namespaces", *chosen)
    whole.kubectl("delete", "namespaces,clusterrolebindings,clusterroles", *chosen)
    return [f"account {ACCOUNT}, its rights, and namespace {PROBES} removed"]


def token(cluster: Cluster) -> str:
    """A token of the account.

    :param cluster: with the rights of the console's account
    :raises ClusterError: if the cluster does not respond or refuses
    """
    body = {
        "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": VALID_SECONDS},
    }  # fmt: skip
    made = cluster.write("POST", f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts/{ACCOUNT}/token", body)
    return str(made["status"]["token"])
