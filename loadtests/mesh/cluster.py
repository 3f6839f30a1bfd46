"""A thin adapter to the cluster: kubectl, and the kubernetes package, with the lab's kubeconfig. No decisions here."""

from __future__ import annotations

import contextlib
import functools
import json
import signal
import socket
import subprocess
import threading
from collections.abc import Generator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

TIMEOUT_SECONDS = 30
ADMIN_PORT = 15000
"""Envoy's, in every pod with a sidecar."""
CONNECTIONS = 64
"""The most connections to the API server that are kept: a run and each tab of the console make up to eight requests at once."""
ANALYZER_FOUND = 79
"""Exit status of ``istioctl analyze`` when it has found errors."""


class ClusterError(RuntimeError):
    """The cluster did not answer, or refused; the message is one line that says why."""


class RefusedByServerError(ClusterError):
    """The API server has looked at a request and refused it: nothing was written. The message is the server's own."""

    def __init__(self, message: str, code: int) -> None:
        """Keep the answer's HTTP status."""
        super().__init__(message)
        self.code = code


def words_of(error: BaseException) -> str:
    """An error in one line; what the cluster says names itself."""
    words = str(error) if isinstance(error, ClusterError) else f"{type(error).__name__}: {error}"
    return " ".join(words.split())


def _failed(asked: str, error: Exception) -> ClusterError:
    """The error in one line; what a server says may be long."""
    why = " ".join(str(getattr(error, "reason", None) or error).split())
    return ClusterError(f"{asked}: {type(error).__name__}: {why[:200]}")


VERSIONS = {
    "extensions.istio.io/trafficextensions": "v1alpha1",
    "extensions.istio.io/wasmplugins": "v1alpha1",
    "networking.istio.io/envoyfilters": "v1alpha3",
    "networking.istio.io/proxyconfigs": "v1beta1",
}
"""API versions that are not v1, by group and plural."""


OPTIONAL, OPTIONAL_VERSIONS = ".gateway.networking.k8s.io", ("v1", "v1alpha2")
"""An API group that a cluster need not have, and versions of its kinds, of which an old cluster serves another one."""
OTHER_VERSIONS = {
    f"backendtlspolicies{OPTIONAL}": ("v1", "v1alpha3"), f"referencegrants{OPTIONAL}": ("v1", "v1beta1"),
    "trafficextensions.extensions.istio.io": ("v1alpha1",),
}  # fmt: skip
"""Likewise, of kinds that had other ones, or that are not in an older Istio."""
EMPTY = {"apiVersion": "v1", "kind": "List", "items": list[Any]()}


def path_of(kind: str, namespace: str, version: str = "") -> str:
    """Where the API server lists a kind, given as kubectl takes it: ``pods``, ``virtualservices.networking.istio.io``.

    :param namespace: '' for all of them
    :param version: the one that the lab reads the kind in, if empty
    """
    plural, _, group = kind.partition(".")
    version = version or VERSIONS.get(f"{group}/{plural}", "v1")
    return f"/{f'apis/{group}' if group else 'api'}/{version}/{f'namespaces/{namespace}/' if namespace else ''}{plural}"


_IMPORTING = threading.Lock()
_USED: list[Any] = []
"""What is imported from the kubernetes package with the first connection."""


def _closed() -> type[Exception]:
    """What a request ends with whose connection the server has closed."""
    with _IMPORTING:
        from urllib3.exceptions import ProtocolError

    return ProtocolError


def _errors() -> tuple[type[Exception], ...]:
    """What a request by the kubernetes package may end with."""
    # One thread at a time, as wherever the package is imported first: those that do so at the same time wait for each other.
    with _IMPORTING:
        from kubernetes.client import ApiException
        from urllib3.exceptions import HTTPError

    return ApiException, HTTPError, HTTPException, OSError, ValueError


@functools.lru_cache(maxsize=1)
def _connection(kubeconfig: str, changed: float) -> Any:
    """The API server by a connection that is kept; another one once the kubeconfig has changed."""
    # Here, for the import takes a while, and what needs kubectl only does without it. All of it at once: the package imports
    # its classes when they are first asked for.
    from kubernetes import config, stream
    from kubernetes.client import ApiClient, Configuration, CoreV1Api

    _USED[:] = [ApiClient, CoreV1Api, stream.portforward]
    settings = Configuration()
    # By default, a request that may be repeated is: a server that hangs would be waited for four times as long.
    settings.retries = False
    # Beyond it, a connection is closed after its use, with a warning.
    settings.connection_pool_maxsize = CONNECTIONS
    return config.new_client_from_config(kubeconfig, client_configuration=settings)  # type: ignore[no-untyped-call] # the package is typed in part


