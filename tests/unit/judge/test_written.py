"""``make new``: an entry of applied rules, its control, and what is refused."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from loadtests import ending
from loadtests.entries import entry
from loadtests.entries.policy import LABEL
from loadtests.entries.question import ResponseCheck, enters
from loadtests.judge import asking, folder, probes, session
from loadtests.judge.asking import Asked, Post
from loadtests.judge.checks import Check
from loadtests.judge.guards import guest_of
from loadtests.judge.lines import Answer
from loadtests.judge.plan import plan_for
from loadtests.judge.probes import Request
from loadtests.judge.reach import SAFE, Settings
from loadtests.judge.written import NotWrittenError, Written, entry_of
from loadtests.mesh import observed, propagation
from loadtests.mesh.cluster import Cluster, ClusterError
from tests.unit.gateways import INGRESS
from tests.unit.judge.logged import log_line
from tests.unit.judge.rules import AROUND, JASON, SUBSETS, to, virtual_service

SENDER = guest_of("shop", "default").caller
ENTRANCE = enters("", "").caller
SPLIT = virtual_service("reviews", {**JASON, **to(("v2", 1))}, to(("v1", 80), ("v3", 20)))
HOST = "shop.example"
GATEWAY = {
    "kind": "Gateway", "metadata": {"name": "door", "namespace": "shop", "uid": "g", "generation": 1},
    "spec": {
        "selector": {"istio": "ingressgateway"},
        "servers": [{"port": {"number": 8080, "protocol": "HTTP"}, "hosts": [HOST]}],
    },
}  # fmt: skip


def in_force(rule: dict[str, Any], by: str = "canary.policy") -> dict[str, Any]:
    """A rule as an entry has applied it."""
    return {**rule, "apiVersion": "networking.istio.io/v1", "metadata": {**rule["metadata"], "labels": {LABEL: by}}}


def written(*rules: dict[str, Any], around: Sequence[dict[str, Any]] = AROUND, name: str = "mine") -> Written:
    objects = [*rules, *around, INGRESS]
    plan = plan_for(objects, Settings("shop", SAFE, ENTRANCE, frozenset(("shop/default",)), SENDER))
    return entry_of(name, "shop", rules, plan)


def loaded(made: Written, place: Path, name: str = "mine") -> entry.Entry:
    folder.write(place / name, made.files)
    return entry.load(str(place / name))


RULES = [in_force(SUBSETS), in_force(SPLIT)]


def test_an_entry_asks_for_each_route_and_expects_what_the_rules_say(tmp_path: Path) -> None:
    made = written(*RULES, around=AROUND[1:])
    question = loaded(made, tmp_path).question
    assert isinstance(question, ResponseCheck)
    assert (question.namespace, question.proxies) == ("shop", (("shop", ""),))
    assert question.expect([*RULES, *AROUND[1:]]).expected.shares == {
        "VirtualService reviews: spec.http[0]": {"reviews.shop:9080 v2": 1.0},
        "VirtualService reviews: spec.http[1]": {"reviews.shop:9080 v1": 0.8, "reviews.shop:9080 v3": 0.2},
    }
    edited = in_force(virtual_service("reviews", {**JASON, **to(("v2", 1))}, to(("v1", 50), ("v3", 50))))
    shares = question.expect([RULES[0], edited, *AROUND[1:]]).expected.shares
    assert shares["VirtualService reviews: spec.http[1]"]["reviews.shop:9080 v1"] == 0.5
    assert (made.left_out, made.by_hand, made.others) == ((), "", ())


def test_its_rules_are_those_in_force_without_what_the_lab_and_the_cluster_have_added(tmp_path: Path) -> None:
    made = written(*RULES, around=AROUND[1:])
    rules = list(yaml.safe_load_all(made.files["policy.yaml"]))
    assert [(rule["kind"], rule["metadata"]) for rule in rules] == [
        ("DestinationRule", {"name": "reviews"}), ("VirtualService", {"name": "reviews"}),
    ]  # fmt: skip
    assert rules[1]["spec"] == SPLIT["spec"]


def test_its_control_is_the_same_rules_and_a_proxy_that_answers_itself() -> None:
    made = written(*RULES, around=AROUND[1:])
    broken, *rules = yaml.safe_load_all(made.files["control.yaml"])
    assert rules == list(yaml.safe_load_all(made.files["policy.yaml"]))
    assert broken["spec"]["workloadSelector"]["labels"] == {"app": "istio-lab-guest"}
    assert broken["spec"]["configPatches"][0]["patch"]["value"]["direct_response"] == {"status": 418}


def test_a_broken_proxy_does_not_answer_as_a_rule_does() -> None:
    teapot = in_force(virtual_service("reviews", {"directResponse": {"status": 418}}))
    (patch,) = next(yaml.safe_load_all(written(teapot).files["control.yaml"]))["spec"]["configPatches"]
    assert patch["patch"]["value"]["direct_response"] == {"status": 421}


def test_by_the_gateway_its_control_closes_connections_of_the_pods(tmp_path: Path) -> None:
    route = in_force(virtual_service("front", to(), hosts=[HOST], gateways=["door"]))
    made = written(in_force(GATEWAY), route)
    broken = next(yaml.safe_load_all(made.files["control.yaml"]))
    assert "workloadSelector" not in broken["spec"]
    assert broken["spec"]["configPatches"][0]["applyTo"] == "NETWORK_FILTER"
    assert loaded(made, tmp_path).question.applied_by == (("shop", ""), ("istio-system", "istio-ingressgateway"))


def test_a_control_of_what_the_gateway_answers_is_left_to_a_person(tmp_path: Path) -> None:
    moved = in_force(virtual_service("front", {"redirect": {"uri": "/new"}}, hosts=[HOST], gateways=["door"]))
    made = written(in_force(GATEWAY), moved)
    assert made.by_hand.startswith("control.yaml: shop has no rule that changes what the gateway itself answers")
    folder.write(tmp_path / "mine", made.files)
    with pytest.raises(KeyError, match=r"lacks control\.yaml"):
        entry.load(str(tmp_path / "mine"))


POLICY = {
    "kind": "AuthorizationPolicy", "apiVersion": "security.istio.io/v1",
    "metadata": {"name": "readers", "namespace": "shop", "uid": "p", "generation": 1, "labels": {LABEL: "canary.policy"}},
    "spec": {"selector": {"matchLabels": {"app": "reviews"}}, "rules": [{"to": [{"operation": {"methods": ["GET"]}}]}]},
}  # fmt: skip
REVIEWS = "VirtualService reviews: spec.http"
OF_POST = {"match": [{"method": {"exact": "POST"}}], **to(("v2", 1))}
OF_OTHERS = {"match": [{"sourceLabels": {"app": "ratings"}}], **to(("v2", 1))}


@pytest.mark.parametrize(
    ("rules", "left_out"),
    [
        ([POLICY, *RULES], ["AuthorizationPolicy readers: spec: who may call is asked by make judge"]),
        (
            [RULES[0], in_force(virtual_service("reviews", OF_OTHERS, to(("v1", 1))))],
            ["VirtualService reviews: spec.http[0]: it is for callers with labels of other pods"],
        ),
        (
            [RULES[0], in_force(virtual_service("reviews", to(("v1", 1)), to(("v2", 1))))],
            [f"{REVIEWS}[1]: no request reaches it: {REVIEWS}[0] takes them all"],
        ),
        (
            [RULES[0], in_force(virtual_service("reviews", OF_POST, to(("v1", 1))))],
            [f"{REVIEWS}[0]: its method is POST, and only GET, HEAD may be sent: see METHODS="],
        ),
    ],
    ids=["who may call", "other pods", "shadowed", "another method"],
)  # fmt: skip
def test_what_it_does_not_ask_is_named(rules: list[dict[str, Any]], left_out: list[str]) -> None:
    made = written(*rules, around=AROUND[1:])
    assert list(made.left_out) == left_out
    assert left_out[0] in made.files["README.md"]
    assert left_out[0].partition(": it")[0] not in made.files["traffic.py"]


def test_rules_that_no_entry_has_applied_are_left_where_they_are() -> None:
    foreign = virtual_service("ratings", to(host="ratings"))
    made = written(*RULES, foreign, around=AROUND[1:])
    nobodys = [{**rule, "metadata": {**rule["metadata"], "labels": {}}} for rule in RULES]
    assert made.others == ("VirtualService ratings",)
    assert "ratings" not in made.files["policy.yaml"] + made.files["traffic.py"]
    assert "VirtualService reviews: spec.http[1]" in written(*nobodys, around=AROUND[1:]).files["traffic.py"]


@pytest.mark.parametrize(
    ("rules", "why"),
    [
        ([POLICY], "nothing of the rules of shop can be asked: AuthorizationPolicy readers: spec: who may call"),
        ([in_force(SPLIT, "canary.control"), RULES[0]], "the rules applied in shop are broken on purpose (canary.control)"),
        (
            [in_force(virtual_service("reviews", to(("v9", 1)))), RULES[0]],
            "the applied rules cannot pass: VirtualService reviews: spec.http[0]: ",
        ),
    ],
    ids=["nothing to ask", "a control", "broken"],
)
def test_what_makes_no_entry_is_refused_by_name(rules: list[dict[str, Any]], why: str) -> None:
    with pytest.raises(NotWrittenError) as refused:
        written(*rules, around=AROUND[1:])
    assert why in str(refused.value)


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    made = written(*RULES, around=AROUND[1:])
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/notes").write_text("kept")
    assert "exists already" in folder.refusal(tmp_path / "mine")
    with pytest.raises(OSError, match="not empty"):
        folder.write(tmp_path / "mine", made.files)
    assert [file.name for file in tmp_path.rglob("*")] == ["mine", "notes"]
    assert "accepted: a folder whose name" in folder.refusal(tmp_path / "My_Canary")
    assert "the catalogue has an entry mirror" in folder.refusal(tmp_path / "mirror")
    assert folder.refusal(tmp_path / "other") == ""


class Sender:
    """Answers as v1 of reviews does, or does not answer."""

    log: list[str] = []  # noqa: RUF012 - of each test, which clears it
    status, logs = 200, True

    def __init__(self, cluster: Cluster | None, pod: str = "", namespace: str = "") -> None:
        self.pod = pod

    def send(self, requests: Sequence[Request], rate: float) -> list[Answer]:
        marks = [request[4]["x-request-id"] for request in requests]
        lines = [log_line(m, cluster="outbound|9080|v1|reviews.shop.svc.cluster.local", host="10.244.0.9:9080") for m in marks]
        Sender.log += lines if self.logs else lines[:-1]
        return [Answer(self.status, "", "RemoteDisconnected") for _ in requests]


@pytest.fixture
def post(monkeypatch: pytest.MonkeyPatch) -> Post:
    started: list[str] = []
    Sender.log.clear()
    monkeypatch.setattr(probes, "Sender", Sender)
    monkeypatch.setattr(probes, "start", lambda cluster, callers, injecting: started.extend(callers))
    monkeypatch.setattr(probes, "log_of", lambda cluster, namespace, pod, since: "\n".join(Sender.log))
    monkeypatch.setattr(ending, "on_leaving", lambda do: started.append("goes"))
    monkeypatch.setattr(observed, "LOG_FLUSH_SECONDS", 0.0)
    monkeypatch.setattr(session, "LATE_SECONDS", 0.1)
    monkeypatch.setattr(propagation, "proxies_of", lambda cluster, wanted: [])
    monkeypatch.setattr(asking, "rules_in", lambda cluster, kinds: type("Found", (), {"objects": [*RULES, *AROUND[1:]]}))
    monkeypatch.setattr(Cluster, "ask", lambda cluster, path: {"metadata": {"labels": {"istio-injection": "enabled"}}})
    monkeypatch.setattr(Cluster, "items", lambda cluster, kind: [one for one in AROUND if one["kind"] == "Pod"][:1])
    found = Post(Cluster("", "shop"), "http://127.0.0.1:1")
    found.__dict__["started"] = started
    return found


def checked(post: Post) -> list[str]:
    asked = Asked("VirtualService", "reviews.shop.svc.cluster.local:9080", 9080)
    fate = post.fate(asked)
    check = Check("it", (asked.call("shop"),), fate)
    return [outcome for outcome, _ in post.outcomes(check)]


def test_outcomes_are_those_of_the_sending_proxys_log(post: Post) -> None:
    assert checked(post) == ["reviews.shop:9080 v1"] * asking.BATCH
    assert checked(post) == ["reviews.shop:9080 v1"] * asking.BATCH
    assert vars(post)["started"] == ["goes", "istio-lab-probe-0"]


def test_the_sending_pod_and_what_makes_it_log_go_without_anybody_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "kubectl").write_text(f'#!/bin/sh\necho "$*" >>{tmp_path}/asked\n')
    (tmp_path / "kubectl").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    probes.dismiss("config", "shop")
    wanted, until = "--kubeconfig config --namespace shop delete --ignore-not-found --wait=false", time.monotonic() + 10
    asked: set[str] = set()
    while len(asked) < 2 and time.monotonic() < until:
        time.sleep(0.05)
        asked = set((tmp_path / "asked").read_text().splitlines()) if (tmp_path / "asked").exists() else set()
    assert asked == {
        f"{wanted} pods --selector app=istio-lab-guest,app.kubernetes.io/part-of=istio-lab",
        f"{wanted} telemetries.telemetry.istio.io istio-lab-guest",
    }


def test_a_request_without_an_answer_is_an_error(post: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Sender, "status", 0)
    assert checked(post) == ["error"] * asking.BATCH


def test_answers_of_which_nothing_is_logged_end_the_run(post: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Sender, "logs", False)
    with pytest.raises(ClusterError, match="the proxies have logged nothing of 1 requests that were answered"):
        checked(post)


def test_rules_that_promise_nothing_leave_the_outcome_open(post: Post) -> None:
    assert post.fate(Asked("VirtualService", "ratings.shop.svc.cluster.local:9080", 9080)).shares == {}
    assert post.fate(Asked("VirtualService", "reviews.shop.svc.cluster.local:9080", 9080)).shares
