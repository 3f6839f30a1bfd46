"""What the rules of entries make their checks expect, with the policy and with its control.

A control breaks the mesh, not the rules: the expectation stays the same, and only live traffic can tell them apart.
"""

from __future__ import annotations

import functools
from typing import Any

import pytest
import yaml

from loadtests.entries import entry, policy
from loadtests.rules.expectations import Objects
from loadtests.verdict import Expected
from tests.unit import gateways, pods
from tests.unit.test_inputs import PROJECT

ONE, OTHER = "x-lab-added: client, route", "x-lab-removed: client; x-lab-set: route"
TO_ECHO = "- inbound|8080|| echo.lab.internal"
EXPECTED: dict[str, dict[str, dict[str, float]]] = {
    "headers": {
        "by route": {f"echo received {ONE}; x-lab-set: route; returned x-lab-new: route; x-lab-version: v1, route": 1.0},
        "by destination": {
            f"echo received {ONE}; x-lab-set: route; returned x-lab-version: echo": 0.9,
            f"pool received x-lab-added: client, pool, route; {OTHER}; returned none": 0.1,
        },
    },
    "delegate": {
        "delegated": {"echo": 0.9, "pool": 0.1},
        "delegated with a condition": {"pool": 1.0},
        "within no condition of the delegate": {"echo": 1.0},
        "another delegate": {"pool": 1.0},
        "not delegated": {"echo": 1.0},
    },
    "direct-response": {
        "with a text": {"HTTP 503 Closed for maintenance.": 1.0},
        "without a text": {"HTTP 410": 1.0},
        "echo's own": {"HTTP 200": 1.0},
    },
    "uri-and-method": {
        "path and method": {"pool": 1.0},
        "another method": {"echo": 1.0},
        "expression": {"pool": 1.0},
        "expression, another method": {"echo": 1.0},
        "beside the expression": {"echo": 1.0},
        "prefix in other case": {"pool": 1.0},
        "beside the prefix": {"echo": 1.0},
    },
    "httproute-weights": {"split": {"echo": 0.9, "pool": 0.1}, "a single backend": {"pool": 1.0}},
    "grpcroute-weights": {"split": {"greeter-0": 0.9, "greeter-1": 0.1}, "testers": {"greeter-1": 1.0}},
    "https-listener": {"a path of pool": {"pool": 1.0}, "another path": {"echo": 1.0}},
    "tcproute-weights": {"connection": {"details": 0.9, "ratings": 0.1}},
    "tlsroute-names": {
        "one name": {"echo": 1.0},
        "another name of the domain": {"pool": 1.0},
        "a name without a route": {"the gateway refused the client": 1.0},
    },
    "locality": {"distributed": {"echo": 0.9, "pool": 0.1}, "kept near": {"echo": 1.0}},
    "locality-failover": {"outage": {"at most 2 of 4 failed; echo, then pool, then echo": 1.0}},
    "egress-https": {"registered": {"HTTP 200": 1.0}, "unknown": {"refused": 1.0}},
    "sni-routing": {
        "split": {"echo": 0.9, "pool": 0.1},
        "another name of the domain": {"pool": 1.0},
        "a name without a route": {"the gateway refused the client": 1.0},
    },
    "virtual-machine": {
        "called by a pod": {"spiffe://cluster.local/ns/machine/sa/pod": 1.0},
        "calls a pod": {"spiffe://cluster.local/ns/machine/sa/machine": 1.0},
        "called without a sidecar": {"refused": 1.0},
    },
    "virtual-machine-health": {"falls ill": {"removed, then restored": 1.0}},
    "websocket": {"split": {"echo": 0.9, "pool": 0.1}, "a single destination": {"pool": 1.0}},
    "websocket-idle": {
        "silent": {"at most 8 s of silence, then closed": 1.0},
        "a message every second": {"open after 5 s": 1.0},
    },
    "global-rate-limit": {
        "limited path": {"4 HTTP 200, 8 HTTP 429": 1.0},
        "other path": {"7 HTTP 200, 5 HTTP 429": 1.0},
        "service down, open": {"12 HTTP 200": 1.0},
        "service down, closed": {"12 HTTP 500": 1.0},
    },
    "tracing": {"calls": {"client.echo CLIENT, echo.echo SERVER": 0.2, "not traced": 0.8}},
    "access-log": {"row of requests": {f"POST /status/404 404 {TO_ECHO}; GET /status/500 500 {TO_ECHO}": 1.0}},
    "external-authorization": {
        "known user": {"HTTP 200": 1.0},
        "unknown user": {"HTTP 403": 1.0},
        "no user": {"HTTP 401": 1.0},
        "known user, denied by a rule": {"HTTP 403": 1.0},
        "no user, denied by a rule": {"HTTP 401": 1.0},
        "not referred": {"HTTP 200": 1.0},
    },
    "ip-lists": {
        "open to all": {"HTTP 200": 1.0},
        "claims a denied address": {"HTTP 200": 1.0},
        "from the pods' networks": {"HTTP 200": 1.0},
        "from another network": {"HTTP 403": 1.0},
        "claims another network": {"HTTP 403": 1.0},
        "not a partner": {"HTTP 403": 1.0},
        "claims to be a partner": {"HTTP 403": 1.0},
    },
}


