"""The accounts that the settings page writes rules with: one a namespace, which may write Istio's kinds there, no more."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from loadtests.cluster import Cluster

NAME = "istio-lab-console"
VERBS = ("get", "list", "create", "update", "delete")
KINDS = {
    "networking.istio.io": ("virtualservices", "destinationrules", "serviceentries", "envoyfilters"),
    "security.istio.io": ("peerauthentications", "authorizationpolicies"),
}


def manifests(namespace: str) -> list[dict[str, Any]]:
    """The account with its Role, for one namespace."""
    rbac, metadata = "rbac.authorization.k8s.io", {"name": NAME}
    rules = [{"apiGroups": [group], "resources": list(kinds), "verbs": list(VERBS)} for group, kinds in KINDS.items()]
    role = {"apiGroup": rbac, "kind": "Role", "name": NAME}
    subject = {"kind": "ServiceAccount", "name": NAME, "namespace": namespace}
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata, "automountServiceAccountToken": False},
        {"apiVersion": f"{rbac}/v1", "kind": "Role", "metadata": metadata, "rules": rules},
        {"apiVersion": f"{rbac}/v1", "kind": "RoleBinding", "metadata": metadata, "roleRef": role, "subjects": [subject]},
    ]


def of(cluster: Cluster) -> Cluster:
    """The same cluster and namespace, seen with the account's rights; the account is made where there is none.

    It has no token: the API server is asked to treat a request as the account's, and refuses whatever its Role does not cover.

    :raises ClusterError: if the cluster does not answer, or refuses
    """
    wanted = {"apiVersion": "v1", "kind": "List", "items": manifests(cluster.namespace)}
    cluster.kubectl("apply", "--filename", "-", stdin=json.dumps(wanted))
    return replace(cluster, user=f"system:serviceaccount:{cluster.namespace}:{NAME}")
