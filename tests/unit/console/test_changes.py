"""How changes of rules are tried, put in force, noted and undone, on an API server that is played here."""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from loadtests.console import account, changes, drafts, settings
from loadtests.entries import entry
from loadtests.entries.policy import LABEL
from loadtests.mesh.cluster import Cluster, ClusterError

PODS = [
    {"metadata": {"name": f"reviews-{v}", "namespace": "bookinfo", "labels": {"app": "reviews", "version": v}},
     "spec": {"serviceAccountName": "bookinfo-reviews"}}
    for v in ("v1", "v2", "v3")
]  # fmt: skip
KIND_OF = {plural.partition(".")[0]: api.rpartition("/")[2] for plural, api in changes.KINDS.items()}
SERVICE = {"metadata": {"name": "reviews", "namespace": "bookinfo"}, "spec": {"selector": {"app": "reviews"}}}


@dataclass(frozen=True)
class Played(Cluster):
    """An API server with one namespace's rules; ``refuse`` is what a write of that kind is answered with."""

    store: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    refuse: dict[str, str] = field(default_factory=dict)
    calls: list[tuple[str, ...]] = field(default_factory=list)
    found: list[dict[str, Any]] = field(default_factory=list)

    def ask(self, path: str, **query: str) -> dict[str, Any]:
        *_, plural, name = path.split("/")
        if kind := KIND_OF.get(plural):
            return copy.deepcopy(self.store[(kind, name)])
        if name in ("services", "pods"):
            return {"items": [SERVICE] if name == "services" else PODS}
        return {"items": [copy.deepcopy(o) for (kind, _), o in self.store.items() if kind == KIND_OF[name]]}

    def items(self, *kinds: str, namespace: str = "") -> list[dict[str, Any]]:
        return [{**SERVICE, "kind": "Service"}, *({**p, "kind": "Pod"} for p in PODS)]

    def istioctl(self, *arguments: str, stdin: str | None = None) -> str:
        return json.dumps(self.found)

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        self.calls.append((self.user, *arguments))
        verb, _, url, *_ = arguments
        path, _, query = url.partition("?")
        told = json.loads(stdin) if stdin else {}
        _, _, _, _, _, namespace, plural, *name = path.split("/")
        key = (KIND_OF[plural], name[0] if name else told["metadata"]["name"])
        dry = "dryRun=All" in query
        assert namespace == self.namespace
        if not dry and key[0] in self.refuse:
            raise ClusterError(self.refuse[key[0]])
        if verb == "replace" and told["metadata"]["resourceVersion"] != self.version(key):
            raise ClusterError("the object has been modified")
        if not dry:
            self.store.pop(key) if verb == "delete" else self.put(told)
        return ""

    def version(self, key: tuple[str, str]) -> str:
        return str(self.store[key]["metadata"]["resourceVersion"])

    def put(self, o: dict[str, Any]) -> None:
        key = (o["kind"], o["metadata"]["name"])
        version = int(self.version(key)) + 1 if key in self.store else 1
        self.store[key] = copy.deepcopy(o)
        self.store[key]["metadata"] |= {"namespace": self.namespace, "uid": "1", "resourceVersion": str(version)}

    def weights(self) -> list[int]:
        return [d["weight"] for d in self.store[("VirtualService", "reviews")]["spec"]["http"][0]["route"]]


@pytest.fixture
def cluster() -> Played:
    made = Played("kubeconfig", "bookinfo")
    for o in yaml.safe_load_all((entry.CATALOGUE / "reviews-80-20/policy.yaml").read_text()):
        o["metadata"]["labels"] = {LABEL: "reviews-80-20.policy"}
        made.put(o)
    return made


@pytest.fixture
def history(tmp_path: Path) -> changes.History:
    return changes.History(tmp_path / "results" / "settings.jsonl")


def form(cluster: Played, weights: dict[str, int], **parts: Any) -> dict[str, Any]:
    state = changes.read(cluster)
    values = settings.read(state.objects, state.service("reviews"))
    values["routes"][0]["weights"] = weights
    found: dict[str, Any] = json.loads(json.dumps(values | parts))
    return found


def set_to(cluster: Played, history: changes.History, weights: dict[str, int], **parts: Any) -> int:
    asked = form(cluster, weights, **parts)
    return changes.apply(cluster, history, "operator", "reviews", asked, changes.plan(cluster, "reviews", asked).digest)


def test_a_plan_is_shown_and_changes_nothing(cluster: Played) -> None:
    plan = changes.plan(cluster, "reviews", form(cluster, {"v1": 50, "v3": 50}))
    lines = plan.diff.splitlines()
    assert lines[:2] == ["--- VirtualService reviews (now)", "+++ VirtualService reviews (then)"]
    assert [line for line in lines if "weight" in line] == [
        "-      weight: 80",
        "+      weight: 50",
        "-      weight: 20",
        "+      weight: 50",
    ]
    assert cluster.weights() == [80, 20]
    writes = [c for c in cluster.calls if c[1] in ("replace", "create", "delete")]
    assert writes
    assert all(c[3].endswith(f"?fieldManager={changes.MANAGER}&dryRun=All") for c in writes)
    assert {c[0] for c in writes} == {f"system:serviceaccount:bookinfo:{account.NAME}"}, "with the console's own rights"


