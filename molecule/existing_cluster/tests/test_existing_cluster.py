"""A cluster that the lab did not make, with workloads of others on it: refused, used, and left as it was."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from tests import lab

CLUSTER = f"{lab.NAME}-foreign"
NAME = f"{lab.NAME}-existing"
STATE = lab.STATE.parent / NAME
IMAGE = "registry.istio.io/release/examples-bookinfo-ratings-v1:1.20.3"
# One of each: a split, a way in, an answer that the mesh gives, what the mesh refuses.
ENTRIES = ["reviews-80-20", "ingress-reachability", "fault-abort", "mtls-strict", "authorization"]
# What a cluster changes by itself all the time.
RESTLESS = {"events", "events.events.k8s.io", "leases.coordination.k8s.io", "componentstatuses"}


@dataclass(frozen=True)
class Foreign:
    """The cluster, and its kubeconfig as its owner has it."""

    kubeconfig: Path

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        return lab.kubectl(*arguments, stdin=stdin, kubeconfig=self.kubeconfig)

    def everything(self) -> dict[str, Any]:
        """Every object, without its state and what the server notes beside it."""
        kinds = set(self.kubectl("api-resources", "--verbs=list", "--output=name").split()) - RESTLESS
        found = {}
        for item in json.loads(self.kubectl("get", ",".join(sorted(kinds)), "--all-namespaces", "-o", "json"))["items"]:
            about = item.pop("metadata")
            item.pop("status", None)
            kept = {key: about.get(key) for key in ("uid", "labels", "annotations")}
            found[f"{item['kind']} {about.get('namespace', '')}/{about['name']}"] = {**item, **kept}
        return found

    def play(self, name: str, **variables: object) -> subprocess.CompletedProcess[str]:
        """A playbook with the inventory for clusters that are there."""
        given: dict[str, object] = {"lab_name": NAME, "image_source": "build", **variables}
        given.setdefault("existing_cluster_kubeconfig", str(self.kubeconfig))
        return lab.playbook(f"-i inventories/existing {name}", **given)


def run(*command: str) -> None:
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "KIND_EXPERIMENTAL_PROVIDER": "podman"}
    )
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr[-2000:]}"


def of_others() -> list[dict[str, Any]]:
    """What somebody else runs there."""
    pod = {
        "metadata": {"labels": {"app": "till"}},
        "spec": {"containers": [{"name": "till", "image": IMAGE, "imagePullPolicy": "Never"}]},
    }
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop", "labels": {"team": "till"}}},
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "prices", "namespace": "shop"}, "data": {"book": "11"}},
        {
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "till", "namespace": "shop"},
            "spec": {"replicas": 1, "selector": {"matchLabels": {"app": "till"}}, "template": pod},
        },
        {
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": "till", "namespace": "shop"},
            "spec": {"type": "NodePort", "selector": {"app": "till"}, "ports": [{"port": 9080, "nodePort": 30080}]},
        },
        {
            "apiVersion": "networking.k8s.io/v1", "kind": "IngressClass", "metadata": {"name": "shop"},
            "spec": {"controller": "shop.example/ingress"},
        },
        {
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "shop-reader"},
            "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}],
        },
    ]  # fmt: skip


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Foreign]:
    folder = tmp_path_factory.mktemp("foreign")
    settings = yaml.safe_load((lab.STATE / "kind.yaml").read_text())
    settings["nodes"] = [{"role": "control-plane"}]  # no port of it is published on this machine
    (folder / "kind.yaml").write_text(yaml.safe_dump(settings))
    image = json.loads((lab.STATE / "cluster.json").read_text())["image"]
    there = Foreign(folder / "kubeconfig")
    where = ["--name", CLUSTER, "--kubeconfig", str(there.kubeconfig)]
    # An ended run may have left its lab's folder, of a cluster that is gone.
    shutil.rmtree(STATE, ignore_errors=True)
    before = lab.traces()
    try:
        run("kind", "create", "cluster", *where, "--image", image, "--config", str(folder / "kind.yaml"), "--wait", "180s")
        there.kubectl("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": of_others()}))
        there.kubectl("-n", "shop", "rollout", "status", "deployment/till", "--timeout=120s")
        there.kubectl("-n", "kube-system", "rollout", "status", "deployment/coredns", "--timeout=120s")
        yield there
    finally:
        run("kind", "delete", "cluster", *where)
    assert lab.traces() == before, "the lab left something on this machine"


@pytest.fixture(scope="module")
def before(foreign: Foreign) -> dict[str, Any]:
    """The cluster before the lab came."""
    return foreign.everything()


def refused(done: subprocess.CompletedProcess[str], *words: str) -> None:
    """One line that says it all, nothing changed, no folder made."""
    assert done.returncode != 0
    told = lab.words(done.stdout)
    for word in (*words, "nothing was changed"):
        assert word in told, done.stdout[-3000:]
    assert "changed=0" in done.stdout
    assert not STATE.exists()


def test_a_kubeconfig_that_is_none_is_refused(foreign: Foreign, before: dict[str, Any], tmp_path: Path) -> None:
    def given(name: str) -> subprocess.CompletedProcess[str]:
        return foreign.play("site.yml", existing_cluster_kubeconfig=str(tmp_path / name))

    refused(given("none"), "existing_cluster_kubeconfig", "No such file")
    (tmp_path / "text").write_text("not a kubeconfig")
    refused(given("text"), "which is no kubeconfig")
    unknown = foreign.play("site.yml", existing_cluster_context="prod")
    refused(unknown, "existing_cluster_context: prod was given", f"kind-{CLUSTER}")
    nobody = yaml.safe_load(foreign.kubeconfig.read_text())
    nobody["clusters"][0]["cluster"]["server"] = "https://127.0.0.1:9"
    (tmp_path / "nobody").write_text(yaml.safe_dump(nobody))
    refused(given("nobody"), "the cluster does not answer")


def test_a_user_without_rights_is_refused_with_what_is_missing(
    foreign: Foreign, before: dict[str, Any], tmp_path: Path
) -> None:
    weak = yaml.safe_load(foreign.kubeconfig.read_text())
    weak["users"][0]["user"] = {"token": foreign.kubectl("create", "token", "default", "--namespace=shop").strip()}
    (tmp_path / "weak").write_text(yaml.safe_dump(weak))
    done = foreign.play("site.yml", existing_cluster_kubeconfig=str(tmp_path / "weak"))
    refused(done, "its user lacks rights: list namespaces", "cluster-admin")
    assert weak["users"][0]["user"]["token"] not in done.stdout


def test_names_and_meshes_of_others_are_refused(foreign: Foreign, before: dict[str, Any]) -> None:
    foreign.kubectl("create", "namespace", "bookinfo")
    foreign.kubectl("label", "namespace", "shop", "istio-injection=enabled")
    labels = {"app": "istiod"}
    pod = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "discovery", "image": IMAGE}]}}
    other = {
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "istiod", "namespace": "shop", "labels": labels},
        "spec": {"replicas": 0, "selector": {"matchLabels": labels}, "template": pod},
    }  # fmt: skip
    foreign.kubectl("apply", "-f", "-", stdin=json.dumps(other))
    try:
        done = foreign.play("site.yml")
    finally:
        foreign.kubectl("delete", "namespace", "bookinfo")
        foreign.kubectl("label", "namespace", "shop", "istio-injection-")
        foreign.kubectl("-n", "shop", "delete", "deployment", "istiod")
    refused(
        done, "namespace bookinfo is there and is not the lab's", "another Istio is there: shop/istiod",
        "namespace shop asks for sidecars",
    )  # fmt: skip
    refused(foreign.play("site.yml", existing_cluster_min_memory_gib=4000), "existing_cluster_min_memory_gib", "4000 GiB")


def test_the_lab_comes_up_beside_what_others_run(foreign: Foreign, before: dict[str, Any]) -> None:
    done = foreign.play("site.yml")
    assert done.returncode == 0, done.stdout[-3000:]
    assert "the gateway by NodePort (nodes are reached from here" in lab.words(done.stdout)
    url = json.loads((STATE / "gateway.json").read_text())["http"]
    assert "<title>Simple Bookstore App</title>" in requests.get(f"{url}/productpage", timeout=10).text
    assert (STATE / "kubeconfig").stat().st_mode & 0o777 == 0o600
    again = foreign.play("site.yml")
    assert "changed=0" in again.stdout, again.stdout[-3000:]
    now = foreign.everything()
    assert {name: now.get(name) for name in before} == before, "the lab touched what is not its own"
    assert set(now) - set(before), "the comparison can tell a difference"


def lines(state: Path) -> list[dict[str, Any]]:
    """What the catalogue's report says of the entries, but for what traffic makes different every time."""
    told = json.loads((state / "results/catalogue.json").read_text())
    return [{key: line[key] for key in ("entry", "aim", "outcome", "readme")} for line in told]


