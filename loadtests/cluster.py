"""A thin adapter to the cluster: kubectl with the lab's kubeconfig. No decisions here."""

from __future__ import annotations

import functools
import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TIMEOUT_SECONDS = 30
ANALYZER_FOUND = 79
"""Exit status of ``istioctl analyze`` when it has found errors."""


class ClusterError(RuntimeError):
    """The cluster did not answer, or refused; the message is kubectl's own last line."""


@functools.lru_cache(maxsize=1)
def _connection(kubeconfig: str, changed: float) -> Any:
    """The API server by a connection that is kept; another one once the kubeconfig has changed."""
    # Here, because a load test in a terminal does without it.
    from kubernetes import config

    return config.new_client_from_config(kubeconfig)  # type: ignore[no-untyped-call] # the package is typed in part


@dataclass(frozen=True)
class Cluster:
    """One cluster, by its kubeconfig, and the namespace that is watched."""

    kubeconfig: str
    namespace: str
    user: str = ""
    """Whose rights kubectl has; empty for those of the kubeconfig."""

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        """Standard output of one kubectl command.

        :raises ClusterError: if it ends with an error or takes longer than 30 s
        """
        return self._run(("kubectl", *(("--as", self.user) if self.user else ())), arguments, stdin)

    def istioctl(self, *arguments: str, stdin: str | None = None) -> str:
        """Standard output of one istioctl command; that it found something is no error.

        :raises ClusterError: if it ends with another error or takes longer than 30 s
        """
        return self._run(("istioctl",), arguments, stdin, accepted=(0, ANALYZER_FOUND))

    def _run(self, program: Sequence[str], arguments: Sequence[str], stdin: str | None, accepted: Sequence[int] = (0,)) -> str:
        command = [*program, "--kubeconfig", self.kubeconfig, "--namespace", self.namespace, *arguments]
        told = f"{program[0]} {arguments[0]}"
        try:
            done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False, timeout=TIMEOUT_SECONDS)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise ClusterError(f"{told}: {error}") from error
        if done.returncode not in accepted:
            raise ClusterError(f"{told}: {(done.stderr.strip().splitlines() or ['?'])[-1]}")
        return done.stdout

    def items(self, *kinds: str, namespace: str = "") -> list[dict[str, Any]]:
        """Objects of the given kinds in the namespace, in one call."""
        where = ["--namespace", namespace] if namespace else []
        return list(json.loads(self.kubectl("get", ",".join(kinds), "--output", "json", *where))["items"])

    def there(self) -> bool:
        """Whether the namespace is in the cluster.

        :raises ClusterError: if the cluster does not answer, or refuses
        """
        return bool(self.kubectl("get", "namespace", self.namespace, "--ignore-not-found", "--output", "name"))

    def ask(self, path: str, **query: str) -> dict[str, Any]:
        """An answer of the API server, without the time that a command takes: for pages that ask again and again.

        :raises ClusterError: if it does not answer, or refuses
        """
        from kubernetes.client import ApiException
        from urllib3.exceptions import HTTPError

        try:
            client = _connection(self.kubeconfig, Path(self.kubeconfig).stat().st_mtime)
            asked = client.param_serialize("GET", path, query_params=list(query.items()), auth_settings=["BearerToken"])
            answer = client.call_api(*asked, _request_timeout=TIMEOUT_SECONDS)
            answer.read()
            if answer.status != 200:
                raise ClusterError(f"GET {path}: HTTP {answer.status}")
            told: dict[str, Any] = json.loads(answer.data)
        except (ApiException, HTTPError, OSError, ValueError) as error:
            raise ClusterError(f"GET {path}: {type(error).__name__}: {str(error).splitlines()[0]}") from error
        return told

    def proxy_dump(self, pod: str, resource: str, namespace: str = "") -> dict[str, Any]:
        """One resource of a proxy's configuration dump, asked of Envoy's admin port inside the pod."""
        where = ["--namespace", namespace] if namespace else []
        arguments = ["exec", pod, "--container", "istio-proxy", *where, "--", "pilot-agent", "request", "GET"]
        dump: dict[str, Any] = json.loads(self.kubectl(*arguments, f"config_dump?resource={resource}"))
        return dump

    def proxy_metrics(self, pod: str) -> str:
        """A proxy's statistics in Prometheus's text format, through the API server."""
        return self.kubectl("get", "--raw", f"/api/v1/namespaces/{self.namespace}/pods/{pod}:15090/proxy/stats/prometheus")
