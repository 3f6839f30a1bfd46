"""The endpoints of *Your rules*: the plan for a namespace's rules, and one run at a time that carries it out.

Both are ``make judge`` itself, in a process of its own, so that Locust's clients are not slowed down: with its bounds, its
refusals, and the lab's lock, but with the rights of the account in :mod:`loadtests.console.judges`.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gevent
from flask import Blueprint, jsonify, request
from gevent import Greenlet, subprocess

from loadtests.console import judges
from loadtests.console.rights import NAMESPACE, kubeconfig, write_private
from loadtests.mesh.cluster import Cluster, ClusterError

if TYPE_CHECKING:
    from locust.web import WebUI

VARIABLE = "LAB_JUDGE_KUBECONFIG"
"""What names ``make judge`` another kubeconfig than the lab's (scripts/run.py)."""
NOT_HERE = (
    "This console runs in the cluster (WHERE=cluster), and judging needs the lab's own folder, which only its host has. "
    "There, run: make judge NAMESPACE=..., or open the console without WHERE=cluster."
)
BUSY = "a namespace is being judged: wait for the verdict, or stop it first"
PLAN_SECONDS = 60.0


class RefusedError(Exception):
    """``make judge`` was refused, or has failed; the message is one line."""


@dataclass(frozen=True)
class Asked:
    """What a run was asked to judge.

    :param only: name of a check; '' for all
    :param confirm: the namespace once more, if the lab did not create it
    """

    namespace: str
    only: str = ""
    confirm: str = ""

    @property
    def words(self) -> list[str]:
        """The settings of ``make judge``."""
        given = {"NAMESPACE": self.namespace, "ONLY": self.only, "CONFIRM": self.confirm}
        return [f"{name}={value}" for name, value in given.items() if value]


