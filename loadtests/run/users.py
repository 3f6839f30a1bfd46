"""The Locust user: behaves as the entry's traffic classes say, at a steady rate of its own."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from types import MethodType
from typing import Any, ClassVar

from locust import FastHttpUser, constant_throughput, task

from loadtests.entries.entry import Entry, load
from loadtests.entries.question import UNHURRIED, Question


def paced(question: Question) -> Callable[[MeshUser], float]:
    """How long a user waits between visits, in seconds: shares and latencies are the mesh's, not a saturated generator's.

    What is sent before counting starts only has to replace connections that proxies are about to close, so it is sent slowly,
    unless outcomes depend on how much came before.
    """
    usual, slow = constant_throughput(question.pace), constant_throughput(min(question.pace, UNHURRIED))
    if question.about_rate:
        return usual
    return lambda user: slow(user) if user.environment.mesh.warming_up else usual(user)


class MeshUser(FastHttpUser):
    """One client of the mesh.

    Users take the entry's traffic classes in turn, and leave one that has passed for one that has not.
    """

    connection_timeout = 10.0
    network_timeout = 15.0
    turn: ClassVar[Any] = itertools.count()

    def on_start(self) -> None:
        """Take a traffic class."""
        self.entry: Entry = load(self.environment.parsed_options.entry)
        self.wait_time = MethodType(paced(self.entry.question), self)
        # Clients of other ports than the gateway's first one ask the options where those are.
        self.client.environment = self.environment
        self.take(sorted(self.entry.traffic))

    def take(self, classes: Sequence[str]) -> None:
        """Behave from now on as the next of ``classes`` says, as a client that nobody knows yet."""
        self.traffic_class = classes[next(MeshUser.turn) % len(classes)]
        self.traffic = self.entry.traffic[self.traffic_class]
        self.client.cookiejar.clear()
        self.traffic.start(self.client)

    @task
    def visit(self) -> None:
        """One request, or several, counted for their class."""
        mesh = self.environment.mesh
        if mesh.spent:
            return
        # Where answers hang on how many requests there are of each class, that number stays as it is.
        left = sorted(self.entry.traffic.keys() - mesh.settled)
        if left and self.traffic_class in mesh.settled and not self.entry.question.about_rate:
            self.take(left)
        epoch = mesh.epoch
        found = self.traffic.visit(self.client)
        # What was on its way when counting started may have been counted at the far end before.
        if mesh.epoch == epoch:
            for outcome in [found] if isinstance(found, str) else found:
                mesh.count(self.traffic_class, outcome)
