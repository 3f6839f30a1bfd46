"""Joins Locust's events to the verdict. Fails closed: whatever goes wrong, the exit status is not 0."""

from __future__ import annotations

import atexit
import functools
import logging
import math
import os
import random
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import gevent
from gevent.monkey import get_original
from locust.runners import HEARTBEAT_INTERVAL, STATE_MISSING, WORKER_REPORT_INTERVAL, MasterRunner, WorkerRunner

from loadtests import ending
from loadtests.console import web
from loadtests.entries import entry
from loadtests.entries.question import AT_SERVER, Question
from loadtests.mesh import observed
from loadtests.mesh.cluster import Cluster, ClusterError, words_of
from loadtests.reports import report
from loadtests.rules import declared
from loadtests.run.workers import Workers
from loadtests.verdict import Observed, Outcome, Verdict, judge, sent_by_clients

log = logging.getLogger("mesh")
LOOK_SECONDS = 1.0
STEP_SECONDS = 30.0
# A proxy lets connections of its old listener answer once more, for as long as the mesh's drainDuration says (2 s in the lab);
# then it closes them. Traffic of this length, not counted, outlasts that; it is the same for every run, whatever it shows.
WARM_UP_SECONDS = 3.0
ALLOWANCE_SECONDS = 150
"""What a run may take beyond ``--max-seconds``: it waits for workers and proxies before, and asks other sources after."""


