"""``make judge`` on routes by the gateway, callers, and hosts outside: they pass, and fail once the cluster is changed."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

from tests import lab

SHOP, CLIENTS, PROBES = "judged-doors", "judged-clients", "istio-lab-judge"
IMAGE = "registry.istio.io/release/examples-bookinfo-productpage-v1:1.20.3"
HOST, GRPC, INGRESS, OUTSIDE = "shop.routes.lab.internal", "grpc.routes.lab.internal", "judged.lab.internal", "books.example"
NAMES = ("web", "new")


def named(kind: str, name: str, version: str, spec: dict[str, Any], namespace: str = SHOP) -> dict[str, Any]:
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name, "namespace": namespace}, "spec": spec}


def deployment(name: str) -> dict[str, Any]:
    """A web server; the Deployment selects by another label than the Service, so that pods can be relabelled."""
    container = {
        "name": "web", "image": IMAGE, "imagePullPolicy": "IfNotPresent", "command": ["python3", "-m", "http.server", "8000"],
        "ports": [{"containerPort": 8000}], "readinessProbe": {"tcpSocket": {"port": 8000}, "periodSeconds": 1},
    }  # fmt: skip
    template = {
        "metadata": {"labels": {"app": name, "track": name}},
        "spec": {"containers": [container], "terminationGracePeriodSeconds": 1},
    }
    return named("Deployment", name, "apps/v1", {"selector": {"matchLabels": {"track": name}}, "template": template})


def service(name: str) -> dict[str, Any]:
    spec = {"selector": {"app": name}, "ports": [{"name": "http", "port": 80, "targetPort": 8000}]}
    return named("Service", name, "v1", spec)


def backends(**weights: int) -> dict[str, Any]:
    return {"backendRefs": [{"name": name, "port": 80, "weight": weight} for name, weight in weights.items()]}


def below(path: str, **more: Any) -> dict[str, Any]:
    return {"matches": [{"path": {"type": "PathPrefix", "value": path}, **more}]}


PARENT = {"parentRefs": [{"name": "ingress", "namespace": "istio-system"}]}
HEADERS = {"type": "ResponseHeaderModifier", "responseHeaderModifier": {"set": [{"name": "x-lab", "value": "yes"}]}}
RENAMED = {"type": "URLRewrite", "urlRewrite": {"hostname": "inner.example"}}
AWAY = {"path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/new"}}
HTTP_ROUTE = named(
    "HTTPRoute", "shop", "gateway.networking.k8s.io/v1",
    {
        **PARENT, "hostnames": [HOST],
        "rules": [
            {**below("/split"), **backends(web=70, new=30)},
            {**below("/split", headers=[{"name": "end-user", "value": "jason"}]), **backends(new=1)},
            {**below("/old"), "filters": [{"type": "RequestRedirect", "requestRedirect": {**AWAY, "statusCode": 301}}]},
            {**below("/named"), "filters": [HEADERS, RENAMED], **backends(web=1)},
            backends(web=1),
        ],
    },
)  # fmt: skip
GRPC_ROUTE = named(
    "GRPCRoute", "calls", "gateway.networking.k8s.io/v1",
    {
        **PARENT, "hostnames": [GRPC],
        "rules": [
            {"matches": [{"method": {"service": "shop.Cart", "method": "Add"}}], **backends(new=1)},
            {"matches": [{"method": {"service": "shop.Cart"}}], **backends(web=1)},
        ],
    },
)  # fmt: skip


def path(value: str, kind: str, name: str) -> dict[str, Any]:
    return {"path": value, "pathType": kind, "backend": {"service": {"name": name, "port": {"name": "http"}}}}


INGRESS_RULE = named(
    "Ingress", "shop", "networking.k8s.io/v1",
    {
        "ingressClassName": "istio",
        "rules": [{"host": INGRESS, "http": {"paths": [path("/one", "Exact", "new"), path("/", "Prefix", "web")]}}],
    },
)  # fmt: skip
ENTRY = named(
    "ServiceEntry", "books", "networking.istio.io/v1",
    {
        "hosts": [OUTSIDE], "ports": [{"number": 80, "name": "http", "protocol": "HTTP"}], "resolution": "DNS",
        "endpoints": [{"address": f"new.{SHOP}.svc.cluster.local"}],
    },
)  # fmt: skip
POLICY = named(
    "AuthorizationPolicy", "buyers", "security.istio.io/v1",
    {
        "selector": {"matchLabels": {"app": "new"}},
        "rules": [
            {"from": [{"source": {"principals": [f"cluster.local/ns/{CLIENTS}/sa/buyer"]}}]},
            {"from": [{"source": {"namespaces": [CLIENTS]}}], "to": [{"operation": {"paths": ["/list"]}}]},
        ],
    },
)  # fmt: skip


def keys() -> str:
    """A key by which no token is signed."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048).public_key()
    return json.dumps({"keys": [{**RSAAlgorithm.to_jwk(key, as_dict=True), "kid": "one"}]})


