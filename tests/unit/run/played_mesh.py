"""A mesh that is played in Locust's own process: a gateway, and a cluster that counts and logs what arrives there.

As a locustfile (``locust -f``) it runs the real users, hooks and page against it, entry reviews-80-20. As a program it judges
one run after the other, each with a fault, and prints what came of them.
"""

from __future__ import annotations

import functools
import json
import os
import random
import re
import sys
import time
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from unittest import mock

import gevent
import gevent.pywsgi
import yaml
from gevent.monkey import get_original
from locust import events
from locust.argument_parser import get_empty_argument_parser
from locust.env import Environment
from locust.event import Events

from loadtests.console import pages
from loadtests.ending import hold_signals
from loadtests.entries import entry, policy, question
from loadtests.mesh import observed, propagation
from loadtests.mesh.cluster import Cluster, ClusterError, RefusedByServerError
from loadtests.rules.expectations import Rules
from loadtests.run import hooks, mesh_run
from loadtests.run.users import MeshUser
from loadtests.verdict import Expected

__all__ = ["MeshUser"]
PROXY = {"name": "istio-proxy", "image": "proxyv2"}
SAMPLE = entry.CATALOGUE.parents[1] / "samples/bookinfo"
PODS = {"reviews-v1-0": "v1", "reviews-v3-0": "v3"}
SPLIT = (80, 20)
RULES = [
    {**o, "metadata": {**o["metadata"], "uid": f"{o['kind']}/{o['metadata']['name']}", "generation": 1, "resourceVersion": "1"}}
    for o in [
        *yaml.safe_load_all((entry.CATALOGUE / "reviews-80-20/policy.yaml").read_text()),
        *yaml.safe_load_all((SAMPLE / "networking/bookinfo-gateway.yaml").read_text()),
        *(
            {
                "kind": "Service",
                "metadata": {"name": name},
                "spec": {"ports": [{"name": "http", "port": 9080}], "selector": {"app": name}},
            }
            for name in ("reviews", "productpage", "ratings")
        ),
    ]
]
PARTS = ("pods", "applied_by", "label")
"""Of a question, beside the expectation itself."""
FIRED: dict[str, dict[str, Any]] = {
    "user_error": {"user_instance": None, "exception": None, "tb": None}, "report_to_master": {"client_id": "", "data": {}},
    "worker_report": {"client_id": "", "data": {}},
}  # fmt: skip
"""What listeners are called with that a run on one machine without an error does not call."""
READ = Rules(Expected({"anonymous": {"v1": 0.8, "v3": 0.2}}), "generation")
arrived: dict[str, list[float]] = {pod: [] for pod in PODS}
sentinels: dict[str, dict[str, Any]] = {}
"""Path -> object, as they were written."""
asked: set[str] = set()
"""Methods of the cluster client that were called."""
chance = random.Random(1)


def answer(environ: dict[str, Any], begin: Any) -> list[bytes]:
    """The gateway."""
    pod = chance.choices(list(PODS), SPLIT)[0]
    arrived[pod].append(time.time())
    begin("200 OK", [("Content-Type", "application/json")])
    return [json.dumps({"podname": pod}).encode()]


def pod_of(name: str, app: str, version: str) -> dict[str, Any]:
    """A pod, as the API server has it."""
    metadata = {"name": name, "namespace": "bookinfo", "labels": {"app": app, "version": version}}
    return {"kind": "Pod", "metadata": metadata, "spec": {"containers": [PROXY]}, "status": {"phase": "Running"}}


def rules_now() -> list[dict[str, Any]]:
    """The rules, those for reviews as often edited as there are files in a folder."""
    edits = len(list(Path(edited).glob("*"))) if (edited := os.environ.get("PLAYED_EDITS")) else 0
    seen = {"reviews": 1 + edits}
    return [{**o, "metadata": {**o["metadata"], "generation": seen.get(o["metadata"]["name"], 1)}} for o in RULES]


