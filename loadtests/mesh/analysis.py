"""What Istio's own analyzer says of rules: ``istioctl analyze``.

It is given the objects that matter, and does not read the cluster itself: for that it would need access to all of it, even to
the mesh's Secrets.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from loadtests.mesh import propagation
from loadtests.mesh.cluster import Cluster, ClusterError, RefusedByServerError
from loadtests.mesh.writes import KINDS

REFERRED = ("services", "gateways.networking.istio.io", "destinationrules.networking.istio.io")
"""What rules refer to in their own namespace or another one, as kubectl lists it."""
ELSEWHERE = re.compile(r'not found: "[^"]*[./]')
"""How the analyzer names something missing that may be in another namespace."""


@dataclass(frozen=True)
class Findings:
    """What the analyzer found, each with its code, such as ``IST0101 Referenced gateway not found: "shop"``."""

    errors: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def refusal(self) -> str:
        """In words, why the rules are refused; empty if they are not: a warning is no reason."""
        return _reported("; ".join(self.errors)) if self.errors else ""


def _reported(finding: str) -> str:
    return f"istioctl analyze: {finding}"


def _named(rule: Mapping[str, Any], namespace: str) -> str:
    """A rule as the analyzer names it."""
    return f"{rule['kind']} {rule['metadata'].get('namespace', namespace)}/{rule['metadata']['name']}"


def _referred(cluster: Cluster) -> tuple[list[dict[str, Any]], bool]:
    """What rules may refer to, and whether that is of all namespaces: an account may be limited to its own."""
    try:
        return cluster.everywhere(*REFERRED), True
    except RefusedByServerError as error:
        if error.code != 403:
            raise
        return cluster.items(*REFERRED), False


def analyze(
    cluster: Cluster, objects: Sequence[Mapping[str, Any]], beside: Sequence[Mapping[str, Any]] = (),
    replaced: Sequence[Mapping[str, Any]] = (),
) -> Findings:  # fmt: skip
    """What is found in ``objects``, given what they refer to in the cluster.

    :param beside: other rules that they may conflict with
    :param replaced: rules that are in the cluster still and will not be
    :raises ClusterError: if the cluster does not answer, or istioctl does not run
    """
    if not objects:
        return Findings()
    referred, complete = _referred(cluster)
    ours = {_named(o, cluster.namespace) for o in objects}
    others = {_named(o, cluster.namespace): o for o in (*referred, *beside)}
    for name in ours | {_named(o, cluster.namespace) for o in replaced}:
        others.pop(name, None)
    # JSON is YAML as well, and writing it takes a hundredth of the time.
    given = "\n---\n".join(json.dumps(o) for o in (*objects, *others.values()))
    printed = cluster.istioctl("analyze", "--use-kube=false", "--output", "json", "-", stdin=given)
    # An origin may go on with the part of the rule, or the line, that is meant.
    about = [m for m in json.loads(printed or "[]") or [] if " ".join(str(m.get("origin", "")).split()[:2]) in ours]
    reported = [m for m in about if complete or not ELSEWHERE.search(m["message"])]
    errors, warnings = (
        tuple(f"{m['code']} {' '.join(m['message'].split())}" for m in reported if m["level"] == level)
        for level in ("Error", "Warning")
    )
    return Findings(errors, warnings)


def in_force(cluster: Cluster) -> tuple[str, ...]:
    """In words, what is found in the namespace's rules, or why the analyzer could not be asked: no verdict hangs on it.

    :raises ClusterError: if the cluster does not answer
    """
    rules = [rule for rule in cluster.items(*KINDS) if not rule["metadata"]["name"].startswith(propagation.NAME)]
    try:
        found = analyze(cluster, rules)
    except ClusterError as error:
        return (f"Istio's analyzer was not asked: {error}",)
    return tuple(_reported(finding) for finding in (*found.errors, *found.warnings))
