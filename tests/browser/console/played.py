"""Locust's web UI with the console on a simulated cluster: ``python -m tests.browser.console.played``.

Each line ``PORT PAGE FOLDER`` on standard input starts one, in a process of its own that needs no second to be there, and is
answered by its id. FOLDER holds the password and the results. ``POST /played`` with JSON sets the fields of ``Scene``.
"""

from __future__ import annotations

import os
import sys
from argparse import Namespace
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gevent
import yaml
from flask import jsonify, request
from locust import HttpUser
from locust.env import Environment

from loadtests.console import changes, judges, pages, settings_page, topology, web
from loadtests.entries import entry
from loadtests.entries.policy import LABEL
from loadtests.mesh.cluster import Cluster, ClusterError
from loadtests.reports.report import Moment, Progress, moment_of
from loadtests.verdict import Expected, Observed, Outcome, Verdict, judge
from tests.browser.console.judged import DELETED
from tests.unit.mesh.rules_api import Kept, kept

EXPECTED = Expected({"visitors": {"v1": 0.8, "v3": 0.2}})
STAGES = {"beginning": 0, "early": 12, "passed": 120, "failed": 60, "void": 20}
"""Stage of a run -> seconds of its history, with 15 requests each."""
REFUSED = "connection refused"


@dataclass
class Scene:
    """What is simulated now."""

    gone: bool = False
    """Whether no request to the cluster succeeds."""
    deleted: bool = False
    """Whether the namespace is not there, in which the console's account has no rights then."""
    run: str = ""
    """A stage in ``STAGES``; empty before the first run."""
    many: bool = False
    """Whether the topology is ``many``."""
    notice: str = ""
    """Why there are no metrics."""


@dataclass(frozen=True)
class Played(Kept):
    """A cluster that may be gone."""

    scene: Scene = field(default_factory=Scene)

    def there(self) -> bool:
        if self.scene.gone:
            raise ClusterError(f"kubectl get: {REFUSED}")
        return not self.scene.deleted

    def answers(self, path: str) -> None:
        """:raises ClusterError: if it does not."""
        if self.scene.gone or self.scene.deleted:
            raise ClusterError(f"GET {path}: {REFUSED if self.scene.gone else 'HTTP 403'}")

    def items(self, *kinds: str, namespace: str = "") -> list[dict[str, Any]]:
        self.answers("/apis")
        return super().items(*kinds, namespace=namespace)

    def ask(self, path: str, **query: str) -> dict[str, Any]:
        self.answers(path)
        return super().ask(path, **query)


def edge(source: str, service: str, version: str, rate: float, **more: Any) -> topology.Edge:
    """An edge to one version."""
    given: dict[str, Any] = {"share": 1.0, "expected": None, "errors": 0.0, "p99": 12.0, "mtls": True, "blocked": False}
    return topology.Edge(source, topology.name_of(service, version), service, version, rate, **given | more)


SHARES = {"v1": 0.8, "v3": 0.2}
FEW = topology.Graph(
    tuple(
        topology.Version(
            topology.name_of(service, version), service, version, SHARES.get(version) if service == "reviews" else None
        )
        for service, versions in {
            "productpage": ["v1"],
            "reviews": ["v1", "v2", "v3"],
            "ratings": ["v1"],
            "details": ["v1"],
        }.items()
        for version in versions
    ),
    (
        edge("istio-ingressgateway", "productpage", "v1", 9.8),
        edge("productpage v1", "details", "v1", 9.8),
        edge("productpage v1", "reviews", "v1", 7.7, share=0.786, expected=0.8),
        edge("productpage v1", "reviews", "v3", 2.1, share=0.214, expected=0.2, errors=0.04),
        edge("reviews v3", "ratings", "v1", 2.1, mtls=False),
        topology.Edge("ratings v1", "nowhere.example", "BlackHoleCluster", "", 1.0, 1.0, None, 1.0, None, False, True),
    ),
)


