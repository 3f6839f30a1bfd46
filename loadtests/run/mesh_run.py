"""One run: counts on every side; rules, watch and verdict where the run is led (master or local)."""

from __future__ import annotations

import logging
import math
import os
import random
import time
from _thread import LockType
from argparse import Namespace
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import gevent
from gevent.monkey import get_original
from locust.env import Environment
from locust.runners import HEARTBEAT_INTERVAL, STATE_MISSING, WORKER_REPORT_INTERVAL, MasterRunner

from loadtests.entries import entry
from loadtests.entries.question import Counts, Question
from loadtests.mesh import analysis, observed, propagation, sources, versions
from loadtests.mesh.cluster import Cluster, ClusterError, words_of
from loadtests.mesh.sources import Counted
from loadtests.reports import report, terminal
from loadtests.reports.report import Progress
from loadtests.rules.expectations import Rules, differences
from loadtests.run.workers import Workers
from loadtests.verdict import AT_SERVER, Observed, Outcome, Verdict, judge, sent_by_clients

log = logging.getLogger("mesh")
LOOK_SECONDS = 1.0
LOOKS_PER_READING = 5
"""How many looks pass until the rules are read again, besides the last look, which always reads them. A rule of the namespace
that was edited meanwhile and taken back has another generation then. Reading more often takes CPU time from the mesh."""
PROPAGATION_SECONDS = 30.0
# A proxy lets connections of its old listener answer once more, for as long as the mesh's drainDuration says (1 s in the lab);
# then it closes them. Traffic of this length, not counted, outlasts that; it is the same for every run, whatever it shows.
WARM_UP_SECONDS = 2.0
ALLOWANCE_SECONDS = 150
"""What a run may take beyond ``--max-seconds``: it waits for workers and proxies before, and asks other sources after."""
STATUS = "status"
"""File beside the reports that says how far a run has come; it goes when there is a verdict."""
EDITED = "a rule was edited while the run watched"


@dataclass(frozen=True)
class Baseline:
    """What the others had counted when counting started."""

    sources: Mapping[str, Counted]
    """By name; sources that count from their own start on."""
    arrived: int | None
    """At the far end; None where it is not asked."""
    loose: int
    """Requests that clients may have sent while the others were asked."""


@dataclass(frozen=True)
class Subject:
    """What is judged, known once the rules have been read."""

    question: Question
    cluster: Cluster
    rules: Rules
    pods: Mapping[str, str]
    """Pods that answer -> version; empty where answers carry their own label."""
    stale: tuple[str, ...] = ()
    """Proxies without the rules, in words."""
    findings: tuple[str, ...] = ()
    """Which rules could not be read, and what Istio's analyzer says of the namespace's."""
    baseline: Baseline | None = None
    """None until counting starts."""

    def baseline_now(self, users: int) -> Baseline:
        """Ask the others what they have counted so far.

        :raises ClusterError: if one of them does not answer
        """
        asked = time.monotonic()
        counting = [s for s in self.question.sources if s.from_start] if not self.rules.expected.broken else []
        counted = sources.count_all(counting, self.cluster, self.pods, 0.0)
        arrived = self.question.server(self.cluster) if self.question.server else None
        # Traffic continues meanwhile.
        return Baseline(counted, arrived, math.ceil((time.monotonic() - asked) * users * self.question.pace))

    @property
    def is_compared(self) -> bool:
        """Whether other sources have counted the same requests."""
        return bool(self.question.sources) and self.baseline is not None and not self.rules.expected.broken

    def other_sources(self, since: float) -> Counts:
        """Requests by version since counting started, as each of the other sources has them, by its name.

        :param since: when that was, in seconds of the epoch
        :raises ClusterError: if one of them does not answer
        """
        read: Counts = {}
        for name, counted in sources.count_all(self.question.sources, self.cluster, self.pods, since).items():
            before = self.baseline.sources.get(name, {}) if self.baseline else {}
            if counted:
                read[name] = {pod: n - before.get(pod, 0) for pod, n in counted.items()}
            else:
                log.info("%s do not reach back to where counting started: they are not compared", name)
        labelled = self.question.label(read, self.pods, self.rules)
        return {name: {version: n for version, n in totals.items() if n} for name, totals in labelled.items()}

    def check_required(self) -> None:
        """Make sure that what the question requires beside rules and pods is there.

        :raises ClusterError: if it is not, or the cluster does not answer
        """
        for check in self.question.requires:
            check(self.cluster)

    def edited(self) -> str:
        """What was edited since the rules were read, in words; empty if nothing was.

        :raises ClusterError: if the cluster does not answer
        """
        return differences(self.rules.generation, self.question.read(self.cluster, self.rules).generation)


