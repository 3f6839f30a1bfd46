"""``make judge`` on rules that others have written: Istio's samples, unmodified, read from its module when the test runs.

Each is judged as it is, and once more when the cluster no longer fits it: a mechanical change that leaves the rules alone.
Every check and gap of a report is compared by name, so none may be missing, and none may be wrong.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests import lab

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "istio-lab"
VERSIONS = yaml.safe_load((lab.PROJECT / "playbooks/group_vars/all/versions.yml").read_text())
SAMPLES = CACHE / "go/mod/istio.io" / f"istio@{VERSIONS['lab_versions']['istio_module']}" / "samples"
BOOKINFO, HELLO, HTTPBIN, PROBES = "judged-bookinfo", "judged-helloworld", "judged-httpbin", "istio-lab-judge"
KINDS = "virtualservices,destinationrules,gateways.networking.istio.io,gateways.gateway.networking.k8s.io,httproutes"
IMAGE = "registry.istio.io/release/examples-bookinfo-productpage-v1:1.20.3"
IN_EVERY_LAB = ("productpage-v1", "details-v1", "ratings-v1", "reviews-v1", "reviews-v2", "reviews-v3")
EVERYWHERE = {"judged": "samples"}
"""A label of all pods."""
PLATFORM, NETWORKING, ROUTES = "bookinfo/platform/kube/bookinfo", "bookinfo/networking/", "bookinfo/gateway-api/"
WORKLOADS = {
    BOOKINFO: [
        f"{PLATFORM}{part}.yaml"
        for part in ("", "-ratings-v2", "-ratings-v2-mysql", "-ratings-v2-mysql-vm", "-details-v2", "-versions")
    ],
    HELLO: ["helloworld/helloworld.yaml", "helloworld/gateway-api/helloworld-versions.yaml"],
    HTTPBIN: ["httpbin/httpbin.yaml"],
}
SUBSETS = f"{NETWORKING}destination-rule-all.yaml"
PASS, FAIL = "PASS", "FAIL"


def read(file: str) -> list[dict[str, Any]]:
    return [one for one in yaml.safe_load_all((SAMPLES / file).read_text()) if one]


def fitted(item: dict[str, Any]) -> dict[str, Any]:
    """A Deployment for this lab: its selector has another label than subsets do, so that pods can be relabelled.

    What has no image in every lab, or needs a database, is a web server that finds nothing.
    """
    if item["kind"] != "Deployment":
        return item
    template, track = item["spec"]["template"], {"track": item["metadata"]["name"]}
    template["metadata"]["labels"] |= {**track, **EVERYWHERE}
    item["spec"]["selector"] = {"matchLabels": track}
    (container,) = template["spec"]["containers"]
    (port,) = (one["containerPort"] for one in container["ports"])
    if not any(f"examples-bookinfo-{name}:" in container["image"] for name in IN_EVERY_LAB):
        container |= {"image": IMAGE, "command": ["python3", "-m", "http.server", str(port)]}
    container["readinessProbe"] = {"tcpSocket": {"port": port}, "periodSeconds": 1, "timeoutSeconds": 10}
    container.pop("resources", None)
    template["spec"]["terminationGracePeriodSeconds"] = 1
    template["spec"]["containers"] = [container]
    return item


def apply(namespace: str, objects: Sequence[dict[str, Any]]) -> None:
    lab.kubectl("-n", namespace, "apply", "--filename", "-", stdin=yaml.safe_dump_all(objects))


@pytest.fixture(scope="module")
def places() -> Iterator[Callable[[str], None]]:
    """Deploys a namespace's workloads, once."""
    there: list[str] = []

    def deploy(namespace: str) -> None:
        if namespace in there:
            return
        there.append(namespace)
        labels = {"istio-injection": "enabled"}
        apply(namespace, [{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace, "labels": labels}}])
        apply(namespace, [fitted(one) for file in WORKLOADS[namespace] for one in read(file)])
        lab.kubectl("-n", namespace, "wait", "deployment", "--all", "--for=condition=Available", "--timeout=170s")

    yield deploy
    for namespace in there:
        lab.kubectl("delete", "namespace", namespace, "--wait=true")


