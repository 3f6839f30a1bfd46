"""The adapter to the cluster, for example with a server that does not respond."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

from loadtests.mesh import cluster, writes
from loadtests.mesh.cluster import Cluster, ClusterError, RefusedByServerError
from tests import kubeconfig
from tests.unit.test_inputs import PROJECT


def test_a_silent_server_times_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "TIMEOUT_SECONDS", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as server:
        asked = Cluster(kubeconfig.written(tmp_path, server.getsockname()[1]), "bookinfo")
        began = time.monotonic()
        with pytest.raises(ClusterError, match=r"^pod-1: GET /config_dump\?resource=x: TimeoutError: "):
            asked.proxy_dump("pod-1", resource="x")
        with pytest.raises(ClusterError, match=r"^GET /version: .*[Tt]imed out"):
            asked.ask("/version")
        assert time.monotonic() - began < 10


def test_a_server_that_hangs_is_asked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "TIMEOUT_SECONDS", 1)
    with socket.create_server(("127.0.0.1", 0)) as server:
        asked = Cluster(kubeconfig.written(tmp_path, server.getsockname()[1]), "bookinfo")
        asked._client  # noqa: B018 - importing the package takes a while as well
        for method in ("GET", "PUT"):
            began = time.monotonic()
            with pytest.raises(ClusterError, match=rf"^{method} /version: .*[Tt]imed out"):
                asked.read("/version") if method == "GET" else asked.write("PUT", "/version", {})
            assert 0.9 < time.monotonic() - began < 1.8


class Answers(BaseHTTPRequestHandler):
    """An API server that knows one answer."""

    protocol_version = "HTTP/1.1"

    def answer(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: object) -> None:
        pass


class Closes(Answers):
    """An API server that closes the connection on which it is asked a second time, as one that has been idle for too long."""

    asked: ClassVar[list[str]] = []

    def do_PUT(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        Closes.asked.append(self.command)
        if len(Closes.asked) == 2:
            self.close_connection = True
            return
        self.answer()


@pytest.mark.parametrize("method", ["GET", "PUT"])
def test_only_a_read_is_repeated_when_the_server_closes_a_kept_connection(method: str, tmp_path: Path) -> None:
    Closes.asked.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), Closes) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            asked = Cluster(kubeconfig.written(tmp_path, server.server_port), "bookinfo")
            assert asked.ask("/version") == {}
            if method == "GET":
                assert asked.ask("/version") == {}
            else:
                with pytest.raises(ClusterError, match=r"^PUT /version: ProtocolError: "):
                    asked.write("PUT", "/version", {})
        finally:
            server.shutdown()
    assert Closes.asked == ["GET", method, *(["GET"] if method == "GET" else [])]


class Meets(Answers):
    """An API server that answers once so many requests are there."""

    there = threading.Barrier(24)

    def do_GET(self) -> None:
        Meets.there.wait(20)
        self.answer()


def test_connections_of_many_requests_at_once_are_kept(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    class Server(ThreadingHTTPServer):
        request_queue_size = 64

    with Server(("127.0.0.1", 0), Meets) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            asked = Cluster(kubeconfig.written(tmp_path, server.server_port), "bookinfo")
            with ThreadPoolExecutor(24) as pool:
                assert list(pool.map(asked.ask, ["/version"] * 24)) == [{}] * 24
        finally:
            server.shutdown()
    assert caplog.messages == []


def test_a_missing_server_is_reported(tmp_path: Path) -> None:
    asked = Cluster(kubeconfig.written(tmp_path, 9), "bookinfo")
    with pytest.raises(ClusterError, match=r"^pod-1: GET /config_dump\?resource=x: ApiException: .*Connection refused"):
        asked.proxy_dump("pod-1", resource="x")
    with pytest.raises(ClusterError, match=r"^GET /version: NewConnectionError: .*Connection refused"):
        asked.ask("/version")


@pytest.mark.parametrize(
    ("kind", "path"),
    [
        ("pods", "/api/v1/namespaces/bookinfo/pods"),
        ("virtualservices.networking.istio.io", "/apis/networking.istio.io/v1/namespaces/bookinfo/virtualservices"),
        ("envoyfilters.networking.istio.io", "/apis/networking.istio.io/v1alpha3/namespaces/bookinfo/envoyfilters"),
        ("ingresses.networking.k8s.io", "/apis/networking.k8s.io/v1/namespaces/bookinfo/ingresses"),
    ],
)
def test_a_kind_is_listed_where_the_api_server_has_it(kind: str, path: str) -> None:
    assert cluster.path_of(kind, "bookinfo") == path


@pytest.mark.parametrize(("served", "found"), [("v1", 1), ("v1alpha2", 1), ("", 0)])
def test_a_cluster_need_not_have_the_gateway_api_nor_its_newest_version(
    served: str, found: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ask(self: Cluster, path: str) -> dict[str, Any]:
        if not served or path != f"/apis/gateway.networking.k8s.io/{served}/namespaces/bookinfo/tcproutes":
            raise RefusedByServerError(f"GET {path}: HTTP 404", 404)
        return {"apiVersion": "x", "kind": "TCPRouteList", "items": [{"metadata": {"name": "one"}}]}

    monkeypatch.setattr(Cluster, "ask", ask)
    asked = Cluster("kubeconfig", "bookinfo")
    assert len(asked.items("tcproutes.gateway.networking.k8s.io")) == found
    with pytest.raises(RefusedByServerError, match="virtualservices: HTTP 404"):
        asked.items("virtualservices.networking.istio.io")


def test_the_version_that_a_cluster_serves_is_remembered_and_nothing_that_is_installed_later_is_hidden(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served, tried = {"v1alpha2"}, list[str]()

    def ask(self: Cluster, path: str) -> dict[str, Any]:
        tried.append(path.split("/")[3])
        if tried[-1] not in served:
            raise RefusedByServerError(f"GET {path}: HTTP 404", 404)
        return {"apiVersion": "x", "kind": "TCPRouteList", "items": [{"metadata": {"name": "one"}}]}

    def tries(found: int) -> list[str]:
        tried.clear()
        assert len(asked.items("tcproutes.gateway.networking.k8s.io")) == found
        return tried

    monkeypatch.setattr(Cluster, "ask", ask)
    file = Path(kubeconfig.written(tmp_path, 9))
    asked = Cluster(str(file), "bookinfo")
    assert tries(1) == ["v1", "v1alpha2"]
    assert tries(1) == ["v1alpha2"], "no request that is known to be in vain"
    served.clear()
    assert tries(0) == ["v1alpha2", "v1"]
    served.add("v1")
    assert tries(1) == ["v1alpha2", "v1"], "an upgrade"
    assert tries(1) == ["v1"]
    served |= {"v1alpha2"}
    served.remove("v1")
    os.utime(file, (1, 1))
    assert tries(1) == ["v1", "v1alpha2"], "another kubeconfig may be another cluster's"


def test_a_kind_that_may_not_be_read_is_not_one_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    def ask(self: Cluster, path: str) -> dict[str, Any]:
        raise RefusedByServerError(f"GET {path}: HTTP 403", 403)

    monkeypatch.setattr(Cluster, "ask", ask)
    with pytest.raises(RefusedByServerError, match="HTTP 403"):
        Cluster("kubeconfig", "bookinfo").items("tcproutes.gateway.networking.k8s.io")


def test_every_kind_that_rules_may_have_is_listed_at_the_version_that_they_are_written_in() -> None:
    for kind, api in writes.KINDS.items():
        assert cluster.path_of(kind, "x").startswith(f"/apis/{api.rpartition('/')[0]}/"), kind


IMPORTS = """
import sys, threading
seen = set()
class Finder:
    def find_spec(self, name, *_):
        if name.startswith("kubernetes"):
            seen.add((threading.get_ident(), name))