def rules(name: str, variant: str) -> list[dict[str, Any]]:
    found = list(yaml.safe_load_all((entry.CATALOGUE / name / f"{variant}.yaml").read_text()))
    for number, one in enumerate(found):
        one["metadata"] |= {"uid": f"{name}/{number}", "generation": 1}
    return policy.labelled(found, f"{name}.{variant}")


def sample(namespace: str) -> list[dict[str, Any]]:
    """The workloads, pods and Services of a sample, with the gateways of the mesh."""
    folder = PROJECT / "samples" / namespace / ("platform/kube" if namespace == "bookinfo" else "")
    objects = [o for o in yaml.safe_load_all((folder / f"{namespace}.yaml").read_text()) if o]
    for one in objects:
        one["metadata"] |= {"uid": f"{one['kind']}/{one['metadata']['name']}", "generation": 1, "namespace": namespace}
    return [*objects, *pods.of_workloads(objects, namespace), *gateways.of_mesh()]


def expected(name: str, objects: Objects) -> Expected:
    return entry.load(name).question.expect(objects).expected


@pytest.mark.parametrize("variant", ["policy", "control"])
@pytest.mark.parametrize("name", EXPECTED)
def test_what_an_entry_expects(name: str, variant: str) -> None:
    objects, namespace = rules(name, variant), entry.load(name).question.namespace
    found = expected(name, [*objects, *sample(namespace), *entrances(namespace)])
    assert (found.broken, found.unknown) == ((), {})
    assert {one: pytest.approx(dict(shares)) for one, shares in found.shares.items()} == EXPECTED[name]


@pytest.mark.parametrize("name", EXPECTED)
def test_a_control_has_the_rules_of_its_policy_and_one_thing_more(name: str) -> None:
    declared, control = (
        [(o["kind"], o["metadata"]["name"], o["spec"]) for o in rules(name, variant)] for variant in ("policy", "control")
    )
    assert control[1:] == declared
    assert control[0][0] == "EnvoyFilter"


@functools.cache
def elsewhere(namespace: str) -> list[dict[str, Any]]:
    """The rules of all entries of other namespaces, and their samples."""
    found: list[dict[str, Any]] = []
    others = {name: entry.load(name).question.namespace for name in entry.names()}
    for name, other in others.items():
        if other != namespace:
            found += rules(name, "policy")
            for one in found:
                one["metadata"].setdefault("namespace", other)
    for other in sorted({*others.values()} - {namespace}):
        found += [*entrances(other), *(o for o in sample(other) if o not in gateways.of_mesh())]
    return found


def entrances(namespace: str) -> list[dict[str, Any]]:
    """The rules by which requests enter a sample, which some samples have beside those of entries."""
    samples = PROJECT / "samples"
    file = samples / namespace / ("networking/bookinfo-gateway.yaml" if namespace == "bookinfo" else "ingress.yaml")
    found = list(yaml.safe_load_all(file.read_text())) if file.exists() else []
    for one in found:
        one["metadata"] |= {"uid": f"{one['kind']}/{namespace}", "generation": 1, "namespace": namespace}
    return found


@pytest.mark.parametrize("name", entry.names())
def test_the_rules_of_other_namespaces_have_no_bearing(name: str) -> None:
    namespace = entry.load(name).question.namespace
    alone = [*rules(name, "policy"), *entrances(namespace), *sample(namespace)]
    found, beside = expected(name, alone), expected(name, [*alone, *elsewhere(namespace)])
    assert (found.unknown, found.broken) == ({}, ())
    assert (beside.shares, beside.unknown, beside.broken) == (found.shares, found.unknown, found.broken)


@pytest.mark.parametrize("name", entry.names())
def test_a_control_leaves_nothing_open(name: str) -> None:
    """A control has to FAIL: rules that cannot be judged prove nothing about the check."""
    namespace = entry.load(name).question.namespace
    assert expected(name, [*rules(name, "control"), *entrances(namespace), *sample(namespace)]).unknown == {}