def read_subject(options: Namespace) -> Subject:
    """Read the rules of the entry that is chosen, and wait until the proxies have them.

    :param options: Locust's
    :raises ClusterError: if the cluster does not answer
    """
    question = entry.load(options.entry).question
    cluster = Cluster(options.kubeconfig, question.namespace)
    rules, pods = question.read(cluster), question.pods(cluster)
    found = Subject(question, cluster, rules, pods, findings=(*rules.remarks, *analysis.in_force(cluster)))
    found.check_required()
    if found.rules.expected.broken:
        return found
    stale = propagation.wait(cluster, found.rules.generation, question.applied_by, PROPAGATION_SECONDS)
    return replace(found, stale=tuple(stale))


@dataclass
class Tally:
    """What has been counted in one epoch: another one begins whenever counting starts again."""

    counts: Counts = field(default_factory=dict)
    """Traffic class -> outcome -> answers: on a worker since its last report, else since counting started."""
    sent: int = 0
    """By this process."""
    settled: frozenset[str] = frozenset()
    """Traffic classes that need no more requests."""
    at_server: dict[str, int] = field(default_factory=dict)
    """What arrived at the far end, and what did not; empty until it was asked."""
    judged: Counts | None = None
    """The counts when the verdict was reached."""

    @property
    def answered(self) -> int:
        """Requests that were answered, of all classes."""
        return sum(sum(line.values()) for line in self.counts.values())

    def add(self, counts: Mapping[str, Mapping[str, int]]) -> None:
        """Add what was counted elsewhere."""
        for traffic_class, outcomes in counts.items():
            line = self.counts.setdefault(traffic_class, {})
            for outcome, n in outcomes.items():
                line[outcome] = line.get(outcome, 0) + n

    def so_far(self) -> Counts:
        """A copy of the counts."""
        return {name: dict(line) for name, line in self.counts.items()}


