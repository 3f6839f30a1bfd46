"""Whether the lab may use an existing cluster: the decisions, without a cluster."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from tests.unit.test_inputs import plugin

existing = plugin("modules", "existing_cluster")
KUBECONFIG: dict[str, Any] = {
    "current-context": "b",
    "contexts": [
        {"name": "a", "context": {"cluster": "one", "user": "me"}},
        {"name": "b", "context": {"cluster": "two", "user": "me"}},
    ],
    "clusters": [
        {"name": "one", "cluster": {"server": "https://one", "certificate-authority": "ca.crt"}},
        {"name": "two", "cluster": {"server": "https://two"}},
    ],
    "users": [{"name": "me", "user": {"client-key": "key.pem"}}, {"name": "other", "user": {"token": "secret"}}],
}


def test_a_kubeconfig_is_reduced_to_one_cluster_with_embedded_files() -> None:
    own = existing.alone(KUBECONFIG, "a", lambda name: name.encode())
    assert [c["name"] for c in own["clusters"]] == ["one"]
    assert [u["name"] for u in own["users"]] == ["me"], "no other credentials are copied"
    assert base64.b64decode(own["clusters"][0]["cluster"]["certificate-authority-data"]) == b"ca.crt"
    assert base64.b64decode(own["users"][0]["user"]["client-key-data"]) == b"key.pem"
    assert existing.alone(KUBECONFIG, "", lambda name: b"")["current-context"] == "b"


@pytest.mark.parametrize(
    ("kubeconfig", "context", "expected"),
    [
        (KUBECONFIG, "c", "c was given; contexts in this file: a, b"),
        ({}, "", "no name was given; contexts in this file: none"),
        ({**KUBECONFIG, "clusters": []}, "a", "one was given; clusters in this file: none"),
        ({**KUBECONFIG, "users": []}, "a", "me was given; users in this file: none"),
    ],
)
def test_missing_parts_of_a_kubeconfig_are_named(kubeconfig: dict[str, Any], context: str, expected: str) -> None:
    with pytest.raises(KeyError) as error:
        existing.alone(kubeconfig, context, lambda name: b"")
    assert error.value.args[0] == expected


@pytest.mark.parametrize(
    ("server", "right"),
    [("v1.31.9", False), ("v1.32.0", True), ("v1.37.2-aliyun.1", True), ("v1.38.0", False), ("v2.0.0", False)],
)
def test_the_servers_version(server: str, right: bool) -> None:
    assert (existing.version_error(server, "1.32", "1.37") == "") is right


def named(name: str, namespace: str = "", **labels: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": namespace, "labels": labels}}


MINE = {"app.kubernetes.io/part-of": "istio-lab"}
NOTHING: dict[str, list[dict[str, Any]]] = {
    kind: [] for kind in ("namespaces", "deployments", "definitions", "webhooks", "ingressclasses")
}


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ({}, []),
        ({"namespaces": [named("shop"), named("bookinfo", **MINE)]}, []),
        ({"namespaces": [named("bookinfo")]}, ["namespace bookinfo is there and is not the lab's"]),
        ({"namespaces": [named("istio-system")]}, ["namespace istio-system is there and is not the lab's"]),
        (
            {"namespaces": [named("shop", **{"istio-injection": "enabled"})]},
            ["namespace shop asks for sidecars, and would have the lab's"],
        ),
        ({"deployments": [named("istiod-1-30", "mesh")]}, ["another Istio is there: mesh/istiod-1-30"]),
        (
            {"definitions": [named(f"{n}.networking.istio.io") for n in "abcd"]},
            ["another Istio has left a.networking.istio.io, b.networking.istio.io, c.networking.istio.io and more"],
        ),
        ({"ingressclasses": [named("istio")]}, ["another Istio has left istio"]),
        (
            {
                "namespaces": [named("istio-system", **MINE)], "deployments": [named("istiod", "istio-system")],
                "webhooks": [named("istio-sidecar-injector")], "ingressclasses": [named("istio")],
            },
            [],
        ),
    ],
)  # fmt: skip
def test_obstacles(found: dict[str, list[dict[str, Any]]], expected: list[str]) -> None:
    assert existing.taken({**NOTHING, **found}, ["istio-system", "bookinfo"]) == expected


def node(name: str, provider: str = "", taints: list[dict[str, str]] | None = None, **addresses: str) -> dict[str, Any]:
    return {
        "metadata": {"name": name},
        "spec": {"providerID": provider, "taints": taints or []},
        "status": {
            "allocatable": {"cpu": "1900m", "memory": "4Gi"},
            "addresses": [{"type": kind, "address": address} for kind, address in addresses.items()],
        },
    }


def test_capacity_is_what_schedulable_nodes_have_left() -> None:
    asking = {"requests": {"cpu": "500m", "memory": "512Mi"}}
    pods = [
        {"spec": {"nodeName": "a", "containers": [{"resources": asking}, {}]}, "status": {"phase": "Running"}},
        {"spec": {"nodeName": "a", "containers": [{"resources": asking}]}, "status": {"phase": "Succeeded"}},
        {"spec": {"nodeName": "closed", "containers": [{"resources": asking}]}},
    ]
    cpus, memory = existing.room([node("a"), node("closed", taints=[{"key": "k", "effect": "NoSchedule"}])], pods)
    assert (cpus, memory) == (pytest.approx(1.4), 3.5 * 2**30)


def service(port: int, *addresses: str) -> dict[str, Any]:
    state = {"loadBalancer": {"ingress": [{"ip": address} for address in addresses]}} if addresses else {}
    return {"metadata": {"name": "till", "namespace": "shop"}, "spec": {"ports": [{"port": port}]}, "status": state}


@pytest.mark.parametrize(
    ("asked", "nodes", "near", "reach", "address"),
    [
        ("auto", [node("a", "alicloud://cn.i-1", InternalIP="10.0.0.1")], "", "LoadBalancer", ""),
        (
            "auto",
            [node("a", "kind://podman/x", InternalIP="10.0.0.1", ExternalIP="1.2.3.4")],
            "10.0.0.1",
            "NodePort",
            "10.0.0.1",
        ),
        ("auto", [node("a", InternalIP="10.0.0.1")], "", "port-forward", ""),
        ("port-forward", [node("a", InternalIP="10.0.0.1")], "10.0.0.1", "port-forward", "10.0.0.1"),
        ("NodePort", [node("a", "aws://i", InternalIP="10.0.0.1", ExternalIP="1.2.3.4")], "", "NodePort", "1.2.3.4"),
        ("LoadBalancer", [node("a", InternalIP="10.0.0.1")], "10.0.0.1", "LoadBalancer", "10.0.0.1"),
    ],
)
def test_how_the_gateway_is_reached(asked: str, nodes: list[dict[str, Any]], near: str, reach: str, address: str) -> None:
    way = existing.choose(asked, nodes, [service(80), service(80, "1.2.3.5")], lambda a, port: (a, port) == (near, 10250))
    assert (way["reach"], way["address"]) == (reach, address)
    assert way["why"]


def test_load_balancers_are_detected_by_one_that_responds() -> None:
    nodes = [node("a", InternalIP="10.0.0.1")]

    def way(*services: dict[str, Any]) -> tuple[str, str]:
        found = existing.choose("auto", nodes, [*services], lambda a, port: (a, port) in {("1.2.3.5", 80), ("10.0.0.1", 10250)})
        return found["reach"], found["why"]

    assert way(service(80), service(443, "1.2.3.5"))[0] == "NodePort"
    assert way(service(80, "1.2.3.4", "1.2.3.5")) == (
        "LoadBalancer", "Service shop/till is reached at an address that it was given",
    )  # fmt: skip


def test_a_lab_on_another_cluster_is_detected() -> None:
    one, two = (existing.alone(KUBECONFIG, c, lambda name: b"") for c in "ab")
    assert (existing.moved(one, one), existing.moved(one, two)) == ("", "https://two")


@pytest.mark.parametrize("left", ["kubeconfig", "record"])
def test_a_lab_stays_on_its_cluster_also_without_its_kubeconfig(left: str, tmp_path: Path) -> None:
    kept, record = tmp_path / "kubeconfig", tmp_path / "cluster.json"
    one, two = (existing.alone(KUBECONFIG, context, lambda name: b"") for context in ("a", "b"))
    assert existing.elsewhere(two, kept, record) == "", "no lab yet"
    if left == "kubeconfig":
        kept.write_text(json.dumps(one))
    else:
        record.write_text(json.dumps({"provider": "existing", "api": existing.api_of(one)}))
    assert existing.elsewhere(one, kept, record) == ""
    assert existing.elsewhere(two, kept, record) == "https://one"
