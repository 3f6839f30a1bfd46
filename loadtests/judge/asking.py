"""What ``traffic.py`` of an entry consists of that ``make new`` has written: calls as a namespace's rules see them.

They are sent by a pod of the lab's in that namespace, or by the gateway, and the proxy of whoever sends them tells what became
of them, as for ``make judge``. The expectation is read from the applied rules, at each run.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlsplit

from gevent.lock import BoundedSemaphore

from loadtests import ending
from loadtests.entries.question import GATEWAY, GRANTS, ROUTING, ResponseCheck, enters, rules_in
from loadtests.judge import attached, probes
from loadtests.judge.checks import Check
from loadtests.judge.guards import guest_of
from loadtests.judge.lines import Ground, outcome_of
from loadtests.judge.reach import AGENT, MARKED, MARKED_OUTSIDE
from loadtests.judge.session import Door, logged_by, request_of
from loadtests.mesh import propagation
from loadtests.mesh.cluster import Cluster, ClusterError
from loadtests.rules.calls import Call, Mesh
from loadtests.rules.entered import fate_entered
from loadtests.rules.expectations import (
    NoExpectationError,
    NotModelledError,
    Objects,
    Shares,
    addresses_of,
    is_running,
    namespace_of,
    of_kind,
    placed,
)  # fmt: skip
from loadtests.rules.fates import Fate, fate_of, fate_outside, fate_unregistered
from loadtests.rules.view import View, viewed

KINDS = (*ROUTING, GRANTS)
"""What the expectation is read from."""
ACCOUNT = "default"
"""The ServiceAccount of the pod that sends."""
BATCH, RATE = 20, 100.0
"""Requests that are sent before the log is read, and how many of them a second."""


@dataclass(frozen=True)
class Asked:
    """One call.

    :param kind: of the rule that it is about: VirtualService, HTTPRoute, GRPCRoute, Ingress, ServiceEntry, or Sidecar
    :param host: authority as the client writes it
    :param port: of the service, or of the Gateway's server
    :param gateway: ``namespace/name`` of the Gateway by which it enters; '' if a pod of the namespace sends it
    :param headers: by lower-case name
    """

    kind: str
    host: str
    port: int
    uri: str = "/"
    method: str = "GET"
    gateway: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)

    def call(self, namespace: str) -> Call:
        """The call as rules see it.

        :param namespace: whose pod sends it, unless it enters by a Gateway
        """
        if self.gateway:
            entering = enters(self.host, self.gateway, self.uri, self.method, self.headers, self.port)
            return replace(entering, query=self.query, varied=MARKED_OUTSIDE)
        headers = {"user-agent": AGENT, **self.headers}
        caller = guest_of(namespace, ACCOUNT).caller
        return Call(self.host, self.port, caller, self.uri, self.method, headers, self.query, varied=MARKED)


def fate_for(objects: Sequence[View], asked: Asked, namespace: str) -> Fate:
    """What becomes of a call, by the rules.

    :raises NoExpectationError: if no expectation follows from them
    :raises NotModelledError: naming the field that is not modelled
    """
    call = asked.call(namespace)
    if asked.kind in attached.KINDS:
        return fate_entered(objects, asked.kind, call)[1]
    return {"ServiceEntry": fate_outside, "Sidecar": fate_unregistered}.get(asked.kind, fate_of)(objects, call)


def expected(objects: Sequence[View], request: Mapping[str, Any]) -> Shares:
    """The share of each outcome of a call.

    :param request: ``asked``: the call; ``namespace``: whose pod sends it
    """
    return fate_for(objects, request["asked"], request["namespace"]).shares


def question_of(namespace: str, calls: Mapping[str, Asked]) -> ResponseCheck:
    """The question what becomes of calls, one traffic class for each."""
    gateway = (GATEWAY,) if any(one.gateway for one in calls.values()) else ()
    classes = {name: {"asked": one} for name, one in calls.items()}
    return ResponseCheck(KINDS, expected, classes, namespace=namespace, proxies=((namespace, ""), *gateway))


def traffic_of(namespace: str, calls: Mapping[str, Asked]) -> dict[str, Asking]:
    """A client for each of them."""
    return {name: Asking(name, one, namespace) for name, one in calls.items()}


@dataclass(frozen=True)
class Asking:
    """Sends one call again and again.

    :param name: of its traffic class
    """

    name: str
    asked: Asked
    namespace: str

    def start(self, client: Any) -> None:
        """Find or start what sends it, and read what is expected to become of it.

        :raises ClusterError: if the cluster does not answer, or the pod does not start
        """
        environment = client.environment
        client.post = Post.at(Cluster(environment.parsed_options.kubeconfig, self.namespace), environment.host)
        found = client.post.fate(self.asked)
        client.check = Check(self.name, (self.asked.call(self.namespace),), found)

    def visit(self, client: Any) -> Sequence[str]:
        """The outcome of each of some requests, as ``make judge`` words it.

        :raises ClusterError: if the log cannot be read, or has nothing of a request that was answered
        """
        post: Post = client.post
        found = post.outcomes(client.check)
        for _, seconds in found:
            client.environment.events.request.fire(
                request_type=self.asked.method, name=self.name, response_time=seconds * 1000, response_length=0,
                exception=None, context={}, response=None, start_time=time.time(),
            )  # fmt: skip
        return [outcome for outcome, _ in found]


class Post:
    """What sends on behalf of all users of this process: a pod in a namespace, and this machine for the gateway."""

    _all: dict[str, Post] = {}  # noqa: RUF012 - of the process, as the pod is
    _starting = BoundedSemaphore()

    def __init__(self, cluster: Cluster, address: str) -> None:
        """Nothing is started yet."""
        self.cluster, self.namespace, self.run = cluster, cluster.namespace, f"lab-{uuid.uuid4().hex[:12]}"
        self._objects: Objects = placed(rules_in(cluster, KINDS).objects, self.namespace)
        parts, namespace = urlsplit(address), GATEWAY[0]
        pods = [pod for spot, pod in propagation.proxies_of(cluster, [GATEWAY]) if spot == namespace]
        self._door = Door(parts.hostname or "", parts.port or 80, namespace, tuple(pods))
        self._pods: dict[str, Mapping[str, str]] = {}
        self._senders: dict[str, probes.Sender] = {}
        self._sent, self._sending = 0, BoundedSemaphore()

    @classmethod
    def at(cls, cluster: Cluster, address: str) -> Post:
        """The one of a namespace.

        :param address: URL of the gateway
        """
        with cls._starting:
            if cluster.namespace not in cls._all:
                cls._all[cluster.namespace] = cls(cluster, address)
            return cls._all[cluster.namespace]

    def fate(self, asked: Asked) -> Fate:
        """What the rules make of a call; nothing where no expectation follows from them: the verdict says so then."""
        try:
            return fate_for(viewed(self._objects), asked, self.namespace)
        except (NoExpectationError, NotModelledError):
            return Fate({})

    def outcomes(self, check: Check) -> list[tuple[str, float]]:
        """The outcome of each request of a batch, and how many seconds it took.

        :raises ClusterError: if the log cannot be read, or has nothing of a request that was answered
        """
        call, since = check.calls[0], time.time()
        door = self._door if check.by_gateway else None
        with self._sending:
            marks = [f"{self.run}-{self._sent + number}" for number in range(BATCH)]
            self._sent += BATCH
            pod, sender = self._sender(check.by_gateway)
            answers = sender.send([request_of(call, mark, door) for mark in marks], RATE)
        answered = {mark for mark, answer in zip(marks, answers, strict=True) if answer.status}
        pods = [(door.namespace, one) for one in door.pods] if door is not None else [(self.namespace, pod)]
        lines = logged_by(self.cluster, pods, self.run, answered, since) if answered else {}
        if missing := answered - lines.keys():
            raise ClusterError(f"the proxies have logged nothing of {len(missing)} requests that were answered")
        ground = Ground(self.namespace, Mesh().domain, self._labels())
        return [
            (outcome_of(check, answer, lines.get(mark), ground)[0], lines[mark].seconds if mark in lines else 0.0)
            for mark, answer in zip(marks, answers, strict=True)
        ]

    def _sender(self, by_gateway: bool) -> tuple[str, probes.Sender]:
        """The pod that sends, or '' for this machine, and the process that makes it send."""
        name = "" if by_gateway else f"{probes.PREFIX}0"
        if name not in self._senders:
            if name:
                self._start(name)
            self._senders[name] = probes.Sender(self.cluster if name else None, name, self.namespace)
        return name, self._senders[name]

    def _start(self, name: str) -> None:
        """Start the pod; it goes with this process."""
        labels = self.cluster.ask(f"/api/v1/namespaces/{self.namespace}")["metadata"].get("labels", {})
        injecting = {one: str(labels[one]) for one in probes.INJECTING if one in labels}
        ending.on_leaving(lambda: probes.dismiss(self.cluster.kubeconfig, self.namespace))
        probes.start(self.cluster, {name: guest_of(self.namespace, ACCOUNT).caller}, injecting)

    def _labels(self) -> dict[str, Mapping[str, str]]:
        """Labels of the namespace's pods, by address: of those that have run since the process began."""
        pods = [one for one in of_kind(self.cluster.items("pods"), "Pod") if namespace_of(one) == self.namespace]
        for pod in (one for one in pods if is_running(one)):
            self._pods |= {address: pod["metadata"].get("labels", {}) for address in addresses_of(pod)}
        return self._pods