Twin = Callable[[str], AbstractContextManager[None]]


def relabelled(*tracks: str, label: str = "version") -> Twin:
    """The pods of Deployments get a label that nobody asks for."""

    @contextmanager
    def twin(namespace: str) -> Iterator[None]:
        pods = [one["metadata"] for one in lab.items("pods", namespace) if one["metadata"]["labels"].get("track") in tracks]
        assert len(pods) == len(tracks)
        lab.kubectl("-n", namespace, "label", "pod", *(pod["name"] for pod in pods), f"{label}=other", "--overwrite")
        try:
            yield
        finally:
            for pod in pods:
                before = f"{label}={pod['labels'][label]}"
                lab.kubectl("-n", namespace, "label", "pod", pod["name"], before, "--overwrite")

    return twin


def widened(service: str) -> Twin:
    """A Service selects every pod of the namespace."""

    @contextmanager
    def twin(namespace: str) -> Iterator[None]:
        before = json.loads(lab.kubectl("-n", namespace, "get", "service", service, "-o", "json"))["spec"]["selector"]

        def select(labels: dict[str, str]) -> None:
            change = [{"op": "replace", "path": "/spec/selector", "value": labels}]
            lab.kubectl("-n", namespace, "patch", "service", service, "--type=json", "--patch", json.dumps(change))

        select(EVERYWHERE)
        try:
            yield
        finally:
            select(before)

    return twin


def cut_off(track: str, rule: dict[str, Any]) -> Twin:
    """A Deployment's sidecar no longer reaches istiod, and so does not get what is changed from then on.

    :param rule: something new, which has no bearing on the routes
    """

    @contextmanager
    def twin(namespace: str) -> Iterator[None]:
        shell = ["podman", "exec", f"{lab.NAME}-control-plane", "bash", "-c"]
        (pod,) = (one for one in lab.items("pods", namespace) if one["metadata"]["labels"].get("track") == track)
        containers = pod["status"].get("initContainerStatuses", []) + pod["status"]["containerStatuses"]
        container = next(one["containerID"] for one in containers if one["name"] == "istio-proxy")
        tasks = subprocess.run([*shell, "ctr -n k8s.io task ls"], capture_output=True, text=True, check=True).stdout
        pid = next(line.split()[1] for line in tasks.splitlines() if line.startswith(container.removeprefix("containerd://")))
        drop = "; ".join(
            f"nsenter -t {pid} -n iptables %s {chain} -p tcp {port} 15012 -j DROP"
            for chain, port in (("OUTPUT", "--dport"), ("INPUT", "--sport"))
        )
        subprocess.run([*shell, drop % ("-I", "-I")], check=True)
        try:
            apply(namespace, [rule])
            yield
        finally:
            subprocess.run([*shell, drop % ("-D", "-D")], check=True)

    return twin


UNRELATED = {
    "apiVersion": "networking.istio.io/v1", "kind": "DestinationRule", "metadata": {"name": "unrelated"},
    "spec": {"host": "unrelated.example"},
}  # fmt: skip


@dataclass(frozen=True)
class Sample:
    """One or several files that are judged together.

    :param passes: routes that are checked, and pass
    :param idle: part of a warning, where a route gets no request
    :param twin: what breaks it; None for a rule for the same hosts that is older
    :param fails: routes that fail then
    :param names: part of the report that names the cause
    :param older: the older rule's own route, which passes
    """

    namespace: str
    files: tuple[str, ...]
    passes: tuple[str, ...]
    twin: Twin | None
    fails: tuple[str, ...]
    names: str
    idle: str = ""
    older: dict[str, Any] = field(default_factory=dict)


