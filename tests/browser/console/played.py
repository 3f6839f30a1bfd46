"""Locust's web UI with the console on a simulated cluster: ``python -m tests.browser.console.played PORT PAGE FOLDER``.

FOLDER holds the password and the results. ``POST /played`` with JSON sets the fields of ``Scene``.
"""

from __future__ import annotations

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
from loadtests.verdict import Expected, Observed, Verdict, judge
from tests.unit.mesh.rules_api import Kept, kept

EXPECTED = Expected({"visitors": {"v1": 0.8, "v3": 0.2}})
STAGES = {"beginning": 0, "early": 12, "passed": 120, "failed": 60}
"""Stage of a run -> seconds of its history, with 15 requests each."""


@dataclass
class Scene:
    """What is simulated now."""

    gone: bool = False
    """Whether no request to the cluster succeeds."""
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
        return True

    def items(self, *kinds: str, namespace: str = "") -> list[dict[str, Any]]:
        if self.scene.gone:
            raise ClusterError("GET /apis: connection refused")
        return super().items(*kinds, namespace=namespace)

    def ask(self, path: str, **query: str) -> dict[str, Any]:
        if self.scene.gone:
            raise ClusterError(f"GET {path}: connection refused")
        return super().ask(path, **query)


def edge(source: str, service: str, version: str, rate: float, **more: Any) -> topology.Edge:
    """An edge to one version, with shares of a half."""
    given: dict[str, Any] = {"share": 0.5, "expected": 0.5, "errors": 0.0, "p99": 12.0, "mtls": True, "blocked": False}
    return topology.Edge(source, topology.name_of(service, version), service, version, rate, **given | more)


FEW = topology.Graph(
    tuple(
        topology.Version(
            topology.name_of(service, version), service, version, 0.5 if service == "reviews" and version != "v2" else None
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
        edge("istio-ingressgateway", "productpage", "v1", 9.8, share=1.0, expected=None),
        edge("productpage v1", "reviews", "v1", 4.7, share=0.48),
        edge("productpage v1", "reviews", "v3", 5.1, share=0.52, errors=0.04),
        edge("reviews v3", "ratings", "v1", 5.1, share=1.0, expected=None, mtls=False),
        topology.Edge("ratings v1", "nowhere.example", "BlackHoleCluster", "", 1.0, 1.0, None, 1.0, None, False, True),
    ),
)


def many() -> topology.Graph:
    """30 services with two versions each in six layers, and 100 calls."""
    versions = [topology.Version(f"service-{n} {v}", f"service-{n}", v, None) for n in range(30) for v in ("v1", "v2")]
    calls = [(n, 5 * (n // 5 + 1) + (n + step) % 5, v) for step in (0, 2) for n in range(25) for v in ("v1", "v2")]
    return topology.Graph(tuple(versions), tuple(edge(f"service-{n} v1", f"service-{to}", v, 2.0) for n, to, v in calls))


def verdict_after(seconds: int, shift: float) -> Verdict:
    """The verdict on 15 requests a second, with a share that is off by ``shift``."""
    first = round(15 * seconds * (0.8 - shift))
    counts = {"v1": first, "v3": 15 * seconds - first}
    sources = {"the proxies' counters": counts, "the access logs": counts} if seconds > 100 else {}
    return judge(EXPECTED, Observed({"visitors": counts}, sources=sources))


def progress_of(stage: str) -> Progress:
    """A run in that stage; none if it is empty."""
    shift = 0.15 if stage == "failed" else 0.0
    seconds = STAGES.get(stage, 0)
    history: tuple[Moment, ...] = tuple(moment_of(verdict_after(s, shift), s) for s in range(1, seconds + 1))
    ended = stage in ("passed", "failed")
    return Progress(
        "reviews-80-20", verdict_after(seconds, shift), beginning=stage == "beginning", pending=bool(stage) and not ended,
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
        if scene.gone:
            raise ClusterError("GET /api: connection refused")
        graph = many() if scene.many else FEW
        return topology.Graph(graph.versions, (), scene.notice) if scene.notice else graph

    def rates(cluster: Cluster, source: str, target: str) -> topology.Rates:
        past = range(topology.PAST_SECONDS // topology.STEP_SECONDS + 1)
        rate = [0.0 if n < 20 else 5.0 + n % 3 for n in past]
        return topology.Rates(
            tuple(1_800_000_000.0 + n * topology.STEP_SECONDS for n in past), tuple(rate), tuple(r / 20 for r in rate)
        )

    for module, name, played_by in (
        (pages, "Cluster", cluster), (settings_page, "Cluster", cluster), (topology, "read", read),
        (changes, "stale_proxies", lambda cluster: (4, [])), (judges, "token", lambda cluster: "played"),
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
        return jsonify(vars(scene))

    ui.app.add_url_rule("/played", view_func=set_scene, methods=["POST"])
    ui.start()
    while not (getattr(ui, "server", None) and ui.server.started):
        gevent.sleep(0.05)
    print("ready", flush=True)
    ui.greenlet.join()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))