TOKENS = named(
    "RequestAuthentication", "tokens", "security.istio.io/v1",
    {"selector": {"matchLabels": {"app": "web"}}, "jwtRules": [{"issuer": "https://tokens.example", "jwks": keys()}]},
)  # fmt: skip
STRICT = named("PeerAuthentication", "strict", "security.istio.io/v1", {"mtls": {"mode": "STRICT"}})
ONLY = named(
    "Sidecar", "only", "networking.istio.io/v1", {"outboundTrafficPolicy": {"mode": "REGISTRY_ONLY"}},
)  # fmt: skip


def namespace(name: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": {"istio-injection": "enabled"}}}


ACCOUNT = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "buyer", "namespace": CLIENTS}}
WORKLOADS = [namespace(SHOP), namespace(CLIENTS), ACCOUNT, *map(deployment, NAMES), *map(service, NAMES)]


def apply(*objects: dict[str, Any]) -> None:
    lab.kubectl("apply", "--filename", "-", stdin=yaml.safe_dump_all(objects))


def delete(*objects: dict[str, Any]) -> None:
    lab.kubectl("delete", "--filename", "-", stdin=yaml.safe_dump_all(objects))


@pytest.fixture(scope="module")
def shop() -> Iterator[None]:
    apply(*WORKLOADS)
    try:
        for name in NAMES:
            lab.kubectl("-n", SHOP, "rollout", "status", f"deployment/{name}", "--timeout", "120s")
        yield
    finally:
        lab.kubectl("delete", "namespace", SHOP, CLIENTS, "--wait=true")


@pytest.fixture
def rules(request: pytest.FixtureRequest, shop: None) -> Iterator[None]:
    apply(*request.param)
    yield
    delete(*request.param)


def judged(results: Path, *words: str) -> tuple[int, str, dict[str, str]]:
    """Exit status, output, and the outcome of each check and gap."""
    command = [
        sys.executable, "-m", "loadtests.judge", "--kubeconfig", str(lab.KUBECONFIG), "--namespace", SHOP,
        "--gateway", lab.gateway_url(), "--results", str(results), "--rate", "200", f"--confirm={SHOP}", *words,
    ]  # fmt: skip
    run = subprocess.run(command, cwd=lab.PROJECT, capture_output=True, text=True, timeout=400, check=False)
    verdict = json.loads((results / SHOP / "verdict.json").read_text())
    assert lab.kubectl("get", "namespace", PROBES, "--ignore-not-found", "--output", "name") == ""
    assert lab.kubectl("get", "pods", "-A", "-l", "app=istio-lab-guest", "--output", "name") == ""
    return run.returncode, run.stdout + run.stderr, {one["name"]: one["outcome"] for one in verdict["classes"]}


def relabelled(name: str, to: str) -> None:
    lab.kubectl("-n", SHOP, "label", "pods", "--selector", f"track={name}", f"app={to}", "--overwrite")


def inject(name: str, whether: str) -> None:
    """Give a Deployment's pods a sidecar, or none."""
    labels = {"sidecar.istio.io/inject": whether}
    lab.kubectl(
        "-n", SHOP, "patch", "deployment", name, "--patch", json.dumps({"spec": {"template": {"metadata": {"labels": labels}}}})
    )
    lab.kubectl("-n", SHOP, "rollout", "status", f"deployment/{name}", "--timeout", "120s")
    # Until the old pod is gone, its proxy may still answer.
    lab.kubectl(
        "-n", SHOP, "wait", "pod", "--for=delete", "-l", f"track={name},sidecar.istio.io/inject!={whether}", "--timeout=60s"
    )