class Played(Cluster):
    """The cluster behind that gateway."""

    def items(self, *kinds: str, namespace: str = "") -> list[dict[str, Any]]:
        pods = [pod_of(name, "reviews", version) for name, version in PODS.items()]
        if kinds == ("pods",):
            return [*pods, pod_of("productpage-0", "productpage", "v1")]
        rules = [] if namespace or set(kinds) <= {*question.WORKLOADS} else rules_now()
        return [*rules, *(pods if "pods" in kinds else [])]

    def everywhere(self, *kinds: str) -> list[dict[str, Any]]:
        return rules_now()

    def istioctl(self, *arguments: str, stdin: str | None = None) -> str:
        return "[]"

    def ask(self, path: str, **query: str) -> dict[str, Any]:
        if path.endswith(f"/configmaps/{question.SETTINGS}"):
            return {"metadata": {"name": question.SETTINGS, "uid": "mesh", "resourceVersion": "1"}, "data": {}}
        if propagation.NAME not in path:
            return {"gitVersion": "v0"}
        if path not in sentinels:
            raise RefusedByServerError(f"GET {path}: HTTP 404", 404)
        return sentinels[path]

    def write(self, method: str, path: str, body: Mapping[str, Any], **query: str) -> dict[str, Any]:
        sentinels[path] = dict(body)
        return dict(body)

    def proxy_dump(self, pod: str, namespace: str = "", **query: str) -> dict[str, Any]:
        late = os.environ.get("PLAYED_LATE")
        arrived_there = sentinels if not late or not Path(late).exists() else {}
        names = re.findall(r"[0-9a-f]{16}\.sentinel", json.dumps(arrived_there))
        return {"configs": [{"name": name} for name in names if re.fullmatch(query.get("name_regex", ".*"), name)]}

    def proxy_metrics(self, pod: str) -> str:
        return f'envoy_cluster_upstream_rq_total{{cluster_name="inbound|9080||"}} {len(arrived[pod])}\n'

    def read(self, path: str, **query: str) -> bytes:
        if "limitBytes" in query:
            return b"2000-01-01T00:00:00.000000000Z the log begins"
        pod = path.split("/")[-2]
        times = [min(at for line in arrived.values() for at in line) - 5, *arrived[pod]]
        lines = (
            f"[{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(at))}.{at % 1 * 1000:03.0f}Z] x inbound|9080|| " for at in times
        )
        return "\n".join(lines).encode()


class Limited(Played):
    """The same to an account that may list what is in some namespaces only."""

    def everywhere(self, *kinds: str) -> list[dict[str, Any]]:
        raise RefusedByServerError("GET /apis: HTTP 403", 403)


class StuckError(Exception):
    """Not raised: the call does not return."""


def with_fault(client: type[Cluster], name: str, error: Exception | None) -> type[Cluster]:
    """The client with every public method noted in ``asked``, and the one of that name failing."""

    def noted(method: str) -> Any:
        original = getattr(client, method)

        @functools.wraps(original)
        def call(*given: Any, **named: Any) -> Any:
            asked.add(method)
            if method == name and isinstance(error, StuckError):
                get_original("time", "sleep")(60)
            if method == name and error is not None:
                raise error
            return original(*given, **named)

        return call

    return type("Faulty", (client,), {method: noted(method) for method in methods()})


def methods() -> list[str]:
    """What the cluster client can be asked."""
    return [name for name, value in vars(Cluster).items() if callable(value) and not name.startswith("_")]


def serve() -> int:
    """Start the gateway; its port."""
    server = gevent.pywsgi.WSGIServer(("127.0.0.1", 0), answer, log=None)
    server.start()
    return int(server.server_port)


def hurry() -> None:
    """Make runs short: the waits are for a real mesh."""
    mesh_run.WARM_UP_SECONDS, mesh_run.LOOK_SECONDS, observed.LOG_FLUSH_SECONDS = 0.1, 0.05, 0.05
    question.PACE = 60
    propagation.LOOK_SECONDS = 0.02


