"""The endpoints of the console's tabs beside the verdict: catalogue, topology, and the start of an entry."""

from __future__ import annotations

import functools
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flask import Blueprint, jsonify, request

from loadtests.console import account, settings_page, topology
from loadtests.console.topology import Graph
from loadtests.entries import entry, policy
from loadtests.mesh.cluster import Cluster, ClusterError
from loadtests.reports import docs, summary

if TYPE_CHECKING:
    from locust.env import Environment
    from locust.web import WebUI

LANGUAGES = ("en", "zh")
IDLE = ("ready", "stopped", "missing")
"""States of Locust's runner without an active run."""


def described(results: Path, name: str) -> dict[str, Any]:
    """An entry with its README and its last verdict."""
    verdict = summary.read_last(results, name)
    line = summary.line_of(name, verdict)
    parts = docs.paragraphs(line.readme)
    return {
        "name": name, "namespace": namespace_of(name), "aim": parts["Aim"], "expect": parts["Expect"],
        "breaks": parts["Break it"], "outcome": line.outcome if verdict else None, "n": line.n, "reasons": line.reasons,
        "started": line.started, "seconds": verdict["facts"]["seconds"] if verdict else 0.0,
    }  # fmt: skip


def groups(results: Path, language: str) -> list[dict[str, Any]]:
    """The catalogue by the groups of the coverage page, whose titles are in ``language``."""
    return [
        {"title": title, "entries": [described(results, name) for name in names]}
        for title, names in docs.groups(language).items()
    ]


@functools.cache
def namespace_of(name: str) -> str:
    """The namespace of an entry's rules."""
    return entry.load(name).question.namespace


@functools.cache
def namespaces() -> tuple[str, ...]:
    """The namespaces that entries belong to."""
    return tuple(sorted({namespace_of(name) for name in entry.names()}))


def graph_of(cluster: Cluster) -> Graph:
    """The services and calls of a namespace; none if the namespace does not exist yet.

    :raises ClusterError: if they cannot be read
    """
    try:
        return topology.read(cluster)
    except ClusterError:
        # The account has no rights in a missing namespace, so the refusal alone does not show why.
        if cluster.there():
            raise
        return Graph((), ())


def add(blueprint: Blueprint, ui: WebUI, environment: Environment) -> None:
    """Add the endpoints to ``blueprint``."""
    options = environment.parsed_options

    @blueprint.get("/catalogue")
    @ui.auth_required_if_enabled
    def catalogue() -> Any:
        """Every entry with its last verdict, by group."""
        language = request.args.get("lang", "")
        return jsonify(groups=groups(Path(options.results), language if language in LANGUAGES else LANGUAGES[0]))

    @blueprint.get("/topology")
    @ui.auth_required_if_enabled
    def graph() -> Any:
        """The services and calls of one of the lab's namespaces; 409 with the reason if they cannot be read."""
        namespace = request.args.get("namespace", "bookinfo")
        if namespace not in namespaces():
            return jsonify(error=f"namespace: {namespace} was given; accepted: one of {', '.join(namespaces())}"), 409
        try:
            return jsonify(asdict(graph_of(Cluster(options.kubeconfig, namespace))))
        except ClusterError as error:
            return jsonify(error=str(error)), 409

    settings_page.add(blueprint, ui, environment, namespaces)

    @blueprint.post("/entry")
    @ui.auth_required_if_enabled
    def put_entry() -> Any:
        """Apply one entry's rules; 409 with the reason if that fails."""
        name = (request.get_json(silent=True) or {}).get("entry")
        if environment.runner.state not in IDLE:
            return jsonify(error="a run is active: stop it first"), 409
        try:
            found = entry.load(str(name))
            cluster = Cluster(options.kubeconfig, found.question.namespace)
            if not cluster.there():
                return jsonify(error=f"its sample is not deployed yet; run: make policy ENTRY={name}"), 409
            done = policy.put(cluster, found.name, "policy", entry.CATALOGUE, writer=account.of(cluster))
            return jsonify(entry=name, changes=done)
        except (KeyError, policy.RefusedError, ClusterError) as error:
            return jsonify(error=str(error.args[0])), 409
