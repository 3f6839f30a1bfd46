"""The accounts that the console writes rules with: one a namespace, which may write the kinds that rules have, no more.

:mod:`loadtests.console.access` makes them.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from loadtests.mesh import writes
from loadtests.mesh.cluster import Cluster

NAME = "istio-lab-console"
VERBS = ("get", "list", "create", "update", "patch", "delete")


def kinds() -> dict[str, list[str]]:
    """API group -> plural names of the kinds that rules may have."""
    groups: dict[str, list[str]] = {}
    for name in writes.KINDS:
        plural, _, group = name.partition(".")
        groups.setdefault(group, []).append(plural)
    return groups


def manifests(namespace: str) -> list[dict[str, Any]]:
    """The account with its Role, for one namespace."""
    rbac, metadata = "rbac.authorization.k8s.io", {"name": NAME, "namespace": namespace}
    rules = [{"apiGroups": [group], "resources": plurals, "verbs": list(VERBS)} for group, plurals in kinds().items()]
    role = {"apiGroup": rbac, "kind": "Role", "name": NAME}
    subject = {"kind": "ServiceAccount", "name": NAME, "namespace": namespace}
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata, "automountServiceAccountToken": False},
        {"apiVersion": f"{rbac}/v1", "kind": "Role", "metadata": metadata, "rules": rules},
        {"apiVersion": f"{rbac}/v1", "kind": "RoleBinding", "metadata": metadata, "roleRef": role, "subjects": [subject]},
    ]


def of(cluster: Cluster) -> Cluster:
    """The same cluster and namespace, seen with the account's rights.

    It has no token: the API server is asked to treat a request as the account's, and refuses whatever its Role does not cover.
    """
    return replace(cluster, user=f"system:serviceaccount:{cluster.namespace}:{NAME}")