def judge(results: Path, fire: Any = None, wait: float = 15, **options: Any) -> dict[str, Any]:
    """One headless run in this process, ended in the way in which Locust's command line ends it."""
    for line in arrived.values():
        line.clear()
    sentinels.clear()
    port = serve()
    given: dict[str, Any] = {
        "entry": "reviews-80-20", "seed": 1, "kubeconfig": "none", "results": str(results), "max_requests": 3000,
        "max_seconds": 20, "gateway_https": "", "gateway_tcp": "", "logfile": "the.log", "host": f"http://127.0.0.1:{port}",
    }  # fmt: skip
    given |= options
    environment = Environment(user_classes=[MeshUser], events=Events(), host=given["host"], parsed_options=Namespace(**given))
    hooks.install(environment.events)
    hooks._current.clear()
    runner = environment.create_local_runner()
    environment.events.init_command_line_parser.fire(parser=get_empty_argument_parser())
    environment.events.init.fire(environment=environment, runner=runner, web_ui=None)
    began = time.monotonic()
    if fire:
        # Listeners that a run on one machine without an error does not call.
        gevent.spawn_later(0.3, getattr(environment.events, fire[0]).fire, **fire[1])
    runner.start(20, 200)
    ended = bool(runner.greenlet.join(timeout=wait))
    environment.events.quitting.fire(environment=environment, reverse=True)
    runner.quit()
    file = results / given["entry"] / "verdict.json"
    verdict = json.loads(file.read_text())
    return {
        "ended": ended, "status": environment.process_exit_code, "outcome": verdict["outcome"], "reasons": verdict["reasons"],
        "remarks": verdict["facts"]["remarks"],
        "n": verdict["n"], "seconds": round(time.monotonic() - began, 1), "sent": sum(map(len, arrived.values())),
    }  # fmt: skip


def faults_of_the_cluster_client(results: Path) -> dict[str, Any]:
    """Method -> what came of a run in which it fails; None stands for a run without a fault."""
    vars(mesh_run)["Cluster"] = with_fault(Played, "", None)
    mesh_run.PROPAGATION_SECONDS = 0.5
    ends: dict[str, Any] = {"": judge(results)}
    for name in sorted(asked):
        for error in (TypeError(f"{name} is broken"), ClusterError(f"{name} is refused")):
            vars(mesh_run)["Cluster"] = with_fault(Played, name, error)
            ends[f"{name} {type(error).__name__}"] = judge(results)
    return ends


def faults_of_hooks(results: Path) -> dict[str, Any]:
    """Listener -> what came of a run in which it fails."""
    ends: dict[str, Any] = {}
    vars(mesh_run)["Cluster"] = Played
    for name in [name for name in vars(hooks) if name.startswith("on_")]:
        original = getattr(hooks, name)

        def broken(*_: Any, name: str = name, **__: Any) -> None:
            raise TypeError(f"{name} is broken")

        setattr(hooks, name, broken)
        fire = FIRED.get(name.removeprefix("on_"))
        try:
            ends[name] = judge(results, fire and (name.removeprefix("on_"), fire), max_requests=200)
        except SystemExit as error:
            ends[name] = {"ended": True, "status": error.code}
        setattr(hooks, name, original)
    return ends


def catalogue_with(question: Any) -> Namespace:
    """The catalogue, in which every entry asks ``question``."""
    return Namespace(names=entry.names, name_of=entry.name_of, load=lambda _: Namespace(question=question))


def faults_of_expectations(results: Path) -> dict[str, Any]:
    """Entry and part of its question -> what came of a run in which that fails."""
    ends: dict[str, Any] = {}
    vars(mesh_run)["Cluster"] = Played
    kinds: set[type] = set()
    for found in [entry.load(name) for name in entry.names()]:
        # Every entry's rules are read; the other parts are those of the kind of question.
        parts = ("read",) if type(found.question) in kinds else ("read", *PARTS)
        kinds.add(type(found.question))
        for part in parts:
            spoilt: Any = {part: fails(part)}
            if part != "read":
                # Whatever the entry's own rules are, they can be read, and are held.
                spoilt = {"read": lambda self, cluster: READ, **spoilt}
            if part == "applied_by":
                spoilt[part] = property(spoilt[part])
            broken = changed(found.question, type("Broken", (type(found.question),), spoilt))
            vars(mesh_run)["entry"] = catalogue_with(broken)
            ends[f"{found.name} {part}"] = judge(results / found.name)
    return ends


