"""How rule changes are checked, applied, recorded and undone, on a simulated API server."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from loadtests.console import account, changes, settings
from loadtests.entries import entry
from loadtests.entries.policy import LABEL
from loadtests.mesh.cluster import ClusterError
from loadtests.mesh.writes import Change, ConflictError, ordered
from tests.unit.mesh.rules_api import REFUSED, Kept, kept


@dataclass(frozen=True)
class Played(Kept):
    """With reviews-80-20 applied."""

    def weights(self) -> list[int]:
        return [d["weight"] for d in self.rules["VirtualService", "reviews"]["spec"]["http"][0]["route"]]


@pytest.fixture
def cluster() -> Played:
    rules = list(yaml.safe_load_all((entry.CATALOGUE / "reviews-80-20/policy.yaml").read_text()))
    for o in rules:
        o["metadata"]["labels"] = {LABEL: "reviews-80-20.policy"}
    return Played(**vars(kept(*rules)))


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
    assert {(user, verb) for user, verb, _ in cluster.asked} == {(f"system:serviceaccount:bookinfo:{account.NAME}", "try")}, (
        "with the console's own rights"
    )


def test_a_change_is_applied_recorded_and_undone(cluster: Played, history: changes.History) -> None:
    before = copy.deepcopy(cluster.rules)
    assert set_to(cluster, history, {"v1": 50, "v3": 50}, mtls={"mtls": "STRICT"}) == 1
    assert cluster.weights() == [50, 50]
    assert ("PeerAuthentication", "reviews") in cluster.rules
    assert history.file.stat().st_mode & 0o777 == 0o600
    (item,) = history.items()
    assert (item.who, item.namespace, item.service, item.undoes) == ("operator", "bookinfo", "reviews", None)
    assert "weight: 50" in item.diff
    assert changes.undo(cluster, history, "operator", 1) == 2
    assert history.items()[1].undoes == 1

    def said(store: dict[tuple[str, str], dict[str, Any]]) -> dict[tuple[str, str], Any]:
        return {key: (o["spec"], o["metadata"]["labels"]) for key, o in store.items()}

    assert said(cluster.rules) == said(before)
    with pytest.raises(settings.RefusedError, match="change 1 does not exist or is already undone; nothing was changed"):
        changes.undo(cluster, history, "operator", 1)


def test_a_rule_that_has_changed_since_is_not_undone(cluster: Played, history: changes.History) -> None:
    first = set_to(cluster, history, {"v1": 50, "v3": 50})
    set_to(cluster, history, {"v1": 10, "v3": 90})
    with pytest.raises(settings.RefusedError, match="VirtualService reviews has changed since: undo the later change first"):
        changes.undo(cluster, history, "operator", first)
    assert cluster.weights() == [10, 90]
    changes.undo(cluster, history, "operator", 2)
    changes.undo(cluster, history, "operator", first)
    assert cluster.weights() == [80, 20]


def test_only_the_shown_plan_is_applied(cluster: Played, history: changes.History) -> None:
    asked = form(cluster, {"v1": 50, "v3": 50})
    digest = changes.plan(cluster, "reviews", asked).digest
    cluster.rules[("VirtualService", "reviews")]["spec"]["http"][0]["timeout"] = "9s"
    with pytest.raises(settings.RefusedError, match="the rules have changed since the difference was shown"):
        changes.apply(cluster, history, "operator", "reviews", asked, digest)
    assert cluster.weights() == [80, 20]
    assert history.items() == []


def test_a_draft_is_not_checked_and_keeps_what_the_form_does_not_know(cluster: Played) -> None:
    cluster.rules["VirtualService", "reviews"]["spec"]["http"][0]["corsPolicy"] = {"maxAge": "1h"}
    cluster.fails[0] = lambda verb, given: REFUSED + "no"
    found = changes.draft(cluster, "reviews", form(cluster, {"v1": 50, "v3": 50}))
    (change,) = found.changes
    before, after = (yaml.safe_load(changes.manifest(o))["spec"]["http"][0] for o in (change.before, change.after))
    assert [[d["weight"] for d in route["route"]] for route in (before, after)] == [[80, 20], [50, 50]]
    assert before["corsPolicy"] == after["corsPolicy"] == {"maxAge": "1h"}
    assert cluster.asked == []
    assert changes.manifest(None) == ""


def test_an_empty_change_is_refused(cluster: Played, history: changes.History) -> None:
    with pytest.raises(settings.RefusedError, match="the rules already say this; nothing was changed"):
        set_to(cluster, history, {"v1": 80, "v3": 20})


def test_all_or_nothing(cluster: Played, history: changes.History) -> None:
    before = copy.deepcopy(cluster.rules)
    cluster.fails[0] = lambda verb, given: REFUSED + "no" if (verb, given["kind"]) == ("replace", "VirtualService") else ""
    with pytest.raises(ClusterError, match="no"):
        set_to(cluster, history, {"v1": 50, "v3": 50}, destination={"connections": 5})
    assert cluster.rules[("DestinationRule", "reviews")]["spec"] == before[("DestinationRule", "reviews")]["spec"]
    assert history.items() == []


def test_errors_of_the_analyzer_are_refused_and_its_warnings_shown(cluster: Played) -> None:
    asked = form(cluster, {"v1": 50, "v3": 50})
    cluster.found.append({"code": "IST0101", "level": "Error", "origin": "VirtualService bookinfo/reviews", "message": "x"})
    cluster.found.append({"code": "IST0102", "level": "Error", "origin": "VirtualService bookinfo/other", "message": "y"})
    with pytest.raises(settings.RefusedError, match=r"istioctl analyze: IST0101 x$"):
        changes.plan(cluster, "reviews", asked)
    cluster.found[0]["level"] = "Warning"
    assert changes.plan(cluster, "reviews", asked).warnings == ("IST0101 x",)


def test_a_subset_without_pods_may_be_deployed_later(cluster: Played) -> None:
    cluster.rules[("DestinationRule", "reviews")]["spec"]["subsets"][2]["labels"] = {"version": "v9"}
    assert changes.plan(cluster, "reviews", form(cluster, {"v1": 100, "v3": 0})).changes


def test_a_rule_that_changes_after_the_plan_is_not_overwritten(cluster: Played, history: changes.History) -> None:
    asked = form(cluster, {"v1": 50, "v3": 50}, destination={"connections": 5})
    digest = changes.plan(cluster, "reviews", asked).digest

    def edit(verb: str, given: Mapping[str, Any]) -> str:
        # After the console has read and checked its plan, before its first write: a later read would not notice the edit.
        if verb == "replace" and given["kind"] == "DestinationRule":
            cluster.edit(("VirtualService", "reviews"), theirs=True)
        return ""

    cluster.fails[0] = edit
    with pytest.raises(ConflictError) as refused:
        changes.apply(cluster, history, "operator", "reviews", asked, digest)
    words = "VirtualService reviews: changed in the cluster since it was read; the earlier rules apply again"
    assert str(refused.value) == words
    assert cluster.rules["VirtualService", "reviews"]["spec"]["theirs"]
    assert cluster.weights() == [80, 20]
    assert "trafficPolicy" not in cluster.rules["DestinationRule", "reviews"]["spec"]
    assert history.items() == []


def test_an_edit_between_the_plans_read_and_a_later_one_is_a_conflict(
    cluster: Played, history: changes.History, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = form(cluster, {"v1": 50, "v3": 50})
    digest = changes.plan(cluster, "reviews", asked).digest
    plan = changes.plan

    def planned(*given: Any) -> changes.Plan:
        made = plan(*given)
        cluster.edit(("VirtualService", "reviews"), theirs=True)
        return made

    monkeypatch.setattr(changes, "plan", planned)
    with pytest.raises(ClusterError, match=r"changed in the cluster since it was read; nothing was changed$"):
        changes.apply(cluster, history, "operator", "reviews", asked, digest)
    assert (cluster.weights(), history.items()) == ([80, 20], [])


def test_subsets_come_before_the_routes_to_them_and_go_after() -> None:
    there: dict[str, Any] = {"kind": "DestinationRule", "metadata": {"name": "x"}}
    route = there | {"kind": "VirtualService"}
    coming = [Change(None, route), Change(None, there)]
    going = [Change(there, None), Change(route, None)]
    assert [c.object["kind"] for c in ordered(coming)] == ["DestinationRule", "VirtualService"]
    assert [c.object["kind"] for c in ordered(going)] == ["VirtualService", "DestinationRule"]


def test_the_account_may_only_write_rules_in_its_namespace() -> None:
    made = {m["kind"]: m for m in account.manifests("bookinfo")}
    assert set(made) == {"ServiceAccount", "Role", "RoleBinding"}
    assert {group for rule in made["Role"]["rules"] for group in rule["apiGroups"]} == {
        "networking.istio.io",
        "security.istio.io",
        "telemetry.istio.io",
        "gateway.networking.k8s.io",
        "networking.k8s.io",
    }
    assert not any("*" in rule[key] for rule in made["Role"]["rules"] for key in ("resources", "verbs", "apiGroups"))
    assert made["RoleBinding"]["subjects"] == [{"kind": "ServiceAccount", "name": account.NAME, "namespace": "bookinfo"}]
