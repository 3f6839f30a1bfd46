"""What load tests in a browser or in the cluster may do: the account `locust`, made and told with the rights of who runs this.

``python -m loadtests.console.access --kubeconfig FILE [--write FILE]``. In the lab's namespaces, the account reads what a
verdict is read from. It writes nothing but the marker of :mod:`loadtests.mesh.marker`, and acts for the accounts of
:mod:`loadtests.console.account`, which write rules. What entries need beside their rules is made here as well, so that it needs
no right to write Secrets.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from loadtests.console import account
from loadtests.entries import entry, policy
from loadtests.mesh.cluster import Cluster, ClusterError

NAMESPACE = "istio-lab-load"
ACCOUNT = "locust"
NAME = "istio-lab-load"
"""Of the role for namespaces with rules; those that are only looked at have NAME-reader."""
PART_OF = {"app.kubernetes.io/part-of": "istio-lab"}
RBAC = "rbac.authorization.k8s.io"
LOOKED_AT = ("istio-system", "telemetry")
VALID = "24h"
"""How long a kubeconfig of the account is good."""

READ = ("get", "list", "watch")
LOOK: tuple[tuple[str, tuple[str, ...], tuple[str, ...]], ...] = (
    ("", ("pods", "pods/log", "services", "endpoints", "configmaps"), READ),
    ("", ("pods/proxy", "services/proxy"), ("get",)),
    ("", ("pods/portforward",), ("create", "get")),
)
JUDGE: tuple[tuple[str, tuple[str, ...], tuple[str, ...]], ...] = (
    *LOOK,
    # What a sample has behind it, a store say, is asked by a client in its pod.
    ("", ("pods/exec",), ("create", "get")),
    # Clients' certificates and the key that signs an entry's tokens: they are made for the load test, and it sends with them.
    ("", ("secrets",), ("get",)),
    ("apps", ("deployments", "statefulsets", "replicasets"), READ),
    *((group, tuple(plurals), READ) for group, plurals in account.kinds().items()),
    ("networking.istio.io", ("serviceentries",), ("create", "patch")),
)  # fmt: skip


def _object(kind: str, name: str, namespace: str = "", **parts: Any) -> dict[str, Any]:
    where = {"namespace": namespace} if namespace else {}
    version = f"{RBAC}/v1" if "Role" in kind else "v1"
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name, **where, "labels": PART_OF}, **parts}


def _role(name: str, rules: Sequence[tuple[str, Sequence[str], Sequence[str]]], *more: Mapping[str, Any]) -> dict[str, Any]:
    told = [{"apiGroups": [group], "resources": list(what), "verbs": list(verbs)} for group, what, verbs in rules]
    return _object("ClusterRole", name, rules=[*told, *more])


def _binding(kind: str, role: str, namespace: str = "") -> dict[str, Any]:
    subject = {"kind": "ServiceAccount", "name": ACCOUNT, "namespace": NAMESPACE}
    return _object(kind, role, namespace, roleRef={"apiGroup": RBAC, "kind": "ClusterRole", "name": role}, subjects=[subject])


def manifests(namespaces: Mapping[str, Mapping[str, str]], known: Sequence[str]) -> list[dict[str, Any]]:
    """The account with its rights, and the accounts that write rules.

    :param namespaces: the lab's, name -> labels; rules are those of namespaces with injection
    :param known: namespaces that may come to be: the account may ask whether they are there
    """
    act = {
        "apiGroups": [""], "resources": ["serviceaccounts"], "resourceNames": [account.NAME], "verbs": ["impersonate"],
    }  # fmt: skip
    ask = {"apiGroups": [""], "resources": ["namespaces"], "resourceNames": sorted(known), "verbs": ["get"]}
    with_rules = [name for name, labels in namespaces.items() if labels.get("istio-injection") == "enabled"]
    return [
        # No sidecar: what is sent must reach the mesh as from outside.
        {
            "apiVersion": "v1", "kind": "Namespace",
            "metadata": {"name": NAMESPACE, "labels": {"istio-injection": "disabled", **PART_OF}},
        },
        _object("ServiceAccount", ACCOUNT, NAMESPACE),
        _role(NAME, JUDGE, act),
        _role(f"{NAME}-reader", LOOK),
        _role(f"{NAME}-namespaces", (), ask),
        _binding("ClusterRoleBinding", f"{NAME}-namespaces"),
        *(_binding("RoleBinding", f"{NAME}-reader", n) for n in LOOKED_AT if n in namespaces),
        *(_binding("RoleBinding", NAME, n) for n in with_rules),
        *(o for n in with_rules for o in account.manifests(n)),
    ]  # fmt: skip


def kubeconfig(own: Mapping[str, Any], token: str) -> dict[str, Any]:
    """The same cluster, for whoever has the token.

    :param own: a kubeconfig of one context, files taken in
    """
    clusters = list(own["clusters"])
    return {
        "apiVersion": "v1", "kind": "Config", "clusters": clusters, "current-context": ACCOUNT,
        "users": [{"name": ACCOUNT, "user": {"token": token}}],
        "contexts": [{"name": ACCOUNT, "context": {"cluster": clusters[0]["name"], "user": ACCOUNT, "namespace": NAMESPACE}}],
    }  # fmt: skip


def give(cluster: Cluster) -> list[str]:
    """Make the account, with its rights on what is there now, and what entries need beside their rules.

    :return: what was changed, in words
    :raises ClusterError: if the cluster does not answer, or refuses
    """
    found = json.loads(cluster.kubectl("get", "namespaces", "--output", "json"))["items"]
    ours = {
        o["metadata"]["name"]: o["metadata"].get("labels", {})
        for o in found
        if PART_OF.items() <= o["metadata"].get("labels", {}).items() or o["metadata"]["name"] in LOOKED_AT
    }
    entries = [entry.load(name) for name in entry.names()]
    wanted = manifests(ours, sorted({e.question.namespace for e in entries}))
    # They are of several namespaces, and each says of which.
    everywhere = replace(cluster, namespace="")
    told = everywhere.kubectl(
        "apply", "--filename", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": wanted})
    )
    prepared = [
        f"certificates and keys for {e.name} made"
        for e in entries
        if e.prepare and e.question.namespace in ours and e.prepare(Cluster(cluster.kubeconfig, e.question.namespace))
    ]
    return policy.changes(told) + prepared


def written(cluster: Cluster, file: Path) -> None:
    """Write a kubeconfig of the account, for its owner alone."""
    own = json.loads(cluster.kubectl("config", "view", "--raw", "--minify", "--flatten", "--output", "json"))
    told = json.dumps(kubeconfig(own, cluster.kubectl("create", "token", ACCOUNT, "--duration", VALID).strip()))
    new = file.with_suffix(".new")
    new.unlink(missing_ok=True)
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as opened:
        opened.write(told)
    new.replace(file)


def main() -> int:
    """0 with a line for every change; 2 when the cluster failed."""
    parser = argparse.ArgumentParser(prog="python -m loadtests.console.access", description=__doc__)
    parser.add_argument("--kubeconfig", required=True, help="of who may give these rights")
    parser.add_argument("--write", type=Path, help="where to write a kubeconfig of the account")
    options = parser.parse_args()
    cluster = Cluster(options.kubeconfig, NAMESPACE)
    try:
        for line in give(cluster):
            print(line)
        if options.write:
            written(cluster, options.write)
    except ClusterError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
