"""Sends requests when they are due and measures latency from then: ``python -m loadtests.latency.open_loop URL --rate 50``.

With ``--find`` the rate rises step by step until the service level is missed; the highest rate that met it is reported.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import gevent
from gevent.event import Event
from locust import FastHttpUser, task
from locust.env import Environment

from loadtests import ending
from loadtests.latency import chart, statistics
from loadtests.latency.hops import Watch
from loadtests.latency.statistics import Request, Step
from loadtests.mesh.cluster import Cluster, ClusterError
from loadtests.mesh.observed import LOG_FLUSH_SECONDS
from loadtests.reports.report import write_whole

MOST_REQUESTS = 200_000
MOST_SECONDS = 900.0


class RefusedError(Exception):
    """A setting is not accepted, and nothing was sent; the message is one line."""


@dataclass
class Arrivals:
    """The requests of the current step, which clients claim in turn."""

    open: Event = field(default_factory=Event)
    pending: Iterator[float] = field(default_factory=lambda: iter(()))
    began: float = 0.0
    claimed: int = 0
    done: list[Request] = field(default_factory=list)

    def begin(self, rate: float, seconds: float, seed: int | None) -> None:
        """Open a step, so that clients can claim its requests."""
        self.pending, self.done, self.claimed = statistics.due_times(rate, seconds, seed), [], 0
        self.began = time.perf_counter() + 0.1
        self.open.set()

    def claim(self) -> float:
        """When the next request is due; blocks while there is none."""
        while True:
            self.open.wait()
            at = next(self.pending, None)
            if at is not None:
                self.claimed += 1
                return self.began + at
            self.open.clear()

    def over(self) -> bool:
        """Whether every request of the step has been answered."""
        return not self.open.is_set() and len(self.done) == self.claimed


class Visitor(FastHttpUser):
    """One client with at most one request in flight."""

    connection_timeout = 10.0
    network_timeout = 30.0

    @task
    def visit(self) -> None:
        """Send one request when it is due."""
        arrivals: Arrivals = self.environment.arrivals
        due = arrivals.claim()
        gevent.sleep(max(0.0, due - time.perf_counter()))
        began = time.perf_counter()
        with self.client.get(self.environment.path, headers=self.environment.headers, catch_response=True) as response:
            failed = not 200 <= (response.status_code or 0) < 400
        arrivals.done.append(Request(due, began, time.perf_counter(), failed))


def run(options: argparse.Namespace) -> tuple[list[Step], str, bool]:
    """Send all steps: results, why the last one missed the service level (or ""), and whether the generator was saturated."""
    target = urlsplit(options.url)
    environment = Environment(user_classes=[Visitor], host=f"{target.scheme}://{target.netloc}")
    environment.arrivals, environment.path = Arrivals(), target._replace(scheme="", netloc="").geturl() or "/"
    environment.headers = {"Host": options.host_header} if options.host_header else {}
    watch = Watch(Cluster(options.kubeconfig, options.hops)) if options.hops else None
    if watch and not watch.hops:
        raise RefusedError(f"HOPS: namespace {options.hops} was given; accepted: a namespace with pods that have a sidecar")
    runner = environment.create_local_runner()
    runner.start(options.users, spawn_rate=options.users)
    steps: list[Step] = []
    rate: float | None = options.rate
    why = ""
    try:
        while rate and not why:
            print(f"{rate:.1f} requests/s for {options.step:g} s ...", flush=True)
            environment.stats.reset_all()
            if watch:
                watch.begin()
            since = time.time()
            environment.arrivals.begin(rate, options.step, options.seed)
            while not environment.arrivals.over():
                gevent.sleep(0.05)
            until = time.time()
            own = statistics.by_locust(environment.stats.total.get_response_time_percentile)
            steps.append(replace(statistics.summary(rate, environment.arrivals.done, environment.arrivals.began), locust=own))
            if watch:
                gevent.sleep(LOG_FLUSH_SECONDS)
                steps[-1] = replace(steps[-1], hops=tuple(watch.end(since, until)))
            why = statistics.broken(steps[-1], options.p99, options.errors)
            rate = statistics.next_rate(steps, options.most) if options.find else None
    finally:
        runner.quit()
    return steps, why, bool(runner.cpu_warning_emitted)


def positive(text: str) -> float:
    """Parse a number above 0."""
    value = float(text) if re.fullmatch(r"[0-9.eE+-]+", text) else 0.0
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} was given; accepted: a number above 0")
    return value


class Parser(argparse.ArgumentParser):
    """Raises errors, where argparse would end the process with its own exit status."""

    def error(self, message: str) -> Any:
        """:raises RefusedError: with what is wrong."""
        # Name the make variable: "argument --rate: ..." becomes RATE.
        raise RefusedError(re.sub(r"^argument --(\w+):", lambda found: f"{found[1].upper()}:", message))


def arguments(given: list[str] | None = None) -> argparse.Namespace:
    """The options.

    :raises RefusedError: if one is wrong
    """
    parser = Parser(description=__doc__)
    parser.add_argument("url", help="http://HOST:PORT/PATH")
    parser.add_argument("--rate", type=positive, default=20.0, help="requests per second in the first step")
    parser.add_argument("--step", type=positive, default=30.0, help="seconds per step")
    parser.add_argument("--users", type=int, default=200, help="requests that may be in flight at once")
    parser.add_argument("--seed", type=int, help="random arrivals (Poisson) instead of evenly spaced ones")
    parser.add_argument("--p99", type=positive, help="service level: milliseconds from when requests were due")
    parser.add_argument("--errors", type=float, default=0.01, help="service level: share of requests that may fail")
    parser.add_argument("--find", action="store_true", help="raise the rate until the service level is missed")
    parser.add_argument("--most", type=positive, default=1000.0, help="highest rate to try")
    parser.add_argument("--host", dest="host_header", default="", help="host name to send")
    parser.add_argument("--hops", default="", help="namespace whose hops are watched during the test")
    parser.add_argument("--kubeconfig", default="", help="kubeconfig for --hops")
    parser.add_argument("--results", type=Path, help="folder for latency.json and latency.html")
    options = parser.parse_args(given)
    if urlsplit(options.url).scheme != "http" or not urlsplit(options.url).hostname:
        parser.error(f"URL: {options.url!r} was given; accepted: http://HOST:PORT/PATH")
    if options.find and options.p99 is None:
        parser.error("P99: nothing was given; accepted: milliseconds, which FIND needs")
    if not 1 <= options.users <= 2000:
        parser.error(f"USERS: {options.users} was given; accepted: 1 to 2000")
    if options.step > MOST_SECONDS or options.step * max(options.rate, options.most if options.find else 0) > MOST_REQUESTS:
        parser.error(f"STEP: {options.step:g} was given; accepted: up to {MOST_SECONDS:g}, and {MOST_REQUESTS} requests a step")
    return options


def main() -> int:
    """0 if the service level was met (with ``--find``: at any rate), 1 if not or refused, 2 if the generator was saturated."""
    try:
        options = arguments()
        steps, why, saturated = run(options)
    except RefusedError as error:
        print(f"{error}; nothing was sent", file=sys.stderr)
        return 1
    except ClusterError as error:
        print(f"{error}; sending stopped", file=sys.stderr)
        return 2
    print("\n".join(statistics.table(steps)))
    for step in steps:
        if step.hops:
            print("\n".join([f"{step.rate:.1f} requests/s, by hop", *statistics.table_of_hops(step)]))
    held = [step for step in steps if not statistics.broken(step, options.p99, options.errors)]
    if options.results:
        result = {"url": options.url, "steps": [asdict(s) for s in steps], "broken": why, "generator_saturated": saturated}
        files = {
            "latency.json": json.dumps(result, indent=2) + "\n",
            "latency.html": chart.page(options.url, steps, held, why, options.p99),
        }
        for file in write_whole(options.results, files):
            print(f"report: {file}")
    if steps[-1].waited:
        print(f"{steps[-1].waited} requests in the last step began late: no client was free, or the generator was busy")
    if why:
        print(f"{steps[-1].rate:.1f} requests/s: {why}")
    if options.find and held:
        print(f"highest rate that met the service level: {held[-1].rate:.1f} requests/s")
    if saturated:
        print("VOID: the generator was saturated; these figures include its own delays")
        return 2
    return 0 if held and (options.find or not why) else 1


if __name__ == "__main__":
    sys.exit(ending.guarded(main))
