"""Data from Prometheus and Zipkin about the mesh, compared with the clients' data."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import requests
import yaml

from tests import lab

ROLE = lab.PROJECT / "roles/telemetry/files"
SECONDS = 40


def asked(service: str, path: str) -> Any:
    """A response from a service in the namespace telemetry, through the API server."""
    return json.loads(lab.kubectl("get", "--raw", f"/api/v1/namespaces/telemetry/services/{service}/proxy{path}"))


def query(expression: str) -> list[dict[str, Any]]:
    """Current series (``metric``, ``value``) of a Prometheus expression."""
    found: list[dict[str, Any]] = asked("prometheus:9090", f"/api/v1/query?query={quote(expression)}")["data"]["result"]
    return found


def count(expression: str) -> float:
    """The single number of an expression; 0 without a series."""
    return sum(float(series["value"][1]) for series in query(expression))


def exists(expression: str) -> bool:
    return count(expression) >= 1


def settles(value: Callable[[], Any], wanted: Any) -> Any:
    """The result of ``value`` once it is ``wanted``, or when the time is up: proxies are scraped every five seconds."""
    until = time.monotonic() + SECONDS
    while (result := value()) != wanted and time.monotonic() < until:
        time.sleep(2)
    return result


@pytest.fixture(scope="module")
def split() -> Iterator[None]:
    lab.apply("reviews-50-50")
    yield
    lab.kubectl("-n", "bookinfo", "delete", "virtualservices,destinationrules", "--selector", "istio-lab/policy")


def test_every_proxy_and_istiod_are_scraped() -> None:
    injected = {
        f"{p['metadata']['namespace']}/{p['metadata']['name']}"
        for p in json.loads(lab.kubectl("get", "pods", "-A", "-o", "json"))["items"]
        if p["status"]["phase"] == "Running" and not p["metadata"].get("deletionTimestamp")
        if any(c["name"] in ("istio-proxy", "discovery") for c in p["spec"].get("initContainers", []) + p["spec"]["containers"])
    }
    assert len(injected) >= 9

    def scraped() -> set[str]:
        return {f"{s['metric']['namespace']}/{s['metric']['pod']}" for s in query('up{job="mesh"} == 1')}

    assert settles(scraped, injected) == injected
    assert count("count(pilot_xds)") >= 1


def test_requests_are_counted_by_version_as_clients_counted_them(split: None) -> None:
    answered = 'reporter="%s",destination_service_name="reviews",response_code="200"'
    by_version = f"sum by (destination_version) (istio_requests_total{{{answered}}})"

    def totals(reporter: str) -> dict[str, int]:
        return {s["metric"]["destination_version"]: int(float(s["value"][1])) for s in query(by_version % reporter)}

    before = {reporter: Counter(totals(reporter)) for reporter in ("source", "destination")}
    mine: Counter[str] = Counter()
    for _ in range(60):
        answer = requests.get(f"{lab.gateway_url()}/api/v1/products/0/reviews", timeout=10)
        review = answer.json()
        assert "podname" in review, f"{answer.text}\n{lab.failed_calls('productpage')}"
        mine[review["podname"].split("-")[1]] += 1
    assert set(mine) == {"v1", "v3"}
    for reporter, counted in before.items():

        def since(reporter: str = reporter, counted: Counter[str] = counted) -> dict[str, int]:
            return dict(Counter(totals(reporter)) - counted)

        assert settles(since, dict(mine)) == dict(mine), reporter


def test_a_series_names_both_ends_and_their_identities(split: None) -> None:
    requests.get(f"{lab.gateway_url()}/api/v1/products/0/reviews", timeout=10)
    mtls = "spiffe://cluster.local/ns/bookinfo/sa/bookinfo-"
    sent = {
        "reporter": "source", "source_workload": "productpage-v1", "source_workload_namespace": "bookinfo",
        "destination_workload": "reviews-v1", "destination_workload_namespace": "bookinfo", "destination_version": "v1",
        "destination_service": "reviews.bookinfo.svc.cluster.local", "destination_service_name": "reviews",
        "destination_service_namespace": "bookinfo", "destination_principal": f"{mtls}reviews", "response_code": "200",
    }  # fmt: skip
    received = {
        "reporter": "destination", "source_principal": f"{mtls}productpage", "connection_security_policy": "mutual_tls",
        "destination_workload": "reviews-v1", "destination_version": "v1", "response_code": "200",
    }  # fmt: skip
    for labels in (sent, received):
        selector = ",".join(f'{name}="{value}"' for name, value in labels.items())
        assert settles(partial(exists, f"count(istio_requests_total{{{selector}}})"), True), query(
            'istio_requests_total{destination_workload="reviews-v1"}'
        )
        took = f"sum(istio_request_duration_milliseconds_count{{{selector}}})"
        assert settles(partial(exists, took), True)
    assert not query('{__name__=~"istio_.+",lab_cluster!=""}')


def test_blocked_egress_is_recorded_with_the_requested_host() -> None:
    ratings = lab.pod("ratings", "ratings")
    for _ in range(3):
        # An unused documentation address: the proxy responds in any case.
        asked_for = "-H 'Host: nowhere.example' http://198.51.100.7/"
        assert ratings.check_output(f"curl -s -o /dev/null -w '%{{http_code}}' {asked_for}") == "502"
    blocked = 'destination_service_name="BlackHoleCluster",destination_service="nowhere.example",source_workload="ratings-v1"'
    assert settles(lambda: count(f"sum(istio_requests_total{{{blocked}}})") >= 3, True), query(
        'istio_requests_total{response_code="502"}'
    )


def test_a_blocked_connection_is_recorded_with_its_address() -> None:
    ratings = lab.pod("ratings", "ratings")
    response = ratings.run("curl -s -o /dev/null -w '%{http_code}' http://198.51.100.7:9998/")  # a port without a rule
    assert response.rc != 0
    blocked = 'destination_service_name="BlackHoleCluster",destination_service="198.51.100.7:9998",source_workload="ratings-v1"'
    opened = f"sum(istio_tcp_connections_opened_total{{{blocked}}})"
    assert settles(lambda: count(opened) >= 1, True), query("istio_tcp_connections_opened_total")


def test_an_application_exposes_its_own_metrics() -> None:
    requests.get(f"{lab.gateway_url()}/productpage", timeout=10)
    assert settles(lambda: count('sum(request_result_total{destination_app="details"})') >= 1, True)


def test_recording_rules_and_alerts(tmp_path: Path) -> None:
    versions = yaml.safe_load((lab.PROJECT / "playbooks/group_vars/all/versions.yml").read_text())
    for file in (ROLE / "rules.yml", ROLE / "prometheus.yml", Path(__file__).parent / "rules_test.yml"):
        shutil.copy(file, tmp_path)
    tmp_path.chmod(0o755)

    def promtool(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [
            "podman",
            "run",
            "--rm",
            "--pull=never",
            "--network=none",
            "--volume",
            f"{tmp_path}:/rules:ro",
            "--workdir",
            "/rules",
        ]
        command += ["--entrypoint", "/bin/promtool", versions["lab_prometheus_image"], *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)

    checked = promtool("check", "config", "--syntax-only", "prometheus.yml")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    passed = promtool("test", "rules", "rules_test.yml")
    assert passed.returncode == 0, passed.stdout + passed.stderr
    rules = (tmp_path / "rules.yml").read_text()
    (tmp_path / "rules.yml").write_text(rules.replace('reporter="source"', 'reporter="destination"'))
    assert promtool("test", "rules", "rules_test.yml").returncode != 0


def panels() -> list[tuple[str, str]]:
    """(title, expression) of every query in the dashboards, for reviews in bookinfo."""
    boards = [json.loads(file.read_text()) for file in sorted((ROLE / "registry/dashboards").glob("*.json"))]
    return [
        (f"{board['title']}: {panel['title']}", target["expr"].replace("$namespace", "bookinfo").replace("$service", "reviews"))
        for board in boards
        for panel in board["panels"]
        for target in panel["targets"]
    ]


def test_every_dashboard_query_has_a_result(split: None) -> None:

    def answered(expression: str) -> bool:
        # A counter's first value is not an increase yet, so traffic must continue.
        requests.get(f"{lab.gateway_url()}/productpage", timeout=10)
        return bool(query(expression))

    # There are no failures now, so these two may be empty; it is still asserted that Prometheus accepts them.
    may_be_empty = ("Mesh: Alerts", "Mesh: Requests to hosts that no rule allows")
    for title, expression in panels():
        if title in may_be_empty:
            query(expression)
        else:
            assert settles(partial(answered, expression), True), (title, expression)


def test_the_cluster_accepts_grafana_and_kiali() -> None:
    # Their images exist only in a registry; the API server checks the manifests that would run them.
    output = lab.kubectl("apply", "--dry-run=server", "--kustomize", str(ROLE / "registry"))
    assert "deployment.apps/grafana created (server dry run)" in output
    assert "deployment.apps/kiali created (server dry run)" in output


def spans(name: str) -> set[str]:
    """Services in Zipkin's traces of requests with this name in the query string."""
    traces = asked("zipkin:9411", "/api/v2/traces?limit=200&lookback=120000")
    found = [t for t in traces if any(name in s.get("tags", {}).get("http.url", "") for s in t)]
    assert len(found) <= 1
    return {s["localEndpoint"]["serviceName"].split(".")[0] for t in found for s in t}


