"""Rights of the console's accounts, each with its reason, and the objects that grant them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loadtests.rules.workloads import PART_OF

NAMESPACE = "istio-lab-load"
"""Namespace of the accounts."""
RBAC = "rbac.authorization.k8s.io"


@dataclass(frozen=True)
class Right:
    """One rule of a role, and why the account needs it."""

    resources: tuple[str, ...]
    verbs: tuple[str, ...]
    why: str
    group: str = ""
    names: tuple[str, ...] = ()
    """The objects that it covers; empty for all in the namespace."""

    @property
    def rule(self) -> dict[str, Any]:
        """The rule in a role's format."""
        only = {"resourceNames": list(self.names)} if self.names else {}
        return {"apiGroups": [self.group], "resources": list(self.resources), "verbs": list(self.verbs), **only}

    def line(self, place: str) -> str:
        """The right as a line of the documentation's table.

        :param place: the namespaces, in words
        """
        objects = ", ".join(f"`{r}{'.' + self.group if self.group else ''}`" for r in self.resources)
        only = f" named {', '.join(f'`{name}`' for name in self.names)}" if self.names else ""
        return f"| {place} | {', '.join(self.verbs)} {objects}{only} | {self.why} |"


def table_of(rights: Iterable[tuple[Right, str]]) -> str:
    """The documentation's table of rights, each with the namespaces that it is for."""
    return "\n".join(["| Namespaces | Right | Why |", "|---|---|---|", *(right.line(place) for right, place in rights)]) + "\n"


def manifest(kind: str, name: str, namespace: str = "", labels: Mapping[str, str] = PART_OF, **parts: Any) -> dict[str, Any]:
    """An object with the lab's label."""
    where = {"namespace": namespace} if namespace else {}
    version = f"{RBAC}/v1" if "Role" in kind else "v1"
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name, **where, "labels": dict(labels)}, **parts}


def role(name: str, rights: Iterable[Right], labels: Mapping[str, str] = PART_OF) -> dict[str, Any]:
    """A role that can be bound in any namespace."""
    return manifest("ClusterRole", name, labels=labels, rules=[right.rule for right in rights])


def binding(role: str, account: str, namespace: str = "", labels: Mapping[str, str] = PART_OF) -> dict[str, Any]:
    """Gives an account a role, in one namespace, or in the whole cluster."""
    return manifest(
        "RoleBinding" if namespace else "ClusterRoleBinding", role, namespace, labels,
        roleRef={"apiGroup": RBAC, "kind": "ClusterRole", "name": role},
        subjects=[{"kind": "ServiceAccount", "name": account, "namespace": NAMESPACE}],
    )  # fmt: skip


def kubeconfig(own: Mapping[str, Any], token: str, account: str) -> dict[str, Any]:
    """A kubeconfig for the same cluster with the token of an account.

    :param own: a flattened kubeconfig with one context
    """
    clusters = list(own["clusters"])
    return {
        "apiVersion": "v1", "kind": "Config", "clusters": clusters, "current-context": account,
        "users": [{"name": account, "user": {"token": token}}],
        "contexts": [{"name": account, "context": {"cluster": clusters[0]["name"], "user": account, "namespace": NAMESPACE}}],
    }  # fmt: skip


def write_private(file: Path, content: str) -> None:
    """Write a file that only its owner may read, atomically."""
    new = file.with_suffix(".new")
    new.unlink(missing_ok=True)
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as opened:
        opened.write(content)
    new.replace(file)
