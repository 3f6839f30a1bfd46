"""Permissions of load tests in a browser or in the cluster: creates the account `locust` with the caller's own rights.

``python -m loadtests.console.access --kubeconfig FILE [--write FILE]``. In the lab's namespaces, the account reads the sources
of a verdict. It writes only the sentinel of :mod:`loadtests.mesh.propagation`, and impersonates the accounts of
:mod:`loadtests.console.account`, which write rules. Other objects that entries need are also created here, so that the account
needs no right to write Secrets.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from loadtests import ending
from loadtests.clients import traced
from loadtests.console import account, changes, judges, topology
from loadtests.console.rights import NAMESPACE, Right, binding, kubeconfig, manifest, role, table_of, write_private
from loadtests.entries import entry, policy, question
from loadtests.judge.reach import PROBES
from loadtests.mesh import propagation
from loadtests.mesh.cluster import Cluster, ClusterError
from loadtests.rules import gateway_api
from loadtests.rules.workloads import PART_OF
from loadtests.samples import billing, machine

ACCOUNT = "locust"
NAME = "istio-lab-load"
"""The role for namespaces with rules; in read-only namespaces it is NAME-reader."""
READ_ONLY = ("istio-system", "telemetry")
VALID = "24h"
"""How long a kubeconfig of the account is valid."""

READ = ("get", "list")

LOOK = (
    Right(("pods", "services"), READ, "pod versions, the gateway's address, and the hosts that rules may name"),
    Right(("pods/log",), ("get",), "access logs, one of a verdict's sources"),
    Right(("pods/proxy",), ("get",), "counters of the proxies, and of the stores in sample shadow"),
    Right(
        ("services/proxy",), ("get",), "the topology's metrics; what samples have outside the cluster; traces",
        names=(topology.PROMETHEUS_SERVICE, billing.WITNESS, machine.WITNESS, f"{traced.ZIPKIN.name}:{traced.PORT}"),
    ),
    Right(("pods/portforward",), ("create", "get"), "a proxy's admin port, to check whether it has the rules"),
    *(Right(tuple(plurals), READ, "the rules behind every expectation", g) for g, plurals in account.kinds().items()),
    Right((question.GRANTS.partition(".")[0],), READ, "what lets routes lead to other namespaces", gateway_api.GROUP),
    Right((question.BACKENDS.partition(".")[0],), READ, "how gateways call services by TLS", gateway_api.GROUP),
    Right(
        (question.PROXY_SETTINGS.partition(".")[0],), READ, "settings of the proxies, which bear on expectations",
        "networking.istio.io",
    ),
    Right(
        tuple(kind.partition(".")[0] for kind in question.EXTENSIONS), READ,
        "what proxies run, which bears on expectations", "extensions.istio.io",
    ),
)  # fmt: skip
"""Rights in read-only namespaces and in namespaces with rules."""

MESH = (
    Right(("configmaps",), ("get",), "the settings of the mesh, which bear on expectations", names=(question.SETTINGS,)),
    Right(("deployments",), ("get",), "whether traces can be looked up", "apps", names=(traced.ZIPKIN.name,)),
)
"""More rights in read-only namespaces."""


SENT_WITH = "what entries send or verify with: certificates, the token signing key"
SENTINEL = "the sentinel, which shows when proxies have the rules"


def judge(secrets: Sequence[str]) -> tuple[Right, ...]:
    """Rights in namespaces with rules.

    :param secrets: the Secrets that entries send with
    """
    return (
        *LOOK,
        # A rule without names would cover all Secrets.
        *([Right(("secrets",), ("get",), SENT_WITH, names=tuple(secrets))] if secrets else []),
        Right(("configmaps",), READ, "the configuration of a rate limit service"),
        Right(("deployments", "statefulsets"), READ, "replicas and settings that some expectations depend on", "apps"),
        Right(
            ("workloadgroups", "workloadentries"), READ, "identity and health check of virtual machines",
            "networking.istio.io",
        ),
        Right(
            ("envoyfilters", "serviceentries"), ("create", "patch"), SENTINEL, "networking.istio.io",
            names=(propagation.NAME, changes.SENTINEL),
        ),
        Right(
            ("serviceaccounts",), ("impersonate",), "to write rules as that account, whose Role covers nothing else",
            names=(account.NAME,),
        ),
    )  # fmt: skip


def everywhere(known: Sequence[str]) -> tuple[Right, ...]:
    """Cluster-wide rights.

    :param known: namespaces whose existence the account may check
    """
    return (Right(("namespaces",), ("get",), "whether a sample that an entry needs is deployed", names=tuple(known)),)


def secrets_of(entries: Iterable[entry.Entry]) -> list[str]:
    """Secrets that the entries' traffic uses."""
    return sorted({name for e in entries for t in e.traffic.values() if (name := getattr(t, "secret", ""))})


def namespaces_of(entries: Iterable[entry.Entry]) -> list[str]:
    """Namespaces that the entries belong to."""
    return sorted({e.question.namespace for e in entries})


def ruled(namespaces: Mapping[str, Mapping[str, str]]) -> list[str]:
    """Those of the lab's namespaces that have rules.

    :param namespaces: name -> labels
    """
    return [name for name, labels in namespaces.items() if labels.get("istio-injection") == "enabled" and name != PROBES]