def test_one_page_is_one_trace_through_all_services(split: None) -> None:
    name = uuid.uuid4().hex
    wanted = {"istio-ingressgateway", "productpage", "details", "reviews", "ratings"}
    # v1 does not call ratings: half of the pages come from v3.
    for number in range(12):
        page = requests.get(f"{lab.gateway_url()}/productpage?{name}-{number}", timeout=10)
        if "reviews-v3-" in page.text:
            break
    assert settles(lambda: spans(f"{name}-{number}"), wanted) == wanted


@pytest.mark.parametrize(("variant", "outcome"), [("policy", "PASS"), ("control", "FAIL")])
def test_the_share_of_traces_is_judged(variant: str, outcome: str) -> None:
    done = lab.playbook("run_loadtest.yml", lab_entry="tracing", lab_variant=variant)
    assert f"tracing: {outcome} after" in lab.words(done.stdout), done.stdout[-2500:]


def test_no_request_is_traced_without_sampling() -> None:
    assert lab.playbook("install_telemetry.yml", telemetry_sampling=0).returncode == 0
    try:
        lab.kubectl("wait", "--for=create", "telemetry/istio-lab", "-n", "istio-system", "--timeout=10s")
        time.sleep(5)  # time for istiod and the proxies to update
        name = uuid.uuid4().hex
        assert requests.get(f"{lab.gateway_url()}/productpage?{name}", timeout=10).ok
        time.sleep(10)
        assert spans(name) == set()
    finally:
        assert lab.playbook("install_telemetry.yml").returncode == 0


