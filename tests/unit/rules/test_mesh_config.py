"""Settings of the mesh: read where they bear on an expectation, and never ignored."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jinja2
import pytest
import yaml

from loadtests.entries import entry, question
from loadtests.entries.question import Split
from loadtests.mesh.cluster import Cluster, ClusterError
from loadtests.rules import resilience
from loadtests.rules.calls import Call, Caller, NoRoute, Retries
from loadtests.rules.expectations import NotModelledError
from loadtests.rules.mesh_config import as_object, mesh_of
from loadtests.rules.routing import route_call
from loadtests.rules.view import not_modelled, viewed
from loadtests.verdict import Expected
from tests.unit import pods
from tests.unit.entries.test_expected import entrances, sample
from tests.unit.test_inputs import PROJECT

SPLIT = Split("reviews", {"anonymous": {"port": 9080}}, "productpage")
CALL = Call("reviews", 9080, Caller("bookinfo", {"app": "productpage"}))


def rule(kind: str, name: str = "reviews", namespace: str = "bookinfo", **spec: Any) -> dict[str, Any]:
    metadata = {"name": name, "namespace": namespace, "uid": f"{kind}/{name}", "generation": 1}
    return {"kind": kind, "metadata": metadata, "spec": spec}


def config_map(mesh: dict[str, Any], **networks: Any) -> dict[str, Any]:
    """As istioctl leaves it."""
    metadata = {"name": "istio", "namespace": "istio-system", "uid": "m", "resourceVersion": "1"}
    return {
        "metadata": metadata,
        "data": {"mesh": yaml.safe_dump(mesh), "meshNetworks": yaml.safe_dump({"networks": networks})},
    }


TO = {"route": [{"destination": {"host": "reviews", "subset": "v1"}}]}


def objects(mesh: dict[str, Any], **route: Any) -> list[dict[str, Any]]:
    return [
        rule("Service", ports=[{"name": "http", "port": 9080}], selector={"app": "reviews"}),
        rule("VirtualService", hosts=["reviews"], http=[{**TO, **route}]),
        rule("DestinationRule", host="reviews", subsets=[{"name": "v1", "labels": {"version": "v1"}}]),
        *pods.versions("reviews", "v1"),
        as_object(config_map(mesh)),
    ]


def expected(mesh: dict[str, Any]) -> Expected:
    return SPLIT.expect(objects(mesh)).expected


def test_what_the_lab_sets_and_what_istio_installs_leaves_nothing_open() -> None:
    template = jinja2.Environment(autoescape=False).from_string(  # noqa: S701 # YAML, not HTML
        (PROJECT / "roles/istio/templates/operator.yaml.j2").read_text()
    )
    defaults = yaml.safe_load((PROJECT / "roles/istio/defaults/main.yml").read_text())
    made = yaml.safe_load(template.render({**defaults, "istio_version": "1"}))["spec"]["meshConfig"]
    assert made["outboundTrafficPolicy"] == {"mode": "REGISTRY_ONLY"}
    installed = {
        "trustDomain": "cluster.local", "rootNamespace": "istio-system", "enablePrometheusMerge": True,
        "defaultProviders": {"metrics": ["prometheus"]},
        "defaultConfig": {"discoveryAddress": "istiod.istio-system.svc:15012", "proxyMetadata": {}, **made["defaultConfig"]},
    }  # fmt: skip
    found = expected({**made, **installed})
    assert (found.unknown, found.shares) == ({}, {"anonymous": {"v1": 1.0}})


@pytest.mark.parametrize(
    ("mesh", "path"),
    [
        ({"localityLbSetting": {"failover": [{"from": "a", "to": "b"}]}}, "localityLbSetting.failover[0].from"),
        ({"localityLbSetting": {"enabled": False}}, "localityLbSetting.enabled"),
        ({"defaultTrafficPolicy": {"connectionPool": {"tcp": {"maxConnections": 1}}}}, "defaultTrafficPolicy.connection"),
        ({"enableAutoMtls": False}, "enableAutoMtls"),
        ({"rootNamespace": "other"}, "rootNamespace"),
        ({"trustDomain": "td"}, "trustDomain"),
        ({"trustDomainAliases": ["td"]}, "trustDomainAliases[0]"),
        ({"defaultVirtualServiceExportTo": ["."]}, "defaultVirtualServiceExportTo[0]"),
        ({"discoverySelectors": [{"matchLabels": {"a": "b"}}]}, "discoverySelectors[0].matchLabels.a"),
        ({"pathNormalization": {"normalization": "NONE"}}, "pathNormalization.normalization"),
        ({"outboundTrafficPolicy": {"mode": "NEW"}}, "outboundTrafficPolicy.mode"),
        ({"outboundTrafficPolicy": {}, "x-new": 1}, "x-new"),
        ({"defaultConfig": {"proxyMetadata": {"ISTIO_META_DNS_CAPTURE": "true"}}}, "defaultConfig.proxyMetadata.ISTIO_META"),
        ({"defaultHttpRetryPolicy": {"attempts": 1, "perTryTimeout": "1s"}}, "defaultHttpRetryPolicy.perTryTimeout"),
        ({"defaultHttpRetryPolicy": {"attempts": 1, "x-new": 1}}, "defaultHttpRetryPolicy.x-new"),
    ],
)
def test_a_setting_that_is_not_modelled_leaves_every_expectation_open(mesh: dict[str, Any], path: str) -> None:
    assert expected(mesh).unknown["anonymous"][0].startswith(f"MeshConfig istio: spec.{path}")
    # Whatever is asked.
    asked = entry.load("mtls-strict").question
    strict = rule("PeerAuthentication", "default", "echo", mtls={"mode": "STRICT"})
    unknown = asked.expect([strict, *sample("echo"), *entrances("echo"), as_object(config_map(mesh))]).expected.unknown
    assert set(unknown) == set(asked.classes)


VARIABLE = {"environmentVariables": {"ISTIO_META_DNS_CAPTURE": "true"}}
INERT: dict[str, Any] = {"image": {"imageType": "debug"}, "selector": {"matchLabels": {"app": "reviews"}}}


@pytest.mark.parametrize(
    ("namespace", "spec", "path"),
    [
        ("bookinfo", VARIABLE, "environmentVariables.ISTIO_META_DNS_CAPTURE"),
        ("bookinfo", {**INERT, **VARIABLE}, "environmentVariables.ISTIO_META_DNS_CAPTURE"),
        ("istio-system", VARIABLE, "environmentVariables.ISTIO_META_DNS_CAPTURE"),
        ("bookinfo", {"new": 1}, "new"),
        ("bookinfo", {"concurrency": 2}, ""),
        ("bookinfo", {**INERT, "concurrency": 2}, "concurrency"),
        ("team", {**VARIABLE, "new": 1}, ""),
        ("bookinfo", INERT, ""),
        ("istio-system", {}, ""),
    ],
)
def test_settings_of_proxies(namespace: str, spec: dict[str, Any], path: str) -> None:
    made = [*objects({}), rule("ProxyConfig", "p", namespace, **spec)]
    found = SPLIT.expect(made).expected
    assert found.unknown == ({"anonymous": (f"ProxyConfig p: spec.{path}",)} if path else {})
    # Whatever is asked.
    there = [rule("ProxyConfig", "p", namespace.replace("bookinfo", "echo"), **spec), *sample("echo"), *entrances("echo")]
    asked = entry.load("mtls-strict").question
    assert set(asked.expect(there).expected.unknown) == (set(asked.classes) if path else set())


def test_networks_are_not_modelled() -> None:
    made = [*objects({})[:-1], as_object(config_map({}, one={"endpoints": [{"fromRegistry": "a"}]}))]
    assert SPLIT.expect(made).expected.unknown["anonymous"][0].startswith("MeshConfig istio: spec.meshNetworks.one")


RETRIED = {"defaultHttpRetryPolicy": {"attempts": 4, "retryOn": "503", "perTryTimeout": "2s"}}
OFTEN = Retries(4, 2.0, ("retriable-status-codes", "503"))


def test_retries_of_the_mesh_apply_where_no_route_says_otherwise() -> None:
    plain = objects(RETRIED)
    without_rule = [o for o in plain if o["kind"] != "VirtualService"]
    own = objects(RETRIED, retries={"attempts": 0})
    for made, wanted in (
        (plain, OFTEN),
        (without_rule, OFTEN),
        (own, Retries(0)),
        (objects({}, retries={"attempts": 0}), Retries(0)),
    ):
        seen = viewed(made)
        assert route_call(seen, CALL).retries == wanted
        assert not_modelled(seen) == ()
    assert route_call(viewed(objects({"defaultHttpRetryPolicy": {"attempts": 0}})), CALL).retries == Retries(0)
    # What is sent to no service is not tried again.
    seen = viewed(without_rule)
    assert route_call(seen, replace(CALL, host="a.example")).no_route == NoRoute.PASSTHROUGH
    assert not_modelled(seen) == ()
    # A split is none of a retry's business, but a limit for each attempt may cut an answer off.
    assert expected({"defaultHttpRetryPolicy": {"attempts": 4, "retryOn": "503"}}).unknown == {}
    assert SPLIT.expect(own).expected.unknown == {}


def test_retries_of_the_mesh_bear_on_ejections() -> None:
    detection = {"outlierDetection": {"maxEjectionPercent": 100}, "loadBalancer": {"simple": "ROUND_ROBIN"}}
    made = [
        rule("Service", ports=[{"name": "http", "port": 9080}]),
        rule("DestinationRule", host="reviews", trafficPolicy=detection),
        as_object(config_map({"defaultHttpRetryPolicy": {"attempts": 1, "retryOn": "5xx"}})),
    ]
    asked = {"namespace": "bookinfo", "app": "reviews", "port": 9080, "call": CALL, "row": 12, "pods": 2}
    with pytest.raises(NotModelledError, match="MeshConfig: defaultHttpRetryPolicy"):
        resilience.ejected(viewed(made), asked)
    assert resilience.ejected(viewed(made[:2]), asked) == {"at most 5 of 12 failed": 1.0}


@pytest.mark.parametrize(
    ("mesh", "allowed"),
    [
        ({}, True),
        ({"outboundTrafficPolicy": {"mode": "ALLOW_ANY"}}, True),
        ({"outboundTrafficPolicy": {"mode": "REGISTRY_ONLY"}}, False),
    ],
)
def test_unknown_hosts(mesh: dict[str, Any], allowed: bool) -> None:
    assert mesh_of(viewed([as_object(config_map(mesh))])).allow_any is allowed


@pytest.mark.parametrize(("automatic", "outcome"), [(True, "HTTP 200"), (False, "HTTP 503")])
def test_without_automatic_mutual_tls_a_sidecar_sends_plain_text(automatic: bool, outcome: str) -> None:
    strict = rule("PeerAuthentication", "default", "echo", mtls={"mode": "STRICT"}, selector={"matchLabels": {"app": "echo"}})
    made = [strict, *sample("echo"), *entrances("echo"), as_object(config_map({"enableAutoMtls": automatic}))]
    name = "with a sidecar"
    assert entry.load("mtls-strict").question.expect(made).expected.shares[name] == {outcome: 1.0}
    # Where it is for all pods, the gateway does not get to whoever makes the call either.
    everywhere = {**strict, "spec": {"mtls": {"mode": "STRICT"}}}
    found = entry.load("mtls-strict").question.expect([everywhere, *made[1:]]).expected
    assert (name in found.unknown) is not automatic


class Answering(Cluster):
    """A cluster without rules."""

    def everywhere(self, *kinds: str) -> list[dict[str, Any]]:
        return []

    def ask(self, path: str, **query: str) -> dict[str, Any]:
        assert path == "/api/v1/namespaces/istio-system/configmaps/istio"
        return {**config_map({}), "data": {"mesh": self.user}}


def test_settings_are_read_with_the_rules_and_settings_that_are_no_yaml_are_an_error() -> None:
    (found,) = question.rules_in(Answering("kubeconfig", "bookinfo", "trustDomain: a"), ("services",)).objects
    assert (found["kind"], found["spec"]["trustDomain"]) == ("MeshConfig", "a")
    with pytest.raises(ClusterError, match="ConfigMap istio: "):
        question.rules_in(Answering("kubeconfig", "bookinfo", "a: ["), ("services",))
