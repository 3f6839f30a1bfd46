"""The endpoints of the traffic settings: one service's rules as form values, previews, changes, and their history."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import yaml
from flask import Blueprint, jsonify, make_response, request
from gevent.lock import BoundedSemaphore

from loadtests.console import changes, drafts, settings
from loadtests.console.settings import RefusedError
from loadtests.entries import entry
from loadtests.mesh.cluster import Cluster, ClusterError
from loadtests.rules.expectations import Objects, of_kind

if TYPE_CHECKING:
    from locust.env import Environment
    from locust.web import WebUI

OPERATOR = "operator"
DEPLOY = "an entry of this namespace deploys it: make policy ENTRY=..."
Found = TypeVar("Found")


def read_in(cluster: Cluster, read: Callable[[Cluster], Found]) -> Found:
    """What ``read`` finds in a namespace.

    :raises RefusedError: if the namespace does not exist
    :raises ClusterError: if it cannot be read for another reason
    """
    try:
        return read(cluster)
    except ClusterError:
        # The account has no rights in a missing namespace, so the refusal alone does not show why.
        if _there(cluster):
            raise
        raise RefusedError(f"namespace {cluster.namespace} is not in the cluster; {DEPLOY}") from None


def _there(cluster: Cluster) -> bool:
    """Whether the namespace exists, as far as the cluster answers."""
    try:
        return cluster.there()
    except ClusterError:
        return True


def fields() -> dict[str, list[dict[str, Any]]]:
    """Part of the form -> its fields, with their limits and choices."""
    return {part: [asdict(field) for field in table] for part, table in settings.TABLES.items()}


def listed(rules: Objects) -> list[dict[str, Any]]:
    """Rules with their owner and manifest."""
    return [
        {
            "kind": o["kind"], "name": o["metadata"]["name"], "owner": settings.owner(o), "ours": settings.is_ours(o),
            "manifest": changes.manifest(o),
        }
        for o in rules
    ]  # fmt: skip


def compared(plan: changes.Plan) -> list[dict[str, str]]:
    """Each object that a plan changes, before and after, as YAML."""
    return [
        {"name": changes.name_of(c), "before": changes.manifest(c.before), "after": changes.manifest(c.after)}
        for c in plan.changes
    ]


def behind(state: changes.State, service: settings.Service) -> list[str]:
    """Kind and name of the rules that the form shows as values."""
    hosts = [o for o in of_kind(state.objects, "ServiceEntry") if settings.is_host(o)]
    own = [rule for rule in settings.rules_of(state.objects, service).values() if rule]
    return [f"{o['kind']} {o['metadata']['name']}" for o in [*own, *hosts]]


def form_state(state: changes.State, service: settings.Service) -> dict[str, Any]:
    """The form's data for a service, and all rules in its namespace, including those of other owners."""
    return {
        "service": service.name, "services": [s.name for s in state.services], "accounts": state.accounts,
        "weights": settings.subsets(settings.rule_of("destination", state.objects, service), service),
        "values": settings.read(state.objects, service), "locks": settings.locks(state.objects, service),
        "rules": listed(state.objects), "behind": behind(state, service),
        "unknown": settings.unknown_fields(state.objects, service),
    }  # fmt: skip


def history_of(history: changes.History, namespace: str) -> list[dict[str, Any]]:
    """The namespace's history, newest first; each change with whether it can still be undone."""
    items = [i for i in history.items() if i.namespace == namespace]
    undone = {i.undoes for i in items}
    return [
        {
            "number": i.number, "when": i.when, "who": i.who, "service": i.service, "undoes": i.undoes, "diff": i.diff,
            "open": i.undoes is None and i.number not in undone,
        }
        for i in reversed(items)
    ]  # fmt: skip


def answered(view: Callable[..., Any]) -> Callable[..., Any]:
    """Make a view respond 409 with the reason when it refuses a request."""

    @functools.wraps(view)
    def guarded(*arguments: Any, **named: Any) -> Any:
        try:
            return view(*arguments, **named)
        except (RefusedError, ClusterError) as error:
            return jsonify(error=str(error)), 409

    return guarded