def test_a_page_stays_open_and_outlives_its_pod() -> None:
    command = [sys.executable, "scripts/open.py", "--kubeconfig", str(lab.KUBECONFIG), "prometheus"]
    opened = subprocess.Popen(command, cwd=lab.PROJECT, stdout=subprocess.PIPE, text=True)
    try:
        assert opened.stdout is not None
        found = re.search(r"http://127\.0\.0\.1:\d+", opened.stdout.readline())
        assert found

        def ready() -> bool:
            try:
                return requests.get(f"{found[0]}/-/ready", timeout=5).ok
            except requests.RequestException:
                return False

        assert settles(ready, True)
        lab.kubectl("-n", "telemetry", "delete", "pod", "--selector", "app=prometheus", "--wait=true")
        lab.kubectl("-n", "telemetry", "rollout", "status", "deployment/prometheus", "--timeout=90s")
        assert settles(ready, True)
    finally:
        opened.send_signal(signal.SIGINT)
        assert opened.wait(timeout=10) == 0


def test_an_unknown_page_is_refused() -> None:
    command = [sys.executable, "scripts/open.py", "--kubeconfig", str(lab.KUBECONFIG), "promtheus"]
    done = subprocess.run(command, cwd=lab.PROJECT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "WHAT: 'promtheus' was given; accepted: one of: prometheus, zipkin" in done.stderr


def test_the_topology_page() -> None:
    """Chromium on the console's topology page."""
    done = lab.browser_tests("tests/browser/telemetry")
    assert done.returncode == 0, done.stdout[-4000:]
