"""Every catalogue entry with its policy (PASS) and with its control (FAIL), and runs that must be void."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from tests import lab, tiers
from tests.loaded import loaded

RESULTS = lab.STATE / "results"
ENTRIES = tiers.entries()


def locust(name: str, results: Path, *arguments: str) -> subprocess.Popen[str]:
    command = [
        sys.executable, "-m", "locust", "--locustfile", "loadtests/run/locustfile.py", "--headless",
        "--host", lab.gateway_url(),
        "--gateway-https", lab.gateway_address("https"), "--gateway-tcp", lab.gateway_address("tcp"),
        "--users", "20", "--spawn-rate", "20", "--entry", name, "--kubeconfig", str(lab.KUBECONFIG), "--only-summary",
        "--results", str(results), *arguments,
    ]  # fmt: skip
    return subprocess.Popen(command, cwd=lab.PROJECT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def verdict(results: Path, name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((results / name / "verdict.json").read_text())
    return content


@dataclass(frozen=True)
class Catalogue:
    """Results of one run of the whole catalogue."""

    returncode: int
    output: str
    verdicts: dict[str, dict[str, Any]]


def judged(variant: str) -> Catalogue:
    results = RESULTS / "control" if variant == "control" else RESULTS
    for name in ENTRIES:
        (results / name / "verdict.json").unlink(missing_ok=True)
    done = lab.playbook("verify_catalogue.yml", lab_variant=variant, lab_verify_entries=ENTRIES)
    found = {name: results / name / "verdict.json" for name in ENTRIES}
    return Catalogue(done.returncode, done.stdout, {n: json.loads(f.read_text()) for n, f in found.items() if f.exists()})


@pytest.fixture(scope="module")
def held() -> Catalogue:
    return judged("policy")


@pytest.fixture(scope="module")
def broken() -> Catalogue:
    return judged("control")


@pytest.mark.parametrize("name", ENTRIES)
def test_policy_passes(held: Catalogue, name: str) -> None:
    assert name in held.verdicts, held.output[-3000:]
    assert held.verdicts[name]["outcome"] == "PASS", held.verdicts[name]["reasons"]


@pytest.mark.parametrize("name", ENTRIES)
def test_control_fails(broken: Catalogue, name: str) -> None:
    assert name in broken.verdicts, broken.output[-3000:]
    assert broken.verdicts[name]["outcome"] == "FAIL", broken.verdicts[name]["reasons"]


def test_one_report_has_all_verdicts(held: Catalogue, broken: Catalogue) -> None:
    assert held.returncode == 0, held.output[-3000:]
    assert broken.returncode == 1
    for results, failures in ((RESULTS, "0"), (RESULTS / "control", str(len(ENTRIES)))):
        suite = ElementTree.parse(results / "catalogue.xml").getroot()  # noqa: S314 - our own file
        assert (suite.get("failures"), suite.get("errors")) == (failures, "0")
        assert len(json.loads((results / "catalogue.json").read_text())) == len(ENTRIES)
        assert (results / "catalogue.html").exists()


def test_the_sidecar_of_a_grpc_caller_logs_http2_to_its_upstream(held: Catalogue) -> None:
    assert held.verdicts["grpc-balance"]["outcome"] == "PASS"
    log = lab.kubectl("-n", "greeter", "logs", "deployment/caller", "--container", "istio-proxy", "--tail", "20000")
    calls = [line for line in log.splitlines() if '"POST /helloworld.Greeter/SayHello HTTP/2" 200 ' in line]
    assert calls
    assert any(" via_upstream " in line and "outbound|50051||greeter.greeter.svc.cluster.local" in line for line in calls)


def test_a_single_entry_exits_with_its_verdict() -> None:
    passed = lab.playbook("run_loadtest.yml", lab_entry="reviews-80-20")
    assert passed.returncode == 0, passed.stdout[-2500:]
    assert "reviews-80-20: PASS after" in lab.words(passed.stdout)
    failed = lab.playbook("run_loadtest.yml", lab_entry="reviews-80-20", lab_variant="control")
    assert failed.returncode == 1
    assert "reviews-80-20: FAIL after" in lab.words(failed.stdout), failed.stdout[-2500:]


def test_the_three_report_formats_agree(tmp_path: Path) -> None:
    lab.apply("reviews-80-20")
    run = locust("reviews-80-20", tmp_path, "--processes", "2")
    output, _ = run.communicate(timeout=240)
    assert run.returncode == 0, output[-3000:]
    report = verdict(tmp_path, "reviews-80-20")
    shares = {s["version"]: s for s in report["classes"][0]["shares"]}
    assert report["outcome"] == "PASS"
    assert shares["v3"]["expected"] == pytest.approx(0.2)
    assert 0.15 <= shares["v3"]["low"] <= shares["v3"]["observed"] <= shares["v3"]["high"] <= 0.25
    assert {"seed", "versions"} <= set(report["facts"])
    assert (report["facts"]["pass_alpha"], report["facts"]["fail_alpha"]) == (0.01, 0.001)
    assert set(report["sources"]) == {"clients", "the proxies", "the access logs"}
    for counted in report["sources"].values():
        assert counted["v1"] == pytest.approx(report["sources"]["clients"]["v1"], rel=0.1)
    assert re.search(r":1\.31\.1 sha256:[0-9a-f]{64}$", report["facts"]["versions"]["istio-proxy"])
    assert report["facts"]["versions"]["envoy"].endswith(("upstream's build, without Istio's filters)", "Istio's build)"))
    suite = ElementTree.parse(tmp_path / "reviews-80-20/verdict.xml").getroot()  # noqa: S314 - our own file
    assert (suite.get("failures"), suite.get("errors"), suite.get("tests")) == ("0", "0", "1")
    page = (tmp_path / "reviews-80-20/verdict.html").read_text()
    assert '<h1>reviews-80-20: <span class="chip PASS">' in page
    assert loaded(page) == []


def test_requests_that_no_client_sent_void_the_run(tmp_path: Path) -> None:
    lab.apply("reviews-80-20")
    again = "until [ -e /tmp/enough ]; do curl -s -o /dev/null http://productpage:9080/api/v1/products/0/reviews; done"
    stranger = lab.pod("ratings", "ratings")
    stranger.run("rm -f /tmp/enough")
    with ThreadPoolExecutor(max_workers=1) as beside:
        other = beside.submit(stranger.run, f"timeout 45 sh -c '{again}'")
        run = locust("reviews-80-20", tmp_path)
        output, _ = run.communicate(timeout=240)
        stranger.run("touch /tmp/enough")
        other.result(timeout=60)
    assert run.returncode == 2, output[-3000:]
    report = verdict(tmp_path, "reviews-80-20")
    assert report["outcome"] == "VOID"
    for source in ("the proxies", "the access logs"):
        assert any(r.startswith("sources disagree: v1: clients counted") and source in r for r in report["reasons"]), report[
            "reasons"
        ]


def test_a_master_with_workers_sums_their_counts(tmp_path: Path) -> None:
    lab.apply("reviews-50-50")
    port = str(lab.free_port())
    master = locust("reviews-50-50", tmp_path, "--master", "--expect-workers", "2", "--master-bind-port", port)
    worker = [
        sys.executable, "-m", "locust", "--locustfile", "loadtests/run/locustfile.py", "--worker", "--master-port", port,
        "--kubeconfig", str(lab.KUBECONFIG),
    ]  # fmt: skip
    with open(tmp_path / "workers.log", "w") as log:
        workers = [subprocess.Popen(worker, cwd=lab.PROJECT, stdout=log, stderr=log) for _ in range(2)]
        try:
            output, _ = master.communicate(timeout=240)
        finally:
            master.kill()
            ended = [w.wait(timeout=30) for w in workers]
    assert master.returncode == 0, output[-3000:]
    assert ended == [0, 0]
    report = verdict(tmp_path, "reviews-50-50")
    assert report["outcome"] == "PASS"
    assert {s["version"] for s in report["classes"][0]["shares"]} == {"v1", "v3"}


def test_an_edited_rule_voids_the_run(tmp_path: Path) -> None:
    lab.apply("reviews-80-20")
    run = locust("reviews-80-20", tmp_path)
    time.sleep(8)  # the run is active; it needs about 15 s for a verdict
    patch = json.dumps([
        {"op": "replace", "path": "/spec/http/0/route/0/weight", "value": 50},
        {"op": "replace", "path": "/spec/http/0/route/1/weight", "value": 50},
    ])  # fmt: skip
    lab.kubectl("-n", "bookinfo", "patch", "virtualservices.networking.istio.io", "reviews", "--type=json", "-p", patch)
    output, _ = run.communicate(timeout=120)
    assert run.returncode == 2, output[-3000:]
    report = verdict(tmp_path, "reviews-80-20")
    assert report["outcome"] == "VOID"
    assert report["reasons"] == ["a rule was edited while the run watched: VirtualService bookinfo/reviews"]


def test_too_few_requests_are_inconclusive(tmp_path: Path) -> None:
    lab.apply("reviews-80-20")
    run = locust("reviews-80-20", tmp_path, "--max-requests", "100")
    output, _ = run.communicate(timeout=120)
    assert run.returncode == 2, output[-3000:]
    assert verdict(tmp_path, "reviews-80-20")["outcome"] == "INCONCLUSIVE"
    assert "more requests are needed" in output


def test_a_stale_proxy_fails(tmp_path: Path) -> None:
    lab.apply("reviews-v1")
    shell = ["podman", "exec", f"{lab.NAME}-control-plane", "bash", "-c"]
    name = lab.pod_name("productpage")
    status = json.loads(lab.kubectl("-n", "bookinfo", "get", "pod", name, "-o", "json"))["status"]
    container = next(c["containerID"] for c in status["initContainerStatuses"] if c["name"] == "istio-proxy")
    tasks = subprocess.run([*shell, "ctr -n k8s.io task ls"], capture_output=True, text=True, check=True).stdout
    pid = next(line.split()[1] for line in tasks.splitlines() if line.startswith(container.removeprefix("containerd://")))
    # Block both directions: a push from istiod arrives without a response.
    rule = "; ".join(
        f"nsenter -t {pid} -n iptables %s {chain} -p tcp {port} 15012 -j DROP"
        for chain, port in (("OUTPUT", "--dport"), ("INPUT", "--sport"))
    )
    subprocess.run([*shell, rule % ("-I", "-I")], check=True)
    try:
        # The playbook would detect it first; here, the load test itself must.
        manifest = (lab.PROJECT / "loadtests/catalogue/reviews-50-50/policy.yaml").read_text()
        lab.kubectl("-n", "bookinfo", "apply", "-f", "-", stdin=manifest)
        run = locust("reviews-50-50", tmp_path)
        output, _ = run.communicate(timeout=180)
    finally:
        subprocess.run([*shell, rule % ("-D", "-D")], check=True)
    assert run.returncode == 1, output[-3000:]
    reasons = verdict(tmp_path, "reviews-50-50")["reasons"]
    assert any("the proxy of productpage-v1" in r for r in reasons), reasons


def test_the_console_on_a_simulated_cluster() -> None:
    """Chromium on every tab: both languages, light and dark, wide and narrow, and what goes wrong."""
    done = lab.browser_tests("tests/browser/console")
    assert done.returncode == 0, done.stdout[-4000:]


def test_the_browser() -> None:
    """Chromium, through the gateway and on Locust's own page."""
    done = lab.browser_tests("tests/browser/test_pages.py")
    assert done.returncode == 0, done.stdout[-4000:]
