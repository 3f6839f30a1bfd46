"""The Locust user: behaves as the entry's traffic classes say, at a steady rate of its own."""

from __future__ import annotations

import itertools
from types import MethodType
from typing import Any, ClassVar

from locust import FastHttpUser, constant_throughput, task

from loadtests.entry import Entry, load


class MeshUser(FastHttpUser):
    """One client of the mesh; users take the entry's traffic classes in turn."""

    connection_timeout = 10.0
    network_timeout = 15.0
    turn: ClassVar[Any] = itertools.count()

    def on_start(self) -> None:
        """Take a traffic class; log in if it has a user."""
        entry: Entry = load(self.environment.parsed_options.entry)
        # Paced, so that latencies and shares are the mesh's and not those of a saturated generator.
        self.wait_time = MethodType(constant_throughput(entry.question.pace), self)
        classes = sorted(entry.traffic)
        self.traffic_class = classes[next(MeshUser.turn) % len(classes)]
        self.traffic = entry.traffic[self.traffic_class]
        # Clients of other ports than the gateway's first one ask the options where those are.
        self.client.environment = self.environment
        self.traffic.start(self.client)

    @task
    def visit(self) -> None:
        """One request, counted for its class."""
        mesh = self.environment.mesh
        epoch = mesh.epoch
        outcome = self.traffic.visit(self.client)
        # What was on its way when counting started may have been counted at the far end before.
        if mesh.epoch == epoch:
            mesh.count(self.traffic_class, outcome)