class MeshRun:
    """One environment's run: counts on every side; rules, watch and verdict where the run is led (master or local)."""

    question: Question

    def __init__(self, environment: Any, before: MeshRun | None = None) -> None:
        self.environment = environment
        # A lock for threads, not for greenlets: the guard's thread has the last word of a run that is cut short.
        self.last_word: Any = before.last_word if before else get_original("_thread", "allocate_lock")()
        epoch = before.epoch + 1 if before else 0
        self.begun = time.monotonic()
        self.finisher: gevent.Greenlet | None = None
        self.total = 0
        self.first_epoch = epoch
        self.counts: dict[str, dict[str, int]] = {}
        self.judged: dict[str, dict[str, int]] | None = None
        self.epoch: int = epoch
        self.settled: frozenset[str] = frozenset()
        """Traffic classes that need no more requests."""
        self.verdict = Verdict(Outcome.INCONCLUSIVE, ("no run yet",))
        self.void: list[str] = []
        self.late: list[str] = []
        self.rules: declared.Rules | None = None
        self.pods: dict[str, str] = {}
        self.baseline: dict[str, dict[str, int]] = {}
        self.arrived_before: int | None = None
        self.at_server: dict[str, int] = {}
        self.started = 0.0
        self.users = 0
        self.meanwhile = 0
        self.watcher: gevent.Greenlet | None = None
        self.enforcer: gevent.Greenlet | None = None
        self.finished = False
        self.active = True
        self.beginning = False
        """Whether it waits for the proxies still; to Locust, it has not begun then."""
        self.workers = Workers()

    # -- counting, on every side -------------------------------------------------------------------------------------

    def count(self, traffic_class: str, pod: str) -> None:
        """One answer."""
        line = self.counts.setdefault(traffic_class, {})
        line[pod] = line.get(pod, 0) + 1
        self.total += 1

    @property
    def spent(self) -> bool:
        """Whether this process has sent all that a run may send: users stop then, whoever watches the run."""
        return bool(self.total >= self.options.max_requests)

    def answered(self) -> int:
        """Requests that were answered in this epoch, of all classes."""
        return sum(sum(line.values()) for line in self.counts.values())

    def take(self) -> dict[str, Any]:
        """What a worker reports: its counts since the last report."""
        taken, self.counts = self.counts, {}
        void, self.void = self.void, []
        return {"epoch": self.epoch, "counts": taken, "void": void}

    def add(self, data: dict[str, Any]) -> None:
        """What the master adds; reports from before a restart do not count."""
        if data["epoch"] >= self.first_epoch:
            self.void += data["void"]
        if data["epoch"] != self.epoch:
            return
        for traffic_class, pods in data["counts"].items():
            line = self.counts.setdefault(traffic_class, {})
            for pod, n in pods.items():
                line[pod] = line.get(pod, 0) + n

    # -- leading -----------------------------------------------------------------------------------------------------

    @property
    def options(self) -> Any:
        """Locust's parsed options, as the page or the command line set them."""
        return self.environment.parsed_options

    @property
    def headless(self) -> bool:
        """Whether nobody watches in a browser."""
        return self.environment.web_ui is None

    @property
    def cluster(self) -> Cluster:
        """The cluster that is judged."""
        return Cluster(self.options.kubeconfig, self.question.namespace)

    def begin(self) -> None:
        """Read the rules and wait until the proxies hold them; what is answered until ``warm_up`` is over does not count."""
        self.question = entry.load(self.options.entry).question
        random.seed(self.options.seed)
        self.void, self.late, self.baseline, self.arrived_before = [], [], {}, None
        self.workers, self.begun = Workers(), time.monotonic()
        self.rules = self.question.read(self.cluster)
        self.pods = self.question.pods(self.cluster)
        if not self.rules.declared.broken:
            self.late = self.question.wait_in_step(self.cluster, self.rules, STEP_SECONDS)
        self.forget()
        log.info("%s: declared %s", self.options.entry, dict(self.rules.declared.shares))

    def forget(self) -> None:
        """Nothing has been counted yet, on any side."""
        self.epoch += 1
        self.total = 0
        self.counts, self.judged, self.at_server, self.settled = {}, None, {}, frozenset()
        if isinstance(self.environment.runner, MasterRunner):
            self.environment.runner.send_message("mesh_epoch", self.epoch)
        self.started = time.time()
        self.verdict = self.look()

    def start_counting(self) -> None:
        """Count from nothing, on every side, the cluster's included."""
        assert self.rules is not None
        began = time.monotonic()
        if not self.rules.declared.broken:
            self.baseline = self.question.counters(self.cluster, self.pods)
        self.arrived_before = self.question.server_count(self.cluster)
        self.forget()
        # Traffic goes on while the proxies are read, one after the other: so much they may have counted that clients do not.
        self.meanwhile = math.ceil((time.monotonic() - began) * self.users * self.question.pace)

    def look_for_workers(self) -> None:
        """Note the workers that have gone."""
        if not isinstance(self.environment.runner, MasterRunner):
            return
        here = {name: node.user_count for name, node in self.environment.runner.clients.items() if node.state != STATE_MISSING}
        # Since its last report, until it was missed, and the request that was under way.
        each = (WORKER_REPORT_INTERVAL + HEARTBEAT_INTERVAL) * self.question.pace + 1
        for name in self.workers.look(here, each):
            log.warning("worker %s was lost", name)
            if self.arrived_before is not None:
                # The far end tells how many arrived; how many were sent, nobody does any more.
                self.void.append(f"worker {name} was lost, and how many requests it sent since its last report is not known")

    @property
    def saturated(self) -> bool:
        """Whether Locust's own processes had too little CPU time."""
        runner = self.environment.runner
        return bool(getattr(runner, "cpu_warning_emitted", False) or getattr(runner, "worker_cpu_warning_emitted", False))

    @property
    def generator(self) -> str:
        """How the side that sends is doing, in words."""
        total = self.environment.stats.total
        told = f"{self.environment.runner.user_count} users, {total.current_rps:.0f} requests/s"
        return f"saturated ({told})" if self.saturated else f"keeps up ({told})"

    def observation(self, sources: Mapping[str, Mapping[str, int]] | None = None) -> Observed:
        """Everything that was observed so far, by version."""
        assert self.rules is not None
        sent = self.question.label(self.counts, self.pods, self.rules)
        # A verdict holds from the moment it is reached; what still comes until the users have stopped is not judged.
        counts = self.question.label(self.judged, self.pods, self.rules) if self.judged is not None else sent
        if self.at_server:
            counts = {**counts, AT_SERVER: self.at_server}
        if self.saturated:
            self.void.append("the generator was saturated: take fewer users, or --processes")
        seen = Observed(
            counts, sent, sources or {}, in_flight=2 * self.users + self.meanwhile + self.workers.uncounted,
            out_of_step=tuple(self.late), void=tuple(dict.fromkeys(self.void)),
        )  # fmt: skip
        return replace(seen, views=self.question.views(sent_by_clients(seen)))

    def look(self, sources: Mapping[str, Mapping[str, int]] | None = None) -> Verdict:
        """The verdict at this moment."""
        assert self.rules is not None
        return judge(self.rules.declared, self.observation(sources))

    def other_sources(self) -> dict[str, dict[str, int]]:
        """Requests by version since counting started, as each of the other sources has them: counters, and the access logs."""
        assert self.rules is not None
        if not self.baseline or self.void:
            return {}
        gevent.sleep(observed.LOG_FLUSH_SECONDS)
        now = self.question.counters(self.cluster, self.pods)
        read = {
            name: {pod: n - self.baseline.get(name, {}).get(pod, 0) for pod, n in counted.items()}
            for name, counted in now.items()
        }
        logged = self.question.logged(self.cluster, self.pods, self.started)
        if not logged:
            log.info("the access logs do not reach back to where counting started: they are not compared")
        told = self.question.label(read | ({"the access logs": logged} if logged else {}), self.pods, self.rules)
        return {name: {version: n for version, n in totals.items() if n} for name, totals in told.items()}

    def ask_server(self) -> None:
        """Split the requests sent so far into those that arrived at the far end and those that did not."""
        # Answers first: whatever is answered by now has arrived by the time that the far end is asked.
        sent = self.answered()
        if self.rules is None or self.arrived_before is None or (now := self.question.server_count(self.cluster)) is None:
            return
        # What came while the far end was asked, now and when counting started, or was under way then, it alone has counted.
        loose = self.answered() - sent + self.meanwhile + self.users
        share = self.rules.declared.shares.get(AT_SERVER, {}).get("arrived", 0.0)
        arrived = observed.arrived_of(sent, now - self.arrived_before, loose, share)
        self.at_server = {"arrived": arrived, "did not arrive": max(0, sent - arrived)}

    def edited(self) -> bool:
        """Whether a rule was edited since it was read. That voids a headless run; in the browser the verdict starts again."""
        assert self.rules is not None
        if self.question.read(self.cluster).generation == self.rules.generation:
            return False
        if self.headless:
            self.void.append("a rule was edited while the run watched it")
            return True
        log.info("a rule was edited: the verdict starts again")
        self.begin()
        self.warm_up()
        return True

    def warm_up(self) -> None:
        """Let traffic flow that is not judged, then count from nothing."""
        gevent.sleep(WARM_UP_SECONDS)
        # As many as there are to be: workers tell their master only every three seconds how many there are.
        self.users = max(self.users, self.environment.runner.target_user_count)
        self.start_counting()
        log.info("%s: counting starts", self.options.entry)

    def so_far(self) -> dict[str, dict[str, int]]:
        """The counts at this moment."""
        return {name: dict(line) for name, line in self.counts.items()}

    def settle(self) -> None:
        """Tell users, on every side, which traffic classes have passed: they go on with the others."""
        settled = frozenset(c.name for c in self.verdict.classes if c.outcome is Outcome.PASS)
        if settled == self.settled:
            return
        self.settled = settled
        if isinstance(self.environment.runner, MasterRunner):
            self.environment.runner.send_message("mesh_settled", sorted(settled))

    def decided(self) -> bool:
        """Whether there is nothing to wait for: a verdict, or the end of the request or time budget."""
        spent = self.answered() >= self.options.max_requests or time.time() - self.started > self.options.max_seconds
        return spent or self.verdict.outcome is not Outcome.INCONCLUSIVE

    def watch(self) -> None:
        """Look again and again until the run is decided, then end it, whatever happens on the way."""
        try:
            self.look_until_decided()
        except Exception as error:  # any: a run that nobody watches would never end
            self.fail(error)
            self.judged = self.so_far()
        self.end()

    def end(self) -> None:
        """Stop sending, and say the last word."""
        runner = self.environment.runner
        if self.headless:
            runner.quit()
        else:
            runner.stop()
            self.finish()

    def fail(self, error: Exception) -> None:
        """Make the run void, with the error's words."""
        log.error("the run cannot be judged", exc_info=error)
        self.void.append(self.said(error))
        self.verdict = Verdict(Outcome.VOID, tuple(dict.fromkeys(self.void)))

    def said(self, error: Exception) -> str:
        """An error in words, and where more of it is to be read."""
        log_file = getattr(self.options, "logfile", None)
        return words_of(error) + (f"; log: {log_file}" if log_file else "")

    def look_until_decided(self) -> None:
        """Warm up, then look once a second until there is a verdict, or the requests or the time are spent."""
        runner, looks = self.environment.runner, 0
        try:
            self.warm_up()
        except ClusterError as error:
            self.void.append(self.said(error))
        while True:
            gevent.sleep(LOOK_SECONDS)
            looks += 1
            self.users = max(self.users, runner.target_user_count)
            self.look_for_workers()
            try:
                if looks % 2 == 0:
                    self.edited()
                    self.ask_server()
                self.verdict, counts = self.look(), self.so_far()
                self.settle()
                # Traffic may have met rules that were edited since they were read last: then this is no verdict.
                if not self.decided() or (self.edited() and not self.headless):
                    continue
            except ClusterError as error:
                self.void.append(self.said(error))
                counts = self.so_far()
            self.judged = counts
            self.verdict = self.look()
            return

    def finish(self) -> None:
        """The last word: with the proxies' own counts, written to the reports."""
        if self.finished:
            return
        if isinstance(self.environment.runner, MasterRunner) and not self.headless:
            # The last reports of workers come after test_stop; when quitting, Locust has waited for them already.
            gevent.sleep(4)
        try:
            if self.rules is None:
                self.verdict = Verdict(Outcome.VOID, tuple(self.void) or ("the run did not start",))
            else:
                if self.judged is None:
                    self.ask_server()
                self.verdict = self.look(self.other_sources())
            images = report.images_of(self)
        except Exception as error:  # any: a run without a last word has no report
            self.fail(error)
            images = {}
        try:
            self.write(self.verdict, images)
        except Exception as error:  # any, likewise; what it began with lies there still
            self.fail(error)
            self.write(self.verdict, {})
        told = "; ".join((*self.verdict.reasons, *self.workers.remarks))
        log.info("%s: %s after %d requests: %s", self.options.entry, self.verdict.outcome, self.verdict.n, told)

    def write(self, verdict: Verdict, images: Mapping[str, str]) -> None:
        """Write the reports, unless the run was cut short: then they say so already."""
        with self.last_word:
            files = report.write(self.folder, verdict, report.Facts.of(self, images))
            self.finished = verdict is self.verdict
        for file in files if self.finished else []:
            log.info("report: %s", file)

    @property
    def folder(self) -> Path:
        """Where the reports are."""
        return Path(self.options.results, self.options.entry)

    # -- what ends a run from outside --------------------------------------------------------------------------------

    @property
    def seconds_left(self) -> float:
        """Until the run has to have ended, by whatever means."""
        return float(self.begun + self.options.max_seconds + ALLOWANCE_SECONDS - time.monotonic())

    def overdue(self) -> str:
        """Why a headless run has to end by now; empty while it need not. Called by the guard's thread."""
        return "" if self.finished or self.seconds_left > 0 else "for it did not end in its time"

    def cut_short(self, reason: str) -> int:
        """The last word of a run that nothing else has ended, and the exit status. Called by the guard's thread.

        A verdict that is there stays.
        """
        # Kept for ever: nothing is written after it.
        self.last_word.acquire()
        if self.finished or not self.active:
            return self.verdict.outcome.exit_code
        # Not the run's own verdict, which its greenlets go on to change.
        verdict = Verdict(Outcome.VOID, (f"interrupted {reason} after {self.answered()} requests",))
        os.write(2, f"{self.options.entry}: {verdict.outcome}: {verdict.reasons[0]}\n".encode())
        report.write(self.folder, verdict, report.Facts.of(self, {}))
        return verdict.outcome.exit_code

    def enforce(self) -> None:
        """End a run in the browser that nothing else has ended in its time."""
        while (left := self.seconds_left) > 0:
            gevent.sleep(left)
        if not self.finished:
            self.void.append("the run did not end in its time")
            self.leave()
            self.end()

    def leave(self) -> None:
        """Let nothing of this run go on."""
        for greenlet in (self.watcher, self.finisher, self.enforcer):
            if greenlet is not None and greenlet is not gevent.getcurrent():
                greenlet.kill(block=False)