def routes(kind: str, *names: str) -> tuple[str, ...]:
    """``reviews`` or ``reviews/1``: the name of a rule, and the number of its route."""
    part = "http" if kind == "VirtualService" else "rules"
    return tuple(f"{kind} {name.partition('/')[0]}: spec.{part}[{name.partition('/')[2] or 0}]" for name in names)


def by_gateway(name: str) -> tuple[str, ...]:
    """The route of a VirtualService that is for a Gateway of the same name."""
    return (f"VirtualService {name}: spec.http[0] by Gateway judged-{name}/{name}-gateway",)


def conflicting(host: str, subset: str) -> dict[str, Any]:
    destination = {"host": host, "subset": subset}
    return {
        "apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": {"name": "first"},
        "spec": {"hosts": [host], "http": [{"route": [{"destination": destination}]}]},
    }  # fmt: skip


def istio(
    file: str, passes: Sequence[str], twin: Twin | dict[str, Any], fails: Sequence[str], names: str, **more: Any
) -> Sample:
    """A sample of Bookinfo's VirtualServices, with its subsets."""
    older = {"older": twin} if isinstance(twin, dict) else {}
    files = (more.pop("subsets", SUBSETS), f"{NETWORKING}virtual-service-{file}.yaml")
    checked, failing = routes("VirtualService", *passes), routes("VirtualService", *fails)
    return Sample(BOOKINFO, files, checked, None if older else twin, failing, names, **older, **more)  # type: ignore[arg-type]


def attached(file: str, passes: Sequence[str], twin: Twin, fails: Sequence[str], names: str) -> Sample:
    """A sample of Bookinfo's routes of the Gateway API."""
    return Sample(BOOKINFO, (f"{ROUTES}{file}.yaml",), routes("HTTPRoute", *passes), twin, routes("HTTPRoute", *fails), names)


def of_gateway_api(namespace: str, files: Sequence[str], twin: Twin) -> Sample:
    """A Gateway of the Gateway API, for which istiod deploys pods, and its route."""
    route = routes("HTTPRoute", namespace.removeprefix("judged-"))
    return Sample(namespace, tuple(files), route, twin, route, "no_healthy_upstream")