def add(blueprint: Blueprint, ui: WebUI, environment: Environment, namespaces: Callable[[], Any]) -> None:
    """Add the endpoints to ``blueprint``.

    :param namespaces: the lab's namespaces; no others may be changed
    """
    one_at_a_time = BoundedSemaphore()

    def cluster(given: Any) -> Cluster:
        namespace = given.get("namespace") if isinstance(given, dict) else None
        if namespace not in namespaces():
            raise RefusedError(f"namespace: {namespace!r} was given; accepted: one of {', '.join(namespaces())}")
        return Cluster(environment.parsed_options.kubeconfig, str(namespace))

    def history() -> changes.History:
        return changes.History(Path(environment.parsed_options.results) / "settings.jsonl")

    def asked() -> Any:
        return request.get_json(silent=True) or {}

    def judged(namespace: str) -> str | None:
        """The selected entry, if it belongs to the namespace."""
        name = str(environment.parsed_options.entry)
        return name if entry.load(name).question.namespace == namespace else None

    @blueprint.get("/rules")
    @ui.auth_required_if_enabled
    @answered
    def rules() -> Any:
        """All rules in a namespace."""
        return jsonify(rules=listed(read_in(cluster(request.args.to_dict()), changes.read_rules)))

    @blueprint.get("/settings/state")
    @ui.auth_required_if_enabled
    @answered
    def settings_state() -> Any:
        """A service's rules as form values, and the history of its namespace."""
        where = cluster(request.args.to_dict())
        state = read_in(where, changes.read)
        if not state.services:
            raise RefusedError(f"namespace {where.namespace} has no services; {DEPLOY}")
        names = [s.name for s in state.services]
        service = state.service(request.args.get("service", "") if request.args.get("service") in names else names[0])
        return jsonify(
            **form_state(state, service), history=history_of(history(), where.namespace), entry=judged(where.namespace)
        )

    @blueprint.post("/settings/draft")
    @ui.auth_required_if_enabled
    @answered
    def settings_draft() -> Any:
        """The form's change as YAML, before anything has checked it; pages follow each keystroke with it."""
        found = changes.draft(cluster(asked()), asked().get("service"), asked().get("values"))
        return jsonify(objects=compared(found))

    @blueprint.post("/settings/plan")
    @ui.auth_required_if_enabled
    @answered
    def settings_plan() -> Any:
        """Preview the form's change without applying it."""
        found = changes.plan(cluster(asked()), asked().get("service"), asked().get("values"))
        return jsonify(objects=compared(found), digest=found.digest, warnings=found.warnings)

    @blueprint.post("/settings/apply")
    @ui.auth_required_if_enabled
    @answered
    def settings_apply() -> Any:
        """Apply the difference that was shown."""
        with one_at_a_time:
            given = asked()
            number = changes.apply(
                cluster(given), history(), OPERATOR, given.get("service"), given.get("values"), given.get("digest")
            )
        return jsonify(number=number)

    @blueprint.post("/settings/undo")
    @ui.auth_required_if_enabled
    @answered
    def settings_undo() -> Any:
        """Undo one change."""
        with one_at_a_time:
            return jsonify(number=changes.undo(cluster(asked()), history(), OPERATOR, asked().get("number")))

    @blueprint.post("/settings/propagation")
    @ui.auth_required_if_enabled
    @answered
    def settings_propagation() -> Any:
        """How many proxies need the rules, and which are stale; writes a sentinel to find out."""
        total, stale = changes.stale_proxies(cluster(asked()))
        return jsonify(total=total, stale=stale)

    @blueprint.get("/settings/export")
    @ui.auth_required_if_enabled
    @answered
    def settings_export() -> Any:
        """The lab's rules in the namespace as manifests for ``kubectl apply``."""
        where = cluster(request.args.to_dict())
        ours = [drafts.shown(o) for o in changes.read(where).objects if settings.is_ours(o)]
        answer = make_response(yaml.safe_dump_all(ours, allow_unicode=True))
        answer.headers["Content-Type"] = "application/yaml; charset=utf-8"
        answer.headers["Content-Disposition"] = f'attachment; filename="{where.namespace}-rules.yaml"'
        return answer
