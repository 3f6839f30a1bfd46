"""A Kubernetes API server on loopback that stores objects: discovery, label and field selectors, merge patches, deletions."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

KINDS = {
    "v1": {"namespaces": "Namespace", "configmaps": "ConfigMap"},
    "rbac.authorization.k8s.io/v1": {"clusterroles": "ClusterRole", "clusterrolebindings": "ClusterRoleBinding"},
    "apiextensions.k8s.io/v1": {"customresourcedefinitions": "CustomResourceDefinition"},
    "networking.k8s.io/v1": {"ingressclasses": "IngressClass"},
}
NAMESPACED = {"configmaps"}
VERBS = ["delete", "get", "list", "patch"]


@dataclass
class Api:
    """The objects by their path, such as ``/api/v1/namespaces/bookinfo``; ``port`` is set while it is being served."""

    objects: dict[str, dict[str, Any]] = field(default_factory=dict)
    port: int = 0

    def add(self, version: str, kind: str, *names: str, namespace: str = "", labels: dict[str, str] | None = None) -> None:
        """Store one object for each of ``names``."""
        plural = next(plural for plural, known in KINDS[version].items() if known == kind)
        folder = f"/{'apis' if '/' in version else 'api'}/{version}/" + (f"namespaces/{namespace}/" if namespace else "")
        for name in names:
            metadata = {"name": name, "labels": labels or {}} | ({"namespace": namespace} if namespace else {})
            self.objects[f"{folder}{plural}/{name}"] = {"apiVersion": version, "kind": kind, "metadata": metadata}

    @property
    def names(self) -> list[str]:
        """``kind/name`` or ``kind/namespace/name`` of every object, sorted."""
        found = [(one["kind"], one["metadata"]) for one in self.objects.values()]
        return sorted("/".join(filter(None, (kind, known.get("namespace"), known["name"]))) for kind, known in found)

    @contextmanager
    def served(self) -> Iterator[None]:
        """Serve it on ``port`` of 127.0.0.1."""
        api = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                request = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or "{}")
                status, body = api.respond(self.command, self.path, request)
                text = json.dumps(body, separators=(",", ":")).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            do_GET = do_PATCH = do_DELETE = answer  # noqa: N815 - named by the base class

            def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002 - named by the base class
                """Log nothing."""

        with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            self.port = server.server_address[1]
            yield
            server.shutdown()

    def respond(self, method: str, url: str, request: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """HTTP status and body of the response."""
        address = urlsplit(url)
        if address.path in (known := discovery()):
            return 200, known[address.path]
        folder, _, plural = address.path.rpartition("/")
        version = folder.split("/namespaces/")[0].removeprefix("/apis/").removeprefix("/api/")
        if kind := KINDS.get(version, {}).get(plural):
            query = dict(parse_qsl(address.query))
            items = [
                one
                for path, one in self.objects.items()
                if one["kind"] == kind and path.startswith(folder) and selected(one, query)
            ]
            return 200, {"kind": f"{kind}List", "apiVersion": version, "metadata": {}, "items": items}
        if address.path not in self.objects:
            return 404, {"kind": "Status", "message": f"{address.path} not found", "reason": "NotFound", "code": 404}
        if method == "DELETE":
            del self.objects[address.path]
            return 200, {"kind": "Status", "apiVersion": "v1", "status": "Success"}
        if method == "PATCH":
            merge(self.objects[address.path], request)
        return 200, self.objects[address.path]


def discovery() -> dict[str, dict[str, Any]]:
    """What the server says about itself, by path."""
    groups = []
    found: dict[str, dict[str, Any]] = {
        "/version": {"major": "1", "minor": "36", "gitVersion": "v1.36.3"},
        "/api": {"kind": "APIVersions", "versions": ["v1"]},
    }
    for version, kinds in KINDS.items():
        group, _, number = version.rpartition("/")
        resources = [
            {"name": plural, "singularName": "", "kind": kind, "namespaced": plural in NAMESPACED, "verbs": VERBS}
            for plural, kind in kinds.items()
        ]
        path = f"/{'apis' if group else 'api'}/{version}"
        found[path] = {"kind": "APIResourceList", "groupVersion": version, "resources": resources}
        if group:
            preferred = {"groupVersion": version, "version": number}
            groups.append({"name": group, "versions": [preferred], "preferredVersion": preferred})
    return found | {"/apis": {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}}


def selected(one: dict[str, Any], query: dict[str, str]) -> bool:
    """Whether an object meets the request's selectors: ``key``, ``key=value`` and ``key!=value`` of labels, and a name."""
    labels, metadata = one["metadata"]["labels"], one["metadata"]
    for term in filter(None, query.get("labelSelector", "").split(",")):
        key, different, value = term.partition("!=")
        key, equal, value = (key, "", value) if different else term.partition("=")
        if not (labels.get(key) != value if different else labels.get(key) == value if equal else key in labels):
            return False
    wanted = query.get("fieldSelector", "")
    return not wanted or wanted == f"metadata.name={metadata['name']}"


def merge(one: dict[str, Any], patch: dict[str, Any]) -> None:
    """A JSON merge patch, in place."""
    for key, value in patch.items():
        if value is None:
            one.pop(key, None)
        elif isinstance(value, dict):
            merge(one.setdefault(key, {}), value)
        else:
            one[key] = value
