"""*Your rules*: the account that judges has what ``make judge`` needs and nothing else, and one run at a time is watched."""

from __future__ import annotations

import json
import stat
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gevent
import pytest
from flask import Blueprint, Flask
from flask.testing import FlaskClient

from loadtests.console import access, judges, judging
from loadtests.console.rights import NAMESPACE, Right
from loadtests.judge import rights
from loadtests.judge.reach import KEPT, PROBES
from loadtests.mesh.cluster import Cluster, ClusterError
from loadtests.rules.workloads import PART_OF
from tests.unit.test_inputs import PROJECT

MADE = judges.manifests(["bookinfo", "shop"], access.ACCOUNT)
KUBECTLS = {
    *((verb, kind, PROBES) for verb in ("get", "list", "watch") for kind in ("pods", "serviceaccounts", rights.TELEMETRIES)),
    *((verb, kind, PROBES) for verb in ("get", "list", "watch", "create") for kind in rights.CARRIERS),
    # Streams are opened by one of the two, depending on the version.
    *(("get", kind, PROBES) for kind in ("pods/exec", "pods/portforward")),
    *(("get", "pods/portforward", place) for place in ("shop", "istio-system")),
    ("list", "pods", "istio-system"),
}
"""What kubectl and server-side apply need to do what a run does: to wait, to select, and to create what is not there."""


def granted(account: str) -> set[tuple[str, str, str]]:
    """(verb, kind, namespace) of all rights of an account in namespace ``shop``, where the mesh is, and where probes are."""
    roles = {o["metadata"]["name"]: o["rules"] for o in MADE if o["kind"] == "ClusterRole"}
    found = set()
    for one in MADE:
        if one["kind"].endswith("Binding") and one["subjects"][0]["name"] == account:
            for rule in roles[one["roleRef"]["name"]]:
                (group,) = rule["apiGroups"]
                for resource in rule["resources"]:
                    plural, _, sub = resource.partition("/")
                    kind = f"{plural}{'.' + group if group else ''}{'/' + sub if sub else ''}"
                    found |= {(verb, kind, one["metadata"].get("namespace", "")) for verb in rule["verbs"]}
    return {right for right in found if right[2] != "bookinfo"}


def test_the_account_has_what_a_run_needs_and_nothing_else() -> None:
    needed = [*rights.to_look("shop"), *rights.to_send("shop", ["istio-system"], kept=True)]
    assert granted(judges.ACCOUNT) == {(one.verb, one.resource, one.namespace) for one in needed} | KUBECTLS


def is_allowed(right: rights.Right) -> bool:
    """As RBAC decides: a rule with names is for requests about those objects alone."""
    roles = {o["metadata"]["name"]: o["rules"] for o in MADE if o["kind"] == "ClusterRole"}
    bound = [o for o in MADE if o["kind"].endswith("Binding") and o["subjects"][0]["name"] == judges.ACCOUNT]
    name, _, sub = right.resource.partition("/")
    plural, _, group = name.partition(".")
    resource = f"{plural}/{sub}" if sub else plural
    here = [one for one in bound if one["metadata"].get("namespace") in (None, right.namespace)]
    return any(
        right.verb in rule["verbs"] and group in rule["apiGroups"] and resource in rule["resources"]
        and right.name in rule.get("resourceNames", [right.name])
        for one in here for rule in roles[one["roleRef"]["name"]]
    )  # fmt: skip


def test_each_right_is_reviewed_as_it_is_granted() -> None:
    """A review that names no object is about all of them, and denied where only one of them is granted."""
    needed = [*rights.to_look("shop"), *rights.to_send("shop", ["istio-system"], kept=True)]
    assert [str(right) for right in needed if not is_allowed(right)] == []
    assert not is_allowed(rights.Right("patch", rights.CARRIERS[0], PROBES))


def test_it_creates_no_namespace_and_reads_no_secret() -> None:
    assert not {right for right in granted(judges.ACCOUNT) if right[1] == "secrets" or right[:2] == ("create", "namespaces")}
    everywhere = {verb for verb, _, namespace in granted(judges.ACCOUNT) if not namespace}
    assert everywhere == {"list", "get"}, "it changes nothing outside the namespace of the probes"
    changing = {"create", "patch", "delete", "update"}
    assert {(kind, n) for verb, kind, n in granted(judges.ACCOUNT) if verb in changing and n != PROBES} == {
        ("pods/portforward", "shop"), ("pods/portforward", "istio-system"),
    }  # fmt: skip