DOORS = [HTTP_ROUTE, GRPC_ROUTE, INGRESS_RULE]


@pytest.mark.parametrize("rules", [DOORS], indirect=True, ids=["doors"])
@pytest.mark.usefixtures("rules")
def test_routes_by_the_gateway_pass_and_fail_once_pods_are_of_another_service(tmp_path: Path) -> None:
    status, output, outcomes = judged(tmp_path)
    assert (status, set(outcomes.values()), len(outcomes)) == (0, {"PASS"}, 9), output
    relabelled("new", "web")
    try:
        status, output, outcomes = judged(tmp_path)
    finally:
        relabelled("new", "new")
    # No pod is left behind the Service.
    assert (status, {name for name, outcome in outcomes.items() if outcome == "FAIL"}) == (
        1,
        {
            "HTTPRoute shop: spec.rules[0]", "HTTPRoute shop: spec.rules[1]", "GRPCRoute calls: spec.rules[0]",
            "Ingress shop: spec.rules[0].http.paths[0]",
        },
    ), output  # fmt: skip


@pytest.mark.parametrize("rules", [[POLICY, TOKENS, STRICT]], indirect=True, ids=["callers"])
@pytest.mark.usefixtures("rules")
def test_identities_and_tokens_pass_and_fail_once_no_proxy_checks_them(tmp_path: Path) -> None:
    status, output, outcomes = judged(tmp_path, "--identities=1")
    gaps = {name for name, outcome in outcomes.items() if outcome != "PASS"}
    assert (status, gaps) == (2, {"RequestAuthentication tokens: spec.jwtRules[0]"}), output
    assert f"Service new: GET / by ServiceAccount buyer of namespace {CLIENTS}" in outcomes, output
    inject("new", "false")
    try:
        status, output, outcomes = judged(tmp_path, "--identities=1")
    finally:
        inject("new", "true")
    failed = {name for name, outcome in outcomes.items() if outcome == "FAIL"}
    assert (status, failed) == (
        1, {f"Service new: GET {at} by a client of namespace {PROBES}" for at in ("/", "/list")}
        | {
            f"Service new: GET / by ServiceAccount default of namespace {CLIENTS}",
            "Service new: GET / by a client without a sidecar",
        },
    ), output  # fmt: skip


def line(name: str, app: str) -> dict[str, Any]:
    ports = [{"name": "tcp", "port": 9000, "targetPort": 8000}]
    return named("Service", name, "v1", {"selector": {"app": app}, "ports": ports})


LINES = [line("line", "web"), line("other", "new")]
TCP = named(
    "VirtualService", "line", "networking.istio.io/v1",
    {"hosts": ["line"], "tcp": [{"route": [
        {"destination": {"host": "line"}, "weight": 70}, {"destination": {"host": "other"}, "weight": 30},
    ]}]},
)  # fmt: skip


@pytest.mark.parametrize("rules", [[*LINES, TCP]], indirect=True, ids=["lines"])
@pytest.mark.usefixtures("rules")
def test_connections_pass_and_fail_once_pods_are_of_another_service(tmp_path: Path) -> None:
    status, output, outcomes = judged(tmp_path)
    assert (status, outcomes) == (0, {"VirtualService line: spec.tcp[0]": "PASS"}), output
    relabelled("new", "web")
    try:
        status, output, outcomes = judged(tmp_path)
    finally:
        relabelled("new", "new")
    assert (status, outcomes) == (1, {"VirtualService line: spec.tcp[0]": "FAIL"}), output


@pytest.mark.parametrize("rules", [[ENTRY, ONLY]], indirect=True, ids=["outside"])
@pytest.mark.usefixtures("rules")
def test_hosts_outside_pass_and_fail_once_nothing_answers(tmp_path: Path) -> None:
    status, output, outcomes = judged(tmp_path, "--identities=1")
    assert (status, outcomes) == (
        0, {"ServiceEntry books: spec.hosts[0]": "PASS", "Sidecar only: spec.outboundTrafficPolicy": "PASS"},
    ), output  # fmt: skip
    relabelled("new", "gone")
    try:
        status, output, outcomes = judged(tmp_path, "--identities=1")
    finally:
        relabelled("new", "new")
    assert (status, outcomes["ServiceEntry books: spec.hosts[0]"]) == (1, "FAIL"), output
