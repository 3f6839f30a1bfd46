"""Judges many entries, three at a time: ``python -m loadtests.run.verify --entries a,b ... -- LOCUST-OPTIONS``.

Rules are a namespace's own, so entries of one namespace take turns and those of others need not. What asks how long an answer
takes, or how many come at once, comes last, with nothing beside it: on two cores even the start of another load test can
hold an answer up by half a second.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from loadtests import ending
from loadtests.entries import entry, policy
from loadtests.mesh.cluster import Cluster, ClusterError, words_of
from loadtests.reports import report, summary
from loadtests.run import forked

WORKERS = 3
"""Entries that are judged at the same time: more than a small machine has cores, for each waits for proxies and logs."""
READY_SECONDS = 240
RUN_SECONDS = 900
"""Longer than any run lasts (``--max-seconds`` and what comes before and after it)."""


@dataclass(frozen=True)
class Job:
    """One entry to judge."""

    name: str
    namespace: str
    exclusive: bool
    seconds: float = 1.0
    """How long its last run took, or else the longest visit of its clients."""


def choose(waiting: Sequence[Job], running: Sequence[Job]) -> Job | None:
    """What a free worker takes next; None while there is nothing that may run beside what does.

    The longest first: of the namespaces that are free, the one whose entries take the longest in all, and its longest entry.
    """
    side_by_side = [job for job in waiting if not job.exclusive]
    if not side_by_side:
        return min(waiting, key=lambda job: (-job.seconds, job.name), default=None) if not running else None
    left: dict[str, float] = {}
    for job in side_by_side:
        left[job.namespace] = left.get(job.namespace, 0.0) + job.seconds
    free = [job for job in side_by_side if job.namespace not in {other.namespace for other in running}]
    return min(free, key=lambda job: (-left[job.namespace], job.namespace, -job.seconds, job.name), default=None)


def likely_seconds(results: Path, judged: entry.Entry) -> float:
    """How long the last run of an entry took, as its report has it; where there is none, the longest visit of its clients."""
    longest = max((float(getattr(client, "seconds", 1.0)) for client in judged.traffic.values()), default=1.0)
    try:
        return max(1.0, float((summary.read_last(results, judged.name) or {})["facts"]["seconds"]))
    except (OSError, ValueError, KeyError):
        return longest


def run_all(jobs: Sequence[Job], judge: Callable[[Job], None], workers: int = WORKERS) -> None:
    """Judge every job, ``workers`` at a time, each in a thread.

    What ``judge`` raises comes out when the other workers are done.
    """
    waiting, running, changed = list(jobs), list[Job](), threading.Condition()

    def work() -> None:
        while True:
            with changed:
                while (job := choose(waiting, running)) is None and waiting:
                    changed.wait()
                if job is None:
                    return
                waiting.remove(job)
                running.append(job)
            try:
                judge(job)
            finally:
                with changed:
                    running.remove(job)
                    changed.notify_all()

    with ThreadPoolExecutor(max_workers=workers) as pool:
        ended = [pool.submit(work) for _ in range(workers)]
    for one in ended:
        one.result()


@dataclass(frozen=True)
class Judge:
    """How one entry is judged.

    :param locust: options of a headless run, but for the entry and its log
    :param say: receives a line for each entry
    """

    kubeconfig: str
    variant: str
    results: Path
    logs: Path
    locust: tuple[str, ...]
    say: Callable[[str], None]

    def __call__(self, job: Job) -> None:
        """Apply rules, then send traffic; whatever goes wrong, the next entry is judged."""
        started, file = time.monotonic(), self.results / job.name / "verdict.json"
        # A verdict that lies there is of an earlier run.
        report.write_void(file.parent, job.name, report.UNFINISHED)
        try:
            self.apply_rules(job)
            why = self.send(job)
        except Exception as error:  # any: an entry that cannot be judged is void, and the others are judged
            why = f"{error if isinstance(error, policy.RefusedError) else words_of(error)}; log: {self.logs / 'verify.log'}"
        last = json.loads(file.read_text())
        if last["reasons"] == [report.UNFINISHED]:
            report.write_void(file.parent, job.name, why)
            last = json.loads(file.read_text())
        reasons = "" if last["outcome"] == "PASS" else f": {'; '.join(map(str, last['reasons']))}"
        self.say(f"{last['outcome']:<12}  {job.name}  after {last['n']} requests, {time.monotonic() - started:.0f} s{reasons}")

    def apply_rules(self, job: Job) -> None:
        """Apply the entry's rules."""
        policy.put(Cluster(self.kubeconfig, job.namespace), job.name, self.variant, entry.CATALOGUE)

    def wait_for_pods(self, namespaces: Sequence[str]) -> None:
        """Wait until every workload of the samples is rolled out, before the first request: pods that start take all CPU time.

        :raises ClusterError: if one is not ready in time; it names the workload
        """
        for namespace in namespaces:
            self.wait_for_workloads(Cluster(self.kubeconfig, namespace))

    def wait_for_workloads(self, cluster: Cluster) -> None:
        """Every workload of one namespace is rolled out."""
        for workload in cluster.kubectl("get", "deployments,statefulsets", "--output", "name").split():
            rollout = [
                "kubectl",
                "--kubeconfig",
                self.kubeconfig,
                "--namespace",
                cluster.namespace,
                "rollout",
                "status",
                workload,
            ]
            done = subprocess.run(rollout, capture_output=True, text=True, check=False, timeout=READY_SECONDS)
            if done.returncode:
                raise ClusterError(f"{cluster.namespace}: {(done.stderr.strip().splitlines() or ['not ready'])[-1]}")

    def send(self, job: Job) -> str:
        """Run Locust; its last words, for when it leaves no verdict."""
        log, output = self.logs / f"locust-{job.name}.log", self.logs / f"locust-{job.name}.out"
        status = forked.run_locust([*self.locust, "--entry", job.name, "--logfile", str(log)], output, RUN_SECONDS)
        words = output.read_text().strip().splitlines() or ["no verdict"]
        return f"Locust ended with {status}: {words[-1]}; log: {log}"


