"""Changes from the settings page on a real API server: previewed, applied with the console's own rights, undone."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from loadtests.console import account, changes, drafts, settings
from loadtests.mesh import writes
from loadtests.mesh.cluster import Cluster, ClusterError
from tests import lab

CLUSTER = Cluster(str(lab.KUBECONFIG), "bookinfo")


@pytest.fixture(scope="module")
def account_there() -> None:
    """The accounts that the page has when it starts."""
    made = [sys.executable, "-m", "loadtests.console.access", "--kubeconfig", str(lab.KUBECONFIG)]
    subprocess.run(made, cwd=lab.PROJECT, check=True, timeout=120)


@pytest.fixture(autouse=True)
def entry(account_there: None) -> Iterator[None]:
    """An entry's rules, and none from the page."""
    lab.apply("reviews-80-20")
    yield
    lab.kubectl("-n", "bookinfo", "delete", ",".join(changes.KINDS), "--selector", f"istio-lab/policy={drafts.MINE}")


def rules() -> dict[str, Any]:
    found = [drafts.shown(o) for o in changes.read(CLUSTER).objects]
    return {f"{o['kind']} {o['metadata']['name']}": o for o in found}


def form(**parts: Any) -> dict[str, Any]:
    state = changes.read(CLUSTER)
    values: dict[str, Any] = json.loads(json.dumps(settings.read(state.objects, state.service("reviews"))))
    return values | parts


def everything() -> dict[str, Any]:
    """Form values with a change in every part."""
    values = form()
    values["routes"][0] |= {"weights": {"v1": 50, "v2": 50}, "timeout": 5, "retries": 1, "retry_on": "5xx"}
    marked = {"header": "end-user", "header_value": "jason", "weights": {"v3": 100}, "delay": 0.2, "mirror": "v1",
              "mirror_percent": 10, "from": None}  # fmt: skip
    return values | {
        "routes": [marked, *values["routes"]],
        "destination": values["destination"] | {"connections": 100, "eject_after": 5, "eject_interval": 5},
        "rate": {"rate_requests": 1000, "rate_seconds": 1}, "mtls": {"mtls": "STRICT"},
        "callers": ["cluster.local/ns/bookinfo/sa/bookinfo-productpage"],
        "egress": [{"host": "books.outside.internal", "port": 80, "protocol": "HTTP"}],
    }  # fmt: skip


def test_istio_accepts_every_setting_and_it_can_be_undone(tmp_path: Path) -> None:
    before, history, asked = rules(), changes.History(tmp_path / "settings.jsonl"), everything()
    plan = changes.plan(CLUSTER, "reviews", asked)
    assert rules() == before, "a plan changes nothing"
    assert {c.object["kind"] for c in plan.changes} == {
        "VirtualService", "DestinationRule", "EnvoyFilter", "PeerAuthentication", "AuthorizationPolicy", "ServiceEntry",
    }  # fmt: skip
    number = changes.apply(CLUSTER, history, "operator", "reviews", asked, plan.digest)
    now = form()
    assert {key: now[key] for key in ("rate", "mtls", "callers", "egress")} == {
        key: asked[key] for key in ("rate", "mtls", "callers", "egress")
    }
    assert now["routes"][0] | asked["routes"][0] == now["routes"][0] | {"from": None}
    written = next(
        o for o in changes.read(CLUSTER).objects if o["kind"] == "VirtualService" and o["metadata"]["name"] == "reviews"
    )
    assert writes.MANAGER in {m["manager"] for m in written["metadata"]["managedFields"]}
    until = 60
    while (found := changes.stale_proxies(CLUSTER))[1] and until:
        until -= 1
    assert found[0] >= 7
    assert found[1] == []
    changes.undo(CLUSTER, history, "operator", number)
    assert rules() == before


def test_istios_refusals_are_passed_on() -> None:
    asked = form()
    asked["routes"][0]["retry_on"], asked["routes"][0]["retries"] = "no such reason", 1
    with pytest.raises(settings.RefusedError, match="retryOn"):
        changes.plan(CLUSTER, "reviews", asked)


def test_kubectl_accepts_the_exported_rules() -> None:
    ours = [drafts.shown(o) for o in changes.read(CLUSTER).objects if settings.is_ours(o)]
    assert len(ours) == 2
    applied = lab.kubectl("apply", "--dry-run=server", "-f", "-", stdin=yaml.safe_dump_all(ours))
    # Objects that the lab writes lack kubectl's annotation, so kubectl adds it.
    assert [line.split()[0] for line in applied.splitlines()] == [
        f"{o['kind'].lower()}.networking.istio.io/reviews" for o in ours
    ]
    assert all(line.endswith(" (server dry run)") for line in applied.splitlines())


def test_an_entry_removes_the_pages_rules(tmp_path: Path) -> None:
    history, asked = changes.History(tmp_path / "settings.jsonl"), everything()
    changes.apply(CLUSTER, history, "operator", "reviews", asked, changes.plan(CLUSTER, "reviews", asked).digest)
    done = lab.playbook("apply_policy.yml", lab_entry="reviews-50-50")
    assert done.returncode == 0, done.stdout[-2000:]
    left = {o["metadata"]["labels"]["istio-lab/policy"] for o in changes.read(CLUSTER).objects if settings.is_ours(o)}
    assert left == {"reviews-50-50.policy"}
    with pytest.raises(settings.RefusedError, match="has changed since"):
        changes.undo(CLUSTER, history, "operator", 1)


def test_the_account_may_only_write_rules_in_its_namespace() -> None:
    user = account.of(CLUSTER).user

    def may(verb: str, what: str, namespace: str = "bookinfo") -> bool:
        command = ["kubectl", "--kubeconfig", str(lab.KUBECONFIG), "--as", user, "-n", namespace, "auth", "can-i", verb, what]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip() == "yes"

    assert may("update", "virtualservices.networking.istio.io")
    assert may("create", "authorizationpolicies.security.istio.io")
    for verb, what, namespace in (
        ("update", "virtualservices.networking.istio.io", "default"),
        ("create", "envoyfilters.networking.istio.io", "istio-system"),
        ("get", "secrets", "bookinfo"), ("create", "pods", "bookinfo"), ("create", "pods/exec", "bookinfo"),
        ("update", "roles.rbac.authorization.k8s.io", "bookinfo"), ("delete", "namespaces", "bookinfo"),
    ):  # fmt: skip
        assert not may(verb, what, namespace), (verb, what, namespace)
    spec = {"hosts": ["x"], "http": [{"route": [{"destination": {"host": "x"}}]}]}
    elsewhere = drafts.made("VirtualService", "x", "networking.istio.io/v1", "default", spec)
    with pytest.raises(ClusterError, match=r"forbidden|does not match the namespace"):
        writes.try_out(account.of(CLUSTER), [writes.Change(None, elsewhere)], [])
