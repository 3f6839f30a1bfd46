"""What load tests in a browser or in the cluster may do."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest

from loadtests.console import access, account
from loadtests.entries import policy
from loadtests.mesh.cluster import Cluster

NAMESPACES = {
    "bookinfo": {"istio-injection": "enabled"}, "echo": {"istio-injection": "enabled"}, "istio-system": {},
    "telemetry": {"istio-injection": "disabled"},
}  # fmt: skip
MADE = access.manifests(NAMESPACES, ["bookinfo", "echo", "greeter"])
WRITING = {"create", "update", "patch", "delete", "deletecollection", "*"}


def rights(name: str) -> list[tuple[str, str, str]]:
    """(group, resource, verb) of one ClusterRole."""
    role = next(o for o in MADE if o["kind"] == "ClusterRole" and o["metadata"]["name"] == name)
    return [(g, r, v) for rule in role["rules"] for g in rule["apiGroups"] for r in rule["resources"] for v in rule["verbs"]]


def test_it_writes_the_marker_and_nothing_else() -> None:
    written = {right for right in rights(access.NAME) if right[2] in WRITING}
    assert written == {
        ("networking.istio.io", "serviceentries", "create"), ("networking.istio.io", "serviceentries", "patch"),
        # Asks a proxy what it holds, and a store.
        ("", "pods/portforward", "create"), ("", "pods/exec", "create"),
    }  # fmt: skip
    assert {right for right in rights(f"{access.NAME}-reader") if right[2] in WRITING} == {("", "pods/portforward", "create")}


def test_it_reads_secrets_only_where_rules_are() -> None:
    assert ("", "secrets", "get") in rights(access.NAME)
    assert not [r for r in rights(f"{access.NAME}-reader") if r[1] == "secrets"]
    bound = {
        (o["metadata"]["namespace"], o["roleRef"]["name"])
        for o in MADE
        if o["kind"] == "RoleBinding" and o["roleRef"]["kind"] == "ClusterRole"
    }
    assert bound == {
        ("bookinfo", access.NAME), ("echo", access.NAME), ("istio-system", f"{access.NAME}-reader"),
        ("telemetry", f"{access.NAME}-reader"),
    }  # fmt: skip


def test_outside_the_labs_namespaces_it_may_ask_whether_one_of_them_is_there() -> None:
    everywhere = [o["roleRef"]["name"] for o in MADE if o["kind"] == "ClusterRoleBinding"]
    assert everywhere == [f"{access.NAME}-namespaces"]
    role = next(o for o in MADE if o["kind"] == "ClusterRole" and o["metadata"]["name"] == everywhere[0])
    assert role["rules"] == [
        {"apiGroups": [""], "resources": ["namespaces"], "resourceNames": ["bookinfo", "echo", "greeter"], "verbs": ["get"]}
    ]


def test_nobody_but_the_accounts_that_write_rules_may_be_acted_for() -> None:
    role = next(o for o in MADE if o["kind"] == "ClusterRole" and o["metadata"]["name"] == access.NAME)
    acting = [rule for rule in role["rules"] if "impersonate" in rule["verbs"]]
    assert [(rule["resources"], rule["resourceNames"]) for rule in acting] == [(["serviceaccounts"], [account.NAME])]
    writers = [o["metadata"]["namespace"] for o in MADE if o["kind"] == "Role" and o["metadata"]["name"] == account.NAME]
    assert writers == ["bookinfo", "echo"]


OWN: dict[str, Any] = {
    "clusters": [{"name": "here", "cluster": {"server": "https://127.0.0.1:6443", "certificate-authority-data": "Q0E="}}],
    "users": [{"name": "admin", "user": {"client-key-data": "c2VjcmV0"}}],
    "contexts": [{"name": "here", "context": {"cluster": "here", "user": "admin"}}],
    "current-context": "here",
}  # fmt: skip


class Played(Cluster):
    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        return json.dumps(OWN) if arguments[0] == "config" else "the token\n"


def test_its_kubeconfig_is_for_its_owner_and_holds_nobody_elses_key(tmp_path: Path) -> None:
    file = tmp_path / "console-kubeconfig"
    file.write_text("an older one")
    file.chmod(0o644)
    access.written(Played("kubeconfig", access.NAMESPACE), file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    told = json.loads(file.read_text())
    assert told["users"] == [{"name": access.ACCOUNT, "user": {"token": "the token"}}]
    assert told["clusters"] == OWN["clusters"]
    assert "c2VjcmV0" not in file.read_text()
    assert [p.name for p in tmp_path.iterdir()] == [file.name]


@pytest.mark.parametrize("kind", policy.KINDS)
def test_every_kind_that_rules_have_is_read(kind: str) -> None:
    plural, _, group = kind.partition(".")
    assert {(group, plural, "get"), (group, plural, "list")} <= set(rights(access.NAME))