def main() -> int:
    """0 when every entry was tried (``reports.summary`` says what came of it), 1 for one that does not exist, else 2."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entries", required=True, help="names, with commas between")
    parser.add_argument("--kubeconfig", required=True)
    parser.add_argument("--variant", choices=["policy", "control"], default="policy")
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--logs", type=Path, required=True)
    parser.add_argument("--progress", type=Path, required=True, help="file that receives a line for each entry")
    parser.add_argument("locust", nargs=argparse.REMAINDER)
    options = parser.parse_args()
    try:
        found = [entry.load(name) for name in options.entries.split(",")]
    except KeyError as error:
        print(f"--entries: {error.args[0]}", file=sys.stderr)
        return 1
    jobs = [Job(e.name, e.question.namespace, e.question.exclusive, likely_seconds(options.results, e)) for e in found]
    lock = threading.Lock()
    with options.progress.open("a") as progress:

        def say(line: str) -> None:
            with lock:
                print(line, flush=True)
                print(time.strftime("%H:%M:%S"), line, file=progress, flush=True)

        command = tuple(options.locust[1:] if options.locust[:1] == ["--"] else options.locust)
        judge = Judge(options.kubeconfig, options.variant, options.results, options.logs, command, say)
        try:
            judge.wait_for_pods(sorted({job.namespace for job in jobs}))
        except (ClusterError, subprocess.TimeoutExpired) as error:
            say(f"the samples are not ready: {error}")
            return 2
        run_all(jobs, judge)
    return 0


if __name__ == "__main__":
    sys.exit(ending.guarded(main, lambda: "what was not judged by then says so in its report"))
