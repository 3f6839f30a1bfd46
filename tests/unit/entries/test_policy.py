"""Replacing rules with others: all or nothing."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar

from loadtests.entries import entry, policy
from loadtests.mesh import analysis
from loadtests.mesh.cluster import ClusterError
from loadtests.mesh.writes import KINDS, ConflictError, Key, key
from tests.unit.mesh.rules_api import LOST, REFUSED, Kept, kept
from tests.unit.test_inputs import PROJECT


def rule(name: str, label: str, kind: str = "VirtualService", weight: int = 100) -> dict[str, Any]:
    metadata: dict[str, Any] = {"name": name, "labels": {policy.LABEL: label}}
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": kind,
        "metadata": metadata,
        "spec": {"weight": weight},
        "status": {},
    }


FOREIGN = {"apiVersion": "networking.istio.io/v1", "kind": "Gateway", "metadata": {"name": "theirs"}, "spec": {}}
BEFORE = (rule("ratings", "fault-abort.policy"), rule("reviews", "fault-abort.policy", weight=7))
OURS = {("VirtualService", "reviews"), ("DestinationRule", "reviews")}


def put(cluster: Kept) -> list[str]:
    return policy.put(cluster, "reviews-80-20", "policy", entry.CATALOGUE)


def verbs(cluster: Kept) -> list[str]:
    return [verb for _, verb, _ in cluster.asked]


def test_rules_are_labelled_and_those_of_another_entry_removed() -> None:
    cluster = kept(*BEFORE, FOREIGN)
    assert put(cluster) == [
        "virtualservice/reviews deleted", "destinationrule/reviews created", "virtualservice/reviews created",
        "virtualservice/ratings deleted",
    ]  # fmt: skip
    assert verbs(cluster) == ["try"] * 3 + ["delete", "create", "create", "delete"], "dry-run before anything is changed"
    assert cluster.rules.keys() == OURS | {("Gateway", "theirs")}
    assert {cluster.rules[k]["metadata"]["labels"][policy.LABEL] for k in OURS} == {"reviews-80-20.policy"}


def test_applying_again_changes_nothing() -> None:
    cluster = kept(*BEFORE)
    put(cluster)
    cluster.asked.clear()
    assert put(cluster) == []
    assert verbs(cluster) == ["try", "try", "replace", "replace"]


def test_a_refusal_leaves_the_earlier_rules_unchanged() -> None:
    words = 'admission webhook "validation.istio.io" denied the request: no such field'
    cluster = kept(*BEFORE, fails=lambda verb, given: REFUSED + words if verb == "try" else "")
    with pytest.raises(policy.RefusedError, match="denied the request: no such field"):
        put(cluster)
    assert cluster.state() == kept(*BEFORE).state()
    assert verbs(cluster) == ["try"]


def test_another_owners_rule_of_the_same_name_is_not_taken_over() -> None:
    theirs = {**rule("reviews", "", weight=1), "metadata": {"name": "reviews"}}
    cluster = kept(BEFORE[0], theirs)
    words = "VirtualService reviews exists already and is not the lab's .no label istio-lab/policy.: delete it first"
    with pytest.raises(policy.RefusedError, match=words):
        put(cluster)
    assert (cluster.asked, cluster.state()) == ([], kept(BEFORE[0], theirs).state())


def test_a_missing_response_is_not_a_refusal() -> None:
    cluster = kept(*BEFORE, fails=lambda verb, given: "connection refused")
    with pytest.raises(ClusterError, match="connection refused"):
        put(cluster)


STEPS = [("delete", "reviews"), ("create", "DestinationRule"), ("create", "VirtualService"), ("delete", "ratings")]
"""The writes that replace BEFORE, in order."""


def failing(step: int, why: str | BaseException, *, times: int = 1) -> Callable[[str, Mapping[str, Any]], str]:
    left = [times]

    def fails(verb: str, given: Mapping[str, Any]) -> str:
        if verb == STEPS[step][0] and STEPS[step][1] in (given["kind"], given["metadata"]["name"]) and left[0]:
            left[0] -= 1
            if isinstance(why, BaseException):
                raise why
            return why
        return ""

    return fails


@pytest.mark.parametrize("why", ["gone away", f"{LOST}gone away", f"{REFUSED}gone away"], ids=["not made", "made", "refused"])
@pytest.mark.parametrize("step", range(len(STEPS)))
def test_a_failure_at_any_step_brings_the_earlier_rules_back(step: int, why: str) -> None:
    cluster = kept(*BEFORE, fails=failing(step, why))
    with pytest.raises(ClusterError) as failed:
        put(cluster)
    state = "nothing was changed" if step == 0 and LOST not in why else "the earlier rules apply again"
    assert str(failed.value).endswith(f"gone away; {state}")
    assert cluster.state() == kept(*BEFORE).state()


@pytest.mark.parametrize("error", [KeyboardInterrupt(), TypeError("not foreseen")])
@pytest.mark.parametrize("step", range(len(STEPS)))
def test_whatever_ends_an_apply_in_the_middle_the_earlier_rules_are_restored(step: int, error: BaseException) -> None:
    cluster = kept(*BEFORE, fails=failing(step, error))
    with pytest.raises(type(error)):
        put(cluster)
    assert cluster.state() == kept(*BEFORE).state()


def test_what_cannot_be_restored_is_named() -> None:
    broken = failing(2, "gone away")

    def fails(verb: str, given: Mapping[str, Any]) -> str:
        if cluster.asked[-1:] and verb == "create" and given["spec"].get("weight") == 7:
            return f"{REFUSED}no more"
        return broken(verb, given)

    cluster = kept(*BEFORE, fails=fails)
    with pytest.raises(ClusterError) as failed:
        put(cluster)
    assert str(failed.value) == (
        "gone away; the earlier rules could not be restored: "
        "VirtualService reviews is missing (VirtualService reviews: no more)"
    )
    assert set(cluster.rules) == {("VirtualService", "ratings")}, "the others were restored"


def test_a_rule_that_somebody_edits_meanwhile_is_not_overwritten() -> None:
    def edit(verb: str, given: Mapping[str, Any]) -> str:
        # After the dry run, before the first write.
        if verb == "delete" and given["metadata"]["name"] == "reviews" and cluster.asked[-2][1] == "try":
            cluster.edit(("VirtualService", "ratings"), theirs=True)
        return ""

    cluster = kept(*BEFORE, fails=edit)
    with pytest.raises(ConflictError, match=r"^VirtualService ratings: changed in the cluster since it was read; the earlier "):
        put(cluster)
    assert cluster.rules["VirtualService", "ratings"]["spec"]["theirs"]
    assert {k: r["spec"] for k, r in cluster.rules.items() if k[1] == "reviews"} == {key(BEFORE[1]): BEFORE[1]["spec"]}


@pytest.mark.parametrize("when", ["try", "delete"])
def test_a_status_that_is_written_meanwhile_is_no_conflict(when: str) -> None:
    def observe(verb: str, given: Mapping[str, Any]) -> str:
        of = ("VirtualService", str(given["metadata"]["name"]))
        if verb == when and of in cluster.rules and seen[of] < 2:
            seen[of] += 1
            cluster.observe(of)
        return ""

    before = [{**rule, "metadata": {**rule["metadata"], "generation": 1}} for rule in BEFORE]
    cluster, seen = kept(*before, fails=observe), Counter[Key]()
    put(cluster)
    assert seen == {key(one): 2 for one in BEFORE}
    assert cluster.rules.keys() == OURS


def test_a_rule_that_somebody_edits_during_the_dry_run_is_a_conflict_and_nothing_is_changed() -> None:
    def edit(verb: str, given: Mapping[str, Any]) -> str:
        if len(cluster.asked) == 1:
            cluster.edit(("VirtualService", "reviews"), theirs=True)
        return ""

    cluster = kept(*BEFORE, fails=edit)
    with pytest.raises(ConflictError, match=r"changed in the cluster since it was read; nothing was changed$"):
        put(cluster)
    assert set(verbs(cluster)) == {"try"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: [", "ParserError"),
        ("just words", "an object without kind or name: just words"),
        ("{kind: Gateway, metadata: {}}", "an object without kind or name"),
    ],
)  # fmt: skip
def test_what_is_no_rule_is_refused_before_anything_is_changed(text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "reviews-80-20").mkdir()
    (tmp_path / "reviews-80-20/policy.yaml").write_text(text)
    cluster = kept()
    with pytest.raises(policy.RefusedError, match=words):
        policy.put(cluster, "reviews-80-20", "policy", tmp_path)
    assert cluster.asked == []


def test_rules_that_the_analyzer_calls_invalid_are_refused_and_nothing_is_changed() -> None:
    cluster = kept(*BEFORE)
    theirs = {"code": "IST0101", "level": "Error", "origin": "VirtualService bookinfo/theirs", "message": "not ours"}
    ours = {**theirs, "origin": "VirtualService bookinfo/reviews spec.http", "message": "Referenced host+subset\nnot found"}
    cluster.found.extend([theirs, ours])
    with pytest.raises(policy.RefusedError, match=r"^istioctl analyze: IST0101 Referenced host\+subset not found$"):
        put(cluster)
    assert set(verbs(cluster)) == {"try"}
    assert cluster.state() == kept(*BEFORE).state()
    cluster.found[:] = [theirs, {**ours, "level": "Warning"}]
    assert put(cluster), "a warning is no reason to refuse"


def followed_by_a_load_test(follows: bool) -> list[str]:
    """The words that role traffic_policy starts the program with."""
    loader, role = DataLoader(), PROJECT / "roles/traffic_policy"
    given = {
        "ansible_playbook_python": "python", "traffic_policy_entry": "reviews-80-20", "traffic_policy_kubeconfig": "none",
        "traffic_policy_namespace": "bookinfo", "traffic_policy_catalogue": "catalogue",
    }  # fmt: skip
    for part in ("defaults", "vars"):
        given |= loader.load_from_file(str(role / part / "main.yml"), trusted_as_template=True)
    variables = given | {"traffic_policy_wait": not follows}
    words: list[str] = Templar(loader=loader, variables=variables).template(given["__traffic_policy_command"])
    return words[words.index("reviews-80-20") :]


@pytest.mark.parametrize("follows", [False, True])
def test_the_analyzer_is_asked_about_applied_rules_unless_a_load_test_follows(
    follows: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(policy, "put", lambda *_: ["virtualservice/reviews created"])
    monkeypatch.setattr(policy, "wait", lambda *_: [])
    monkeypatch.setattr(analysis, "in_force", lambda _: ("istioctl analyze: IST0130 a hint",))
    monkeypatch.setattr(sys, "argv", ["policy", *followed_by_a_load_test(follows)])
    assert policy.main() == 0
    assert capsys.readouterr().err == ("" if follows else "istioctl analyze: IST0130 a hint\n")


def test_every_kind_in_the_catalogue_can_be_removed() -> None:
    kinds = {k.rpartition("/")[2] for k in KINDS.values()}
    for name in entry.names():
        for variant in ("policy", "control"):
            assert {o["kind"] for o in policy.read(entry.CATALOGUE / name / f"{variant}.yaml")} <= kinds, name