def unblocked() -> None:
    """Let a process receive signals: one that guards itself by :mod:`loadtests.ending` blocks them for its children as well."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, signal.valid_signals())


@dataclass
class Judging:
    """The judging of namespaces."""

    command: Sequence[str]
    """``make judge`` for the lab, without what it judges."""
    kubeconfig: str
    """The console's own."""
    asked: Asked | None = None
    report: Mapping[str, Any] = field(default_factory=dict)
    """The last line of the run: requests sent, and the verdict so far."""
    error: str = ""
    """Why there is no verdict."""
    stopping: bool = False
    process: subprocess.Popen[str] | None = None
    leader: Greenlet | None = None

    @property
    def active(self) -> bool:
        """Whether a run is in progress."""
        return self.leader is not None and not self.leader.dead

    def shown(self) -> dict[str, Any]:
        """Its state as JSON values."""
        asked = self.asked or Asked("")
        return {
            "active": self.active, "stopping": self.active and self.stopping, "namespace": asked.namespace, "only": asked.only,
            "sent": self.report.get("sent", 0), "verdict": self.report.get("verdict"), "error": self.error,
        }  # fmt: skip

    def plan(self, namespace: str) -> Any:
        """The plan for a namespace as JSON values.

        :raises RefusedError: if there is none; the message says why
        :raises ClusterError: if the cluster does not give a token
        """
        started = self._started([*Asked(namespace).words, "PLAN=1", "JSON=1"], "plan")
        try:
            output, errors = started.communicate(timeout=PLAN_SECONDS)
        except subprocess.TimeoutExpired as error:
            raise RefusedError(f"the plan was not ready within {PLAN_SECONDS:g} s") from error
        finally:
            self._end(started, "plan")
        if started.returncode:
            raise RefusedError(_last_line(errors))
        return json.loads(output.splitlines()[-1])

    def start(self, asked: Asked) -> None:
        """Start a run.

        :raises ClusterError: if the cluster does not give a token
        """
        self.process = self._started([*asked.words, "JSON=1"], "run")
        self.asked, self.report, self.error, self.stopping = asked, {}, "", False
        self.leader = gevent.spawn(self._follow, self.process)

    def stop(self) -> None:
        """Interrupt the run, which then removes its probes."""
        if self.active and self.process is not None:
            self.stopping = True
            self.process.terminate()

    def _follow(self, process: subprocess.Popen[str]) -> None:
        """Keep what a run tells, until it has ended."""
        if process.stdout is None or process.stderr is None:
            raise RefusedError("make judge has no pipes")
        errors = gevent.spawn(process.stderr.read)
        try:
            for line in process.stdout:
                if line.startswith("{"):
                    self.report = json.loads(line)
            process.wait()
            if "facts" not in self.report.get("verdict", {}):
                self.error = f"{'stopped: ' if self.stopping else ''}{_last_line(errors.get())}"
        finally:
            self._end(process, "run")

    def _file(self, purpose: str) -> Path:
        """The kubeconfig of a process; scripts/run.py removes it if the console cannot."""
        return Path(self.kubeconfig).with_name(f"judge-{purpose}-kubeconfig")

    def _started(self, words: Sequence[str], purpose: str) -> subprocess.Popen[str]:
        file = self._file(purpose)
        own = json.loads(Path(self.kubeconfig).read_text())
        token = judges.token(Cluster(self.kubeconfig, NAMESPACE))
        write_private(file, json.dumps(kubeconfig(own, token, judges.ACCOUNT)))
        return subprocess.Popen(
            [*self.command, *words], env={**os.environ, VARIABLE: str(file)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True, preexec_fn=unblocked,
        )  # fmt: skip

    def _end(self, process: subprocess.Popen[str], purpose: str) -> None:
        process.kill()
        self._file(purpose).unlink(missing_ok=True)


def _last_line(errors: str) -> str:
    lines = [line for line in errors.splitlines() if line.strip()]
    return lines[-1] if lines else "make judge has ended without a verdict"


def asked_in(given: Any, accepted: Sequence[str]) -> Asked:
    """What a request asks for.

    :raises RefusedError: if it is none of the namespaces that the page may judge
    """
    fields = given if isinstance(given, dict) else {}
    values = [fields.get(name, "") for name in ("namespace", "only", "confirm")]
    if not all(isinstance(value, str) for value in values) or values[0] not in accepted:
        known = ", ".join(accepted)
        raise RefusedError(
            f"namespace: {values[0]!r} was given; accepted: one of {known}; for others: make load UI=1 NAMESPACE="
        )
    return Asked(*values)


def add(blueprint: Blueprint, ui: WebUI, judging: Judging | None, accepted: Sequence[str]) -> None:
    """Add the endpoints to ``blueprint``.

    :param judging: None if nothing can be judged here
    :param accepted: namespaces that may be judged
    """

    @blueprint.get("/judge")
    @ui.auth_required_if_enabled
    def judging_state() -> Any:
        """How far the run has come, and what can be judged."""
        return jsonify(**(judging.shown() if judging else {"active": False}), not_here="" if judging else NOT_HERE)

    @blueprint.get("/judge/plan")
    @ui.auth_required_if_enabled
    def judging_plan() -> Any:
        """The plan for a namespace; 409 with the reason if there is none."""
        try:
            asked = asked_in({"namespace": request.args.get("namespace", "")}, accepted)
            if judging is None:
                raise RefusedError(NOT_HERE)
            return jsonify(judging.plan(asked.namespace))
        except (RefusedError, ClusterError) as error:
            return jsonify(error=str(error)), 409

    @blueprint.post("/judge")
    @ui.auth_required_if_enabled
    def start_judging() -> Any:
        """Judge a namespace, or one of its routes; 409 with the reason if that cannot be."""
        try:
            asked = asked_in(request.get_json(silent=True), accepted)
            if judging is None or judging.active:
                raise RefusedError(BUSY if judging else NOT_HERE)
            judging.start(asked)
        except (RefusedError, ClusterError) as error:
            return jsonify(error=str(error)), 409
        return jsonify(judging.shown())

    @blueprint.post("/judge/stop")
    @ui.auth_required_if_enabled
    def stop_judging() -> Any:
        """Interrupt the run."""
        if judging:
            judging.stop()
        return judging_state()


def of(command: str, kubeconfig_: str) -> Judging | None:
    """The judging of namespaces; None without a command.

    :param command: ``make judge`` for the lab, as in a shell
    """
    return Judging(shlex.split(command), kubeconfig_) if command else None
