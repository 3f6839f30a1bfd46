"""The accounts that the console writes rules with: one per namespace, limited to the resource kinds of rules.

:mod:`loadtests.console.access` creates them.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from loadtests.mesh import writes
from loadtests.mesh.cluster import Cluster

NAME = "istio-lab-console"
VERBS = ("get", "list", "create", "update", "patch", "delete")


def kinds() -> dict[str, list[str]]:
    """API group -> plural names of the resource kinds of rules."""
    groups: dict[str, list[str]] = {}
    for name in writes.KINDS:
        plural, _, group = name.partition(".")
        groups.setdefault(group, []).append(plural)
    return groups


def manifests(namespace: str) -> list[dict[str, Any]]:
    """Manifests of the account and its Role for one namespace."""
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
    """The same cluster and namespace, with the account's rights.

    The account has no token. Requests impersonate it, and the API server refuses whatever its Role does not cover.
    """
    return replace(cluster, user=f"system:serviceaccount:{cluster.namespace}:{NAME}")