def declared(state: Path) -> dict[str, Any]:
    """What the rules in the cluster promised, as the verdicts have it."""
    found = {name: json.loads((state / f"results/{name}/verdict.json").read_text()) for name in ENTRIES}
    return {
        name: [(c["name"], [(s["version"], s["declared"]) for s in c["shares"]]) for c in told["classes"]]
        for name, told in found.items()
    }


def test_the_same_entries_give_the_same_report_as_on_kind(foreign: Foreign) -> None:
    there = foreign.play("verify_catalogue.yml", lab_verify_entries=ENTRIES)
    assert there.returncode == 0, there.stdout[-3000:]
    here = lab.playbook("verify_catalogue.yml", lab_verify_entries=ENTRIES)
    assert here.returncode == 0, here.stdout[-3000:]
    assert lines(STATE) == lines(lab.STATE)
    assert [line["entry"] for line in lines(STATE)] == sorted(ENTRIES)
    assert declared(STATE) == declared(lab.STATE)


def test_what_needs_a_container_of_this_machine_is_refused(foreign: Foreign) -> None:
    done = foreign.play("run_loadtest.yml", loadtest_entry="egress-blocked")
    assert done.returncode != 0
    assert "egress-blocked was given, whose sample runs a program outside the cluster" in lab.words(done.stdout)