def on_test_start(environment: Any, **_: Any) -> None:
    """Lead the run, unless this is a worker."""
    if isinstance(environment.runner, WorkerRunner):
        return
    # What still comes of an earlier run must not be counted for this one, nor its verdict be taken for this one's.
    environment.mesh.leave()
    run = environment.mesh = MeshRun(environment, environment.mesh)
    try:
        run.write(Verdict(Outcome.VOID, (report.UNFINISHED,)), {})
        if not run.headless:
            run.enforcer = gevent.spawn(run.enforce)
        run.beginning = True
        run.begin()
    except gevent.GreenletExit:
        # Stopped, or started once more, while it waited for the proxies.
        run.rules = None
        run.void.append("the run was stopped before it began")
        run.finish()
        raise
    finally:
        run.beginning = False
    run.watcher = gevent.spawn(run.watch)


def on_test_stop(environment: Any, **_: Any) -> None:
    """Stop watching when a person stopped the run."""
    run: MeshRun = environment.mesh
    if run.watcher and run.watcher is not gevent.getcurrent() and not run.headless:
        run.watcher.kill(block=False)
        run.finisher = gevent.spawn(run.finish)


def on_user_error(user_instance: Any, exception: Exception, **_: Any) -> None:
    """A client that cannot go on makes the run void: what it would have seen is missing."""
    run: MeshRun = user_instance.environment.mesh
    run.void.append(f"a client failed: {type(exception).__name__}: {exception}")


