"""When proxies count as having the rules: never before a whole push with them has arrived."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from loadtests.mesh import propagation
from loadtests.mesh.cluster import Cluster, ClusterError, RefusedByServerError

SIDECAR, GATEWAY = ("bookinfo", "reviews-0"), ("istio-system", "gateway-0")
WANTED = (("bookinfo", ""), ("istio-system", "istio-ingressgateway"))


def pod_of(proxy: tuple[str, str], **metadata: Any) -> dict[str, Any]:
    labels = {"app": "istio-ingressgateway" if proxy == GATEWAY else "reviews"}
    container = {"name": "istio-proxy"}
    return {
        "metadata": {"namespace": proxy[0], "name": proxy[1], "labels": labels, **metadata},
        "spec": {"containers": [{"name": "app"}], "initContainers": [container]}, "status": {"phase": "Running"},
    }  # fmt: skip


@dataclass(frozen=True)
class Mesh(Cluster):
    """An API server, and proxies that get a push when the test says so; clusters of a push come before the rest of it."""

    pods: list[dict[str, Any]] = field(default_factory=lambda: [pod_of(SIDECAR), pod_of(GATEWAY)])
    objects: dict[str, dict[str, Any]] = field(default_factory=dict)
    writes: list[str] = field(default_factory=list)
    clusters: dict[tuple[str, str], set[str]] = field(default_factory=dict)
    pushes: dict[tuple[str, str], int] = field(default_factory=dict)
    """How many pushes since the rules were written have arrived as a whole."""
    broken: set[str] = field(default_factory=set)
    """Pods whose proxies cannot be asked."""

    def items(self, *kinds: str, namespace: str = "") -> list[dict[str, Any]]:
        return [p for p in self.pods if p["metadata"]["namespace"] == namespace]

    def ask(self, path: str, **query: str) -> dict[str, Any]:
        if path not in self.objects:
            raise RefusedByServerError("not found", 404)
        return self.objects[path]

    def write(self, method: str, path: str, body: Mapping[str, Any], **query: str) -> dict[str, Any]:
        assert (method, query) == ("PATCH", {"fieldManager": "istio-lab", "force": "true"})
        self.writes.append(path)
        self.objects[path] = dict(body)
        return dict(body)

    def proxy_dump(self, pod: str, namespace: str = "", **query: str) -> dict[str, Any]:
        assert query.keys() == {"resource", "name_regex"}
        assert query["resource"] == "dynamic_active_clusters"
        if pod in self.broken:
            raise ClusterError(f"{pod}: no answer")
        found = [name for name in self.clusters.get((namespace, pod), set()) if re.fullmatch(query["name_regex"], name)]
        return {"configs": [{"cluster": {"name": name}} for name in found]} if found else {}

    def push(self, *proxies: tuple[str, str]) -> None:
        """Clusters of a push arrive, and with them the rest of the push before."""
        for proxy in proxies:
            if self.clusters.get(proxy):
                self.pushes[proxy] = self.pushes.get(proxy, 0) + 1
            self.clusters[proxy] = {
                re.findall(r"[0-9a-f]{16}\.sentinel\.istio-lab\.internal", json.dumps(o))[0]
                for o in self.objects.values()
                if proxy[0] == "bookinfo" or proxy[0] in o["spec"].get("exportTo", [])
                if o["kind"] == ("EnvoyFilter" if proxy[0] == "bookinfo" else "ServiceEntry")
            }


@pytest.fixture
def mesh() -> Mesh:
    return Mesh("kubeconfig", "bookinfo")


def look(mesh: Mesh, generation: str = "1", *proxies: tuple[str, str]) -> list[tuple[str, str]]:
    return list(propagation.look(mesh, generation, proxies or (SIDECAR, GATEWAY)).stale)


def test_a_proxy_has_the_rules_once_a_whole_push_with_them_has_arrived(mesh: Mesh) -> None:
    assert look(mesh) == [SIDECAR, GATEWAY]
    mesh.push(SIDECAR)
    assert look(mesh) == [GATEWAY]
    mesh.push(GATEWAY)
    assert look(mesh) == [SIDECAR, GATEWAY], "clusters have arrived, routes may not have"
    assert look(mesh) == [SIDECAR, GATEWAY]
    mesh.push(GATEWAY)
    assert look(mesh) == [SIDECAR]
    mesh.push(SIDECAR)
    assert look(mesh) == []
    assert mesh.pushes == {SIDECAR: 1, GATEWAY: 1}


def held(mesh: Mesh, generation: str = "1") -> None:
    """Both proxies have the rules."""
    while look(mesh, generation):
        mesh.push(SIDECAR, GATEWAY)


def test_what_was_pushed_before_an_edit_does_not_count(mesh: Mesh) -> None:
    held(mesh)
    assert look(mesh, "2") == [SIDECAR, GATEWAY]
    assert look(mesh, "2") == [SIDECAR, GATEWAY]


def test_rules_that_have_arrived_are_not_pushed_again(mesh: Mesh) -> None:
    held(mesh)
    before = list(mesh.writes)
    assert look(mesh) == []
    assert mesh.writes == before


def test_two_who_wait_for_the_same_rules_do_not_hinder_each_other(mesh: Mesh) -> None:
    held(mesh)
    assert propagation.wait(mesh, "1", WANTED, 0) == []
    assert len(mesh.writes) == 4, "each sentinel once, by each of the two objects"


def test_a_proxy_that_was_not_asked_before_has_to_get_both_sentinels(mesh: Mesh) -> None:
    other = ("bookinfo", "ratings-0")
    while look(mesh, "1", SIDECAR):
        mesh.push(SIDECAR)
    mesh.push(other)
    assert look(mesh, "1", SIDECAR, other) == [SIDECAR, other]


def test_sidecars_get_it_in_their_namespace_and_gateways_by_export(mesh: Mesh) -> None:
    look(mesh)
    envoy_filter, entry = sorted(mesh.objects.values(), key=lambda o: str(o["kind"]))
    assert {o["metadata"]["namespace"] for o in mesh.objects.values()} == {"bookinfo"}, "where rules may be written"
    [patch] = envoy_filter["spec"]["configPatches"]
    assert (patch["applyTo"], patch["patch"]["operation"]) == ("CLUSTER", "ADD")
    assert "workloadSelector" not in envoy_filter["spec"]
    assert (entry["kind"], entry["spec"]["exportTo"]) == ("ServiceEntry", ["istio-system"])
    alone = Mesh("kubeconfig", "bookinfo")
    look(alone, "1", GATEWAY)
    assert [o["kind"] for o in alone.objects.values()] == ["ServiceEntry"], "sidecars are not pushed to for a gateway's rules"


def test_who_is_late_is_named(mesh: Mesh) -> None:
    assert propagation.wait(mesh, "1", WANTED, -1) == [
        "the proxy of reviews-0 in bookinfo does not have the rules yet",
        "the proxy of gateway-0 in istio-system does not have the rules yet",
    ]
    assert propagation.wait(Mesh("kubeconfig", "bookinfo", pods=[]), "1", WANTED, -1) == [
        "there is no proxy that could have the rules"
    ]


def test_a_proxy_that_cannot_be_asked_is_not_called_late(mesh: Mesh) -> None:
    look(mesh)
    mesh.broken.add("gateway-0")
    with pytest.raises(ClusterError, match="gateway-0: no answer"):
        propagation.wait(mesh, "1", WANTED, -1)


def test_only_running_proxies_that_are_meant_are_asked() -> None:
    pods = [
        pod_of(SIDECAR), pod_of(("bookinfo", "going"), deletionTimestamp="now"),
        {**pod_of(("bookinfo", "plain")), "spec": {"containers": [{"name": "app"}]}},
        {**pod_of(("bookinfo", "pending")), "status": {"phase": "Pending"}}, pod_of(GATEWAY),
        pod_of(("istio-system", "egress")),
    ]  # fmt: skip
    mesh = Mesh("kubeconfig", "bookinfo", pods=pods)
    assert propagation.proxies_of(mesh, WANTED) == [SIDECAR, GATEWAY]
    assert propagation.proxies_of(mesh, (("bookinfo", "ratings"),)) == []
