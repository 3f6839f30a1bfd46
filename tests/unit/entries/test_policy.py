"""Rules applied in place of others: all or nothing."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from loadtests.entries import entry, policy
from loadtests.mesh.cluster import Cluster, ClusterError

SERVICE = {"kind": "Service", "metadata": {"name": "reviews"}, "spec": {"selector": {"app": "reviews"}}}
PODS = [
    {"kind": "Pod", "metadata": {"name": v, "labels": {"app": "reviews", "version": v}}, "spec": {}} for v in ("v1", "v2", "v3")
]


def rule(name: str, label: str, kind: str = "VirtualService", weight: int = 100) -> dict[str, Any]:
    metadata = {"name": name, "namespace": "bookinfo", "uid": "1", "resourceVersion": "7", "labels": {policy.LABEL: label}}
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": kind,
        "metadata": metadata,
        "spec": {"weight": weight},
        "status": {},
    }


class Kept(Cluster):
    """A cluster that has Bookinfo's reviews and keeps rules; kubectl's apply and delete fail where ``fails`` says so."""

    rules: dict[tuple[str, str], dict[str, Any]]
    asked: list[str]
    fails: Callable[[str, Mapping[str, Any]], str]

    def items(self, *kinds: str, namespace: str = "") -> list[dict[str, Any]]:
        return [SERVICE, *PODS] if "pods" in kinds else list(self.rules.values())

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        verb = "try" if "--dry-run=server" in arguments else arguments[0]
        self.asked.append(verb)
        told = []
        for given in json.loads(stdin or "{}")["items"]:
            if why := self.fails(verb, given):
                raise ClusterError(f"kubectl {arguments[0]}: {why}")
            same = self.rules.get(policy.key(given), {}).get("spec") == given["spec"] and verb != "delete"
            told.append(f"{given['kind'].lower()}/{given['metadata']['name']} {'unchanged' if same else verb}")
            if verb == "apply":
                self.rules[policy.key(given)] = given
            elif verb == "delete":
                self.rules.pop(policy.key(given), None)
        return "\n".join(told)


def kept(*rules: dict[str, Any], fails: Callable[[str, Mapping[str, Any]], str] = lambda verb, given: "") -> Kept:
    made = Kept("kubeconfig", "bookinfo")
    for name, value in {"rules": {policy.key(r): r for r in rules}, "asked": [], "fails": fails}.items():
        object.__setattr__(made, name, value)
    return made


FOREIGN = {"apiVersion": "networking.istio.io/v1", "kind": "Gateway", "metadata": {"name": "theirs"}, "spec": {}}
BEFORE = (rule("ratings", "fault-abort.policy"), rule("reviews", "fault-abort.policy", weight=7))
OURS = {("VirtualService", "reviews"), ("DestinationRule", "reviews")}


def test_rules_are_labelled_and_those_of_another_entry_go() -> None:
    cluster = kept(*BEFORE, FOREIGN)
    done = policy.put(cluster, "reviews-80-20", "policy", entry.CATALOGUE)
    assert done == [
        "virtualservice/reviews delete", "destinationrule/reviews apply", "virtualservice/reviews apply",
        "virtualservice/ratings delete",
    ]  # fmt: skip
    assert cluster.asked == ["try", "delete", "apply", "delete"], "tried before anything is changed"
    assert cluster.rules.keys() == OURS | {("Gateway", "theirs")}
    assert {cluster.rules[k]["metadata"]["labels"][policy.LABEL] for k in OURS} == {"reviews-80-20.policy"}


def test_a_second_time_changes_nothing_and_renews_nothing() -> None:
    cluster = kept(*BEFORE)
    policy.put(cluster, "reviews-80-20", "policy", entry.CATALOGUE)
    cluster.asked.clear()
    assert policy.put(cluster, "reviews-80-20", "policy", entry.CATALOGUE) == []
    assert cluster.asked == ["try", "apply"]


def test_rules_that_the_server_refuses_leave_those_before_as_they_are() -> None:
    words = 'admission webhook "validation.istio.io" denied the request: no such field'
    cluster = kept(*BEFORE, fails=lambda verb, given: words if verb == "try" else "")
    with pytest.raises(policy.RefusedError, match="denied the request: no such field"):
        policy.put(cluster, "reviews-80-20", "policy", entry.CATALOGUE)
    assert list(cluster.rules.values()) == list(BEFORE)
    assert cluster.asked == ["try"]


def test_a_server_that_does_not_answer_is_no_refusal() -> None:
    cluster = kept(*BEFORE, fails=lambda verb, given: "connection refused")
    with pytest.raises(ClusterError, match="connection refused"):
        policy.put(cluster, "reviews-80-20", "policy", entry.CATALOGUE)


@pytest.mark.parametrize(("verb", "name"), [("apply", "VirtualService"), ("delete", "VirtualService")])
def test_a_failure_half_way_brings_the_earlier_rules_back(verb: str, name: str) -> None:
    failures = iter(["gone away"])

    def fails(asked: str, given: Mapping[str, Any]) -> str:
        return next(failures, "") if (asked, given["kind"]) == (verb, name) else ""

    cluster = kept(*BEFORE, fails=fails)
    with pytest.raises(ClusterError, match="gone away; the earlier rules apply again"):
        policy.put(cluster, "reviews-80-20", "policy", entry.CATALOGUE)
    assert {k: r["spec"] for k, r in cluster.rules.items()} == {policy.key(r): r["spec"] for r in BEFORE}
    assert all("resourceVersion" not in r["metadata"] for r in cluster.rules.values()), "applied, not replaced"


def test_rules_that_cannot_be_brought_back_are_reported() -> None:
    cluster = kept(*BEFORE, fails=lambda verb, given: "gone away" if verb == "apply" else "")
    with pytest.raises(
        ClusterError, match=r"gone away; the earlier rules could not be restored \(.*\): some of both may apply"
    ):
        policy.put(cluster, "reviews-80-20", "policy", entry.CATALOGUE)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: [", "ParserError"),
        ("just words", "an object without kind or name: just words"),
        ("{kind: Gateway, metadata: {}}", "an object without kind or name"),
        ("{kind: VirtualService, metadata: {name: v}, "
         "spec: {http: [{route: [{destination: {host: a}}, {destination: {host: b}}]}]}}",
         "weights sum to 0"),
    ],
)  # fmt: skip
def test_what_cannot_be_held_is_refused_before_anything_is_changed(text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "reviews-80-20").mkdir()
    (tmp_path / "reviews-80-20/policy.yaml").write_text(text)
    cluster = kept()
    with pytest.raises(policy.RefusedError, match=words):
        policy.put(cluster, "reviews-80-20", "policy", tmp_path)
    assert cluster.asked == []


def test_every_kind_in_the_catalogue_is_one_that_is_taken_away_again() -> None:
    kinds = {k.rpartition("/")[2] for k in policy.KINDS.values()}
    for name in entry.names():
        for variant in ("policy", "control"):
            assert {o["kind"] for o in policy.read(entry.CATALOGUE / name / f"{variant}.yaml")} <= kinds, name
