"""``make judge`` against a stand-in for the cluster: plans, and what is refused in one line."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from loadtests.entries import question
from loadtests.entries.policy import LABEL
from loadtests.judge import __main__ as command
from loadtests.judge import probes
from loadtests.judge.reach import KEPT
from loadtests.judge.session import Session
from loadtests.mesh.cluster import Cluster, RefusedByServerError
from loadtests.verdict import Verdict
from tests.unit.judge.rules import AROUND, JASON, service, to, virtual_service
from tests.unit.test_inputs import PROJECT

RULE = virtual_service("reviews", to(("v1", 80), ("v3", 20)))
ACCEPTED = "accepted: a namespace of services, and none of the system"
OURS = {"app.kubernetes.io/part-of": "istio-lab"}


class Given:
    """What the cluster holds, and what was done with it."""

    def __init__(self) -> None:
        self.labels: dict[str, str] = {}
        self.objects: list[dict[str, Any]] = [RULE, *AROUND]
        self.forbidden: set[tuple[str, str]] = set()
        self.sidecars = True
        self.in_force: list[str] = []
        self.started = 0
        self.probes: dict[str, str] | None = None


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> Given:
    one = Given()

    def ask(cluster: Cluster, path: str, **query: str) -> dict[str, Any]:
        if path == "/api/v1/namespaces/shop":
            return {"metadata": {"name": "shop", "labels": one.labels}}
        raise RefusedByServerError(f"GET {path}: HTTP 404", 404)

    def write(cluster: Cluster, method: str, path: str, body: Mapping[str, Any], **query: str) -> dict[str, Any]:
        asked = body["spec"]["resourceAttributes"]
        return {"status": {"allowed": (asked["verb"], asked["resource"]) not in one.forbidden}}

    def rules_in(cluster: Cluster, kinds: Any) -> question.Found:
        if any(verb == "list" for verb, _ in one.forbidden):
            raise RefusedByServerError("GET virtualservices: HTTP 403", 403)
        proxy = {"containers": [{"name": "istio-proxy"}]} if one.sidecars else {"containers": []}
        named = [{"apiVersion": "networking.istio.io/v1", **o} for o in one.objects]
        return question.Found([{**o, "spec": proxy} if o["kind"] == "Pod" else o for o in named])

    def start(session: Session) -> Verdict:
        one.started += 1
        return session.judge()

    monkeypatch.setattr(Cluster, "ask", ask)
    monkeypatch.setattr(Cluster, "write", write)
    monkeypatch.setattr(question, "rules_in", rules_in)
    monkeypatch.setattr(probes, "labels_of", lambda cluster: one.probes)
    monkeypatch.setattr(probes, "remove", lambda cluster, hosts: None)
    monkeypatch.setattr(Session, "conduct", start)
    return one


def ended(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *words: str, namespace: str = "shop") -> int:
    fixed = [f"--namespace={namespace}", f"--kubeconfig={tmp_path / 'none'}", f"--results={tmp_path}"]
    monkeypatch.setattr(sys, "argv", ["judge", *fixed, *words])
    return command.main()


def test_the_plan_is_printed_and_nothing_is_sent(
    given: Given, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given.objects.append({"kind": "TLSRoute", "metadata": {"name": "door", "namespace": "shop", "uid": "i"}, "spec": {}})
    assert ended(monkeypatch, tmp_path, "--plan", "--rate=100") == 0
    printed = capsys.readouterr().out
    assert (
        "Plan for namespace shop: 1 checks, about 786 requests, 8 s at 100 requests/s; at most 10000 requests, 300 s" in printed
    )
    assert "GET http://reviews.shop.svc.cluster.local:9080/, from a pod app=istio-lab-probe in namespace istio-lab-" in printed
    assert "expected: reviews.shop:9080 v1 80 %, reviews.shop:9080 v3 20 %; about 786 requests" in printed
    assert "  TLSRoute door: spec: no requests are planned for this kind yet (UNKNOWN)" in printed
    assert (given.started, list(tmp_path.iterdir())) == (0, [])


TWO = virtual_service("reviews", {**JASON, **to(("v2", 1))}, to(("v1", 80), ("v3", 20)))


def test_the_plan_is_printed_for_programs(
    given: Given, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given.objects[0] = TWO
    given.objects.append({"kind": "TLSRoute", "metadata": {"name": "door", "namespace": "shop", "uid": "i"}, "spec": {}})
    assert ended(monkeypatch, tmp_path, "--plan", "--json", "--rate=100") == 0
    plan = json.loads(capsys.readouterr().out)
    assert [one["name"] for one in plan["checks"]] == [f"VirtualService reviews: spec.http[{n}]" for n in (0, 1)]
    assert plan["checks"][1]["expected"] == {"reviews.shop:9080 v1": 0.8, "reviews.shop:9080 v3": 0.2}
    assert plan["checks"][0]["calls"][0].startswith("GET http://reviews.shop.svc.cluster.local:9080/, end-user: jason")
    (gap,) = plan["gaps"]
    assert (gap["where"], gap["outcome"]) == ("TLSRoute door: spec", "UNKNOWN")
    assert plan["bounds"] == {"rate": 100, "total": 10000, "seconds": 300}


def test_one_check_is_judged_alone(
    given: Given, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given.objects[0] = TWO
    given.labels = OURS
    given.objects.append({"kind": "TLSRoute", "metadata": {"name": "door", "namespace": "shop", "uid": "i"}, "spec": {}})
    only = "VirtualService reviews: spec.http[1]"
    assert ended(monkeypatch, tmp_path, f"--only={only}", "--json") == 2
    report = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert [one["name"] for one in report["verdict"]["classes"]] == [only]
    assert report["verdict"]["facts"]["remarks"][-1] == f"only {only} was judged: the verdict is about no other rule"
    assert report["verdict"] == json.loads((tmp_path / "shop/verdict.json").read_text())


def test_a_kept_namespace_of_probes_needs_no_right_to_create_one(
    given: Given, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given.forbidden = {("create", "namespaces"), ("delete", "namespaces")}
    assert ended(monkeypatch, tmp_path, "--confirm=shop") == 1
    assert "this account may not create namespaces in all namespaces" in capsys.readouterr().err
    given.probes = {**OURS, **KEPT}
    assert ended(monkeypatch, tmp_path, "--confirm=shop") == 2
    given.forbidden.add(("delete", "pods"))
    assert ended(monkeypatch, tmp_path, "--confirm=shop") == 1
    assert "this account may not delete pods in namespace istio-lab-judge" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "namespace", "change", "line"),
    [
        ([], "kube-system", {}, f"NAMESPACE: 'kube-system' was given; {ACCEPTED}"),
        ([], "istio-system", {}, f"NAMESPACE: 'istio-system' was given; {ACCEPTED}"),
        ([], "Shop", {}, f"NAMESPACE: 'Shop' was given; {ACCEPTED}"),
        ([], "none", {}, "NAMESPACE: there is no namespace none in this cluster; accepted: one that exists"),
        ([], "shop", {"sidecars": False}, "NAMESPACE: no running pod of shop has a sidecar; accepted: a namespace in the mesh"),
        ([], "shop", {"objects": AROUND}, "NAMESPACE: there are no rules for shop; accepted: a namespace with rules of Istio"),
        (
            ["--only=x"], "shop", {},
            "ONLY: 'x' was given; accepted: one of the plan's checks: VirtualService reviews: spec.http[0]",
        ),
        (["--rate=fast"], "shop", {}, "RATE: 'fast' was given; accepted: a number above 0, at most 200"),
        (["--rate=1000"], "shop", {}, "RATE: '1000' was given; accepted: a number above 0, at most 200"),
        (
            ["--methods=get"], "shop", {},
            "METHODS: 'get' was given; accepted: methods in capitals with commas between, as in GET,POST",
        ),
        ([], "shop", {}, "CONFIRM: shop is not the lab's; accepted: CONFIRM=shop, once you have seen the plan (PLAN=1)"),
        (["--confirm=x"], "shop", {}, "CONFIRM: 'x' was given; accepted: CONFIRM=shop, once you have seen the plan (PLAN=1)"),
        (
            ["--plan"], "shop", {"forbidden": {("list", "virtualservices")}},
            "this account may not list virtualservices.networking.istio.io in all namespaces; accepted: an account that may",
        ),
        (
            ["--confirm=shop"], "shop", {"forbidden": {("create", "pods")}},
            "this account may not create pods in namespace istio-lab-judge, nor create pods/exec in namespace istio-lab-judge, "
            "nor create pods/portforward in namespace istio-lab-judge, nor create pods/portforward in namespace shop; "
            "accepted: an account that may",
        ),
    ],
    ids=lambda value: value[:30] if isinstance(value, str) else "",
)  # fmt: skip
def test_what_cannot_be_judged_is_refused_in_one_line(
    words: list[str], namespace: str, change: dict[str, Any], line: str, given: Given, monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    vars(given).update(change)
    assert ended(monkeypatch, tmp_path, *words, namespace=namespace) == 1
    assert capsys.readouterr().err == f"{line}; nothing was sent\n"
    assert (given.started, list(tmp_path.iterdir())) == (0, [])


@pytest.mark.parametrize(("labels", "words"), [(OURS, []), ({}, ["--confirm=shop"])])
def test_a_namespace_of_the_labs_needs_no_confirmation(
    labels: dict[str, str], words: list[str], given: Given, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    given.labels = labels
    assert ended(monkeypatch, tmp_path, *words) == 2  # nothing was answered
    assert given.started == 1
    assert {file.name for file in (tmp_path / "shop").iterdir()} == {"verdict.xml", "verdict.html", "verdict.json"}


def test_rules_that_contradict_each_other_fail_without_a_request(
    given: Given, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    given.labels = OURS
    given.objects.append(virtual_service("other", to(("v2", 1)), hosts=["reviews"], age=9))
    assert ended(monkeypatch, tmp_path) == 1
    assert given.started == 0
    assert "sidecars follow VirtualService reviews alone" in (tmp_path / "shop/verdict.xml").read_text()


def entry(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    namespace: str = "shop",
    name: str = "mine",
) -> tuple[int, str, str]:
    status = ended(monkeypatch, tmp_path, f"--entry={tmp_path / name}", namespace=namespace)
    return status, *capsys.readouterr()


def test_an_entry_is_written_of_the_rules_in_force_and_nothing_is_sent(
    given: Given, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, printed, errors = entry(monkeypatch, tmp_path, capsys)
    assert (status, errors, given.started) == (0, "", 0)
    assert printed.splitlines() == [
        f"{tmp_path / 'mine'}: README.md, control.yaml, policy.yaml, traffic.py",
        "  make load needs the lab's label on the namespace: kubectl label namespace shop app.kubernetes.io/part-of=istio-lab",
        "  make load does not replace what it did not apply: delete VirtualService reviews, DestinationRule reviews first",
    ]
    assert sorted(file.name for file in (tmp_path / "mine").iterdir() if file.is_file()) == [
        "README.md", "control.yaml", "policy.yaml", "traffic.py",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("change", "namespace", "name", "line"),
    [
        ({}, "shop", "Mine", "accepted: a folder whose name has up to 50 lower-case letters, digits and inner hyphens"),
        ({}, "shop", ".", "accepted: a folder whose name has"),
        ({}, "kube-system", "mine", f"NAMESPACE: 'kube-system' was given; {ACCEPTED}"),
        ({"objects": AROUND}, "shop", "mine", "NAMESPACE: there are no rules for shop; accepted: a namespace with rules"),
        (
            {"objects": [virtual_service("reviews", to(("v9", 1))), *AROUND]}, "shop", "mine",
            "the applied rules cannot pass: VirtualService reviews: spec.http[0]: ",
        ),
        ({"in_force": []}, "", "mine", "NAMESPACE: nothing was given; accepted: a namespace with rules of Istio"),
        ({"in_force": ["bookinfo", "echo"]}, "", "mine", "NAMESPACE: nothing was given; accepted: one of bookinfo, echo"),
        (
            {"objects": [RULE, *AROUND, {**service("all"), "spec": {"selector": OURS, "ports": []}}]}, "shop", "mine",
            "Service all: spec.selector would select the pod that sends requests",
        ),
    ],
    ids=["name", "no name", "system", "no rules", "broken", "no entry", "two entries", "a Service for all"],
)  # fmt: skip
def test_what_makes_no_entry_is_refused_in_one_line(
    change: dict[str, Any], namespace: str, name: str, line: str, given: Given, monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    vars(given).update(change)
    rules = [{"kind": "Gateway", "metadata": {"namespace": one, "labels": {LABEL: "mirror.policy"}}} for one in given.in_force]
    monkeypatch.setattr(Cluster, "everywhere", lambda cluster, *kinds: rules)
    status, printed, errors = entry(monkeypatch, tmp_path, capsys, namespace, name)
    assert (status, printed, errors.count("\n")) == (1, "", 1)
    assert line in errors
    assert errors.endswith("; nothing was written\n")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("sent", [None, signal.SIGTERM], ids=["by itself", "SIGTERM"])
def test_a_process_takes_its_leave_once_however_it_ends(sent: signal.Signals | None) -> None:
    program = (
        "import os, sys, time\nfrom loadtests import ending\n"
        "ending.on_leaving(lambda: os.write(1, b'gone\\n'))\n"
        "def main() -> int:\n    print('begun', flush=True)\n    time.sleep(float(sys.argv[1]))\n    return 0\n"
        "sys.exit(ending.guarded(main))"
    )
    command = [sys.executable, "-c", program, "60" if sent else "0"]
    run = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=PROJECT)
    assert run.stdout is not None
    assert run.stdout.readline() == "begun\n"
    if sent:
        run.send_signal(sent)
    assert (run.stdout.read(), run.wait(20)) == ("gone\n", 2 if sent else 0)


def test_an_interrupt_cleans_up() -> None:
    program = (
        "import sys, time\nfrom loadtests import ending\n"
        "def main() -> int:\n    print('begun', flush=True)\n    time.sleep(60)\n    return 0\n"
        "sys.exit(ending.guarded(main, clean=lambda: print('cleaned', flush=True)))"
    )
    run = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=PROJECT
    )
    assert run.stdout is not None
    assert run.stdout.readline() == "begun\n"
    run.send_signal(signal.SIGINT)
    printed, errors = run.communicate(timeout=20)
    assert (run.returncode, printed, errors) == (2, "cleaned\n", "interrupted by SIGINT; nothing more was done\n")
