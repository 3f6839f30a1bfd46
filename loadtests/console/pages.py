"""The console's own pages beside Locust's: catalogue, topology and settings."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flask import Blueprint, Response, jsonify, make_response, render_template, request

from loadtests.console import account, settings_page, topology
from loadtests.console.words import WORDS, language
from loadtests.entries import entry, policy
from loadtests.mesh.cluster import Cluster, ClusterError
from loadtests.reports import docs, summary

if TYPE_CHECKING:
    from locust.env import Environment
    from locust.web import WebUI

POLICY = "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
IDLE = ("ready", "stopped", "missing")
"""States of Locust's runner without an active run."""


def entries(results: Path) -> list[dict[str, Any]]:
    """Every entry with its README and its last verdict."""
    table = []
    for name in entry.names():
        line = summary.line_of(name, summary.read_last(results, name))
        parts = docs.parts_of(line.readme)
        table.append({"name": name, "outcome": line.outcome, "n": line.n, "reasons": "; ".join(line.reasons), "parts": parts})
    return table


@functools.cache
def namespaces() -> tuple[str, ...]:
    """The namespaces that entries belong to."""
    return tuple(sorted({entry.load(name).question.namespace for name in entry.names()}))


def edges_in(cluster: Cluster) -> list[topology.Edge]:
    """The edges of a namespace; empty if the namespace does not exist yet.

    :raises ClusterError: if they cannot be read
    """
    try:
        return topology.read(cluster)
    except ClusterError:
        # The account has no rights in a missing namespace, so the refusal alone does not show why.
        if cluster.there():
            raise
        return []


def shown(template: str, **values: Any) -> Response:
    """A page of the console in the requested language, or else in the browser's."""
    code = language(request.args.get("lang"), request.accept_languages.best_match(list(WORDS)))
    words = {"words": WORDS[code], "code": code, "other": next(c for c in WORDS if c != code)}
    page = make_response(render_template(template, **words, **values))
    page.headers["Content-Security-Policy"] = POLICY
    return page


def add(blueprint: Blueprint, ui: WebUI, environment: Environment) -> None:
    """Add the pages, and the endpoints of their buttons, to ``blueprint``."""

    @blueprint.get("/")
    @ui.auth_required_if_enabled
    def catalogue() -> Response:
        """The catalogue."""
        options = environment.parsed_options
        return shown("console.html", options=options, entries=entries(Path(options.results)), never=summary.NEVER)

    @blueprint.get("/topology")
    @ui.auth_required_if_enabled
    def topology_page() -> Response:
        """The call graph; its data comes from ``edges``."""
        here, asked = namespaces(), request.args.get("namespace", "")
        return shown("topology.html", namespaces=here, namespace=asked if asked in here else "bookinfo")

    @blueprint.get("/edges")
    @ui.auth_required_if_enabled
    def edges() -> Any:
        """The edges of one of the lab's namespaces; 409 with the reason if they cannot be read."""
        namespace = request.args.get("namespace", "bookinfo")
        if namespace not in namespaces():
            return jsonify(error=f"namespace: {namespace} was given; accepted: one of {', '.join(namespaces())}"), 409
        try:
            return jsonify(edges=edges_in(Cluster(environment.parsed_options.kubeconfig, namespace)))
        except ClusterError as error:
            return jsonify(error=f"no metrics ({error}); run: make telemetry"), 409

    settings_page.add(blueprint, ui, environment, shown, namespaces)

    @blueprint.post("/entry")
    @ui.auth_required_if_enabled
    def put_entry() -> Any:
        """Apply one entry's rules; 409 with the reason if that fails."""
        name = (request.get_json(silent=True) or {}).get("entry")
        if environment.runner.state not in IDLE:
            return jsonify(error="a run is active: stop it first"), 409
        try:
            found = entry.load(str(name))
            cluster = Cluster(environment.parsed_options.kubeconfig, found.question.namespace)
            if not cluster.there():
                return jsonify(error=f"its sample is not deployed yet; run: make policy ENTRY={name}"), 409
            done = policy.put(cluster, found.name, "policy", entry.CATALOGUE, writer=account.of(cluster))
            return jsonify(entry=name, changes=done)
        except (KeyError, policy.RefusedError, ClusterError) as error:
            return jsonify(error=str(error.args[0])), 409
