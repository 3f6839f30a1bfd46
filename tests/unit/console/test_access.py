"""Permissions of load tests in a browser or in the cluster."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest

from loadtests.console import access, account, judges
from loadtests.console.rights import NAMESPACE
from loadtests.entries import entry
from loadtests.judge.reach import PROBES
from loadtests.mesh import writes
from loadtests.mesh.cluster import Cluster, ClusterError
from loadtests.rules.workloads import PART_OF
from loadtests.samples import billing, shadow
from tests.unit.test_inputs import PROJECT

NAMESPACES = {
    "bookinfo": {"istio-injection": "enabled"}, "echo": {"istio-injection": "enabled"}, "istio-system": {},
    "telemetry": {"istio-injection": "disabled"},
}  # fmt: skip
MADE = access.manifests(NAMESPACES, ["bookinfo", "echo", "greeter"], ["lab-tokens"])
WRITING = {"create", "update", "patch", "delete", "deletecollection", "*"}


def rights(name: str) -> list[tuple[str, str, str]]:
    """(group, resource, verb) of one ClusterRole."""
    role = next(o for o in MADE if o["kind"] == "ClusterRole" and o["metadata"]["name"] == name)
    return [(g, r, v) for rule in role["rules"] for g in rule["apiGroups"] for r in rule["resources"] for v in rule["verbs"]]


def test_it_writes_sentinels_and_nothing_else() -> None:
    written = {right for right in rights(access.NAME) if right[2] in WRITING}
    assert written == {
        *(("networking.istio.io", kind, verb) for kind in ("envoyfilters", "serviceentries") for verb in ("create", "patch")),
        # Reads a proxy's configuration.
        ("", "pods/portforward", "create"),
    }  # fmt: skip
    assert {right for right in rights(f"{access.NAME}-reader") if right[2] in WRITING} == {("", "pods/portforward", "create")}


def test_it_writes_no_rule_but_the_sentinels() -> None:
    role = next(o for o in MADE if o["kind"] == "ClusterRole" and o["metadata"]["name"] == access.NAME)
    named = [
        rule.get("resourceNames") for rule in role["rules"] if "envoyfilters" in rule["resources"] and "patch" in rule["verbs"]
    ]
    assert named == [["istio-lab-sentinel", "istio-lab-sentinel-settings"]]


def test_it_starts_no_command_in_a_pod() -> None:
    assert not [r for o in MADE for rule in o.get("rules", []) for r in rule["resources"] if r in ("pods/exec", "pods/attach")]


def test_it_reads_only_the_secrets_that_entries_use() -> None:
    rules = [(o["metadata"]["name"], rule) for o in MADE for rule in o.get("rules", []) if "secrets" in rule["resources"]]
    [(role, rule)] = rules
    assert (role, rule["verbs"], rule["resourceNames"]) == (access.NAME, ["get"], ["lab-tokens"])
    without = access.manifests(NAMESPACES, ["echo"], [])
    assert not [rule for o in without for rule in o.get("rules", []) if "secrets" in rule["resources"]], "no names cover all"
    named = access.secrets_of(entry.load(name) for name in entry.names())
    assert named == ["lab-gateway-mutual-tls-client", "lab-gateway-tls-client", "lab-tokens", "sni-ca"]


def test_every_right_is_in_the_docs_with_its_reason() -> None:
    page = (PROJECT / "docs/browser.md").read_text()
    assert access.table() in page, "python -c 'from loadtests.console import access; print(access.table())'"
    assert not [right for right in (*access.LOOK, *access.judge(["x"]), *access.everywhere(["x"])) if not right.why]
    # The table has the same rights as the roles, one line per rule.
    everything = access.manifests(
        NAMESPACES,
        access.namespaces_of(entry.load(n) for n in entry.names()),
        access.secrets_of(entry.load(n) for n in entry.names()),
    )
    roles = [o for o in everything if o["kind"] == "ClusterRole"]
    rules = {json.dumps(rule, sort_keys=True) for role in roles for rule in role["rules"]}
    assert len(rules) == len(access.table().splitlines()) - 2


def test_another_owners_namespace_of_that_name_is_refused() -> None:
    class Taken(Cluster):
        def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
            assert arguments[0] == "get", "something was written"
            return json.dumps({"items": [{"metadata": {"name": NAMESPACE, "labels": {"team": "shop"}}}]})

    with pytest.raises(ClusterError, match="namespace istio-lab-load: it exists in this cluster without the lab's label"):
        access.give(Taken("kubeconfig", NAMESPACE))


def test_the_account_that_judges_is_made_only_where_the_page_may_judge(monkeypatch: pytest.MonkeyPatch) -> None:
    applied: list[list[dict[str, Any]]] = []
    waited: list[tuple[str, ...]] = []
    found = [
        {"metadata": {"name": "echo", "labels": {**PART_OF, "istio-injection": "enabled"}}},
        {"metadata": {"name": "shop", "labels": {}}},
        {"metadata": {"name": PROBES, "labels": PART_OF, "deletionTimestamp": "2026-01-01T00:00:00Z"}},
    ]

    class Recording(Cluster):
        def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
            if arguments[0] == "get":
                return json.dumps({"items": found})
            if arguments[0] == "wait":
                waited.append(arguments)
                return ""
            applied.append(json.loads(stdin or "")["items"])
            return ""

    monkeypatch.setattr(entry, "names", list)
    cluster = Recording("kubeconfig", NAMESPACE)
    access.give(cluster)
    assert not [o for o in applied[0] if o["metadata"]["name"].startswith(judges.NAME)]
    access.give(cluster, ["shop"])
    assert [o for o in applied[1] if o not in applied[0]] == judges.manifests(["echo", "shop"], access.ACCOUNT)
    assert [words[1:3] for words in waited] == [("--for=delete", f"namespace/{PROBES}")], "nothing can be created in it"
    with pytest.raises(ClusterError, match="NAMESPACE: 'kube-system' was given"):
        access.give(cluster, ["kube-system"])
    assert len(applied) == 2


def test_no_rights_are_given_in_a_namespace_that_is_being_deleted(monkeypatch: pytest.MonkeyPatch) -> None:
    """The API server refuses to create anything there."""
    given: list[str] = []

    class Leaving(Cluster):
        def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
            if arguments[0] == "get":
                gone = {"deletionTimestamp": "2026-01-01T00:00:00Z"}
                labels = {**PART_OF, "istio-injection": "enabled"}
                return json.dumps(
                    {
                        "items": [
                            {"metadata": {"name": n, "labels": labels, **(gone if n == "books" else {})}}
                            for n in ("books", "echo")
                        ]
                    }
                )
            given.extend(o["metadata"].get("namespace", "") for o in json.loads(stdin or "")["items"])
            return ""

    monkeypatch.setattr(entry, "names", list)  # what entries need beside their rights is another matter
    access.give(Leaving("kubeconfig", NAMESPACE))
    assert "echo" in given
    assert "books" not in given


class Answering(Cluster):
    """An API server that records requests; starting a command fails."""

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        raise AssertionError(f"kubectl {' '.join(arguments)}")

    def ask(self, path: str, **query: str) -> dict[str, Any]:
        return {
            "/api/v1/namespaces/shadow/pods/mysqldb-shadow-0:9104/proxy/": {"selects": 7},
            "/api/v1/namespaces/billing/services/witness:http/proxy/received/load": {"received": 5},
        }[path]


def test_counts_behind_a_sample_are_read_over_http() -> None:
    assert shadow.selects(Answering("kubeconfig", "shadow"), "mysqldb-shadow-0") == 7
    assert billing.sent_to_msgd(Answering("kubeconfig", "billing")) == 5


def test_it_reads_no_mesh_secrets() -> None:
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


def test_elsewhere_it_may_only_check_whether_the_labs_namespaces_exist() -> None:
    everywhere = [o["roleRef"]["name"] for o in MADE if o["kind"] == "ClusterRoleBinding"]
    assert everywhere == [f"{access.NAME}-namespaces"]
    role = next(o for o in MADE if o["kind"] == "ClusterRole" and o["metadata"]["name"] == everywhere[0])
    assert role["rules"] == [
        {"apiGroups": [""], "resources": ["namespaces"], "resourceNames": ["bookinfo", "echo", "greeter"], "verbs": ["get"]}
    ]


def test_it_may_impersonate_only_the_accounts_that_write_rules() -> None:
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


def test_its_kubeconfig_is_private_and_holds_no_other_key(tmp_path: Path) -> None:
    file = tmp_path / "console-kubeconfig"
    file.write_text("an older one")
    file.chmod(0o644)
    access.written(Played("kubeconfig", NAMESPACE), file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    written = json.loads(file.read_text())
    assert written["users"] == [{"name": access.ACCOUNT, "user": {"token": "the token"}}]
    assert written["clusters"] == OWN["clusters"]
    assert "c2VjcmV0" not in file.read_text()
    assert [p.name for p in tmp_path.iterdir()] == [file.name]


@pytest.mark.parametrize("kind", writes.KINDS)
def test_it_reads_every_kind_of_rule(kind: str) -> None:
    plural, _, group = kind.partition(".")
    assert {(group, plural, "get"), (group, plural, "list")} <= set(rights(access.NAME))