def edited_while_it_is_watched(results: Path) -> dict[str, Any]:
    """A run in which a rule is edited after a while."""
    vars(mesh_run)["Cluster"] = Played
    edits = results / "edits"
    edits.mkdir()
    os.environ["PLAYED_EDITS"] = str(edits)

    def edit() -> None:
        # The rules have been read before the first request.
        while not any(arrived.values()):
            gevent.sleep(0.1)
        (edits / "one").touch()

    gevent.spawn_later(0.5, edit)
    # So slow that there is no verdict by then.
    question.PACE = 5
    return judge(results)


def by_a_limited_account(results: Path) -> dict[str, Any]:
    """A run whose account may not list rules of all namespaces."""
    vars(mesh_run)["Cluster"] = Limited
    return judge(results)


def without_what_is_required(results: Path) -> dict[str, Any]:
    """What came of runs of a question that requires something: it is there both times that it is asked for, or not."""
    ends: dict[str, Any] = {}
    vars(mesh_run)["Cluster"] = Played
    found = entry.load("reviews-80-20").question
    for moment, times in {"there": 2, "missing from the start": 0, "gone at the end": 1}.items():
        left = iter(range(times))

        def required(cluster: Cluster, left: Any = left) -> None:
            if next(left, None) is None:
                raise ClusterError("the machine is missing")

        asking = changed(found, type("Asking", (type(found),), {"requires": (required,)}))
        vars(mesh_run)["entry"] = Namespace(
            names=entry.names, name_of=entry.name_of, load=lambda _, question=asking: Namespace(question=question)
        )
        ends[moment] = judge(results)
    return ends


def nobody_watches(results: Path) -> dict[str, Any]:
    """A run whose watcher does nothing, so that it never counts, and goes on at the pace of before."""
    vars(mesh_run)["Cluster"] = Played
    with mock.patch.object(mesh_run.MeshRun, "watch"):
        return judge(results, max_requests=200, wait=10)


def hangs(results: Path) -> dict[str, Any]:
    """What came of a run, in a process of its own, that is stuck in a call which lets nothing else go on."""
    began = time.monotonic()
    if not os.fork():
        hooks.guard = GUARD
        vars(mesh_run)["Cluster"] = with_fault(Played, "proxy_metrics", StuckError())
        mesh_run.ALLOWANCE_SECONDS = 1
        judge(results, max_seconds=1)
    status = os.waitstatus_to_exitcode(os.wait()[1])
    verdict = json.loads((results / "reviews-80-20/verdict.json").read_text())
    return {"status": status, "outcome": verdict["outcome"], "reasons": verdict["reasons"], "seconds": time.monotonic() - began}


def put(kubeconfig: str, name: str) -> list[str]:
    """Applies an entry's rules: those of reviews are applied, and no other sample is there."""
    if not name.startswith("reviews-"):
        raise policy.RefusedError(f"the sample of {name} is not deployed yet")
    gevent.sleep(0.2)
    return []


def fails(part: str) -> Any:
    """A method that fails."""

    def call(*_: Any) -> None:
        raise TypeError(f"{part} is broken")

    return call


def changed(asked_of: Any, kind: type) -> Any:
    """The same question of another class."""
    made: Any = object.__new__(kind)
    vars(made).update(vars(asked_of))
    return made


hurry()
if __name__ == "__main__":
    GUARD = hooks.guard
    hooks.guard = lambda *_, **__: None  # one process, many runs
    print(json.dumps(globals()[sys.argv[1]](Path(sys.argv[2]))))
else:
    hold_signals()
    vars(mesh_run)["Cluster"] = Played
    vars(pages)["put"] = put
    if pace := os.environ.get("PLAYED_PACE"):
        question.PACE = int(pace)

    events.init_command_line_parser.add_listener(lambda parser: parser.set_defaults(host=f"http://127.0.0.1:{serve()}"))
    if seconds := os.environ.get("PLAYED_LINGER"):
        # After the verdict: Locust asks the last listener first.
        events.quitting.add_listener(lambda **_: gevent.sleep(float(seconds)))

    hooks.install(events)
