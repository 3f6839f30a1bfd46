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
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from loadtests import ending
from loadtests.console import account, topology
from loadtests.entries import entry, policy
from loadtests.mesh.cluster import Cluster, ClusterError
from loadtests.samples import billing

NAMESPACE = "istio-lab-load"
ACCOUNT = "locust"
NAME = "istio-lab-load"
"""Of the role for namespaces with rules; those that are only looked at have NAME-reader."""
PART_OF = {"app.kubernetes.io/part-of": "istio-lab"}
RBAC = "rbac.authorization.k8s.io"
LOOKED_AT = ("istio-system", "telemetry")
VALID = "24h"
"""How long a kubeconfig of the account is good."""

READ = ("get", "list")


@dataclass(frozen=True)
class Right:
    """One rule of a role, and why the account cannot do without it."""

    resources: tuple[str, ...]
    verbs: tuple[str, ...]
    why: str
    group: str = ""
    names: tuple[str, ...] = ()
    """The only objects that it is for; empty for all of the namespace."""

    @property
    def rule(self) -> dict[str, Any]:
        """As a role has it."""
        only = {"resourceNames": list(self.names)} if self.names else {}
        return {"apiGroups": [self.group], "resources": list(self.resources), "verbs": list(self.verbs), **only}


LOOK = (
    Right(("pods", "services"), READ, "which pod is which version, where the gateway is, which hosts rules may name"),
    Right(("pods/log",), ("get",), "access logs, one of the sources that a verdict compares"),
    Right(("pods/proxy",), ("get",), "counters of the proxies, and of the stores of sample shadow"),
    Right(
        ("services/proxy",), ("get",), "the topology's metrics; what sample billing's server outside was sent",
        names=(topology.PROMETHEUS_SERVICE, billing.WITNESS),
    ),
    Right(("pods/portforward",), ("create", "get"), "whether a proxy has the rules, from its admin port"),
    *(Right(tuple(plurals), READ, "the rules that verdicts are read from", g) for g, plurals in account.kinds().items()),
)  # fmt: skip
"""In namespaces that are looked at, and in those with rules."""


SENT_WITH = "what entries send with: clients' certificates, the key that signs tokens"
MARKED = "the marker, by which it tells when proxies have the rules"


def judge(secrets: Sequence[str]) -> tuple[Right, ...]:
    """Rights in namespaces with rules.

    :param secrets: those that entries send with
    """
    return (
        *LOOK,
        # A rule without names would be for all of them.
        *([Right(("secrets",), ("get",), SENT_WITH, names=tuple(secrets))] if secrets else []),
        Right(("deployments", "statefulsets"), READ, "replicas and settings that some expectations are read from", "apps"),
        Right(("serviceentries",), ("create", "patch"), MARKED, "networking.istio.io"),
        Right(
            ("serviceaccounts",), ("impersonate",), "writes rules as that account, whose Role covers them and nothing else",
            names=(account.NAME,),
        ),
    )  # fmt: skip


def everywhere(known: Sequence[str]) -> tuple[Right, ...]:
    """Rights that are bound to no namespace.

    :param known: namespaces that may come to be: the account may ask whether they are there
    """
    return (Right(("namespaces",), ("get",), "whether a sample that an entry needs is deployed", names=tuple(known)),)


def secrets_of(entries: Iterable[entry.Entry]) -> list[str]:
    """Secrets that the entries' traffic is sent with."""
    return sorted({name for e in entries for t in e.traffic.values() if (name := getattr(t, "secret", ""))})


def namespaces_of(entries: Iterable[entry.Entry]) -> list[str]:
    """Namespaces that the entries are about."""
    return sorted({e.question.namespace for e in entries})


def _object(kind: str, name: str, namespace: str = "", **parts: Any) -> dict[str, Any]:
    where = {"namespace": namespace} if namespace else {}
    version = f"{RBAC}/v1" if "Role" in kind else "v1"
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name, **where, "labels": PART_OF}, **parts}


def _role(name: str, rights: Iterable[Right]) -> dict[str, Any]:
    return _object("ClusterRole", name, rules=[right.rule for right in rights])


def _binding(kind: str, role: str, namespace: str = "") -> dict[str, Any]:
    subject = {"kind": "ServiceAccount", "name": ACCOUNT, "namespace": NAMESPACE}
    return _object(kind, role, namespace, roleRef={"apiGroup": RBAC, "kind": "ClusterRole", "name": role}, subjects=[subject])


def manifests(
    namespaces: Mapping[str, Mapping[str, str]], known: Sequence[str], secrets: Sequence[str]
) -> list[dict[str, Any]]:
    """The account with its rights, and the accounts that write rules.

    :param namespaces: the lab's, name -> labels; rules are those of namespaces with injection
    :param known: namespaces that entries are about
    :param secrets: those that entries send with
    """
    with_rules = [name for name, labels in namespaces.items() if labels.get("istio-injection") == "enabled"]
    return [
        # No sidecar: what is sent must reach the mesh as from outside.
        {
            "apiVersion": "v1", "kind": "Namespace",
            "metadata": {"name": NAMESPACE, "labels": {"istio-injection": "disabled", **PART_OF}},
        },
        _object("ServiceAccount", ACCOUNT, NAMESPACE),
        _role(NAME, judge(secrets)),
        _role(f"{NAME}-reader", LOOK),
        _role(f"{NAME}-namespaces", everywhere(known)),
        _binding("ClusterRoleBinding", f"{NAME}-namespaces"),
        *(_binding("RoleBinding", f"{NAME}-reader", n) for n in LOOKED_AT if n in namespaces),
        *(_binding("RoleBinding", NAME, n) for n in with_rules),
        *(o for n in with_rules for o in account.manifests(n)),
    ]  # fmt: skip


def table() -> str:
    """Every right with its reason, as the README has it."""
    entries = [entry.load(name) for name in entry.names()]
    where = [
        *((right, "the lab's, istio-system, telemetry") for right in LOOK),
        *((right, "those with rules") for right in judge(secrets_of(entries))[len(LOOK) :]),
        *((right, "the whole cluster") for right in everywhere(namespaces_of(entries))),
    ]
    lines = ["| Namespaces | Right | Why |", "|---|---|---|"]
    for right, place in where:
        objects = ", ".join(f"`{r}{'.' + right.group if right.group else ''}`" for r in right.resources)
        only = f" named {', '.join(f'`{name}`' for name in right.names)}" if right.names else ""
        lines.append(f"| {place} | {', '.join(right.verbs)} {objects}{only} | {right.why} |")
    return "\n".join(lines) + "\n"


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
    if NAMESPACE not in ours and any(o["metadata"]["name"] == NAMESPACE for o in found):
        raise ClusterError(
            f"namespace {NAMESPACE}: it exists in this cluster without the lab's label, so it is somebody else's; "
            "accepted: no such namespace; nothing was changed"
        )
    entries = [entry.load(name) for name in entry.names()]
    wanted = manifests(ours, namespaces_of(entries), secrets_of(entries))
    # They are of several namespaces, and each says of which.
    told = replace(cluster, namespace="").kubectl(
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
    sys.exit(ending.guarded(main))
