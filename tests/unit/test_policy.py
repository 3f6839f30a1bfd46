"""Rules put in force: what is asked of the cluster, and what is refused before."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from loadtests import entry, policy
from loadtests.cluster import Cluster

SERVICE = {"kind": "Service", "metadata": {"name": "reviews"}, "spec": {"selector": {"app": "reviews"}}}
PODS = [
    {"kind": "Pod", "metadata": {"name": v, "labels": {"app": "reviews", "version": v}}, "spec": {}} for v in ("v1", "v2", "v3")
]


class Recorded(Cluster):
    """A cluster that has Bookinfo's reviews, answers kubectl with ``answers``, and keeps what it was asked."""

    asked: list[tuple[str, ...]]
    given: list[dict[str, Any]]
    answers: dict[str, str]

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        self.asked.append(arguments)
        if stdin:
            self.given.append(json.loads(stdin))
        return json.dumps({"items": [SERVICE, *PODS]}) if arguments[0] == "get" else self.answers[arguments[0]]


def recorded(**answers: str) -> Recorded:
    made = Recorded("kubeconfig", "bookinfo")
    for name, value in {"asked": [], "given": [], "answers": answers}.items():
        object.__setattr__(made, name, value)
    return made


def test_rules_are_labelled_and_those_of_others_go_first() -> None:
    cluster = recorded(delete="No resources found\n", apply="x/reviews created\ny/reviews unchanged\n")
    assert policy.put(cluster, "reviews-80-20", "policy", entry.CATALOGUE) == ["x/reviews created"]
    (verb_before, *before), (verb_after, *after) = cluster.asked[-2:]
    assert (verb_before, verb_after) == ("delete", "apply")
    assert f"{policy.LABEL},{policy.LABEL}!=reviews-80-20.policy" in before
    assert f"{policy.LABEL}=reviews-80-20.policy" in after
    assert {o["metadata"]["labels"][policy.LABEL] for o in cluster.given[0]["items"]} == {"reviews-80-20.policy"}


def test_nothing_new_is_no_change() -> None:
    cluster = recorded(delete="No resources found\n", apply="x/reviews unchanged\n")
    assert policy.put(cluster, "reviews-80-20", "policy", entry.CATALOGUE) == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: [", "ParserError"),
        ("just words", "an object without kind or name: just words"),
        ("{kind: Gateway, metadata: {}}", "an object without kind or name"),
        ("{kind: VirtualService, metadata: {name: v}, spec: {http: [{route: [{weight: 90, destination: {host: a}}]}]}}",
         "weights sum to 90"),
    ],
)  # fmt: skip
def test_what_cannot_be_held_is_refused_before_anything_is_changed(text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "reviews-80-20").mkdir()
    (tmp_path / "reviews-80-20/policy.yaml").write_text(text)
    cluster = recorded()
    with pytest.raises(policy.RefusedError, match=words):
        policy.put(cluster, "reviews-80-20", "policy", tmp_path)
    assert {arguments[0] for arguments in cluster.asked} <= {"get"}


def test_every_kind_in_the_catalogue_is_one_that_is_taken_away_again() -> None:
    kinds = {k.rpartition("/")[2] for k in policy.KINDS.values()}
    for name in entry.names():
        for variant in ("policy", "control"):
            assert {o["kind"] for o in policy.read(entry.CATALOGUE / name / f"{variant}.yaml")} <= kinds, name
