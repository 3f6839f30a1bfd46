"""The adapter to the cluster: what becomes of a server that does not answer."""

from __future__ import annotations

import socket
import time
from pathlib import Path

import pytest

from loadtests import cluster
from loadtests.cluster import Cluster, ClusterError
from tests import kubeconfig


def test_a_server_that_keeps_silent_is_not_waited_for_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "TIMEOUT_SECONDS", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as server:
        asked = Cluster(kubeconfig.written(tmp_path, server.getsockname()[1]), "bookinfo")
        began = time.monotonic()
        with pytest.raises(ClusterError, match=r"^pod-1: GET /config_dump\?resource=x: TimeoutError: "):
            asked.proxy_dump("pod-1", "x")
        with pytest.raises(ClusterError, match=r"^GET /version: .*[Tt]imed out"):
            asked.ask("/version")
        assert time.monotonic() - began < 10


def test_a_server_that_is_not_there_is_told(tmp_path: Path) -> None:
    asked = Cluster(kubeconfig.written(tmp_path, 9), "bookinfo")
    with pytest.raises(ClusterError, match=r"^pod-1: GET /config_dump\?resource=x: ApiException: .*Connection refused"):
        asked.proxy_dump("pod-1", "x")
    with pytest.raises(ClusterError, match=r"^GET /version: MaxRetryError: .*Connection refused"):
        asked.ask("/version")
