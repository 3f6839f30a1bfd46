"""The endpoints of the console's tabs beside the verdict: catalogue, topology, and the start of an entry."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flask import Blueprint, jsonify, request

from loadtests.console import account, judging, series, settings, settings_page, topology
from loadtests.console.series import IDLE, Series
from loadtests.console.topology import Graph
from loadtests.entries import entry, policy
from loadtests.entries.question import Split
from loadtests.mesh.cluster import Cluster, ClusterError
from loadtests.reports import docs, summary
from loadtests.reports.report import Progress

if TYPE_CHECKING:
    from locust.env import Environment
    from locust.web import WebUI

LANGUAGES = ("en", "zh")


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
def service_of(name: str) -> str:
    """The service whose versions share an entry's requests; empty if it asks for something else."""
    question = entry.load(name).question
    return question.app if isinstance(question, Split) else ""


@functools.cache
def namespaces() -> tuple[str, ...]:
    """The namespaces that entries belong to."""
    return tuple(sorted({namespace_of(name) for name in entry.names()}))


def others(judged: str) -> list[str]:
    """Namespaces besides the lab's that may be judged.

    :param judged: with commas between
    """
    return [name for one in judged.split(",") if (name := one.strip()) and name not in namespaces()]


def graph_of(cluster: Cluster) -> Graph:
    """The services and calls of a namespace; none if the namespace does not exist yet.

    :raises ClusterError: if they cannot be read
    """
    try:
        return settings_page.read_in(cluster, topology.read)
    except settings.RefusedError:
        return Graph((), ())


def put(kubeconfig: str, name: str) -> list[str]:
    """Apply one entry's rules.

    :return: one line per change
    :raises KeyError: if there is no such entry
    :raises policy.RefusedError: if its sample is not deployed, or a rule is refused
    :raises ClusterError: if the cluster does not respond
    """
    if entry.is_path(name):  # a folder holds a program, which no page may choose
        raise KeyError(f"{name} was given; accepted: an entry of the catalogue")
    found = entry.load(name)
    cluster = Cluster(kubeconfig, found.question.namespace)
    if not cluster.there():
        raise policy.RefusedError(f"its sample is not deployed yet; run: make policy ENTRY={name}")
    return policy.put(cluster, found.name, "policy", entry.CATALOGUE, writer=account.of(cluster))


def add(blueprint: Blueprint, ui: WebUI, environment: Environment, progress: Callable[[], Progress]) -> Series:
    """Add the endpoints to ``blueprint``.

    :param progress: of the latest run
    :return: the series of entries that they start
    """
    options = environment.parsed_options
    entries = Series(environment, progress, lambda name: put(options.kubeconfig, name))

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

    @blueprint.get("/topology/rates")
    @ui.auth_required_if_enabled
    def rates() -> Any:
        """How many requests one edge had lately; 409 with the reason if that cannot be read."""
        namespace, source, target = (request.args.get(name, "") for name in ("namespace", "source", "target"))
        if namespace not in namespaces():
            return jsonify(error=f"namespace: {namespace} was given; accepted: one of {', '.join(namespaces())}"), 409
        try:
            return jsonify(asdict(topology.read_rates(Cluster(options.kubeconfig, namespace), source, target)))
        except ClusterError as error:
            return jsonify(error=str(error)), 409

    settings_page.add(blueprint, ui, environment, namespaces)
    judging.add(blueprint, ui, judging.of(options.judge, options.kubeconfig), (*namespaces(), *others(options.judged)))

    @blueprint.post("/entry")
    @ui.auth_required_if_enabled
    def put_entry() -> Any:
        """Apply one entry's rules; 409 with the reason if that fails."""
        name = (request.get_json(silent=True) or {}).get("entry")
        if busy := why_busy():
            return jsonify(error=busy), 409
        try:
            return jsonify(entry=name, changes=put(options.kubeconfig, str(name)))
        except (KeyError, policy.RefusedError, ClusterError) as error:
            return jsonify(error=str(error.args[0])), 409

    def why_busy() -> str:
        """Why nothing can be started; empty if something can."""
        run = "" if environment.runner.state in IDLE else "a run is active: stop it first"
        return series.ACTIVE if entries.active else run

    @blueprint.get("/series")
    @ui.auth_required_if_enabled
    def series_state() -> Any:
        """How far the series of entries has come."""
        return jsonify(entries.shown())

    @blueprint.post("/series")
    @ui.auth_required_if_enabled
    def start_series() -> Any:
        """Judge several entries, one after another; 409 with the reason if that cannot be."""
        if busy := why_busy():
            return jsonify(error=busy), 409
        try:
            entries.start(series.names_in(request.get_json(silent=True)))
        except ValueError as error:
            return jsonify(error=str(error)), 409
        return jsonify(entries.shown())

    return entries