def test_namespaces_that_were_not_named_are_out_of_reach() -> None:
    bound = {o["metadata"].get("namespace", "") for o in MADE if o["kind"] == "RoleBinding"}
    assert bound == {"bookinfo", "shop", "istio-system", PROBES, NAMESPACE}
    (looked_at,) = [
        rule["resourceNames"]
        for o in MADE
        if o["kind"] == "ClusterRole"
        for rule in o["rules"]
        if "namespaces" in rule["resources"]
    ]
    assert looked_at == [PROBES, "bookinfo", "shop"]


def test_the_console_gets_a_token_of_that_account_alone() -> None:
    assert granted(access.ACCOUNT) == {("create", "serviceaccounts/token", NAMESPACE)}
    (role,) = [o for o in MADE if o["kind"] == "ClusterRole" and o["metadata"]["name"] == f"{judges.NAME}-token"]
    assert role["rules"][0]["resourceNames"] == [judges.ACCOUNT]


def test_every_right_is_in_the_docs_with_its_reason() -> None:
    assert judges.table() in (PROJECT / "docs/browser.md").read_text(), "print(loadtests.console.judges.table())"
    chinese = (PROJECT / "docs/zh/browser.md").read_text()
    every = [*judges.WHOLE, *judges.JUDGED, *judges.ENTRANCE, *judges.INSIDE]
    assert all(one.why for one in (*every, judges.TOKEN))
    listed = [line.partition(" | ")[2] for line in chinese.splitlines()]
    missing = [one for one in every if not any(_start(one) in line for line in listed)]
    assert missing == []


def _start(one: Right) -> str:
    return one.line("x").partition(" | ")[2].partition(" |")[0].partition(" named ")[0]


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("kube-system", "NAMESPACE: 'kube-system' was given; accepted: namespaces of services, and none of the system"),
        ("istio-system", "NAMESPACE: 'istio-system' was given"),
        (PROBES, f"NAMESPACE: '{PROBES}' was given"),
        ("Shop", "NAMESPACE: 'Shop' was given"),
        ("none", "NAMESPACE: there is no namespace none in this cluster; accepted: one that exists; nothing was changed"),
    ],
)
def test_namespaces_that_cannot_be_judged_are_refused(name: str, line: str) -> None:
    with pytest.raises(ClusterError, match=line):
        judges.check(["shop", name], {"shop": {}, "kube-system": {}, "istio-system": {}})


def test_a_namespace_of_that_name_that_is_not_the_labs_is_refused() -> None:
    with pytest.raises(ClusterError, match=f"namespace {PROBES}: it exists without the lab's label"):
        judges.check([], {PROBES: {"team": "shop"}})
    judges.check([], {PROBES: {**PART_OF, **KEPT}})


def test_the_account_goes_with_the_console() -> None:
    done: list[tuple[str, ...]] = []

    class Recording(Cluster):
        def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
            assert not self.namespace, "kubectl refuses to delete in all namespaces if it is given one"
            done.append(arguments)
            return ""

    assert judges.remove(Recording("kubeconfig", NAMESPACE)) == [f"account judge, its rights, and namespace {PROBES} removed"]
    selector = ",".join(f"{name}={value}" for name, value in judges.LABELS.items())
    assert all(selector in words for words in done)
    kinds = {kind.rstrip("s") for words in done for kind in words[1].split(",")}
    assert {o["kind"].lower() for o in MADE} == kinds
    assert all(judges.LABELS.items() <= o["metadata"]["labels"].items() for o in MADE)


STAND_IN = """
    import json, os, signal, sys, time
    given = dict(word.split("=", 1) for word in sys.argv[1:])
    assert json.load(open(os.environ["LAB_JUDGE_KUBECONFIG"]))["users"][0]["user"] == {"token": "short-lived"}
    if given["NAMESPACE"] == "books":
        sys.exit("NAMESPACE: there are no rules for books; nothing was sent")
    if "PLAN" in given:
        print(json.dumps({"checks": [], "given": given}))
        sys.exit(0)
    def end(*_):
        print("interrupted by SIGTERM; nothing more was done", file=sys.stderr)
        sys.exit(2)
    signal.signal(signal.SIGTERM, end)
    print(json.dumps({"sent": 7, "verdict": {"outcome": "INCONCLUSIVE"}}), flush=True)
    time.sleep(0 if given.get("ONLY") else 60)
    print(json.dumps({"sent": 9, "verdict": {"outcome": "PASS", "facts": {}, "given": given}}), flush=True)
"""


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[judging.Judging]:
    program = tmp_path / "judge.py"
    program.write_text(textwrap.dedent(STAND_IN))
    (tmp_path / "console-kubeconfig").write_text('{"clusters": [{"name": "here"}]}')
    monkeypatch.setattr(judges, "token", lambda cluster: "short-lived")
    one = judging.of(f"{sys.executable} {program}", str(tmp_path / "console-kubeconfig"))
    assert one is not None
    yield one
    if one.process is not None:
        one.process.kill()