def on_quitting(environment: Any, **_: Any) -> None:
    """Set the exit status; first to 2, so that an error on the way cannot pass for a PASS."""
    if isinstance(environment.runner, WorkerRunner):
        environment.process_exit_code = 0
        return
    environment.process_exit_code = Outcome.INCONCLUSIVE.exit_code
    run: MeshRun = environment.mesh
    run.finish()
    environment.process_exit_code = run.verdict.outcome.exit_code


def on_init(environment: Any, runner: Any = None, **_: Any) -> None:
    """Put the run on the environment, wire workers and the browser part."""
    environment.mesh = MeshRun(environment)
    guard(environment, worker=isinstance(runner, WorkerRunner))
    _current[:] = [environment]
    if isinstance(runner, WorkerRunner):

        def on_epoch(msg: Any, **_: Any) -> None:
            # A worker is told once more whenever it is ready again: what it has counted by then is still to be reported.
            if msg.data != environment.mesh.epoch:
                environment.mesh.epoch, environment.mesh.counts, environment.mesh.settled = msg.data, {}, frozenset()
                environment.mesh.total = 0

        def on_settled(msg: Any, **_: Any) -> None:
            environment.mesh.settled = frozenset(msg.data)

        runner.register_message("mesh_epoch", on_epoch)
        runner.register_message("mesh_settled", on_settled)
    if isinstance(runner, MasterRunner):
        # One that comes in the middle of a run, say for one that was lost, counts from then on.
        environment.events.worker_connect.add_listener(
            lambda client_id, **_: runner.send_message("mesh_epoch", environment.mesh.epoch, client_id)
        )
    if environment.web_ui is not None:
        web.extend(environment)


