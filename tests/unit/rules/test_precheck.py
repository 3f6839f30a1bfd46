"""Manifests that contradict themselves, by small objects."""

from __future__ import annotations

from typing import Any

import pytest

from loadtests.rules.precheck import check, serves

SERVICE = {"kind": "Service", "metadata": {"name": "reviews"}, "spec": {"selector": {"app": "reviews"}}}
POD = {"kind": "Pod", "metadata": {"name": "r", "labels": {"app": "reviews", "version": "v1"}}, "spec": {}}


def rules(subset: str = "v1", version: str = "v1", weight: int = 100, **spec: Any) -> list[dict[str, Any]]:
    return [
        {
            "kind": "DestinationRule", "metadata": {"name": "reviews"},
            "spec": {"host": "reviews", "subsets": [{"name": "v1", "labels": {"version": version}}]},
        },
        {
            "kind": "VirtualService", "metadata": {"name": "reviews"},
            "spec": {
                "hosts": ["reviews"],
                "http": [{"route": [{"destination": {"host": "reviews", "subset": subset}, "weight": weight}]}], **spec,
            },
        },
    ]  # fmt: skip


def gateway(*hosts: str) -> dict[str, Any]:
    return {"kind": "Gateway", "metadata": {"name": "door"}, "spec": {"servers": [{"hosts": list(hosts)}]}}


def test_rules_that_can_be_held_are_accepted() -> None:
    assert check(rules(), [SERVICE], [POD], []) == []
    assert check(rules(gateways=["door", "mesh"]), [SERVICE], [POD], [gateway("reviews")]) == []


@pytest.mark.parametrize(
    ("objects", "words"),
    [
        (rules(weight=90), "weights sum to 90, not 100"),
        (rules(subset="v2"), "no DestinationRule of reviews has a subset v2"),
        (rules(version="v7"), "subset v1 selects no pod of reviews"),
        (rules(gateways=["nowhere"]), "there is no Gateway nowhere"),
        ([*rules(gateways=["door"]), gateway("books.lab")], "Gateway door does not serve reviews"),
        (rules(tcp=[{"route": [{"destination": {"host": "store"}}]}]), "VirtualService reviews: there is no Service store"),
        (rules(tcp=[{"mirror": {"host": "copy"}}]), "VirtualService reviews: there is no Service copy"),
    ],
)
def test_contradictions_are_named(objects: list[dict[str, Any]], words: str) -> None:
    found = check(objects, [SERVICE], [POD], [])
    assert len(found) == 1
    assert words in found[0]


@pytest.mark.parametrize(
    ("server", "host", "served"),
    [
        ("*", "a.lab", True), ("a.lab", "a.lab", True), ("*.lab", "a.lab", True), ("ns/a.lab", "a.lab", True),
        ("b.lab", "a.lab", False), ("*.lab", "lab", False),
    ],
)  # fmt: skip
def test_which_hosts_a_server_serves(server: str, host: str, served: bool) -> None:
    assert serves(server, host) is served


def test_backends_of_kubernetes_own_ways_in_must_be_there() -> None:
    route = {"kind": "HTTPRoute", "metadata": {"name": "r"}, "spec": {"rules": [{"backendRefs": [{"name": "nobody"}]}]}}
    path = {"path": "/", "pathType": "Prefix", "backend": {"service": {"name": "nowhere"}}}
    ingress = {"kind": "Ingress", "metadata": {"name": "i"}, "spec": {"rules": [{"http": {"paths": [path]}}]}}
    assert check([route, ingress], [SERVICE], [POD], []) == [
        "HTTPRoute r: there is no Service nobody", "Ingress i: there is no Service nowhere",
    ]  # fmt: skip
    there = [{**SERVICE, "metadata": {"name": name}} for name in ("nobody", "nowhere")]
    assert check([route, ingress], there, [POD], []) == []
