"""Puts one entry's rules in force, and takes those of the entry before away: ``python -m loadtests.policy ENTRY``.

Every object carries the label istio-lab/policy with entry and variant; nothing without that label is touched.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from loadtests import entry, precheck
from loadtests.cluster import Cluster, ClusterError

LABEL = "istio-lab/policy"
KINDS = {
    "virtualservices.networking.istio.io": "networking.istio.io/v1/VirtualService",
    "destinationrules.networking.istio.io": "networking.istio.io/v1/DestinationRule",
    "gateways.networking.istio.io": "networking.istio.io/v1/Gateway",
    "serviceentries.networking.istio.io": "networking.istio.io/v1/ServiceEntry",
    "sidecars.networking.istio.io": "networking.istio.io/v1/Sidecar",
    "envoyfilters.networking.istio.io": "networking.istio.io/v1alpha3/EnvoyFilter",
    "peerauthentications.security.istio.io": "security.istio.io/v1/PeerAuthentication",
    "authorizationpolicies.security.istio.io": "security.istio.io/v1/AuthorizationPolicy",
    "requestauthentications.security.istio.io": "security.istio.io/v1/RequestAuthentication",
    "gateways.gateway.networking.k8s.io": "gateway.networking.k8s.io/v1/Gateway",
    "httproutes.gateway.networking.k8s.io": "gateway.networking.k8s.io/v1/HTTPRoute",
    "ingresses.networking.k8s.io": "networking.k8s.io/v1/Ingress",
}
"""Kinds that rules may have: as kubectl lists them, and as it prunes them."""


class RefusedError(Exception):
    """The rules cannot be held; nothing was changed. The message says why."""


def read(file: Path) -> list[dict[str, Any]]:
    """The objects of one file.

    :raises RefusedError: if there is no such file, or it does not hold objects
    """
    try:
        objects = [o for o in yaml.safe_load_all(file.read_text()) if o]
    except (OSError, yaml.YAMLError) as error:
        raise RefusedError(f"{type(error).__name__}: {' '.join(str(error).split())}") from error
    for o in objects:
        if not isinstance(o, dict) or "kind" not in o or "name" not in o.get("metadata", {}):
            raise RefusedError(f"an object without kind or name: {str(o)[:80]}")
    return objects


def labelled(objects: Sequence[dict[str, Any]], value: str) -> list[dict[str, Any]]:
    """The same objects with the label of their entry and variant."""
    return [{**o, "metadata": {**o["metadata"], "labels": {**o["metadata"].get("labels", {}), LABEL: value}}} for o in objects]


def changes(told: str) -> list[str]:
    """What kubectl says that it changed."""
    return [line for line in told.splitlines() if line and line != "No resources found" and not line.endswith(" unchanged")]


def put(cluster: Cluster, name: str, variant: str, catalogue: Path, writer: Cluster | None = None) -> list[str]:
    """Put the rules of one entry in force, with what they need beside them.

    :param variant: policy or control
    :param writer: the same cluster by the rights that the rules are written with, and nothing beside them (that is there since
        :mod:`loadtests.access` ran); all by those of ``cluster`` if None
    :return: what was changed, in words; empty when all was so already
    :raises KeyError: if there is no such entry
    :raises RefusedError: if its rules cannot be held
    :raises ClusterError: if the cluster does not answer, or refuses
    """
    found = entry.load(name)
    objects = read(catalogue / name / f"{variant}.yaml")
    if contradictions := precheck.contradictions_with(cluster, objects):
        raise RefusedError("; ".join(contradictions))
    done = ["certificates and keys made"] if found.prepare and not writer and found.prepare(cluster) else []
    value, writer = f"{name}.{variant}", writer or cluster
    # Two kinds of object could meet with rules of another entry, so those go first.
    done += changes(writer.kubectl("delete", ",".join(KINDS), "--selector", f"{LABEL},{LABEL}!={value}", "--ignore-not-found"))
    # What an older version of the same rules had goes by kubectl's pruning.
    allowed = [f"--prune-allowlist={kind}" for kind in KINDS.values()]
    manifest = json.dumps({"apiVersion": "v1", "kind": "List", "items": labelled(objects, value)})
    applied = writer.kubectl("apply", "--prune", "--selector", f"{LABEL}={value}", *allowed, "--filename", "-", stdin=manifest)
    return done + changes(applied)


def wait(cluster: Cluster, name: str, seconds: float) -> list[str]:
    """Wait until the proxies hold the entry's rules; in words, which do not when the time is up."""
    question = entry.load(name).question
    rules = question.read(cluster)
    return list(rules.declared.broken) or question.wait_in_step(cluster, rules, seconds)


def main() -> int:
    """0 when the rules are in force, with a line for every change; 1 when they were refused; 2 when the cluster failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("entry")
    parser.add_argument("--kubeconfig", required=True)
    parser.add_argument("--namespace", required=True)
    parser.add_argument("--variant", default="policy")
    parser.add_argument("--catalogue", type=Path, default=entry.CATALOGUE)
    parser.add_argument("--wait", type=float, default=0.0, help="seconds that the proxies may take to hold the rules")
    options = parser.parse_args()
    cluster = Cluster(options.kubeconfig, options.namespace)
    try:
        for change in put(cluster, options.entry, options.variant, options.catalogue):
            print(change)
        late = wait(cluster, options.entry, options.wait) if options.wait else []
    except (RefusedError, KeyError) as error:
        print(error.args[0], file=sys.stderr)
        return 1
    except ClusterError as error:
        print(error, file=sys.stderr)
        return 2
    if late:
        print(f"the proxies do not hold the rules after {options.wait:.0f} s: {'; '.join(late)}", file=sys.stderr)
    return 2 if late else 0


if __name__ == "__main__":
    sys.exit(main())