sys.meta_path.insert(0, Finder())
from loadtests.mesh.cluster import Cluster, ClusterError
begin, errors = threading.Barrier(8), []
def ask(method):
    begin.wait()
    try:
        method(Cluster(sys.argv[1], "bookinfo"))
    except ClusterError as error:
        errors.append(str(error))
methods = [
    lambda c: c.ask("/version"), lambda c: c.proxy_dump("p", resource="r"), lambda c: c.write("PUT", "/x", {}),
    lambda c: c.items("pods"),
]
threads = [threading.Thread(target=ask, args=(methods[n % 4],)) for n in range(8)]
[t.start() for t in threads], [t.join() for t in threads]
print(len(errors), len({thread for thread, _ in seen}))
"""


def test_threads_do_not_import_the_kubernetes_package_at_the_same_time(tmp_path: Path) -> None:
    command = [sys.executable, "-c", IMPORTS, kubeconfig.written(tmp_path, 9)]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False, timeout=60)
    assert (done.stdout.split(), done.stderr) == (["8", "1"], ""), "one thread imports all of it"


class Lists(BaseHTTPRequestHandler):
    """An API server that lists pods like a real one: items of a built-in kind have no kind."""

    asked: ClassVar[list[tuple[str, str | None]]] = []
    written: ClassVar[list[tuple[str, str | None, str | None, object]]] = []

    def do_GET(self) -> None:
        Lists.asked.append((self.path, self.headers["Impersonate-User"]))
        known, pod = self.path.endswith("/pods"), {"metadata": {"name": "one"}}
        body = json.dumps({"apiVersion": "v1", "kind": "PodList", "items": [pod]} if known else {"kind": "Status"}).encode()
        self.send_response(200 if known else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_PUT(self) -> None:
        given = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        Lists.written.append((self.path, self.headers["Impersonate-User"], self.headers["Content-Type"], given))
        stale = given["metadata"]["resourceVersion"] != "7"
        body = json.dumps({"kind": "Status", "message": "it has\nbeen modified"} if stale else given).encode()
        self.send_response(409 if stale else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_PATCH(self) -> None:
        self.do_PUT()

    def log_message(self, *_: object) -> None:
        pass


def test_objects_are_listed_with_their_kind_by_the_rights_of_who_asks(tmp_path: Path) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Lists) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            asked = Cluster(kubeconfig.written(tmp_path, server.server_port), "bookinfo")
            assert asked.items("pods") == [{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "one"}}]
            replace(asked, user="somebody").items("pods", namespace="other")
            with pytest.raises(ClusterError, match=r"^GET /api/v1/namespaces/bookinfo/nothing: .*404"):
                asked.items("nothing")
        finally:
            server.shutdown()
    assert Lists.asked[:2] == [("/api/v1/namespaces/bookinfo/pods", None), ("/api/v1/namespaces/other/pods", "somebody")]


class Follows(BaseHTTPRequestHandler):
    """An API server with a log that goes on: a line is there, and the next one comes on request."""

    protocol_version = "HTTP/1.1"
    go_on, left = threading.Event(), threading.Event()

    def do_GET(self) -> None:
        refused = "missing" in self.path
        self.send_response(404 if refused else 200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for line in (b"first\nsec", b"ond\n"):
            self.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))
            Follows.go_on.wait(0.0 if refused else 10.0)
        try:
            while "ends" not in self.path and not refused:
                self.wfile.write(b"2\r\n.\n\r\n")
        except OSError:
            Follows.left.set()
        else:
            self.wfile.write(b"0\r\n\r\n")

    def log_message(self, *_: object) -> None:
        pass


def test_lines_come_as_they_are_written_until_nobody_reads_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Follows) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            asked = Cluster(kubeconfig.written(tmp_path, server.server_port), "bookinfo")
            lines = asked.lines("/log", follow="true")
            assert next(lines) == "first", "before the next one is written"
            # A log is silent for as long as nothing happens.
            monkeypatch.setattr(cluster, "TIMEOUT_SECONDS", 0.1)
            threading.Timer(0.5, Follows.go_on.set).start()
            assert next(lines) == "second"
            lines.close()
            assert Follows.left.wait(10), "the server learns that nobody reads any more"
            monkeypatch.undo()
            with pytest.raises(ClusterError, match=r"^GET /ends: the answer has ended$"):
                list(asked.lines("/ends"))
            with pytest.raises(ClusterError, match=r"^GET /missing: HTTP 404$"):
                next(asked.lines("/missing"))
        finally:
            server.shutdown()


def test_an_object_is_written_and_a_refusal_is_the_servers_own_words(tmp_path: Path) -> None:
    path, rule = "/apis/networking.istio.io/v1/namespaces/bookinfo/virtualservices/x", {"metadata": {"resourceVersion": "7"}}
    with ThreadingHTTPServer(("127.0.0.1", 0), Lists) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            asked = replace(Cluster(kubeconfig.written(tmp_path, server.server_port), "bookinfo"), user="somebody")
            assert asked.write("PUT", path, rule, dryRun="All") == rule
            with pytest.raises(RefusedByServerError, match=r"^it has been modified$") as refused:
                asked.write("PUT", path, {"metadata": {"resourceVersion": "6"}})
            assert refused.value.code == 409
            asked.write("PATCH", path, rule, fieldManager="x")
        finally:
            server.shutdown()
    assert Lists.written[0] == (f"{path}?dryRun=All", "somebody", "application/json", rule)
    assert Lists.written[2] == (f"{path}?fieldManager=x", "somebody", "application/apply-patch+yaml", rule)
    with pytest.raises(ClusterError, match=r"^PUT /apis/.*: NewConnectionError: .*Connection refused") as down:
        Cluster(kubeconfig.written(tmp_path, 9), "bookinfo").write("PUT", path, rule)
    assert not isinstance(down.value, RefusedByServerError), "not a refusal"


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("kill -INT $$", "kubectl get: interrupted by SIGINT"),
        ("kill -TERM $$", "kubectl get: interrupted by SIGTERM"),
        ("echo no such thing >&2; exit 1", "kubectl get: no such thing"),
        ("exit 1", "kubectl get: ?"),
    ],
)
def test_a_command_that_fails_says_why_and_one_that_was_ended_by_whom(
    script: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "kubectl"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    with pytest.raises(ClusterError) as failed:
        Cluster("unused", "echo").kubectl("get", "pods")
    assert str(failed.value) == words
