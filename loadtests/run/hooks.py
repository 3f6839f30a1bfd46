"""Joins Locust's events to the run. Fails closed: whatever goes wrong, the exit status is not 0."""

from __future__ import annotations

import atexit
import functools
import sys
from argparse import ArgumentParser
from collections.abc import Callable
from typing import Any

import gevent
from locust import User
from locust.env import Environment
from locust.event import Events
from locust.rpc import Message
from locust.runners import MasterRunner, Runner, WorkerRunner

from loadtests import ending
from loadtests.console import web
from loadtests.entries import entry
from loadtests.mesh.cluster import words_of
from loadtests.reports import report
from loadtests.run.mesh_run import MeshRun
from loadtests.verdict import Outcome, Verdict


def on_test_start(environment: Environment, **_: Any) -> None:
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
        subject = run.begin()
    except gevent.GreenletExit:
        # Stopped, or started once more, while it waited for the proxies.
        run.subject = None
        run.void.append("the run was stopped before it began")
        run.finish()
        raise
    finally:
        run.beginning = False
    run.watcher = gevent.spawn(run.watch, subject)


def on_test_stop(environment: Environment, **_: Any) -> None:
    """Stop watching when a person stopped the run."""
    run: MeshRun = environment.mesh
    if run.watcher and run.watcher is not gevent.getcurrent() and not run.headless:
        run.watcher.kill(block=False)
        run.finisher = gevent.spawn(run.finish)


def on_user_error(user_instance: User, exception: Exception, **_: Any) -> None:
    """A client that cannot go on makes the run void: what it would have seen is missing."""
    run: MeshRun = user_instance.environment.mesh
    run.void.append(f"a client failed: {type(exception).__name__}: {exception}")


def on_quitting(environment: Environment, **_: Any) -> None:
    """Set the exit status; first to 2, so that an error on the way cannot pass for a PASS."""
    if isinstance(environment.runner, WorkerRunner):
        environment.process_exit_code = 0
        return
    environment.process_exit_code = Outcome.INCONCLUSIVE.exit_code
    run: MeshRun = environment.mesh
    run.finish()
    environment.process_exit_code = run.verdict.outcome.exit_code


def on_init(environment: Environment, runner: Runner | None = None, **_: Any) -> None:
    """Put the run on the environment, wire workers and the browser part."""
    environment.mesh = MeshRun(environment)
    guard(environment, worker=isinstance(runner, WorkerRunner))
    _current[:] = [environment]
    if isinstance(runner, WorkerRunner):

        def on_epoch(msg: Message, **_: Any) -> None:
            environment.mesh.enter(msg.data)

        def on_settled(msg: Message, **_: Any) -> None:
            environment.mesh.tally.settled = frozenset(msg.data)

        runner.register_message("mesh_epoch", on_epoch)
        runner.register_message("mesh_settled", on_settled)
    if isinstance(runner, MasterRunner):
        # One that comes in the middle of a run, say for one that was lost, counts from then on.
        environment.events.worker_connect.add_listener(
            lambda client_id, **_: runner.send_message("mesh_epoch", environment.mesh.epoch, client_id)
        )
    if environment.web_ui is not None:
        web.extend(environment, lambda: environment.mesh.progress)


def guard(environment: Environment, worker: bool) -> None:
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


def on_arguments(parser: ArgumentParser) -> None:
    """The lab's own options; ``--entry`` is a field of the start page too."""
    parser.add_argument("--entry", choices=entry.Accepted(entry.names()), default="reviews-80-20", help="Entry to judge")
    hidden: dict[str, Any] = {"include_in_web_ui": False}
    parser.add_argument("--kubeconfig", env_var="LAB_KUBECONFIG", required=True, help="The lab's kubeconfig", **hidden)
    parser.add_argument("--gateway-https", default="", help="HOST:PORT of the gateway's HTTPS port", **hidden)
    parser.add_argument("--gateway-tcp", default="", help="HOST:PORT of the gateway's TCP port", **hidden)
    parser.add_argument("--results", default="results", help="Folder for reports", **hidden)
    parser.add_argument("--secret-file", default="", help="File with the password of the web UI", **hidden)
    parser.add_argument("--judge", default="", help="Command that judges a namespace, for the web UI", **hidden)
    parser.add_argument("--judged", default="", help="Namespaces besides the lab's that the web UI may judge", **hidden)
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
            run.subject = None
            run.fail(error)
            run.finisher = gevent.spawn(run.end)
            run.write(run.verdict, {})

    return call


def install(events: Events) -> None:
    """Add every listener."""
    for event, listener in (
        (events.init_command_line_parser, on_arguments), (events.init, on_init), (events.test_start, on_test_start),
        (events.test_stop, on_test_stop), (events.quitting, on_quitting), (events.user_error, on_user_error),
        (events.report_to_master, on_report_to_master), (events.worker_report, on_worker_report),
    ):  # fmt: skip
        event.add_listener(fail_closed(listener))


_current: list[Environment] = []
"""Locust's environment, of which there is one for each process; its report events do not name it."""
