"""A run against a stand-in for the mesh, which answers and logs as a caller's proxy does."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from loadtests.judge import probes, session
from loadtests.judge.checks import Gap, Plan
from loadtests.judge.guards import INSIDE, guest_of
from loadtests.judge.lines import Answer
from loadtests.judge.plan import plan_for
from loadtests.judge.probes import Request
from loadtests.judge.reach import PROBES, Settings
from loadtests.judge.session import COUNTERS, UNSTEADY, Bounds, Glimpse, Session, World, with_gaps
from loadtests.mesh import observed, propagation
from loadtests.mesh.cluster import Cluster, ClusterError
from loadtests.rules.workloads import GUEST, PART_OF
from loadtests.verdict import Outcome, Verdict
from tests.unit.judge.logged import connection_line, log_line
from tests.unit.judge.rules import AROUND, JASON, SUBSETS, service, to, virtual_service
from tests.unit.judge.rules import PODS as SHOP_PODS

PODS = {f"10.0.0.{n}": {"app": "reviews", "version": f"v{n}"} for n in (1, 2, 3)}
RULE = virtual_service("reviews", {**JASON, **to(("v2", 1))}, to(("v1", 80), ("v3", 20)))


@dataclass(frozen=True)
class Mesh(Cluster):
    """Answers requests: those of jason by v2, the others by v1 and v3.

    :param share: true share of v1
    :param hidden: how many requests the log leaves out
    :param uncounted: how many the counters leave out
    :param lost: every how many of them gets no valid response; 0 for none
    :param flapping: whether a pod is not ready for a while
    :param repeated: whether all connections come from one port
    """

    share: float = 0.8
    hidden: int = 0
    uncounted: int = 0
    edited: bool = False
    lost: int = 0
    flapping: bool = False
    repeated: bool = False
    log: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    done: list[str] = field(default_factory=list)
    progress: list[tuple[int, Verdict]] = field(default_factory=list)
    draw: random.Random = field(default_factory=lambda: random.Random(1))

    def answer(self, request: Request) -> Answer:
        headers = request[4]
        if request[2] == "TCP":
            return self.connect(request[1])
        version = "v2" if "end-user" in headers else "v1" if self.draw.random() < self.share else "v3"
        cluster = f"outbound|9080|{version}|reviews.shop.svc.cluster.local"
        if self.lost and (len(self.log) + 1) % self.lost == 0:
            self.log.append(log_line(headers["x-request-id"], status=503, flags="UH", details="no_healthy_upstream"))
            return Answer(503, "", "")
        self.counts[cluster] += 1
        if sum(self.counts.values()) > self.hidden:
            self.log.append(log_line(headers["x-request-id"], cluster=cluster, host=f"10.0.0.{version[1]}:9080"))
        return Answer(200, "", "")

    def connect(self, port: int) -> Answer:
        """A connection; each comes from a port of its own, unless ``port`` says otherwise."""
        version = "v1" if self.draw.random() < self.share else "v3"
        cluster = f"outbound|{port}|{version}|reviews.shop.svc.cluster.local"
        own = 40_000 + (len(self.log) if not self.repeated else 0)
        self.log.append(connection_line(own, host=f"10.0.0.{version[1]}:{port}", cluster=cluster))
        self.counts[cluster] += 1
        return Answer(200, "", f"10.0.0.9:{own}")

    def look(self) -> Glimpse:
        state = f"VirtualService shop/reviews u {2 if self.edited and self.log else 1}"
        return Glimpse(state, PODS, {"reviews-v2": "True later" if self.flapping and self.log else "True"})

    def proxy_metrics(self, pod: str) -> str:
        counted = dict(self.counts)
        if counted:
            counted[next(iter(counted))] -= self.uncounted
        return "\n".join(f'envoy_cluster_upstream_rq_total{{cluster_name="{name}"}} {n}' for name, n in counted.items())


@pytest.fixture(autouse=True)
def _no_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    class Sender:
        def __init__(self, cluster: Mesh, pod: str = "", namespace: str = PROBES) -> None:
            self.mesh = cluster

        def send(self, requests: Sequence[Request], rate: float) -> list[Answer]:
            return [self.mesh.answer(request) for request in requests]

        def stop(self) -> None:
            self.mesh.done.append("stopped")

    def remove(cluster: Mesh, hosts: Sequence[str]) -> None:
        cluster.done.append("removed")

    monkeypatch.setattr(session, "Sender", Sender)
    monkeypatch.setattr(probes, "start", lambda cluster, callers, injecting: cluster.done.append("started"))
    monkeypatch.setattr(probes, "remove", remove)
    monkeypatch.setattr(probes, "log_of", lambda cluster, namespace, pod, since: "\n".join(cluster.log))
    monkeypatch.setattr(propagation, "wait", lambda cluster, generation, wanted, seconds: [])
    monkeypatch.setattr(observed, "LOG_FLUSH_SECONDS", 0.0)
    monkeypatch.setattr(session, "LATE_SECONDS", 0.1)


def run(mesh: Mesh, plan: Plan | None = None, **bounds: Any) -> tuple[Verdict, Session]:
    plan = plan or plan_for([RULE, *AROUND], Settings("shop"))
    world = World(mesh, "cluster.local", {"istio-injection": "enabled"}, None, (("shop", ""),), mesh.look)
    one = Session(
        world, plan, Bounds(**bounds), "VirtualService shop/reviews u 1", lambda *progress: mesh.progress.append(progress)
    )
    verdict = one.conduct()
    one.clean()
    return verdict, one


def test_a_mesh_that_does_what_its_rules_say_passes_and_nothing_is_left() -> None:
    mesh = Mesh("", "shop")
    verdict, one = run(mesh)
    assert (verdict.outcome, verdict.reasons[0][:30]) == (Outcome.PASS, "VirtualService reviews: spec.h")
    assert [c.n for c in verdict.classes] == [97, sum(mesh.counts.values()) - 97]
    assert verdict.sources[COUNTERS] == verdict.sources["clients"]
    assert mesh.done == ["started", "stopped", "removed"]
    assert one.sent < 3000
    assert [sent for sent, _ in mesh.progress][-1] == one.sent
    assert [c.outcome for c in mesh.progress[-1][1].classes] == [Outcome.PASS] * 2


LINE = virtual_service("reviews", tcp=[to(("v1", 80), ("v3", 20))], http=[])


@pytest.mark.parametrize(
    ("share", "repeated", "outcome"),
    [(0.8, False, Outcome.PASS), (0.5, False, Outcome.FAIL), (0.8, True, Outcome.VOID)],
    ids=["as the rule says", "other shares", "indistinguishable"],
)
def test_connections_are_judged_by_what_the_log_says_of_their_ports(share: float, repeated: bool, outcome: Outcome) -> None:
    plan = plan_for([LINE, SUBSETS, service("reviews", ("tcp", 9000)), *SHOP_PODS], Settings("shop"))
    verdict, _ = run(Mesh("", "shop", share=share, repeated=repeated), plan)
    assert verdict.outcome is outcome, verdict.reasons


def test_other_shares_fail() -> None:
    verdict, _ = run(Mesh("", "shop", share=0.5))
    assert {c.name[-7:]: c.outcome for c in verdict.classes} == {"http[0]": Outcome.PASS, "http[1]": Outcome.FAIL}
    assert verdict.outcome is Outcome.FAIL


def test_pods_with_other_labels_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PODS, "10.0.0.2", {"app": "reviews", "version": "v9"})
    verdict, _ = run(Mesh("", "shop"))
    assert "reviews.shop:9080 v2, but at another pod (10.0.0.2) 97 of 97" in verdict.reasons[0]


def test_a_rule_that_is_edited_voids_the_run() -> None:
    verdict, _ = run(Mesh("", "shop", edited=True))
    assert (verdict.outcome, verdict.reasons) == (Outcome.VOID, ("edited during the run: VirtualService shop/reviews",))


def test_answers_that_no_proxy_logged_void_the_run() -> None:
    verdict, _ = run(Mesh("", "shop", hidden=3))
    assert (verdict.outcome, verdict.reasons) == (
        Outcome.VOID, ("the proxies have logged nothing of 3 requests that were answered",),
    )  # fmt: skip


def test_counters_that_say_something_else_void_the_run() -> None:
    verdict, _ = run(Mesh("", "shop", uncounted=40))
    assert verdict.outcome is Outcome.VOID
    assert verdict.reasons[0].startswith("sources disagree: ")


@pytest.mark.parametrize(("flapping", "outcome"), [(False, Outcome.FAIL), (True, Outcome.VOID)])
def test_lost_requests_fail_unless_pods_were_not_ready_for_a_while(flapping: bool, outcome: Outcome) -> None:
    verdict, _ = run(Mesh("", "shop", lost=5, flapping=flapping))
    assert verdict.outcome is outcome
    assert (f"{UNSTEADY}: reviews-v2" in verdict.reasons) is flapping
    assert run(Mesh("", "shop", flapping=True))[0].outcome is Outcome.PASS
    assert run(Mesh("", "shop", share=0.5, flapping=True))[0].outcome is Outcome.FAIL


def test_what_a_run_may_send_is_bounded() -> None:
    verdict, one = run(Mesh("", "shop"), total=150)
    assert one.sent == 150
    assert verdict.outcome is Outcome.INCONCLUSIVE


def late(namespace: str) -> str:
    return f"the proxy of one in {namespace} does not have the rules yet"


def test_a_probe_without_the_rules_sends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(propagation, "wait", lambda cluster, generation, wanted, seconds: [late(PROBES)])
    mesh = Mesh("", "shop")
    with pytest.raises(ClusterError, match=late(PROBES)):
        run(mesh)
    assert not mesh.log


def test_a_proxy_of_the_namespace_without_the_rules_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def wait(cluster: Cluster, generation: str, wanted: Any, seconds: float) -> list[str]:
        asked.append((cluster.namespace, tuple(wanted)))
        return [late("shop")]

    monkeypatch.setattr(propagation, "wait", wait)
    verdict, _ = run(Mesh("", "shop"))
    assert (verdict.outcome, verdict.reasons) == (Outcome.FAIL, (late("shop"),))
    assert asked == [(PROBES, ((PROBES, ""), ("shop", "")))]


@pytest.mark.parametrize(
    ("outcome", "gaps", "worst"),
    [
        (Outcome.PASS, [], Outcome.PASS),
        (Outcome.PASS, [Outcome.UNKNOWN], Outcome.UNKNOWN),
        (Outcome.PASS, [Outcome.UNKNOWN, Outcome.FAIL], Outcome.FAIL),
        (Outcome.INCONCLUSIVE, [Outcome.UNKNOWN], Outcome.INCONCLUSIVE),
        (Outcome.FAIL, [Outcome.UNKNOWN], Outcome.FAIL),
        (Outcome.VOID, [Outcome.FAIL], Outcome.VOID),
    ],
)
def test_a_gap_is_never_a_pass(outcome: Outcome, gaps: list[Outcome], worst: Outcome) -> None:
    verdict, _ = run(Mesh("", "shop"))
    whole = with_gaps(Verdict(outcome, ("why",), verdict.classes), [Gap(f"rule {one}", "so", one) for one in gaps])
    assert whole.outcome is worst
    assert len(whole.classes) == len(verdict.classes) + len(gaps)
    assert "why" in whole.reasons


def test_with_gaps_alone_the_worst_of_them_counts() -> None:
    none = Verdict(Outcome.INCONCLUSIVE, ())
    assert with_gaps(none, [Gap("a", "b")]).outcome is Outcome.UNKNOWN
    assert with_gaps(none, [Gap("a", "b", Outcome.FAIL)]).reasons == ("a: b",)


def test_all_that_a_run_makes_is_in_a_namespace_with_the_labs_label_and_ends_by_itself() -> None:
    plan = plan_for([RULE, *AROUND], Settings("shop"))
    callers = probes.callers_of([call.caller for check in plan.checks for call in check.calls])
    namespace, *inside = probes.objects_for(callers, {"istio-injection": "enabled"})
    assert namespace["metadata"] == {"name": PROBES, "labels": {**PART_OF, "istio-injection": "enabled"}}
    assert {o["metadata"]["namespace"] for o in inside} == {PROBES}
    assert [o for o in inside if not PART_OF.items() <= o["metadata"]["labels"].items()] == []
    (pod,) = (o for o in inside if o["kind"] == "Pod")
    assert pod["spec"]["activeDeadlineSeconds"] == probes.LONGEST_SECONDS


def test_a_probe_under_another_account_runs_in_its_namespace_and_asks_for_a_sidecar() -> None:
    callers = probes.callers_of([INSIDE.caller, guest_of("web", "page").caller])
    assert probes.hosts_of(callers) == ["web"]
    made = probes.objects_for(callers, {"istio.io/rev": "canary"})
    (pod, telemetry) = sorted((o for o in made if o["metadata"].get("namespace") == "web"), key=lambda o: str(o["kind"]))
    assert pod["spec"]["serviceAccountName"] == "page"
    assert pod["metadata"]["labels"] == {
        "app": GUEST, **PART_OF, "sidecar.istio.io/inject": "true", "istio.io/rev": "canary",
    }  # fmt: skip
    assert telemetry["spec"]["selector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
    (inside,) = (o for o in made if o["kind"] == "Pod" and o is not pod)
    assert "istio.io/rev" not in inside["metadata"]["labels"]