def test_a_change_is_put_in_force_noted_and_undone(cluster: Played, history: changes.History) -> None:
    before = copy.deepcopy(cluster.store)
    assert set_to(cluster, history, {"v1": 50, "v3": 50}, mtls={"mtls": "STRICT"}) == 1
    assert cluster.weights() == [50, 50]
    assert ("PeerAuthentication", "reviews") in cluster.store
    assert history.file.stat().st_mode & 0o777 == 0o600
    (item,) = history.items()
    assert (item.who, item.namespace, item.service, item.undoes) == ("operator", "bookinfo", "reviews", None)
    assert "weight: 50" in item.diff
    assert changes.undo(cluster, history, "operator", 1) == 2
    assert history.items()[1].undoes == 1

    def said(store: dict[tuple[str, str], dict[str, Any]]) -> dict[tuple[str, str], Any]:
        return {key: (o["spec"], o["metadata"]["labels"]) for key, o in store.items()}

    assert said(cluster.store) == said(before)
    with pytest.raises(settings.RefusedError, match="change 1 is not there, or undone already; nothing was changed"):
        changes.undo(cluster, history, "operator", 1)


def test_what_was_changed_since_is_not_undone(cluster: Played, history: changes.History) -> None:
    first = set_to(cluster, history, {"v1": 50, "v3": 50})
    set_to(cluster, history, {"v1": 10, "v3": 90})
    with pytest.raises(settings.RefusedError, match="VirtualService reviews has been changed since: undo that first"):
        changes.undo(cluster, history, "operator", first)
    assert cluster.weights() == [10, 90]
    changes.undo(cluster, history, "operator", 2)
    changes.undo(cluster, history, "operator", first)
    assert cluster.weights() == [80, 20]


def test_only_what_was_shown_is_put_in_force(cluster: Played, history: changes.History) -> None:
    asked = form(cluster, {"v1": 50, "v3": 50})
    digest = changes.plan(cluster, "reviews", asked).digest
    cluster.store[("VirtualService", "reviews")]["spec"]["http"][0]["timeout"] = "9s"
    with pytest.raises(settings.RefusedError, match="the rules have changed since the difference was shown"):
        changes.apply(cluster, history, "operator", "reviews", asked, digest)
    assert cluster.weights() == [80, 20]
    assert history.items() == []


def test_nothing_to_change_is_said(cluster: Played, history: changes.History) -> None:
    with pytest.raises(settings.RefusedError, match="the rules say that already; nothing was changed"):
        set_to(cluster, history, {"v1": 80, "v3": 20})


def test_all_or_nothing(cluster: Played, history: changes.History) -> None:
    before = copy.deepcopy(cluster.store)
    cluster.refuse["VirtualService"] = "no"
    with pytest.raises(ClusterError, match="no"):
        set_to(cluster, history, {"v1": 50, "v3": 50}, destination={"connections": 5})
    assert cluster.store[("DestinationRule", "reviews")]["spec"] == before[("DestinationRule", "reviews")]["spec"]
    assert history.items() == []


def test_contradictions_and_what_the_analyzer_finds_are_refused(cluster: Played) -> None:
    asked = form(cluster, {"v1": 50, "v3": 50})
    cluster.found.append({"code": "IST0101", "level": "Error", "origin": "VirtualService bookinfo/reviews", "message": "x"})
    cluster.found.append({"code": "IST0102", "level": "Error", "origin": "VirtualService bookinfo/other", "message": "y"})
    with pytest.raises(settings.RefusedError, match=r"istioctl analyze: IST0101 x$"):
        changes.plan(cluster, "reviews", asked)
    cluster.found[0]["level"] = "Warning"
    assert changes.plan(cluster, "reviews", asked).warnings == ("IST0101 x",)
    cluster.store[("DestinationRule", "reviews")]["spec"]["subsets"][2]["labels"] = {"version": "v9"}
    with pytest.raises(settings.RefusedError, match="subset v3 selects no pod of reviews"):
        changes.plan(cluster, "reviews", form(cluster, {"v1": 50, "v3": 50}, destination={"connections": 1}))


def test_subsets_come_before_the_routes_to_them_and_go_after() -> None:
    there: dict[str, Any] = {"kind": "DestinationRule", "metadata": {"name": "x"}}
    route = there | {"kind": "VirtualService"}
    coming = [drafts.Change(None, route), drafts.Change(None, there)]
    going = [drafts.Change(there, None), drafts.Change(route, None)]
    assert [c.object["kind"] for c in sorted(coming, key=changes.order)] == ["DestinationRule", "VirtualService"]
    assert [c.object["kind"] for c in sorted(going, key=changes.order)] == ["VirtualService", "DestinationRule"]


def test_the_account_may_write_rules_of_its_namespace_and_nothing_else() -> None:
    made = {m["kind"]: m for m in account.manifests("bookinfo")}
    assert set(made) == {"ServiceAccount", "Role", "RoleBinding"}
    assert {group for rule in made["Role"]["rules"] for group in rule["apiGroups"]} == {
        "networking.istio.io",
        "security.istio.io",
        "gateway.networking.k8s.io",
        "networking.k8s.io",
    }
    assert not any("*" in rule[key] for rule in made["Role"]["rules"] for key in ("resources", "verbs", "apiGroups"))
    assert made["RoleBinding"]["subjects"] == [{"kind": "ServiceAccount", "name": account.NAME, "namespace": "bookinfo"}]