ALONE = "sidecars follow VirtualService first alone"
APPLICATIONS = "spec.selector selects pods of several applications"
STALE = "the proxy of reviews-v"
FOUR = ("productpage", "reviews", "ratings", "details")
CASES: dict[str, Sample] = {
    "all-v1": istio("all-v1", FOUR, relabelled("reviews-v1"), ["reviews"], "subset v1 of reviews"),
    "all-v1-mtls": istio(
        "all-v1", FOUR, relabelled("details-v1"), ["details"], "subset v1 of details",
        subsets=f"{NETWORKING}destination-rule-all-mtls.yaml",
    ),
    "details-v2": istio("details-v2", ["details"], conflicting("details", "v1"), ["details"], ALONE),
    "ratings-db": istio("ratings-db", ["reviews", "ratings"], relabelled("ratings-v2"), ["ratings"], "subset v2 of ratings"),
    "ratings-mysql": istio(
        "ratings-mysql", ["reviews", "ratings"], relabelled("ratings-v2-mysql"), ["ratings"], "subset v2-mysql of ratings"
    ),
    "ratings-mysql-vm": istio(
        "ratings-mysql-vm", ["reviews", "ratings"], relabelled("reviews-v3"), ["reviews"], "subset v3 of reviews"
    ),
    # All calls of jason are aborted, whoever would have answered.
    "ratings-test-abort": istio(
        "ratings-test-abort", ["ratings/0", "ratings/1"], relabelled("ratings-v1"), ["ratings/1"], "subset v1 of ratings"
    ),
    "ratings-test-delay": istio(
        "ratings-test-delay", ["ratings/0", "ratings/1"], conflicting("ratings", "v1"), ["ratings/0", "ratings/1"], ALONE
    ),
    "reviews-50-v3": istio("reviews-50-v3", ["reviews"], relabelled("reviews-v3"), ["reviews"], "subset v3 of reviews"),
    "reviews-80-20": istio("reviews-80-20", ["reviews"], widened("reviews"), [], f"Service reviews: {APPLICATIONS}"),
    "reviews-90-10": istio("reviews-90-10", ["reviews"], cut_off("reviews-v3", UNRELATED), [], STALE),
    "reviews-jason-v2-v3": istio(
        "reviews-jason-v2-v3", ["reviews/0", "reviews/1"], relabelled("reviews-v2"), ["reviews/0"], "subset v2 of reviews"
    ),
    "reviews-test-v2": istio(
        "reviews-test-v2", ["reviews/0", "reviews/1"], conflicting("reviews", "v3"), ["reviews/0", "reviews/1"], ALONE
    ),
    "reviews-v2-v3": istio("reviews-v2-v3", ["reviews"], relabelled("reviews-v2"), ["reviews"], "subset v2 of reviews"),
    "reviews-v3": istio(
        "reviews-v3", ["reviews"], conflicting("reviews", "v1"), ["reviews"], ALONE,
        subsets=f"{NETWORKING}destination-rule-reviews.yaml",
    ),
    "fault-injection-details": Sample(
        BOOKINFO, (SUBSETS, f"{NETWORKING}fault-injection-details-v1.yaml"), routes("VirtualService", "details"), None,
        routes("VirtualService", "details"), ALONE, "VirtualService details: spec.http[1]: no request reaches it",
        conflicting("details", "v2"),
    ),
    "route-all-v1": attached("route-all-v1", FOUR, relabelled("details-v1"), ["details"], "no_healthy_upstream"),
    "route-reviews-50-v3": attached(
        "route-reviews-50-v3", ["reviews"], relabelled("reviews-v3"), ["reviews"], "no_healthy_upstream"
    ),
    "route-reviews-90-10": attached(
        "route-reviews-90-10", ["reviews"], widened("reviews-v2"), [], f"Service reviews-v2: {APPLICATIONS}"
    ),
    "route-reviews-v1": attached("route-reviews-v1", ["reviews"], cut_off("reviews-v1", UNRELATED), [], STALE),
    "route-reviews-v3": attached("route-reviews-v3", ["reviews"], relabelled("reviews-v3"), ["reviews"], "no_healthy_upstream"),
    "helloworld-gateway": Sample(
        HELLO, ("helloworld/helloworld-gateway.yaml",), by_gateway("helloworld"),
        relabelled("helloworld-v1", "helloworld-v2", label="app"), by_gateway("helloworld"), "helloworld",
    ),
    "bookinfo-gateway-api": of_gateway_api(
        BOOKINFO, [f"{ROUTES}bookinfo-gateway.yaml"], relabelled("productpage-v1", label="app")
    ),
    "helloworld-gateway-api": of_gateway_api(
        HELLO, [f"helloworld/gateway-api/helloworld-{part}.yaml" for part in ("gateway", "route")], relabelled("helloworld-v2")
    ),
    "httpbin-gateway-api": of_gateway_api(
        HTTPBIN, ["httpbin/gateway-api/httpbin-gateway.yaml"], relabelled("httpbin", label="app")
    ),
    "httpbin-gateway": Sample(
        HTTPBIN, ("httpbin/httpbin-gateway.yaml",), by_gateway("httpbin"), relabelled("httpbin", label="app"),
        by_gateway("httpbin"),
        "httpbin",
    ),
}  # fmt: skip


def judged(namespace: str, results: Path) -> tuple[int, str, dict[str, str]]:
    """Exit status, output, and the outcome of each check and gap."""
    command = [
        sys.executable, "-m", "loadtests.judge", "--kubeconfig", str(lab.KUBECONFIG), "--namespace", namespace,
        "--gateway", lab.gateway_url(), "--results", str(results), "--rate", "200", f"--confirm={namespace}",
    ]  # fmt: skip
    run = subprocess.run(command, cwd=lab.PROJECT, capture_output=True, text=True, timeout=400, check=False)
    verdict = json.loads((results / namespace / "verdict.json").read_text())
    return run.returncode, run.stdout + run.stderr, {one["name"]: one["outcome"] for one in verdict["classes"]}