def guard(environment: Any, worker: bool) -> None:
    """End this process on a signal; without a page, also with whoever asked for it and, unless it is a worker, in its time."""
    if worker:
        ending.Guard(lambda reason: 0).start()
        return
    run: MeshRun = environment.mesh
    page = environment.web_ui is not None
    kept = ending.Guard(
        lambda reason: environment.mesh.cut_short(reason), lambda: "" if page else environment.mesh.overdue(), follow=not page
    ).start()
    if page:
        # Until a run starts there is nothing to cut short.
        run.active = False
        return
    try:
        run.write(Verdict(Outcome.VOID, (report.UNFINISHED,)), {})
    except OSError as error:
        print(f"--results: {run.options.results} was given: {error}; accepted: a folder to write to", file=sys.stderr)
        raise SystemExit(2) from error
    # Where Locust gives up by itself, it ends with the status of a verdict FAIL.
    atexit.register(lambda: None if environment.mesh.finished else kept.leave(2))


def on_arguments(parser: Any) -> None:
    """The lab's own options; ``--entry`` is a field of the start page too."""
    parser.add_argument("--entry", choices=entry.names(), default="reviews-80-20", help="Catalogue entry to judge")
    hidden: dict[str, Any] = {"include_in_web_ui": False}
    parser.add_argument("--kubeconfig", env_var="LAB_KUBECONFIG", required=True, help="The lab's kubeconfig", **hidden)
    parser.add_argument("--gateway-https", default="", help="HOST:PORT of the gateway's HTTPS port", **hidden)
    parser.add_argument("--gateway-tcp", default="", help="HOST:PORT of the gateway's TCP port", **hidden)
    parser.add_argument("--results", default="results", help="Folder for reports", **hidden)
    parser.add_argument("--secret-file", default="", help="File with the password of the web UI", **hidden)
    parser.add_argument("--seed", type=int, default=1, help="Seed of the clients' random numbers", **hidden)
    parser.add_argument("--max-requests", type=int, default=8000, help="End the run after this many requests", **hidden)
    parser.add_argument("--max-seconds", type=int, default=180, help="End the run after this many seconds", **hidden)