def many() -> topology.Graph:
    """30 services with two versions each in six layers, and 100 calls."""
    versions = [topology.Version(f"service-{n} {v}", f"service-{n}", v, None) for n in range(30) for v in ("v1", "v2")]
    calls = [(n, 5 * (n // 5 + 1) + (n + step) % 5, v) for step in (0, 2) for n in range(25) for v in ("v1", "v2")]
    return topology.Graph(
        tuple(versions), tuple(edge(f"service-{n} v1", f"service-{to}", v, 2.0, share=0.5, expected=0.5) for n, to, v in calls)
    )


def verdict_after(seconds: int, shift: float) -> Verdict:
    """The verdict on 15 requests a second, with a share that is off by ``shift``."""
    first = round(15 * seconds * (0.8 - shift))
    counts = {"v1": first, "v3": 15 * seconds - first}
    sources = {"the proxies": counts, "the access logs": counts} if seconds > 100 else {}
    return judge(EXPECTED, Observed({"visitors": counts}, sources=sources))


def progress_of(stage: str) -> Progress:
    """A run in that stage; none if it is empty."""
    shift = 0.15 if stage == "failed" else 0.0
    seconds = STAGES.get(stage, 0)
    history: tuple[Moment, ...] = tuple(moment_of(verdict_after(s, shift), s) for s in range(1, seconds + 1))
    ended = stage in ("passed", "failed", "void")
    verdict = Verdict(Outcome.VOID, (f"GET /version: {REFUSED}",)) if stage == "void" else verdict_after(seconds, shift)
    return Progress(
        "reviews-80-20", verdict, beginning=stage == "beginning", pending=bool(stage) and not ended,
        finished=ended, generator="not saturated (20 users, 15 requests/s)", margin=EXPECTED.margin,
        epoch=sorted(STAGES).index(stage) + 1 if stage else 0, history=history,
    )  # fmt: skip


def main(port: int, page: str, folder: Path) -> None:
    """Serve until the process is ended."""
    scene = Scene()
    rules = list(yaml.safe_load_all((entry.CATALOGUE / "reviews-80-20/policy.yaml").read_text()))
    for rule in rules:
        rule["metadata"]["labels"] = {LABEL: "reviews-80-20.policy"}
        if rule["kind"] == "VirtualService":
            rule["spec"]["http"][0]["corsPolicy"] = {"maxAge": "1h"}
    played = Played(**{**vars(kept(*rules)), "scene": scene})

    def cluster(kubeconfig: str, namespace: str) -> Cluster:
        return played

    def read(cluster: Cluster) -> topology.Graph:
        played.answers("/api")
        graph = many() if scene.many else FEW
        return topology.Graph(graph.versions, (), scene.notice) if scene.notice else graph

    def token(cluster: Cluster) -> str:
        if scene.gone:
            raise ClusterError(f"POST /api/v1/token: {REFUSED}")
        return "played"

    def rates(cluster: Cluster, source: str, target: str) -> topology.Rates:
        past = range(topology.PAST_SECONDS // topology.STEP_SECONDS + 1)
        rate = [0.0 if n < 20 else 5.0 + n % 3 for n in past]
        return topology.Rates(
            tuple(1_800_000_000.0 + n * topology.STEP_SECONDS for n in past), tuple(rate), tuple(r / 20 for r in rate)
        )

    for module, name, played_by in (
        (pages, "Cluster", cluster), (settings_page, "Cluster", cluster), (topology, "read", read),
        (changes, "stale_proxies", lambda cluster: (4, [])), (judges, "token", token),
        (topology, "read_rates", rates),
    ):  # fmt: skip
        setattr(module, name, played_by)
    (folder / "kubeconfig").write_text('{"clusters": [{"name": "played"}]}')
    options = Namespace(
        web_base_path="", results=str(folder), num_users=20, spawn_rate=20.0, host="http://gateway",
        kubeconfig=str(folder / "kubeconfig"), judge=f"{sys.executable} -m tests.browser.console.judged", judged="shop",
        entry="reviews-80-20", secret_file=str(folder / "password"), stats_history_enabled=False, run_time=None,
    )  # fmt: skip
    visitor = type("Visitor", (HttpUser,), {"host": "http://gateway", "tasks": [lambda user: gevent.sleep(1)]})
    environment = Environment(user_classes=[visitor], host="http://gateway", parsed_options=options)
    environment.create_local_runner()
    ui = environment.create_web_ui("127.0.0.1", port, web_login=True, delayed_start=True, build_path=page)
    web.extend(environment, lambda: progress_of(scene.run))

    def set_scene() -> Any:
        for name, value in request.get_json().items():
            setattr(scene, name, value)
        # What judges has a process of its own.
        (folder / DELETED).touch() if scene.deleted else (folder / DELETED).unlink(missing_ok=True)
        return jsonify(vars(scene))

    ui.app.add_url_rule("/played", view_func=set_scene, methods=["POST"])
    ui.start()
    ui.greenlet.join()


def serve() -> None:
    """Start a simulation for each line, until there are no more."""
    pages.namespaces()  # imports all entries, once for all simulations
    for line in sys.stdin:
        port, page, folder = line.split()
        if child := os.fork():
            print(child, flush=True)
            continue
        main(int(port), page, Path(folder))
        os._exit(0)


if __name__ == "__main__":
    serve()
