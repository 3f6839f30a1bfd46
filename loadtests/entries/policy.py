"""Applies one entry's rules in place of those of the entry before: ``python -m loadtests.entries.policy ENTRY``.

Every object carries the label istio-lab/policy with entry and variant; nothing without that label is touched.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from loadtests.entries import entry
from loadtests.mesh.cluster import Cluster, ClusterError, words_of
from loadtests.rules import precheck
from loadtests.rules.declared import Objects, of_kind

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
"""Kinds that rules may have: as kubectl lists them, and their API version."""
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
REFUSALS = (
    "denied the request", "Error from server (BadRequest)", "Error from server (Invalid)", "Error from server (Forbidden)",
    "error validating data", "no matches for kind", " is invalid: ",
)  # fmt: skip
"""What kubectl says where the API server has looked at the rules and does not take them."""


class RefusedError(Exception):
    """The rules cannot be held; nothing was changed. The message says why."""


def contradictions_with(cluster: Cluster, objects: Objects) -> list[str]:
    """Every contradiction in ``objects``, given what is in the cluster now; empty when they can be held.

    :raises ClusterError: if the cluster does not answer
    """
    there = cluster.items("services", "pods", "gateways.networking.istio.io")
    try:
        services, pods, gateways = (of_kind(there, kind) for kind in ("Service", "Pod", "Gateway"))
        found = precheck.check(objects, services, pods, gateways, cluster.namespace)
    except (KeyError, TypeError) as error:
        found = [f"{type(error).__name__}: {' '.join(str(error).split())}"]
    return list(dict.fromkeys(found))


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


def key(rule: Mapping[str, Any]) -> tuple[str, str]:
    """What tells the rules of one namespace apart: kind and name."""
    return str(rule["kind"]), str(rule["metadata"]["name"])


def owner(rule: Mapping[str, Any]) -> str:
    """Entry and variant that a rule is of; '' for what is nobody's."""
    return str(rule["metadata"].get("labels", {}).get(LABEL, ""))


def manifest_of(rule: Mapping[str, Any]) -> dict[str, Any]:
    """A rule as it can be applied again: without what the API server has added."""
    metadata = {
        part: rule["metadata"][part] for part in ("name", "namespace", "labels", "annotations") if part in rule["metadata"]
    }
    metadata["annotations"] = {k: v for k, v in metadata.get("annotations", {}).items() if k != LAST_APPLIED}
    return {"apiVersion": rule["apiVersion"], "kind": rule["kind"], "metadata": metadata, "spec": rule.get("spec", {})}


def _apply(writer: Cluster, rules: Sequence[Mapping[str, Any]], *options: str) -> list[str]:
    if not rules:
        return []
    manifest = json.dumps({"apiVersion": "v1", "kind": "List", "items": rules})
    return changes(writer.kubectl("apply", *options, "--filename", "-", stdin=manifest))


def _delete(writer: Cluster, rules: Sequence[Mapping[str, Any]]) -> list[str]:
    if not rules:
        return []
    manifest = json.dumps({"apiVersion": "v1", "kind": "List", "items": [manifest_of(rule) for rule in rules]})
    return changes(writer.kubectl("delete", "--ignore-not-found", "--filename", "-", stdin=manifest))


def try_out(writer: Cluster, rules: Sequence[Mapping[str, Any]]) -> None:
    """Have the API server check rules, Istio's webhook included, without keeping them.

    :raises RefusedError: in the server's words, if it does not take them
    :raises ClusterError: if it does not answer
    """
    try:
        _apply(writer, rules, "--dry-run=server")
    except ClusterError as error:
        if any(words in str(error) for words in REFUSALS):
            # What kubectl says before it is about its own input.
            raise RefusedError(re.sub(r"^.*(?=admission webhook)", "", str(error))) from error
        raise


def replace(writer: Cluster, before: Sequence[Mapping[str, Any]], wanted: Sequence[Mapping[str, Any]]) -> list[str]:
    """Apply ``wanted``, then delete those of ``before`` that are not among them: all of it, or nothing.

    :return: what was changed, in words
    :raises ClusterError: if that failed on the way; it says which rules apply now
    """
    kept, had = {key(rule) for rule in wanted}, {key(rule) for rule in before}
    # Of several rules for one host the oldest wins. What another entry has under the same name is created again, so that what
    # an entry does never hangs on what was applied before it.
    renewed = [rule for rule in before if key(rule) in kept and owner(rule) not in {owner(w) for w in wanted}]
    try:
        done = _delete(writer, renewed) + _apply(writer, wanted)
        return done + _delete(writer, [rule for rule in before if key(rule) not in kept])
    except ClusterError as error:
        try:
            _apply(writer, [manifest_of(rule) for rule in before])
            _delete(writer, [rule for rule in wanted if key(rule) not in had])
        except ClusterError as again:
            raise ClusterError(f"{error}; the earlier rules could not be restored ({again}): some of both may apply") from error
        raise ClusterError(f"{error}; the earlier rules apply again") from error


def put(cluster: Cluster, name: str, variant: str, catalogue: Path, writer: Cluster | None = None) -> list[str]:
    """Apply the rules of one entry in place of those of the entry before, with what they need beside them.

    :param variant: policy or control
    :param writer: the same cluster by the rights that the rules are written with, and nothing beside them (that is there since
        :mod:`loadtests.console.access` ran); all by those of ``cluster`` if None
    :return: what was changed, in words; empty when all was so already
    :raises KeyError: if there is no such entry
    :raises RefusedError: if its rules cannot be held, or the API server does not take them; nothing was changed
    :raises ClusterError: if the cluster does not answer, or fails on the way; the message says which rules apply
    """
    found = entry.load(name)
    objects = read(catalogue / name / f"{variant}.yaml")
    if contradictions := contradictions_with(cluster, objects):
        raise RefusedError("; ".join(contradictions))
    wanted = labelled(objects, f"{name}.{variant}")
    before = [rule for rule in cluster.items(*KINDS) if owner(rule)]
    try_out(writer or cluster, wanted)
    done = ["certificates and keys made"] if found.prepare and not writer and found.prepare(cluster) else []
    return done + replace(writer or cluster, before, wanted)


def wait(cluster: Cluster, name: str, seconds: float) -> list[str]:
    """Wait until the proxies hold the entry's rules; in words, which do not when the time is up."""
    question = entry.load(name).question
    rules = question.read(cluster)
    return list(rules.declared.broken) or question.wait_in_step(cluster, rules, seconds)


def main() -> int:
    """0 when the rules apply, with a line for each change; 1 when they were refused, nothing changed; 2 for anything else."""
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
        entry.load(options.entry)
    except KeyError as error:
        print(error.args[0], file=sys.stderr)
        return 1
    try:
        for change in put(cluster, options.entry, options.variant, options.catalogue):
            print(change)
        late = wait(cluster, options.entry, options.wait) if options.wait else []
    except RefusedError as error:
        print(error, file=sys.stderr)
        return 1
    except Exception as error:  # any: by itself, Python would end with the status of a refusal
        print(words_of(error), file=sys.stderr)
        return 2
    if late:
        print(f"the proxies do not hold the rules after {options.wait:.0f} s: {'; '.join(late)}", file=sys.stderr)
    return 2 if late else 0


if __name__ == "__main__":
    sys.exit(main())