def test_a_lab_keeps_to_its_cluster(foreign: Foreign) -> None:
    done = foreign.play("site.yml", existing_cluster_kubeconfig=str(lab.KUBECONFIG))
    assert done.returncode != 0
    assert "existing_cluster_kubeconfig: this lab is on https://127.0.0.1:" in lab.words(done.stdout), done.stdout[-2000:]


def test_a_cluster_that_does_not_answer_is_not_forgotten_by_itself(foreign: Foreign) -> None:
    kept = (STATE / "kubeconfig").read_text()
    gone = yaml.safe_load(kept)
    gone["clusters"][0]["cluster"]["server"] = "https://127.0.0.1:9"
    (STATE / "kubeconfig").write_text(yaml.safe_dump(gone))
    try:
        done = foreign.play("destroy_lab.yml")
    finally:
        (STATE / "kubeconfig").write_text(kept)
    assert done.returncode != 0
    assert "lab_destroy_forget: false, and the cluster does not answer" in lab.words(done.stdout), done.stdout[-2000:]


def test_destroy_leaves_the_cluster_as_it_was(foreign: Foreign, before: dict[str, Any]) -> None:
    done = foreign.play("destroy_lab.yml")
    assert done.returncode == 0, done.stdout[-3000:]
    assert not STATE.exists()
    until = time.monotonic() + 30  # the API server forgets removed kinds a moment later
    while (now := foreign.everything()) != before and time.monotonic() < until:
        time.sleep(1)
    assert set(now) == set(before)
    assert now == before
    again = foreign.play("destroy_lab.yml")
    assert "changed=0" in again.stdout, again.stdout[-2000:]
