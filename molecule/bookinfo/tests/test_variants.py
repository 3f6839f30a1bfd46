"""Variants of Bookinfo's services, each from its own manifest, outside the mesh: databases, faults, an external books API."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
import yaml

from tests import lab

NAMESPACE = "bookinfo-variants"
MANIFESTS = lab.PROJECT / "samples/bookinfo/platform/kube"
VARIANTS = ["ratings-faulty", "ratings-delayed", "ratings-unavailable", "ratings-unhealthy", "ratings-v2-mysql", "details-v2"]
BOOKS_API = (lab.PROJECT / "samples/books/src/books.py").read_text()


def workloads(name: str) -> list[dict[str, object]]:
    return [d for d in yaml.safe_load_all((MANIFESTS / f"bookinfo-{name}.yaml").read_text()) if d]


def books() -> list[dict[str, object]]:
    container = {
        "name": "books",
        "image": "registry.istio.io/release/examples-bookinfo-productpage-v1:1.20.3",
        "command": ["python3", "-c", BOOKS_API],
    }
    labels = {"app": "books"}
    return [
        {
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "books", "labels": labels},
            "spec": {"containers": [container]},
        },
        {
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": "books"},
            "spec": {"selector": labels, "ports": [{"port": 8080}]},
        },
    ]  # fmt: skip


@pytest.fixture(scope="module")
def namespace() -> Iterator[float]:
    accounts = [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": f"bookinfo-{app}"}}
        for app in ("ratings", "details")
    ]
    # Accounts first: a pod without its account is refused, and retried only later.
    objects = accounts + books() + [o for name in ["mysql", *VARIANTS] for o in workloads(name)]
    lab.kubectl("create", "namespace", NAMESPACE)
    try:
        listed = {"apiVersion": "v1", "kind": "List", "items": objects}
        lab.kubectl("-n", NAMESPACE, "apply", "-f", "-", stdin=json.dumps(listed))
        point = ["EXTERNAL_BOOK_SERVICE_HOST=books", "EXTERNAL_BOOK_SERVICE_PORT=8080", "DO_NOT_ENCRYPT=true"]
        lab.kubectl("-n", NAMESPACE, "set", "env", "deployment/details-v2", *point)
        lab.kubectl("-n", NAMESPACE, "wait", "--for=condition=Available", "deployment", "--all", "--timeout=120s")
        yield time.monotonic()
    finally:
        lab.kubectl("delete", "namespace", NAMESPACE, "--wait=false")


@contextlib.contextmanager
def forwarded(deployment: str) -> Iterator[str]:
    """URL that is forwarded to port 9080 of a pod of ``deployment``."""
    kubectl = ["kubectl", "--kubeconfig", str(lab.KUBECONFIG), "-n", NAMESPACE]
    forward = [*kubectl, "port-forward", "--address", "127.0.0.1", f"deployment/{deployment}", ":9080"]
    with subprocess.Popen(forward, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            line = process.stdout.readline()
            assert line.startswith("Forwarding from "), line
            yield f"http://{line.split()[2]}"
        finally:
            process.terminate()


def asked(url: str, method: str = "GET") -> tuple[int, str]:
    """Status and body of one request."""
    answer = requests.request(method, url, timeout=15)
    return answer.status_code, answer.text


def ask(deployment: str, path: str, method: str = "GET") -> tuple[int, str]:
    with forwarded(deployment) as url:
        return asked(url + path, method)


def test_half_of_faulty_ratings_fail(namespace: float) -> None:
    with forwarded("ratings-v-faulty") as url:
        seen = Counter(asked(f"{url}/ratings/0")[0] for _ in range(40))
    assert set(seen) == {200, 503}
    # 40 fair coin tosses fall outside this range once in a million.
    assert 5 <= seen[503] <= 35


def test_ratings_keeps_idle_connections_open(namespace: float) -> None:
    with forwarded("ratings-v-faulty") as url:
        connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=15)
        for pause in (0, 6):
            time.sleep(pause)  # longer than Node's default
            connection.request("GET", "/health")
            assert connection.getresponse().read() == b'{"status":"Ratings is healthy"}'


def test_half_of_delayed_ratings_take_seven_seconds(namespace: float) -> None:
    script = (
        "for i in $(seq 24); do curl -s -o /dev/null -w '%{http_code} %{time_total}\\n' 127.0.0.1:9080/ratings/0 & done; wait"
    )
    lines = lab.kubectl("-n", NAMESPACE, "exec", "deploy/ratings-v-delayed", "--", "sh", "-c", script).split("\n")
    seconds = [float(line.split()[1]) for line in lines if line]
    assert all(line.startswith("200 ") for line in lines if line)
    slow = [s for s in seconds if s > 6.9]
    assert 1 <= len(slow) < len(seconds) == 24
    assert all(s < 8 for s in slow)
    assert all(s < 1 for s in seconds if s not in slow)


def test_details_v2_asks_the_books_api(namespace: float) -> None:
    status, body = ask("details-v2", "/details/7")
    assert status == 200
    assert json.loads(body) == {
        "id": 7, "author": "William Shakespeare", "year": "2003", "type": "paperback", "pages": 80, "publisher": "over http",
        "language": "English", "ISBN-10": "0486424618", "ISBN-13": "9780486424618",
    }  # fmt: skip


def test_details_v2_reports_a_missing_books_api(namespace: float) -> None:
    lab.kubectl("-n", NAMESPACE, "delete", "pod", "books", "--now")
    assert ask("details-v2", "/details/7")[0] == 500


def test_ratings_v2_reads_mysql(namespace: float) -> None:
    until = time.monotonic() + 60  # the database creates its files on the first start
    while (seen := ask("ratings-v2-mysql", "/ratings/0"))[0] != 200 and time.monotonic() < until:
        time.sleep(2)
    assert seen == (200, '{"id":0,"ratings":{"Reviewer1":5,"Reviewer2":4}}')
    change = "UPDATE test.ratings SET Rating = 1 WHERE ReviewID = 2"
    update = f"mariadb --user=root --password=$MYSQL_ROOT_PASSWORD --host=127.0.0.1 -e '{change}'"
    lab.kubectl("-n", NAMESPACE, "exec", "deploy/mysqldb-v1", "--", "sh", "-c", update)
    assert json.loads(ask("ratings-v2-mysql", "/ratings/0")[1])["ratings"] == {"Reviewer1": 5, "Reviewer2": 1}
    assert ask("ratings-v2-mysql", "/ratings/0", "POST")[0] == 501


def test_ratings_v2_reports_a_missing_mysql(namespace: float) -> None:
    lab.kubectl("-n", NAMESPACE, "scale", "deployment/mysqldb-v1", "--replicas=0")
    lab.kubectl("-n", NAMESPACE, "wait", "--for=delete", "pod", "-l", "app=mysqldb", "--timeout=60s")
    status, body = ask("ratings-v2-mysql", "/ratings/0")
    assert (status, json.loads(body)) == (500, {"error": "could not connect to ratings database"})


def test_unavailable_and_unhealthy_ratings_fail_every_other_minute(namespace: float) -> None:
    states: set[tuple[int, int, int, int]] = set()
    until = time.monotonic() + 90
    with forwarded("ratings-v-unavailable") as unavailable, forwarded("ratings-v-unhealthy") as unhealthy:
        pages = [f"{url}/{page}" for url in (unavailable, unhealthy) for page in ("ratings/0", "health")]
        while len({s[0] for s in states}) < 2 or len({s[3] for s in states}) < 2:
            assert time.monotonic() < until, states
            one, two, three, four = (asked(page)[0] for page in pages)
            states.add((one, two, three, four))
            time.sleep(1)
    assert {s[0] for s in states} == {200, 503}
    assert {s[1] for s in states} == {200}
    assert {s[2] for s in states} == {200}
    assert {s[3] for s in states} == {200, 500}


@pytest.fixture(scope="module")
def ferretdb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """FerretDB, which speaks the MongoDB protocol, compiled from its Go module (Debian has no MongoDB)."""
    folder = tmp_path_factory.mktemp("ferretdb")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "istio-lab/go"
    go = next((lab.PROJECT / ".venv/lib").glob("python3*/site-packages/go/bin"))
    environment = {
        **os.environ, "PATH": f"{go}:{os.environ['PATH']}", "CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOROOT": "",
        "GOFLAGS": "-modcacherw", "GOCACHE": str(cache / "build"), "GOMODCACHE": str(cache / "mod"),
    }  # fmt: skip
    subprocess.run(
        ["go", "build", "-tags", "ferretdb_no_postgresql,ferretdb_no_mysql", "-o", str(folder / "ferretdb"), "."],
        cwd=lab.PROJECT / "tests/ferretdb", env=environment, check=True, timeout=600,
    )  # fmt: skip
    address = f"127.0.0.1:{lab.free_port()}"
    (folder / "state").mkdir()
    with open(folder / "log", "w") as log:
        server = subprocess.Popen([str(folder / "ferretdb"), address, str(folder / "state")], stdout=log, stderr=log)
        try:
            yield f"mongodb://{address}/test"
        finally:
            server.terminate()
            server.wait(timeout=20)


def test_ratings_v2_reads_mongodb(ferretdb: str) -> None:
    port = lab.free_port()
    name = f"{lab.NAME}-ratings-mongodb"
    image = "registry.istio.io/release/examples-bookinfo-ratings-v2:1.20.3"
    run = [
        "podman",
        "run",
        "--rm",
        "--detach",
        "--pull=never",
        "--network=host",
        "--name",
        name,
        "--env",
        f"MONGO_DB_URL={ferretdb}",
    ]
    subprocess.run([*run, image, "node", "ratings.js", str(port)], check=True, timeout=60)
    inside = ["podman", "exec", name]
    try:
        seed = (
            "const { MongoClient } = require('mongodb'); (async () => { const c = new MongoClient(process.env.MONGO_DB_URL);"
            "await c.db('test').collection('ratings').insertMany([{ rating: 3 }, { rating: 2 }]); await c.close() })()"
        )
        subprocess.run([*inside, "node", "-e", seed], check=True, timeout=60)
        answer = subprocess.run(
            [*inside, "curl", "-s", "-m", "10", "--retry", "5", "--retry-connrefused", f"http://127.0.0.1:{port}/ratings/0"],
            check=True, timeout=60, capture_output=True, text=True,
        ).stdout  # fmt: skip
        assert json.loads(answer) == {"id": 0, "ratings": {"Reviewer1": 3, "Reviewer2": 2}}
    finally:
        subprocess.run(["podman", "rm", "--force", "--time", "2", name], check=True, capture_output=True)


def test_the_gateway_api_deploys_a_separate_gateway() -> None:
    manifest = str(lab.PROJECT / "samples/bookinfo/gateway-api/bookinfo-gateway.yaml")
    lab.kubectl("-n", "bookinfo", "apply", "-f", manifest)
    try:
        lab.kubectl(
            "-n", "bookinfo", "wait", "gateway.gateway.networking.k8s.io/bookinfo-gateway", "--for=condition=Programmed"
        )
        lab.kubectl("-n", "bookinfo", "rollout", "status", "deployment/bookinfo-gateway-istio", "--timeout=120s")
        ratings = lab.pod("ratings", "ratings")
        page = ratings.run("curl -s -m 20 http://bookinfo-gateway-istio/productpage")
        assert "<title>Simple Bookstore App</title>" in page.stdout
        beside = ratings.run("curl -s -m 20 -o /dev/null -w '%{http_code}' http://bookinfo-gateway-istio/health")
        assert beside.stdout == "404"
    finally:
        lab.kubectl("-n", "bookinfo", "delete", "-f", manifest)