@pytest.mark.parametrize("name", CASES)
def test_a_sample_passes_and_fails_once_the_cluster_does_not_fit_it(
    name: str, places: Callable[[str], None], tmp_path: Path
) -> None:
    one = CASES[name]
    places(one.namespace)
    objects = [item for file in one.files for item in read(file)]
    try:
        apply(one.namespace, objects)
        _wait_for_gateways(one.namespace, objects)
        status, output, outcomes = judged(one.namespace, tmp_path)
        assert (status, outcomes) == (0, dict.fromkeys(one.passes, PASS)), output
        assert one.idle in output, output
        if one.twin is None:
            lab.kubectl("-n", one.namespace, "delete", KINDS, "--all")
            apply(one.namespace, [one.older])
            time.sleep(1.1)  # ages differ by whole seconds
            apply(one.namespace, objects)
            _judge_broken(one, tmp_path)
        else:
            with one.twin(one.namespace):
                _judge_broken(one, tmp_path)
    finally:
        lab.kubectl("-n", one.namespace, "delete", KINDS, "--all")


def _wait_for_gateways(namespace: str, objects: Sequence[dict[str, Any]]) -> None:
    """Until the pods are ready that istiod deploys for Gateways of the Gateway API."""
    for one in (o for o in objects if o["kind"] == "Gateway" and o["apiVersion"].startswith("gateway.networking.k8s.io/")):
        deployment, until = f"{one['metadata']['name']}-istio", time.monotonic() + 60
        while not any(found["metadata"]["name"] == deployment for found in lab.items("deployments", namespace)):
            assert time.monotonic() < until, f"istiod does not deploy {deployment}"
            time.sleep(0.5)
        lab.kubectl("-n", namespace, "rollout", "status", f"deployment/{deployment}", "--timeout=120s")


def _judge_broken(one: Sample, results: Path) -> None:
    status, output, outcomes = judged(one.namespace, results)
    expected = {**dict.fromkeys(one.passes, PASS), **dict.fromkeys(one.fails, FAIL)}
    expected |= {"VirtualService first: spec.http[0]": PASS} if one.older else {}
    assert outcomes == expected, output
    # A warning that names the cause has no bearing on the status.
    assert status == (0 if not one.fails and APPLICATIONS in one.names else 1), output
    assert one.names in output, output


@contextmanager
def without_the_labs_own_gateway() -> Iterator[None]:
    """Sample bookinfo's own rules are for the same paths of all hosts, and older."""
    file = str(lab.PROJECT / "samples/bookinfo/networking/bookinfo-gateway.yaml")
    lab.kubectl("-n", "bookinfo", "delete", "--filename", file)
    try:
        yield
    finally:
        lab.kubectl("-n", "bookinfo", "apply", "--filename", file)


def test_bookinfos_gateway_fails_beside_an_older_one_and_passes_without_it(
    places: Callable[[str], None], tmp_path: Path
) -> None:
    places(BOOKINFO)
    (route,) = by_gateway("bookinfo")
    try:
        apply(BOOKINFO, read(f"{NETWORKING}bookinfo-gateway.yaml"))
        status, output, outcomes = judged(BOOKINFO, tmp_path)
        assert (status, set(outcomes.values()), len(outcomes)) == (1, {FAIL}, 5), output
        assert "VirtualService bookinfo/bookinfo: spec.http[0].match[0] takes them all" in output
        with without_the_labs_own_gateway():
            status, output, outcomes = judged(BOOKINFO, tmp_path)
        assert (status, outcomes) == (0, {route: PASS}), output
    finally:
        lab.kubectl("-n", BOOKINFO, "delete", KINDS, "--all")


def test_at_least_sixty_checks_are_compared() -> None:
    assert sum(2 * len(one.passes) + bool(one.older) for one in CASES.values()) >= 60