@functools.lru_cache(maxsize=1)
def _versions(kubeconfig: str, changed: float) -> dict[str, str]:
    """Kind of an optional group -> the version that the cluster was seen to serve; none once the kubeconfig has changed."""
    return {}


@dataclass(frozen=True)
class Cluster:
    """One cluster, by its kubeconfig, and the namespace that is watched."""

    kubeconfig: str
    namespace: str
    user: str = ""
    """Whose rights kubectl has; empty for those of the kubeconfig."""

    @property
    def _client(self) -> Any:
        """The API server by the kubernetes package."""
        with _IMPORTING:
            return _connection(self.kubeconfig, Path(self.kubeconfig).stat().st_mtime)

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
        shown = f"{program[0]} {arguments[0]}"
        try:
            done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False, timeout=TIMEOUT_SECONDS)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise ClusterError(f"{shown}: {error}") from error
        if done.returncode < 0:
            raise ClusterError(f"{shown}: interrupted by {signal.Signals(-done.returncode).name}")
        if done.returncode not in accepted:
            raise ClusterError(f"{shown}: {(done.stderr.strip().splitlines() or ['?'])[-1]}")
        return done.stdout

    def items(self, *kinds: str, namespace: str = "") -> list[dict[str, Any]]:
        """Objects of the given kinds in the namespace; of the Gateway API none, where the cluster does not have it.

        :raises ClusterError: if the cluster does not answer, or refuses
        """
        return self._listed(kinds, namespace or self.namespace)

    def everywhere(self, *kinds: str) -> list[dict[str, Any]]:
        """Objects of the given kinds in all namespaces; of the Gateway API none, where the cluster does not have it.

        :raises RefusedByServerError: if this account may list them in some only
        :raises ClusterError: if the cluster does not answer
        """
        return self._listed(kinds, "")

    def _listed(self, kinds: Sequence[str], namespace: str) -> list[dict[str, Any]]:
        found = []
        for kind in kinds:
            listed = self._list(kind, namespace)
            # Items of a list of a built-in kind do not name it.
            named = {"apiVersion": listed["apiVersion"], "kind": listed["kind"].removesuffix("List")}
            found += [named | item for item in listed["items"]]
        return found

    def _list(self, kind: str, namespace: str) -> dict[str, Any]:
        """The list of a kind; if its group is optional, in the version that was served last, or else in another one."""
        if not kind.endswith(OPTIONAL) and kind not in OTHER_VERSIONS:
            return self.ask(path_of(kind, namespace))
        served = self._served
        known = OTHER_VERSIONS.get(kind, OPTIONAL_VERSIONS)
        for version in sorted(known, key=lambda version: version != served.get(kind)):
            try:
                listed = self.ask(path_of(kind, namespace, version))
            except RefusedByServerError as error:
                if error.code != 404:
                    raise
            else:
                served[kind] = version
                return listed
        return EMPTY

    @property
    def _served(self) -> dict[str, str]:
        """Versions that the cluster was seen to serve; what it lacks is not kept, for it may be installed at any time."""
        try:
            return _versions(self.kubeconfig, Path(self.kubeconfig).stat().st_mtime)
        except OSError:  # no kubeconfig, as a request to the cluster says
            return {}

    def there(self) -> bool:
        """Whether the namespace is in the cluster.

        :raises ClusterError: if the cluster does not answer, or refuses
        """
        return bool(self.kubectl("get", "namespace", self.namespace, "--ignore-not-found", "--output", "name"))

    def ask(self, path: str, **query: str) -> dict[str, Any]:
        """An answer of the API server in JSON, without the time that a command takes: for what is asked again and again.

        :raises ClusterError: if it does not answer, or refuses
        """
        try:
            body: dict[str, Any] = json.loads(self.read(path, **query))
        except ValueError as error:
            raise _failed(f"GET {path}", error) from error
        return body

    def read(self, path: str, **query: str) -> bytes:
        """An answer of the API server as it is.

        :raises ClusterError: if it does not answer, or refuses
        """
        try:
            answer = self._answer("GET", path, query)
            if 400 <= answer.status < 500:
                raise RefusedByServerError(f"GET {path}: HTTP {answer.status}", answer.status)
            if answer.status != 200:
                raise ClusterError(f"GET {path}: HTTP {answer.status}")
        except _errors() as error:
            raise _failed(f"GET {path}", error) from error
        return bytes(answer.data)

    def lines(self, path: str, **query: str) -> Generator[str]:
        """Lines of an answer of the API server as they come, for as long as they are asked for.

        :raises ClusterError: if it does not answer, refuses, or ends the answer
        """
        try:
            answer = self._call("GET", path, query, endless=True)
            with contextlib.closing(answer.response):
                if answer.status != 200:
                    raise ClusterError(f"GET {path}: HTTP {answer.status}")
                for line in answer.response:
                    yield line.decode(errors="replace").rstrip("\n")
        except _errors() as error:
            raise _failed(f"GET {path}", error) from error
        raise ClusterError(f"GET {path}: the answer has ended")

    def write(self, method: str, path: str, body: Mapping[str, Any], **query: str) -> dict[str, Any]:
        """The API server's answer to a request that writes one object: POST, PUT, DELETE, or PATCH for server-side apply.

        :raises RefusedByServerError: if it refuses; nothing was written
        :raises ClusterError: if it does not answer; whether anything was written is not known
        """
        try:
            answer = self._answer(method, path, query, body)
            returned: dict[str, Any] = json.loads(answer.data)
        except _errors() as error:
            raise _failed(f"{method} {path}", error) from error
        if 400 <= answer.status < 500:
            raise RefusedByServerError(" ".join(str(returned.get("message", answer.status)).split()), answer.status)
        if answer.status >= 300:
            raise ClusterError(
                f"{method} {path}: HTTP {answer.status}: {' '.join(str(returned.get('message', '')).split())[:200]}"
            )
        return returned

    def _answer(self, method: str, path: str, query: Mapping[str, str], body: Mapping[str, Any] | None = None) -> Any:
        """The whole answer to one request."""
        answer = self._call(method, path, query, body)
        answer.read()
        return answer

    def _call(
        self, method: str, path: str, query: Mapping[str, str], body: Mapping[str, Any] | None = None,
        endless: bool = False,
    ) -> Any:  # fmt: skip
        """One request to the API server, by its kept connection; what it answers is still to be read.

        :param endless: whether the server may be silent between parts of its answer for as long as it likes
        """
        client = self._client
        kind = "application/apply-patch+yaml" if method == "PATCH" else "application/json"  # JSON is YAML as well
        content = {"Content-Type": kind} if body is not None else {}
        asked = client.param_serialize(
            method, path, query_params=list(query.items()), auth_settings=["BearerToken"], body=body,
            header_params=({"Impersonate-User": self.user} if self.user else {}) | content,
        )  # fmt: skip
        limit = (TIMEOUT_SECONDS, None) if endless else TIMEOUT_SECONDS
        try:
            return client.call_api(*asked, _request_timeout=limit)
        except _closed():
            # A kept connection may be closed at any time. Whether a write has arrived is for whoever makes it to find out.
            if method != "GET":
                raise
            return client.call_api(*asked, _request_timeout=limit)

    def proxy_dump(self, pod: str, namespace: str = "", **query: str) -> dict[str, Any]:
        """A proxy's configuration dump, from Envoy's admin port, on which it listens within the pod only.

        Through a port-forward: to start a command in the pod takes a node ten times the work.

        :param query: what is wanted of it, as Envoy has it: ``resource``, ``name_regex`` (of the whole name), ``mask``
        :raises ClusterError: if the cluster or the proxy does not answer within 30 s, or refuses
        """
        where, path = namespace or self.namespace, f"/config_dump?{urlencode(query)}"
        try:
            with contextlib.closing(HTTPConnection("localhost")) as envoy:
                envoy.sock = self._forwarded(where, pod, ADMIN_PORT)
                envoy.sock.settimeout(TIMEOUT_SECONDS)
                envoy.request("GET", path)
                answer = envoy.getresponse()
                if answer.status != 200:
                    raise ClusterError(f"{pod}: GET {path}: HTTP {answer.status}")
                dump: dict[str, Any] = json.load(answer)
        except _errors() as error:
            raise _failed(f"{pod}: GET {path}", error) from error
        return dump

    def _forwarded(self, namespace: str, pod: str, port: int) -> socket.socket:
        """A connection to a port of a pod, through the API server."""
        connected = self._client
        from kubernetes.client import ApiClient, CoreV1Api
        from kubernetes.stream import portforward

        # A client of its own, for the package changes it while it asks for a forward.
        client = ApiClient(connected.configuration)
        made: Future[Any] = Future()

        def ask() -> None:
            try:
                call = CoreV1Api(client).connect_get_namespaced_pod_portforward
                made.set_result(portforward(call, pod, namespace, ports=str(port)))
            except Exception as error:  # any: it is raised where the answer is waited for
                made.set_exception(error)

        # In a thread, for the package sets no limit to how long a server may keep silent.
        threading.Thread(target=ask, daemon=True).start()
        found: socket.socket = made.result(TIMEOUT_SECONDS).socket(port)
        return found

    def proxy_metrics(self, pod: str) -> str:
        """A proxy's statistics in Prometheus's text format, through the API server."""
        return self.read(f"/api/v1/namespaces/{self.namespace}/pods/{pod}:15090/proxy/stats/prometheus").decode()
