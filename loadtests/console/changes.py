"""Previews, applies and undoes changes to rules, and keeps their history.

A change is checked first: by a dry run in the API server, with Istio's validation, and by Istio's analyzer.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from loadtests.console import account, drafts, effects, written
from loadtests.console.settings import RefusedError, Service
from loadtests.entries.question import GATEWAY
from loadtests.mesh import analysis, propagation, writes
from loadtests.mesh.cluster import Cluster, RefusedByServerError
from loadtests.mesh.writes import Change
from loadtests.rules.expectations import Objects, generation

SENTINEL = f"{propagation.NAME}-settings"
GATEWAY_ACCOUNT = "cluster.local/ns/istio-system/sa/istio-ingressgateway-service-account"
KINDS = {name: api for name, api in writes.KINDS.items() if name.endswith(".istio.io")}


@dataclass(frozen=True)
class State:
    """A namespace's current rules and services."""

    objects: list[dict[str, Any]]
    services: tuple[Service, ...]
    accounts: tuple[str, ...]
    """Principals of its pods and of the ingress gateway."""

    def service(self, name: str) -> Service:
        """The service of that name.

        :raises RefusedError: if it does not exist
        """
        found = next((s for s in self.services if s.name == name), None)
        if found is None:
            raise RefusedError(f"service: {name!r} was given; accepted: {', '.join(s.name for s in self.services)}")
        return found


@dataclass(frozen=True)
class Plan:
    """A set of changes, not yet applied."""

    changes: tuple[Change, ...]
    warnings: tuple[str, ...] = ()
    live: tuple[dict[str, Any], ...] = ()
    """The namespace's rules as they were read; a rule that changes later is not overwritten."""

    @property
    def diff(self) -> str:
        """The difference in YAML, in unified format; empty if nothing changes."""
        return "".join(line for change in self.changes for line in difference(change))

    @property
    def digest(self) -> str:
        """Identifies the plan, to detect that it differs from the one that was shown."""
        return hashlib.sha256(self.diff.encode()).hexdigest()


def name_of(change: Change) -> str:
    """Kind and name of the object that changes."""
    return f"{change.object['kind']} {change.object['metadata']['name']}"


def manifest(rule: Mapping[str, Any] | None) -> str:
    """A rule as YAML, as a person would write it; empty for one that does not exist."""
    return str(yaml.safe_dump(drafts.shown(rule), allow_unicode=True)) if rule else ""


def difference(change: Change) -> Iterable[str]:
    """One object before and after, in unified format."""
    before, after = (manifest(o).splitlines(keepends=True) for o in (change.before, change.after))
    return difflib.unified_diff(before, after, f"{name_of(change)} (now)", f"{name_of(change)} (then)", n=4)


def is_sentinel(rule: Mapping[str, Any]) -> bool:
    """Whether a rule only shows when proxies have the others."""
    return str(rule["metadata"]["name"]).startswith(propagation.NAME)


def read_rules(cluster: Cluster) -> list[dict[str, Any]]:
    """The namespace's rules of all kinds, those of the Gateway API included.

    :raises ClusterError: if the cluster does not respond
    """
    return [o for o in cluster.items(*writes.KINDS) if not is_sentinel(o)]


def read(cluster: Cluster) -> State:
    """The namespace's rules and services.

    :raises ClusterError: if the cluster does not respond
    """

    def rules(item: tuple[str, str]) -> list[dict[str, Any]]:
        (plural, _, _), (api, _, kind) = item[0].partition("."), item[1].rpartition("/")
        found = cluster.ask(f"/apis/{api}/namespaces/{cluster.namespace}/{plural}")["items"]
        return [{**o, "apiVersion": api, "kind": kind} for o in found if not is_sentinel(o)]

    # In parallel, because a page waits for them.
    with ThreadPoolExecutor(max_workers=8) as pool:
        core = f"/api/v1/namespaces/{cluster.namespace}"
        services, pods = (pool.submit(cluster.ask, f"{core}/{kind}") for kind in ("services", "pods"))
        objects = [o for found in pool.map(rules, KINDS.items()) for o in found]
    there = [p for p in pods.result()["items"] if not p["metadata"].get("deletionTimestamp")]
    return State(objects, services_of(services.result()["items"], there), accounts_of(there))


def services_of(services: Objects, pods: Objects) -> tuple[Service, ...]:
    """Services that select pods, sorted by name, with the pods' versions."""
    found = []
    for service in services:
        selector, metadata = service["spec"].get("selector") or {}, service["metadata"]
        labels = [p["metadata"].get("labels", {}) for p in pods]
        selected = [given for given in labels if selector.items() <= given.items()]
        versions = {given["version"] for given in selected if "version" in given}
        if selector:
            own = tuple(sorted(versions))
            found.append(Service(metadata["name"], metadata["namespace"], selector, own, len(selected)))
    return tuple(sorted(found, key=lambda s: s.name))


def accounts_of(pods: Objects) -> tuple[str, ...]:
    """Principals that may be named as callers."""
    own = {f"cluster.local/ns/{p['metadata']['namespace']}/sa/{p['spec']['serviceAccountName']}" for p in pods}
    return (GATEWAY_ACCOUNT, *sorted(own))


