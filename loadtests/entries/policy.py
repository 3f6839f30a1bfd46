"""Applies one entry's rules in place of those of the entry before: ``python -m loadtests.entries.policy ENTRY``.

Every object carries the label istio-lab/policy with entry and variant; nothing without that label is touched.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from loadtests import ending
from loadtests.entries import entry
from loadtests.mesh import analysis, propagation
from loadtests.mesh.cluster import Cluster, ClusterError, RefusedByServerError
from loadtests.mesh.writes import KINDS, Change, ConflictError, apply, key, ordered, state, try_out
from loadtests.rules.workloads import ENTRY

LABEL = ENTRY
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


class RefusedError(Exception):
    """The rules are invalid; nothing was changed. The message says why."""


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


def changes(printed: str) -> list[str]:
    """What kubectl says that it changed."""
    return [line for line in printed.splitlines() if line and line != "No resources found" and not line.endswith(" unchanged")]


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


def plan(before: Sequence[Mapping[str, Any]], wanted: Sequence[dict[str, Any]]) -> list[Change]:
    """The changes that put ``wanted`` in the place of ``before``, in their order."""
    there, kept = {key(rule): rule for rule in before}, {key(rule) for rule in wanted}
    coming = [Change(manifest_of(there[k]) if (k := key(rule)) in there else None, rule) for rule in wanted]
    return ordered([*coming, *(Change(manifest_of(rule), None) for k, rule in there.items() if k not in kept)])


def renewed(changes: Sequence[Change]) -> list[Change]:
    """The same changes; what another entry has under the same name is not replaced but created again.

    Of several rules for one host the oldest wins, so what an entry does never hangs on what was applied before it.
    """
    again = {c.name for c in changes if c.before and c.after and owner(c.before) != owner(c.after)}
    gone = [Change(c.before, None) for c in changes if c.name in again]
    return gone + [Change(None, c.after) if c.name in again else c for c in changes]


def put(cluster: Cluster, name: str, variant: str, catalogue: Path, writer: Cluster | None = None) -> list[str]:
    """Apply the rules of one entry in place of those of the entry before, with what they need beside them.

    :param variant: policy or control
    :param writer: the same cluster by the rights that the rules are written with, and nothing beside them (that is there since
        :mod:`loadtests.console.access` ran); all by those of ``cluster`` if None
    :return: what was changed, in words; empty when all was so already
    :raises KeyError: if there is no such entry
    :raises RefusedError: if one is for another namespace, or the API server, Istio's validation or Istio's analyzer calls them
        invalid; nothing was changed
    :raises ClusterError: if the cluster does not answer, or fails on the way; the message says which rules apply
    """
    found = entry.load(name)
    rules = read(catalogue / name / f"{variant}.yaml")  # a path takes the place of the catalogue's
    if elsewhere := [rule for rule in rules if rule["metadata"].get("namespace", cluster.namespace) != cluster.namespace]:
        names = ", ".join(f"{' '.join(key(rule))} of {rule['metadata']['namespace']}" for rule in elsewhere)
        raise RefusedError(f"{names}: an entry's rules belong to the namespace of its question, {cluster.namespace}")
    wanted, live = labelled(rules, f"{found.name}.{variant}"), cluster.items(*KINDS)
    ours = {key(rule) for rule in wanted}
    if foreign := [" ".join(key(rule)) for rule in live if key(rule) in ours and not owner(rule)]:
        raise RefusedError(f"{', '.join(foreign)} exists already and is not the lab's (no label {LABEL}): delete it first")
    before = [rule for rule in live if owner(rule)]
    changes = plan(before, wanted)
    try:
        try_out(writer or cluster, changes, live)
    except RefusedByServerError as error:
        raise RefusedError(str(error)) from error
    except ConflictError as error:
        raise ConflictError(f"{error}; nothing was changed") from error
    if refusal := analysis.analyze(cluster, wanted, replaced=before).refusal:
        raise RefusedError(refusal)
    done = ["certificates and keys made"] if found.prepare and not writer and found.prepare(cluster) else []
    return done + apply(writer or cluster, renewed(changes), live)


def wait(cluster: Cluster, name: str, seconds: float) -> list[str]:
    """Wait until the proxies hold the entry's rules; in words, which do not when the time is up."""
    question = entry.load(name).question
    rules = question.read(cluster)
    broken = list(rules.expected.broken)
    return broken or propagation.wait(cluster, rules.generation, question.applied_by, seconds)


def main() -> int:
    """0 when the rules apply, 1 when they were refused and nothing was changed, 2 for anything else.

    It prints a line for each change, and to standard error what the analyzer finds, unless a load test follows.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("entry")
    parser.add_argument("--kubeconfig", required=True)
    parser.add_argument("--namespace", required=True)
    parser.add_argument("--variant", default="policy")
    parser.add_argument("--catalogue", type=Path, default=entry.CATALOGUE)
    parser.add_argument(
        "--wait", type=float, metavar="SECONDS",
        help="report the analyzer's findings and give the proxies this long to hold the rules; a load test does both itself",
    )  # fmt: skip
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
    except RefusedError as error:
        print(error, file=sys.stderr)
        return 1
    except ClusterError as error:
        print(error, file=sys.stderr)
        return 2
    for finding in () if options.wait is None else analysis.in_force(cluster):
        print(finding, file=sys.stderr)
    late = wait(cluster, options.entry, options.wait) if options.wait else []
    if late:
        print(f"the proxies do not hold the rules after {options.wait:.0f} s: {'; '.join(late)}", file=sys.stderr)
    return 2 if late else 0


if __name__ == "__main__":
    sys.exit(ending.guarded(main, state))
