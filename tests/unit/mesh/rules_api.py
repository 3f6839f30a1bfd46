"""An API server that stores one namespace's rules, with the interface that :mod:`loadtests.mesh.writes` uses."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from loadtests.mesh.cluster import Cluster, ClusterError, RefusedByServerError, path_of
from loadtests.mesh.writes import KINDS, Key, key

PATHS = {path_of(name, "bookinfo"): api.rpartition("/")[2] for name, api in KINDS.items()}
LOST = "lost: "
"""Prefix in ``fails`` for a write that is carried out but gets no response."""
REFUSED = "refused: "
"""Prefix in ``fails`` for a write that the server refuses."""


def nothing(verb: str, rule: Mapping[str, Any]) -> str:
    """Every write succeeds."""
    return ""


@dataclass(frozen=True)
class Kept(Cluster):
    """A cluster with pods and services of Bookinfo's reviews that stores rules.

    :param fails: from a verb (``try`` for a dry run) and an object to why that fails; '' if it does not
    """

    rules: dict[Key, dict[str, Any]] = field(default_factory=dict)
    others: list[dict[str, Any]] = field(default_factory=list)
    asked: list[tuple[str, str, str]] = field(default_factory=list)
    """(user, verb, name) of every write."""
    fails: list[Callable[[str, Mapping[str, Any]], str]] = field(default_factory=lambda: [nothing])
    found: list[dict[str, Any]] = field(default_factory=list)
    """The analyzer's findings."""
    analyzed: list[str] = field(default_factory=list)
    """What it was given."""

    def items(self, *kinds: str, namespace: str = "") -> list[dict[str, Any]]:
        return copy.deepcopy(self.others if "pods" in kinds else list(self.rules.values()))

    def everywhere(self, *kinds: str) -> list[dict[str, Any]]:
        plurals = {kind.partition(".")[0] for kind in kinds}
        return [o for o in (*self.others, *self.rules.values()) if f"{o['kind'].lower()}s" in plurals]

    def istioctl(self, *arguments: str, stdin: str | None = None) -> str:
        self.analyzed.append(stdin or "")
        return json.dumps(self.found)

    def ask(self, path: str, **query: str) -> dict[str, Any]:
        if path in PATHS:
            return {"items": [r for r in copy.deepcopy(list(self.rules.values())) if r["kind"] == PATHS[path]]}
        if (plural := path.rpartition("/")[2]) in ("services", "pods"):
            return {"items": [o for o in self.others if f"{o['kind'].lower()}s" == plural]}
        folder, _, name = path.rpartition("/")
        if why := self.fails[0]("get", {"kind": PATHS[folder], "metadata": {"name": name}}):
            raise ClusterError(why)
        if (PATHS[folder], name) not in self.rules:
            raise RefusedByServerError("not found", 404)
        return copy.deepcopy(self.rules[(PATHS[folder], name)])

    def write(self, method: str, path: str, body: Mapping[str, Any], **query: str) -> dict[str, Any]:
        folder, _, name = (path, "", body["metadata"]["name"]) if method == "POST" else path.rpartition("/")
        of, dry = (PATHS[folder], name), body.get("dryRun") == ["All"] if method == "DELETE" else query.get("dryRun") == "All"
        verb = "try" if dry else {"POST": "create", "PUT": "replace", "DELETE": "delete"}[method]
        self.asked.append((self.user, verb, name))
        why = self.fails[0](verb, {"kind": of[0], **body, "metadata": {"name": name}} if method == "DELETE" else body)
        if why.startswith(REFUSED):
            raise RefusedByServerError(why.removeprefix(REFUSED), 400)
        if why and not why.startswith(LOST):
            raise ClusterError(why)
        now = self.made(method, of, copy.deepcopy(dict(body)), dry)
        if why:
            raise ClusterError(why.removeprefix(LOST))
        return now

    def made(self, method: str, of: Key, body: dict[str, Any], dry: bool) -> dict[str, Any]:
        """Handle a write like a real API server."""
        there = self.rules.get(of)
        if method == "POST" and there:
            raise RefusedByServerError("already exists", 409)
        if method != "POST" and not there:
            raise RefusedByServerError("not found", 404)
        known = body.get("preconditions", body.get("metadata", {})).get("resourceVersion")
        if there and known != there["metadata"]["resourceVersion"]:
            raise RefusedByServerError("the object has been modified; please apply your changes to the latest version", 409)
        if method == "DELETE":
            if not dry:
                del self.rules[of]
            return {"kind": "Status"}
        now = self.with_version(body, there)
        if not dry:
            self.rules[of] = now
        return copy.deepcopy(now)

    def with_version(self, body: dict[str, Any], there: Mapping[str, Any] | None) -> dict[str, Any]:
        """The object as stored by the server: an unchanged object keeps its version."""
        metadata = {**body["metadata"], "namespace": self.namespace, "uid": (there or {}).get("metadata", {}).get("uid", "1")}
        now = {**body, "metadata": {**metadata, "resourceVersion": (there or {}).get("metadata", {}).get("resourceVersion")}}
        if now != there:
            number = sum(1 for _ in self.asked) + 100
            now["metadata"]["resourceVersion"] = str(number)
        return now

    def edit(self, of: Key, **spec: Any) -> None:
        """Change an object as somebody else."""
        rule = self.rules[of]
        rule["spec"] = {**rule["spec"], **spec}
        rule["metadata"]["resourceVersion"] += "9"

    def observe(self, of: Key) -> None:
        """Write the status of an object, as istiod does."""
        self.rules[of]["metadata"]["resourceVersion"] += "9"

    def state(self) -> dict[Key, Any]:
        """Specs and owners of the rules."""
        return {of: json.loads(json.dumps([r["spec"], r["metadata"].get("labels")])) for of, r in self.rules.items()}


def kept(*rules: dict[str, Any], fails: Callable[[str, Mapping[str, Any]], str] = nothing) -> Kept:
    """A cluster with ``rules``."""
    labels = [{"app": "reviews", "version": v} for v in ("v1", "v2", "v3")]
    metadata = {"namespace": "bookinfo"}
    pods = [
        {"kind": "Pod", "metadata": {"name": f"reviews-{o['version']}", "labels": o, **metadata},
         "spec": {"serviceAccountName": "bookinfo-reviews"}}
        for o in labels
    ]  # fmt: skip
    service = {"kind": "Service", "metadata": {"name": "reviews", **metadata}, "spec": {"selector": {"app": "reviews"}}}
    made = {key(r): copy.deepcopy(r) for r in rules}
    for number, rule in enumerate(made.values()):
        rule["metadata"] = {"namespace": "bookinfo", "uid": "1", "resourceVersion": str(number + 1), **rule["metadata"]}
    return Kept("kubeconfig", "bookinfo", rules=made, others=[service, *pods], fails=[fails])