def draft(cluster: Cluster, service: str, asked: Any) -> Plan:
    """The changes that the page requests, as they would be written; not checked by the cluster.

    :raises RefusedError: if a value is not accepted
    :raises ClusterError: if the cluster does not respond
    """
    return Plan(tuple(requested(cluster, read(cluster), service, asked)))


def requested(cluster: Cluster, state: State, service: str, asked: Any) -> list[Change]:
    """The changes that the page requests.

    :param asked: the form's values, or rules as YAML
    :raises RefusedError: if a value is not accepted
    """
    if not isinstance(asked, str):
        return drafts.changes(state.objects, state.service(service), asked)
    found = written.changes(state.objects, cluster.namespace, KINDS.values(), asked)
    if any(is_sentinel(change.object) for change in found):
        raise RefusedError(f"YAML: names that begin with {propagation.NAME} are the lab's own; accepted: other names")
    return found


def plan(cluster: Cluster, service: str, asked: Any) -> Plan:
    """The changes that the page requests, checked but not applied.

    :raises RefusedError: if a check fails, with its reason
    :raises ClusterError: if the cluster does not respond or refuses
    """
    state = read(cluster)
    found = requested(cluster, state, service, asked)
    after = [c.after for c in found if c.after]
    found = writes.ordered(found)
    try:
        writes.try_out(account.of(cluster), found, state.objects)
    except RefusedByServerError as error:
        raise RefusedError(str(error)) from error
    analyzed = analysis.analyze(cluster, after, beside=state.objects, replaced=[c.before for c in found if c.before])
    if analyzed.refusal:
        raise RefusedError(analyzed.refusal)
    idle = () if isinstance(asked, str) else effects.without_effect(state.service(service), asked)
    warnings = (*idle, *analyzed.warnings)
    return Plan(tuple(found), warnings, tuple(state.objects))


def stale_proxies(cluster: Cluster) -> tuple[int, list[str]]:
    """The number of proxies that need the namespace's rules, and the names of those that are stale."""
    proxies = propagation.proxies_of(cluster, ((cluster.namespace, ""), GATEWAY))
    found = propagation.look(cluster, generation(read(cluster).objects), proxies, SENTINEL)
    return len(proxies), [pod for _, pod in found.stale]


# -- history ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Item:
    """One applied change."""

    number: int
    when: str
    """ISO 8601, UTC."""
    who: str
    namespace: str
    service: str
    changes: tuple[Change, ...]
    undoes: int | None = None

    @property
    def diff(self) -> str:
        """The difference that was shown."""
        return Plan(self.changes).diff


@dataclass(frozen=True)
class History:
    """All applied changes, one line of JSON each, oldest first; lines are never removed."""

    file: Path

    def items(self) -> list[Item]:
        """All changes so far."""
        try:
            lines = [json.loads(line) for line in self.file.read_text().splitlines()]
        except FileNotFoundError:
            return []
        return [Item(**{**record, "changes": tuple(Change(**c) for c in record["changes"])}) for record in lines]

    def add(self, who: str, namespace: str, service: str, changes: Sequence[Change], undoes: int | None = None) -> int:
        """Record a change and return its number."""
        when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        number = len(self.items()) + 1
        record = {"number": number, "when": when, "who": who, "namespace": namespace, "service": service, "undoes": undoes}
        self.file.parent.mkdir(parents=True, exist_ok=True)
        self.file.touch(mode=0o600)
        with self.file.open("a") as file:
            file.write(json.dumps(record | {"changes": [vars(c) for c in changes]}) + "\n")
        return number


def apply(cluster: Cluster, history: History, who: str, service: str, asked: Any, digest: str) -> int:
    """Apply the plan that was shown and return the change's number.

    :param digest: of the plan that was shown
    :raises RefusedError: if the plan is no longer the same, or a check fails
    """
    found = plan(cluster, service, asked)
    if found.digest != digest:
        raise RefusedError("the rules have changed since the difference was shown; review it again; nothing was changed")
    if not found.changes:
        raise RefusedError("the rules already say this; nothing was changed")
    writes.apply(account.of(cluster), found.changes, found.live)
    return history.add(who, cluster.namespace, service, found.changes)


def undo(cluster: Cluster, history: History, who: str, number: Any) -> int:
    """Undo one change and return the number of the new change.

    :raises RefusedError: if the change does not exist, or its rules have changed since
    """
    items = history.items()
    item = next((i for i in items if i.number == number and i.namespace == cluster.namespace), None)
    if item is None or any(i.undoes == number for i in items):
        raise RefusedError(f"change {number} does not exist or is already undone; nothing was changed")
    live = read(cluster).objects
    now = {(o["kind"], o["metadata"]["name"]): o for o in live}
    for change in item.changes:
        name = (change.object["kind"], change.object["metadata"]["name"])
        if not drafts.same(now.get(name), change.after):
            raise RefusedError(f"{name[0]} {name[1]} has changed since: undo the later change first; nothing was changed")
    back = [change.back() for change in item.changes]
    writes.apply(account.of(cluster), writes.ordered(back), live)
    return history.add(who, cluster.namespace, item.service, back, undoes=item.number)