class MeshRun:
    """One environment's run."""

    def __init__(self, environment: Environment, before: MeshRun | None = None) -> None:
        """Nothing has been read, and nothing counted; what still comes of the run ``before`` belongs to earlier epochs."""
        self.environment = environment
        # A lock for threads, not for greenlets: the guard's thread has the last word of a run that is cut short.
        self.last_word: LockType = before.last_word if before else get_original("_thread", "allocate_lock")()
        self.begun = time.monotonic()
        self.first_epoch: int = before.epoch + 1 if before else 0
        self.epoch: int = self.first_epoch
        self.tally = Tally()
        self.started = 0.0
        """When counting started, in seconds of the epoch."""
        self.subject: Subject | None = None
        """None until the rules have been read, and once it is settled that nothing can be judged."""
        self.verdict = Verdict(Outcome.INCONCLUSIVE, ("no run yet",))
        self.history: list[report.Moment] = []
        """Since counting started, once a second."""
        self.void: list[str] = []
        self.users = 0
        self.workers = Workers()
        self.watcher: gevent.Greenlet | None = None
        self.finisher: gevent.Greenlet | None = None
        self.enforcer: gevent.Greenlet | None = None
        self.finished = False
        self.active = True
        self.beginning = False
        """Whether it waits for the proxies still; to Locust, it has not begun then."""

    # -- counting, on every side -------------------------------------------------------------------------------------

    def count(self, traffic_class: str, outcome: str) -> None:
        """One answer."""
        self.tally.add({traffic_class: {outcome: 1}})
        self.tally.sent += 1

    @property
    def settled(self) -> frozenset[str]:
        """Traffic classes that need no more requests."""
        return self.tally.settled

    @property
    def warming_up(self) -> bool:
        """Whether requests do not count yet, as far as this process knows: a worker does not."""
        return self.subject is not None and self.subject.baseline is None

    @property
    def spent(self) -> bool:
        """Whether this process has sent all that a run may send: users stop then, whoever watches the run."""
        return bool(self.tally.sent >= self.options.max_requests)

    def take(self) -> dict[str, Any]:
        """What a worker reports: its counts since the last report."""
        taken, self.tally.counts = self.tally.counts, {}
        void, self.void = self.void, []
        return {"epoch": self.epoch, "counts": taken, "void": void}

    def add(self, data: Mapping[str, Any]) -> None:
        """What the master adds; reports from before a restart do not count."""
        if data["epoch"] >= self.first_epoch:
            self.void += data["void"]
        if data["epoch"] == self.epoch:
            self.tally.add(data["counts"])

    def enter(self, epoch: int) -> None:
        """Count from nothing, unless this epoch has begun already: a worker gets this again whenever it is ready again."""
        if epoch != self.epoch:
            self.epoch, self.tally = epoch, Tally()

    # -- what is known -----------------------------------------------------------------------------------------------

    @property
    def options(self) -> Namespace:
        """Locust's parsed options, as the page or the command line set them."""
        options: Namespace = self.environment.parsed_options
        return options

    @property
    def headless(self) -> bool:
        """Whether nobody watches in a browser."""
        return self.environment.web_ui is None

    @property
    def saturated(self) -> bool:
        """Whether Locust's own processes had too little CPU time."""
        runner = self.environment.runner
        return bool(getattr(runner, "cpu_warning_emitted", False) or getattr(runner, "worker_cpu_warning_emitted", False))

    @property
    def remarks(self) -> tuple[str, ...]:
        """What has no bearing on the verdict, and should be known."""
        return (*(self.subject.findings if self.subject else ()), *self.workers.remarks)

    @property
    def void_reasons(self) -> tuple[str, ...]:
        """Why the run cannot be judged; empty if it can."""
        saturated = ["the generator was saturated: take fewer users, or --processes"] if self.saturated else []
        return tuple(dict.fromkeys([*self.void, *saturated]))

    @property
    def progress(self) -> Progress:
        """How far it has come, for whoever watches it."""
        total = self.environment.stats.total
        traffic = f"{self.environment.runner.user_count} users, {total.current_rps:.0f} requests/s"
        return Progress(
            entry=self.options.entry, verdict=self.verdict, beginning=self.beginning, finished=self.finished,
            pending=self.watcher is not None and not self.finished and self.verdict.outcome is not Outcome.VOID,
            generator=f"saturated ({traffic})" if self.saturated else f"not saturated ({traffic})",
            margin=self.subject.rules.expected.margin if self.subject else 0.0, remarks=self.remarks,
            epoch=self.epoch, history=tuple(self.history),
        )  # fmt: skip

    def observation(self, subject: Subject, other: Counts) -> Observed:
        """Everything that was observed so far, by version.

        :param other: by name of the source, as :meth:`Subject.other_sources` has it
        """
        tally, baseline = self.tally, subject.baseline
        sent = subject.question.label(tally.counts, subject.pods, subject.rules)
        counts = subject.question.label(tally.judged, subject.pods, subject.rules) if tally.judged is not None else sent
        if tally.at_server:
            counts = {**counts, AT_SERVER: tally.at_server}
        seen = Observed(
            counts, sent, other, stale=subject.stale, void=self.void_reasons,
            in_flight=2 * self.users + (baseline.loose if baseline else 0) + self.workers.uncounted,
        )  # fmt: skip
        clients = sent_by_clients(seen)
        return replace(seen, views={source.name: source.view(clients) for source in subject.question.sources})

    def look(self, subject: Subject, other: Counts | None = None) -> Verdict:
        """The verdict at this moment."""
        return judge(subject.rules.expected, self.observation(subject, other or {}))

    def decided(self) -> bool:
        """Whether there is nothing to wait for: a verdict, or the end of the request or time budget."""
        late = time.time() - self.started > self.options.max_seconds
        return late or self.tally.answered >= self.options.max_requests or self.verdict.outcome is not Outcome.INCONCLUSIVE

    # -- leading -----------------------------------------------------------------------------------------------------

    def begin(self) -> Subject:
        """Read the rules and wait until the proxies have them; what is answered until ``warm_up`` is over does not count."""
        random.seed(self.options.seed)
        self.void, self.workers, self.begun = [], Workers(), time.monotonic()
        subject = self.subject = read_subject(self.options)
        self.start_epoch(subject)
        log.info("%s: expected %s", self.name, dict(subject.rules.expected.shares))
        return subject

    def start_epoch(self, subject: Subject) -> None:
        """Count from nothing, on every side."""
        self.enter(self.epoch + 1)
        if isinstance(self.environment.runner, MasterRunner):
            self.environment.runner.send_message("mesh_epoch", self.epoch)
        self.started = time.time()
        self.verdict = self.look(subject)
        self.history.clear()

    def warm_up(self, subject: Subject) -> Subject:
        """Let traffic flow that is not judged, then count from nothing, on every side, the cluster's included.

        :raises ClusterError: if the cluster does not answer
        """
        gevent.sleep(WARM_UP_SECONDS)
        self.note_users()
        ready = self.subject = replace(subject, baseline=subject.baseline_now(self.users))
        self.start_epoch(ready)
        log.info("%s: counting starts", self.name)
        return ready

    def note_users(self) -> None:
        """Note how many users there are to be: workers tell their master only every three seconds how many there are."""
        self.users = max(self.users, self.environment.runner.target_user_count)

    def note_workers(self, subject: Subject) -> None:
        """Note the workers that have gone."""
        if not isinstance(self.environment.runner, MasterRunner):
            return
        here = {name: node.user_count for name, node in self.environment.runner.clients.items() if node.state != STATE_MISSING}
        # Since its last report, until it was missed, and the request that was in flight.
        each = (WORKER_REPORT_INTERVAL + HEARTBEAT_INTERVAL) * subject.question.pace + 1
        for name in self.workers.look(here, each):
            log.warning("worker %s was lost", name)
            if subject.baseline is not None and subject.baseline.arrived is not None:
                # The far end tells how many arrived; how many were sent, nobody does any more.
                self.void.append(f"worker {name} was lost, and how many requests it sent since its last report is not known")

    def ask_server(self, subject: Subject) -> None:
        """Split the requests sent so far into those that arrived at the far end and those that did not.

        :raises ClusterError: if it does not answer
        """
        # Answers first: whatever is answered by now has arrived by the time that the far end is asked.
        sent, baseline = self.tally.answered, subject.baseline
        if subject.question.server is None or baseline is None or baseline.arrived is None:
            return
        now = subject.question.server(subject.cluster)
        # What came while the far end was asked, now and when counting started, or was in flight then, it alone has counted.
        loose = self.tally.answered - sent + baseline.loose + self.users
        share = subject.rules.expected.shares.get(AT_SERVER, {}).get("arrived", 0.0)
        arrived = observed.arrived_of(sent, now - baseline.arrived, loose, share)
        self.tally.at_server = {"arrived": arrived, "did not arrive": max(0, sent - arrived)}

    def tell(self) -> None:
        """Write how far the run has come, for whoever waits for it without a page."""
        if self.headless:
            line = terminal.status(self.verdict, self.environment.stats.total.current_rps)
            report.write_whole(self.folder, {STATUS: f"{line}\n"})

    def settle(self) -> None:
        """Tell users, on every side, which traffic classes have passed: they go on with the others."""
        settled = frozenset(c.name for c in self.verdict.classes if c.outcome is Outcome.PASS)
        if settled == self.tally.settled:
            return
        self.tally.settled = settled
        if isinstance(self.environment.runner, MasterRunner):
            self.environment.runner.send_message("mesh_settled", sorted(settled))

    def watch(self, subject: Subject) -> None:
        """Look again and again until the run is decided, then end it, whatever happens on the way."""
        try:
            self.verdict = self.look(self.watch_until_decided(subject))
        except Exception as error:  # any: a run that nobody watches would never end
            self.fail(error)
            self.tally.judged = self.tally.so_far()
        self.end()

    def watch_until_decided(self, subject: Subject) -> Subject:
        """Warm up, then look once a second until there is a verdict, or the requests or the time are spent.

        In the browser, it starts again whenever a rule was edited. Headless, that makes the run void.

        :return: what is judged in the end
        """
        try:
            subject = self.warm_up(subject)
            looks = 0
            while True:
                gevent.sleep(LOOK_SECONDS)
                looks += 1
                self.note_users()
                self.note_workers(subject)
                if looks % 2 == 0:
                    self.ask_server(subject)
                self.verdict, counts = self.look(subject), self.tally.so_far()
                self.history.append(report.moment_of(self.verdict, time.time() - self.started))
                self.settle()
                self.tell()
                # Traffic may have met rules that were edited since they were read last: then this is no verdict.
                if (looks % LOOKS_PER_READING == 0 or self.decided()) and (edited := subject.edited()):
                    if self.headless:
                        self.void.append(f"{EDITED}: {edited}")
                        break
                    log.info("edited: %s; the verdict starts again", edited)
                    subject = self.warm_up(self.begin())
                elif self.decided():
                    break
        except ClusterError as error:
            self.void.append(self.said(error))
            subject, counts = self.subject or subject, self.tally.so_far()
        # A verdict holds from the moment it is reached; what still comes until the users have stopped is not judged.
        self.tally.judged = counts
        return subject

    # -- ending ------------------------------------------------------------------------------------------------------

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
        self.verdict = Verdict(Outcome.VOID, self.void_reasons, n=self.tally.answered)

    def said(self, error: Exception) -> str:
        """An error in words, and where more of it is to be read."""
        log_file = getattr(self.options, "logfile", None)
        return words_of(error) + (f"; log: {log_file}" if log_file else "")

    def finish(self) -> None:
        """The last word: with the other sources' counts, written to the reports."""
        if self.finished:
            return
        if isinstance(self.environment.runner, MasterRunner) and not self.headless:
            # The last reports of workers come after test_stop; when quitting, Locust has waited for them already.
            gevent.sleep(4)
        running: Mapping[str, str] = {}
        try:
            self.verdict = self.last_verdict(self.subject)
            if self.subject:
                running = versions.running(self.subject.cluster, self.subject.question.applied_by)
        except Exception as error:  # any: a run without a last word has no report
            self.fail(error)
        try:
            self.write(self.verdict, running)
        except Exception as error:  # any, likewise; what it began with lies there still
            self.fail(error)
            self.write(self.verdict, {})
        reasons = "; ".join((*self.verdict.reasons, *self.remarks))
        log.info("%s: %s after %d requests: %s", self.name, self.verdict.outcome, self.verdict.n, reasons)

    def last_verdict(self, subject: Subject | None) -> Verdict:
        """The verdict with the counts of all sources.

        :raises ClusterError: if one of them does not answer
        """
        if subject is None:
            return Verdict(Outcome.VOID, self.void_reasons or ("the run did not start",))
        subject.check_required()
        if self.tally.judged is None:
            self.ask_server(subject)
        if self.void_reasons or not subject.is_compared:
            return self.look(subject)
        gevent.sleep(observed.LOG_FLUSH_SECONDS)
        return self.look(subject, subject.other_sources(self.started))

    def write(self, verdict: Verdict, running: Mapping[str, str]) -> None:
        """Write the reports, unless the run was cut short: then they say so already."""
        with self.last_word:
            files = report.write(self.folder, verdict, self.facts(running), self.history)
            self.finished = verdict is self.verdict
            (self.folder / STATUS).unlink(missing_ok=True)
        for file in files if self.finished else []:
            log.info("report: %s", file)

    def facts(self, running: Mapping[str, str]) -> report.Facts:
        """What the reports say beside the verdict."""
        rules = self.subject.rules if self.subject else None
        return report.facts_of(
            self.name, self.started, self.options.seed, rules.expected.margin if rules else 0.0,
            rules.generation if rules else "", running, self.remarks,
        )  # fmt: skip

    @property
    def name(self) -> str:
        """The entry's, in reports."""
        return entry.name_of(self.options.entry)

    @property
    def folder(self) -> Path:
        """Where the reports are."""
        return Path(self.options.results, self.name)

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
        answered = self.tally.answered
        verdict = Verdict(Outcome.VOID, (f"interrupted {reason} after {answered} requests",), n=answered)
        os.write(2, f"{self.name}: {verdict.outcome}: {verdict.reasons[0]}\n".encode())
        report.write(self.folder, verdict, self.facts({}), tuple(self.history))
        (self.folder / STATUS).unlink(missing_ok=True)
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
