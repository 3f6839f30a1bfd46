"""Manifests that contradict themselves, by small objects."""

from __future__ import annotations

from typing import Any

import pytest

from loadtests.rules.precheck import check
from loadtests.rules.promises import serves

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


def unweighted() -> list[dict[str, Any]]:
    found = rules()
    found[1]["spec"]["http"][0]["route"] = [{"destination": {"host": "reviews", "subset": "v1"}}] * 2
    return found


def gateway(*hosts: str, name: str = "door") -> dict[str, Any]:
    return {"kind": "Gateway", "metadata": {"name": name}, "spec": {"servers": [{"hosts": list(hosts)}]}}


def test_a_host_has_to_be_served_by_one_of_its_gateways() -> None:
    """A rule for two hosts, each of which another gateway serves, works (istio/istio#34829)."""
    doors = [gateway("reviews", name="front"), gateway("./*.staff.lab", name="back")]

    def told(*hosts: str) -> list[str]:
        return check(rules(gateways=["front", "back"], hosts=list(hosts)), [SERVICE], [POD], doors)

    assert told("reviews", "shop.staff.lab") == []
    assert told("*") == [], "the gateways narrow it"
    assert told("*.lab") == [], "overlap counts, whichever side has the wildcard"
    assert told("reviews", "shop.nowhere") == ["VirtualService reviews: no Gateway of front, back serves shop.nowhere"]


def test_rules_that_can_be_held_are_accepted() -> None:
    assert check(rules(), [SERVICE], [POD], []) == []
    assert check(rules(weight=10), [SERVICE], [POD], []) == [], "a weight is a share of the sum"
    assert check(rules(gateways=["door", "mesh"]), [SERVICE], [POD], [gateway("reviews")]) == []


@pytest.mark.parametrize(
    ("objects", "words"),
    [
        (unweighted(), "spec.http[0]: weights sum to 0"),
        (rules(subset="v2"), "no DestinationRule of reviews has a subset v2"),
        (rules(version="v7"), "subset v1 selects no pod of reviews"),
        (rules(gateways=["nowhere"]), "there is no Gateway nowhere"),
        ([*rules(gateways=["door"]), gateway("books.lab")], "no Gateway of door serves reviews"),
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
