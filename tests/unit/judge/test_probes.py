"""The namespace of the probes: removed after a run, unless it is kept for an account that has its rights there."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import pytest

from loadtests.judge import probes
from loadtests.judge.guards import INSIDE, OUTSIDE
from loadtests.judge.reach import KEPT, PROBES
from loadtests.mesh import propagation
from loadtests.mesh.cluster import Cluster
from loadtests.rules.workloads import PART_OF


@dataclass(frozen=True)
class Namespaced(Cluster):
    """A cluster that has the namespace with some labels, until it is deleted."""

    labels: list[dict[str, str]] = field(default_factory=list)
    done: list[tuple[str, ...]] = field(default_factory=list)

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        if arguments[:2] == ("get", "namespace"):
            return json.dumps({"metadata": {"labels": self.labels[0]}}) if self.labels else ""
        self.done.append((self.namespace, *arguments))
        if arguments[:2] == ("delete", "namespace"):
            self.labels.clear()
        return ""


def cluster(*labels: dict[str, str]) -> Namespaced:
    return Namespaced("kubeconfig", "shop", labels=list(labels))


def test_the_namespace_goes_with_the_run() -> None:
    here = cluster(PART_OF)
    probes.remove(here)
    assert here.done == [("shop", "delete", "namespace", PROBES, "--wait=false")]


def test_a_kept_namespace_stays_and_what_the_run_made_goes() -> None:
    here = cluster({**PART_OF, **KEPT})
    probes.remove(here)
    assert not [words for words in here.done if words[1:3] == ("delete", "namespace")]
    assert {words[0] for words in here.done} == {PROBES}
    made = {o["kind"].lower() for o in probes.objects_for({"p": INSIDE.caller}, {}, kept=True)}
    removed = {kind.partition(".")[0] for words in here.done for kind in words[2].split(",")}
    assert {"pods", "serviceaccounts", "telemetries"} <= removed
    assert made == {"pod", "serviceaccount", "telemetry"}
    assert {words[2] for words in here.done[1:]} == set(propagation.KINDS.values())
    assert {words[3] for words in here.done[1:]} == {propagation.NAME}


@pytest.mark.parametrize("labels", [KEPT, {"team": "shop"}])
def test_a_namespace_that_is_not_the_labs_is_left_alone(labels: dict[str, str]) -> None:
    here = cluster(labels)
    probes.remove(here)
    assert here.done == []


@pytest.mark.parametrize(
    ("injecting", "revision"),
    [({"istio-injection": "enabled"}, {}), ({"istio.io/rev": "canary"}, {"istio.io/rev": "canary"})],
)
def test_in_a_kept_namespace_pods_ask_for_their_sidecar_themselves(injecting: dict[str, str], revision: dict[str, str]) -> None:
    callers = probes.callers_of([INSIDE.caller, OUTSIDE.caller])
    made: list[dict[str, Any]] = probes.objects_for(callers, injecting, kept=True)
    with_one, without = (o["metadata"]["labels"] for o in made if o["kind"] == "Pod")
    assert with_one == {**INSIDE.caller.labels, "sidecar.istio.io/inject": "true", **revision}
    assert without["sidecar.istio.io/inject"] == "false"