def on_report_to_master(data: dict[str, Any], **_: Any) -> None:
    """Report what this worker has counted."""
    data.update(mesh=_current[0].mesh.take())


def on_worker_report(data: dict[str, Any], **_: Any) -> None:
    """Add what a worker has counted."""
    _current[0].mesh.add(data["mesh"])


def fail_closed(listener: Callable[..., None]) -> Callable[..., None]:
    """The listener; an error in it ends the run as void, where Locust would log it and go on."""

    @functools.wraps(listener)
    def call(*given: Any, **named: Any) -> None:
        try:
            listener(*given, **named)
        except Exception as error:  # any: see above
            if not _current:
                print(words_of(error), file=sys.stderr)
                raise SystemExit(2) from error
            environment = _current[0]
            environment.process_exit_code = Outcome.VOID.exit_code
            run: MeshRun = environment.mesh
            run.leave()
            run.rules = None
            run.fail(error)
            run.finisher = gevent.spawn(run.end)
            run.write(run.verdict, {})

    return call


def install(events: Any) -> None:
    """Add every listener."""
    for event, listener in (
        (events.init_command_line_parser, on_arguments), (events.init, on_init), (events.test_start, on_test_start),
        (events.test_stop, on_test_stop), (events.quitting, on_quitting), (events.user_error, on_user_error),
        (events.report_to_master, on_report_to_master), (events.worker_report, on_worker_report),
    ):  # fmt: skip
        event.add_listener(fail_closed(listener))


_current: list[Any] = []
"""Locust's environment, of which there is one for each process; its report events do not name it."""