def manifests(
    namespaces: Mapping[str, Mapping[str, str]], known: Sequence[str], secrets: Sequence[str]
) -> list[dict[str, Any]]:
    """Manifests of the account with its rights, and of the accounts that write rules.

    :param namespaces: the lab's namespaces, name -> labels; those with injection have rules
    :param known: namespaces that entries belong to
    :param secrets: the Secrets that entries send with
    """
    with_rules = ruled(namespaces)
    return [
        # No sidecar: traffic must reach the mesh from outside.
        manifest("Namespace", NAMESPACE, labels={"istio-injection": "disabled", **PART_OF}),
        manifest("ServiceAccount", ACCOUNT, NAMESPACE),
        role(NAME, judge(secrets)),
        role(f"{NAME}-reader", (*LOOK, *MESH)),
        role(f"{NAME}-namespaces", everywhere(known)),
        binding(f"{NAME}-namespaces", ACCOUNT),
        *(binding(f"{NAME}-reader", ACCOUNT, n) for n in READ_ONLY if n in namespaces),
        *(binding(NAME, ACCOUNT, n) for n in with_rules),
        *(o for n in with_rules for o in account.manifests(n)),
    ]  # fmt: skip


def table() -> str:
    """Every right with its reason, as the documentation lists it."""
    entries = [entry.load(name) for name in entry.names()]
    where = [
        *((right, "lab namespaces, istio-system, telemetry") for right in LOOK),
        *((right, "istio-system, telemetry") for right in MESH),
        *((right, "lab namespaces with rules") for right in judge(secrets_of(entries))[len(LOOK) :]),
        *((right, "the whole cluster") for right in everywhere(namespaces_of(entries))),
    ]
    return table_of(where)


def give(cluster: Cluster, judged: Sequence[str] | None = None) -> list[str]:
    """Create the account with its rights in all current namespaces, and the other objects that entries need.

    :param judged: namespaces besides the lab's in which the account of :mod:`loadtests.console.judges` may judge; None for no
        such account
    :return: one line per change
    :raises ClusterError: if the cluster does not respond or refuses
    """
    found = json.loads(cluster.kubectl("get", "namespaces", "--output", "json"))["items"]
    ours = {
        o["metadata"]["name"]: o["metadata"].get("labels", {})
        for o in found
        if PART_OF.items() <= o["metadata"].get("labels", {}).items() or o["metadata"]["name"] in READ_ONLY
        # Nothing can be created in a namespace that is being deleted, be it a sample's or one of make judge.
        if "deletionTimestamp" not in o["metadata"] or o["metadata"]["name"] == NAMESPACE
    }
    if NAMESPACE not in ours and any(o["metadata"]["name"] == NAMESPACE for o in found):
        raise ClusterError(
            f"namespace {NAMESPACE}: it exists in this cluster without the lab's label, so the lab does not own it; "
            "accepted: no such namespace; nothing was changed"
        )
    entries = [entry.load(name) for name in entry.names()]
    wanted = manifests(ours, namespaces_of(entries), secrets_of(entries))
    if judged is not None:
        judges.check(judged, {o["metadata"]["name"]: o["metadata"].get("labels", {}) for o in found})
        if any("deletionTimestamp" in o["metadata"] for o in found if o["metadata"]["name"] == PROBES):
            judges.await_end(cluster)
        wanted += judges.manifests([*ruled(ours), *judged], ACCOUNT)
    # The objects belong to several namespaces, and each names its own.
    output = replace(cluster, namespace="").kubectl(
        "apply", "--filename", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": wanted})
    )
    prepared = [
        f"certificates and keys for {e.name} created"
        for e in entries
        if e.prepare and e.question.namespace in ours and e.prepare(Cluster(cluster.kubeconfig, e.question.namespace))
    ]
    return policy.changes(output) + prepared


def written(cluster: Cluster, file: Path) -> None:
    """Write a kubeconfig of the account, readable by its owner only."""
    own = json.loads(cluster.kubectl("config", "view", "--raw", "--minify", "--flatten", "--output", "json"))
    token = cluster.kubectl("create", "token", ACCOUNT, "--duration", VALID).strip()
    write_private(file, json.dumps(kubeconfig(own, token, ACCOUNT)))


def main() -> int:
    """0 with a line for every change; 2 if the cluster failed."""
    parser = argparse.ArgumentParser(prog="python -m loadtests.console.access", description=__doc__)
    parser.add_argument("--kubeconfig", required=True, help="kubeconfig of a user who may grant these rights")
    parser.add_argument("--write", type=Path, help="where to write a kubeconfig of the account")
    parser.add_argument("--judged", help="namespaces besides the lab's that the page may judge, with commas between")
    parser.add_argument("--end-judging", action="store_true", help="remove the account that judges, and do nothing else")
    options = parser.parse_args()
    cluster = Cluster(options.kubeconfig, NAMESPACE)
    judged = None if options.judged is None else [name.strip() for name in options.judged.split(",") if name.strip()]
    try:
        for line in judges.remove(cluster) if options.end_judging else give(cluster, judged):
            print(line)
        if options.write:
            written(cluster, options.write)
    except ClusterError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(ending.guarded(main))