@pytest.fixture
def client(made: judging.Judging) -> FlaskClient:
    app = Flask(__name__)
    blueprint = Blueprint("mesh", __name__, url_prefix="/mesh")
    ui: Any = SimpleNamespace(auth_required_if_enabled=lambda view: view)
    judging.add(blueprint, ui, made, ("bookinfo", "books", "shop"))
    app.register_blueprint(blueprint)
    found: FlaskClient = app.test_client()
    return found


def state_once(client: FlaskClient, **wanted: Any) -> dict[str, Any]:
    """The state, once it is as wanted."""
    until = time.monotonic() + 20
    while time.monotonic() < until:
        state: dict[str, Any] = client.get("/mesh/judge").get_json()
        if wanted.items() <= state.items():
            return state
        gevent.sleep(0.05)
    raise AssertionError(f"{state} is not {wanted}")


def test_the_plan_is_that_of_make_judge(client: FlaskClient, tmp_path: Path) -> None:
    plan = client.get("/mesh/judge/plan?namespace=shop").get_json()
    assert plan["given"] == {"NAMESPACE": "shop", "PLAN": "1", "JSON": "1"}
    refused = client.get("/mesh/judge/plan?namespace=books")
    assert (refused.status_code, refused.get_json()) == (
        409, {"error": "NAMESPACE: there are no rules for books; nothing was sent"},
    )  # fmt: skip
    assert not list(tmp_path.glob("judge-*")), "the token's file goes with the process"


@pytest.mark.parametrize("namespace", ["kube-system", "istio-system", "", "other"])
def test_other_namespaces_are_refused_before_anything_is_started(
    client: FlaskClient, made: judging.Judging, namespace: str
) -> None:
    for answer in (
        client.get(f"/mesh/judge/plan?namespace={namespace}"), client.post("/mesh/judge", json={"namespace": namespace}),
    ):  # fmt: skip
        assert answer.status_code == 409
        assert answer.get_json()["error"].startswith(
            f"namespace: {namespace!r} was given; accepted: one of bookinfo, books, shop"
        )
    assert made.process is None


def test_a_run_is_watched_to_its_verdict(client: FlaskClient) -> None:
    asked = {"namespace": "shop", "only": "VirtualService web: spec.http[0]", "confirm": "shop"}
    assert client.post("/mesh/judge", json=asked).get_json()["active"] is True
    state = state_once(client, active=False)
    assert (state["sent"], state["error"], state["only"]) == (9, "", asked["only"])
    assert state["verdict"]["given"] == {
        "NAMESPACE": "shop", "ONLY": "VirtualService web: spec.http[0]", "CONFIRM": "shop", "JSON": "1",
    }  # fmt: skip


def test_one_namespace_is_judged_at_a_time_and_a_run_can_be_stopped(client: FlaskClient, tmp_path: Path) -> None:
    client.post("/mesh/judge", json={"namespace": "shop"})
    assert state_once(client, sent=7)["verdict"] == {"outcome": "INCONCLUSIVE"}
    file = tmp_path / "judge-run-kubeconfig"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    second = client.post("/mesh/judge", json={"namespace": "bookinfo"})
    assert (second.status_code, second.get_json()) == (409, {"error": judging.BUSY})
    assert client.post("/mesh/judge/stop", json={}).get_json()["stopping"] is True
    state = state_once(client, active=False)
    assert state["error"] == "stopped: interrupted by SIGTERM; nothing more was done"
    assert not file.exists()


def test_a_console_in_the_cluster_says_how_to_judge() -> None:
    app, blueprint = Flask(__name__), Blueprint("mesh", __name__, url_prefix="/mesh")
    ui: Any = SimpleNamespace(auth_required_if_enabled=lambda view: view)
    judging.add(blueprint, ui, judging.of("", "kubeconfig"), ("shop",))
    app.register_blueprint(blueprint)
    client = app.test_client()
    assert client.get("/mesh/judge").get_json() == {"active": False, "not_here": judging.NOT_HERE}
    assert client.post("/mesh/judge", json={"namespace": "shop"}).get_json() == {"error": judging.NOT_HERE}
    assert client.post("/mesh/judge/stop", json={}).status_code == 200


def test_a_token_is_asked_for_an_hour() -> None:
    asked: list[Any] = []

    class Answering(Cluster):
        def write(self, method: str, path: str, body: Any, **query: str) -> dict[str, Any]:
            asked.append((method, path, body["spec"]))
            return {"status": {"token": "t"}}

    assert judges.token(Answering("kubeconfig", NAMESPACE)) == "t"
    assert asked == [("POST", f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts/judge/token", {"expirationSeconds": 3600})]
    assert json.loads(json.dumps(MADE)) == MADE
