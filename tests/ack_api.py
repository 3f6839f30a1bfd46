"""A stand-in for Alibaba Cloud's CS API on loopback: checks signatures, stores clusters, takes time, and fails on demand.

Requests and responses pass through the SDK's own models; a field that they do not know is an error in the test.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from alibabacloud_cs20151215 import models

ALGORITHM = "ACS3-HMAC-SHA256"
KEY_ID, KEY_SECRET = "a-key", "a-secret"  # belong to nobody
FINGERPRINT = '{"api_server_endpoint":"%s","intranet_api_server_endpoint":"https://10.0.0.1:6443"}'


@dataclass
class Fault:
    """A failure that one call gets instead of a response."""

    operation: str
    status: int = 0
    """HTTP status; 0 drops the connection."""
    code: str = "Fault"
    message: str = "made by the test"
    after: bool = False
    """Whether the call is carried out first, so that only its response is lost."""


@dataclass
class Cloud:
    """The state behind the API, and its planned faults."""

    seconds_to_run: float = 0.2
    kubeconfig: str = "apiVersion: v1\nkind: Config\n"
    fails_with: str = ""
    """Why each creation fails; empty if it succeeds."""
    faults: list[Fault] = field(default_factory=list)
    clusters: dict[str, dict[str, Any]] = field(default_factory=dict)
    pools: dict[str, dict[str, Any]] = field(default_factory=dict)
    requests: list[tuple[str, Any]] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    tokens: dict[str, str] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, name: str, state: str = "running", tags: dict[str, str] | None = None, **more: Any) -> str:
        """Add an existing cluster."""
        cluster_id = f"c{uuid.uuid4().hex}"
        self.clusters[cluster_id] = {
            "cluster_id": cluster_id, "name": name, "state": state, "region_id": "cn-test", "cluster_type": "ManagedKubernetes",
            "tags": [{"key": k, "value": v} for k, v in (tags or {}).items()], "size": 0, **more,
        }  # fmt: skip
        return cluster_id

    def now(self, cluster_id: str) -> dict[str, Any] | None:
        """The current state of a cluster, which changes when its time has come."""
        cluster = self.clusters.get(cluster_id)
        if cluster and cluster.get("due", 0) and time.monotonic() > cluster["due"]:
            cluster["state"], cluster["due"] = cluster["becomes"], 0
            if cluster["state"] == "deleted":
                del self.clusters[cluster_id]
                return None
        return cluster

    def described(self, cluster: dict[str, Any]) -> dict[str, Any]:
        """A cluster in the API's format."""
        return {key: value for key, value in cluster.items() if key not in ("due", "becomes", "events", "why")}


def pruned(value: Any) -> Any:
    """Without empty values: the SDK adds empty lists."""
    if isinstance(value, dict):
        return {key: pruned(value) for key, value in value.items() if value not in ([], {}, None)}
    return [pruned(value) for value in value] if isinstance(value, list) else value


def known(model: Any, value: dict[str, Any]) -> dict[str, Any]:
    """``value``, all of which must be in the SDK's model."""
    read, value = pruned(model().from_map(value).to_map()), pruned(value)
    assert read == value, f"{model.__name__} does not know all of {value}"
    return value


def signature_error(method: str, path: str, query: str, headers: dict[str, str], body: bytes) -> str:
    """What is wrong with a request's signature; empty if it is valid."""
    scheme, _, rest = headers.get("authorization", "").partition(" ")
    if scheme != ALGORITHM:
        return f"Authorization is {scheme or 'missing'}"
    given = dict(part.split("=", 1) for part in rest.split(","))
    if given.get("Credential") != KEY_ID:
        return "an unknown key"
    digest = hashlib.sha256(body).hexdigest()
    if headers.get("x-acs-content-sha256") != digest:
        return "the body is not what was signed"
    pairs = sorted(parse_qsl(query, keep_blank_values=True))
    canonical_query = "&".join(f"{quote(k, safe='~')}={quote(v, safe='~')}" for k, v in pairs)
    names = given["SignedHeaders"].split(";")
    for name in ("host", "x-acs-action", "x-acs-date", "x-acs-version", "x-acs-content-sha256", "x-acs-signature-nonce"):
        if name not in names:
            return f"{name} is not signed"
    signed = "".join(f"{name}:{headers.get(name, '').strip()}\n" for name in names)
    canonical = "\n".join([method, path, canonical_query, signed, given["SignedHeaders"], digest])
    text = f"{ALGORITHM}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    right = hmac.new(KEY_SECRET.encode(), text.encode(), hashlib.sha256).hexdigest()
    return "" if hmac.compare_digest(right, given["Signature"]) else "the signature does not match"


class NotThereError(Exception):
    """Leads to a 404 response."""


class Handler(BaseHTTPRequestHandler):
    """Handles one request."""

    cloud: Cloud
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Log nothing."""

    def respond(self) -> None:
        """Check the signature, then respond or apply a fault."""
        cloud, parts = self.cloud, urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        if wrong := signature_error(self.command, parts.path, parts.query, headers, body):
            cloud.refused.append(wrong)
            return self.send(403, {"code": "SignatureDoesNotMatch", "message": wrong, "request_id": "r"})
        operation = headers["x-acs-action"]
        with cloud.lock:
            fault = next((f for f in cloud.faults if f.operation == operation), None)
            if fault:
                cloud.faults.remove(fault)
            try:
                answer: Any = None
                if fault is None or fault.after:
                    query = dict(parse_qsl(parts.query))
                    answer = self.answer(operation, unquote(parts.path), query, json.loads(body or b"null"))
            except NotThereError:
                return self.send(404, {"code": "ErrorClusterNotFound", "message": "no such cluster", "request_id": "r"})
        if fault is None:
            return self.send(200, answer)
        if fault.status:
            return self.send(fault.status, {"code": fault.code, "message": fault.message, "request_id": "r"})
        self.close_connection = True
        self.connection.close()
        return None

    def send(self, status: int, answer: Any) -> None:
        """Send a JSON response."""
        text = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json; charset=utf-8")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    do_GET = do_POST = do_PUT = do_DELETE = respond  # noqa: N815 - the base class's names

    def answer(self, operation: str, path: str, query: dict[str, str], body: Any) -> Any:
        """Carry out one operation.

        :raises NotThereError: if the cluster does not exist
        """
        self.cloud.requests.append((operation, body if body is not None else query))
        if operation == "CreateCluster":
            return self.create(body)
        if operation == "DescribeClustersV1":
            there = [self.cloud.now(c) for c in list(self.cloud.clusters)]
            # Like the API: matches a part of the name.
            found = [self.cloud.described(c) for c in there if c and query.get("name", "") in c["name"]]
            return known(models.DescribeClustersV1ResponseBody, {"clusters": found, "page_info": {"total_count": len(found)}})
        if operation == "DescribeTaskInfo":
            cluster = next((c for c in self.cloud.clusters.values() if f"T-{c['cluster_id']}" in path), None)
            if cluster is None:
                raise NotThereError
            error = {"code": "CreateFailed", "message": cluster.get("why", "")}
            return known(models.DescribeTaskInfoResponseBody, {"task_id": "T", "state": "fail", "error": error})
        cluster_id = next((p for p in path.split("/") if p.startswith("c") and len(p) == 33), "")
        cluster = self.cloud.now(cluster_id)
        if operation == "DescribeClusterResources":
            return self.resources(cluster)
        if cluster is None:
            raise NotThereError
        does: dict[str, Callable[[], Any]] = {
            "DescribeClusterDetail": lambda: known(models.DescribeClusterDetailResponseBody, self.cloud.described(cluster)),
            "DescribeClusterEvents": lambda: known(
                models.DescribeClusterEventsResponseBody, {"events": cluster.get("events", [])}
            ),
            "DescribeClusterNodePools": lambda: known(
                models.DescribeClusterNodePoolsResponseBody,
                {"nodepools": [self.cloud.pools[cluster_id]] if cluster_id in self.cloud.pools else []},
            ),
            "DescribeClusterUserKubeconfig": lambda: known(
                models.DescribeClusterUserKubeconfigResponseBody,
                {"config": self.cloud.kubeconfig, "expiration": "2026-11-23T00:00:00Z"},
            ),
            "ModifyCluster": lambda: self.modify(cluster, body),
            "ModifyClusterTags": lambda: cluster.update(tags=body) or {},
            "ModifyClusterNodePool": lambda: self.scale(cluster_id, body),
            "DeleteCluster": lambda: self.delete(cluster),
        }
        return does[operation]()

    def create(self, body: dict[str, Any]) -> dict[str, Any]:
        """Start creating a cluster, unless a request with the same token already has."""
        known(models.CreateClusterRequest, body)
        cluster_id = self.cloud.tokens.get(body["client_token"])
        if cluster_id is None:
            why = self.cloud.fails_with
            event = {
                "level": "error" if why else "info",
                "reason": "Create",
                "message": why or "the control plane is being made",
            }
            cluster_id = self.cloud.add(
                body["name"], "initial", {t["key"]: t["value"] for t in body["tags"]}, region_id=body["region_id"],
                cluster_spec=body["cluster_spec"], service_cidr=body["service_cidr"],
                size=body["nodepools"][0]["scaling_group"]["desired_size"],
                current_version=body.get("kubernetes_version", "1.36.3-aliyun.1"), vpc_id=body.get("vpcid", "vpc-made"),
                deletion_protection=body["deletion_protection"], resource_group_id=body.get("resource_group_id", "rg-default"),
                master_url=FINGERPRINT % ("https://47.1.1.1:6443" if body["endpoint_public_access"] else ""),
            )  # fmt: skip
            self.cloud.clusters[cluster_id] |= {
                "due": time.monotonic() + self.cloud.seconds_to_run, "becomes": "failed" if why else "running", "why": why,
                "events": [{"event_id": "e1", "cluster_id": cluster_id, "time": "2026-11-22T00:00:00Z", "data": event}],
            }  # fmt: skip
            pool = body["nodepools"][0]
            self.cloud.pools[cluster_id] = {
                "nodepool_info": {**pool["nodepool_info"], "nodepool_id": f"np{cluster_id}"},
                "scaling_group": pool["scaling_group"],
            }  # fmt: skip
            self.cloud.tokens[body["client_token"]] = cluster_id
        return known(
            models.CreateClusterResponseBody, {"cluster_id": cluster_id, "request_id": "r", "task_id": f"T-{cluster_id}"}
        )

    def modify(self, cluster: dict[str, Any], body: dict[str, Any]) -> dict[str, Any]:
        """Modify a cluster in place."""
        known(models.ModifyClusterRequest, body)
        if "api_server_eip" in body:
            cluster["master_url"] = FINGERPRINT % ("https://47.1.1.1:6443" if body["api_server_eip"] else "")
        cluster |= {name: body[name] for name in ("deletion_protection", "resource_group_id") if name in body}
        return known(models.ModifyClusterResponseBody, {"cluster_id": cluster["cluster_id"], "request_id": "r", "task_id": "T"})

    def scale(self, cluster_id: str, body: dict[str, Any]) -> dict[str, Any]:
        """Change the number of nodes."""
        known(models.ModifyClusterNodePoolRequest, body)
        self.cloud.pools[cluster_id]["scaling_group"] |= body["scaling_group"]
        return known(
            models.ModifyClusterNodePoolResponseBody, {"nodepool_id": f"np{cluster_id}", "request_id": "r", "task_id": "T"}
        )

    def delete(self, cluster: dict[str, Any]) -> dict[str, Any]:
        """Start deleting a cluster."""
        cluster |= {"state": "deleting", "becomes": "deleted", "due": time.monotonic() + self.cloud.seconds_to_run}
        return known(models.DeleteClusterResponseBody, {"cluster_id": cluster["cluster_id"], "request_id": "r", "task_id": "T"})

    def resources(self, cluster: dict[str, Any] | None) -> list[dict[str, Any]]:
        """The resources of a cluster."""
        if cluster is None:
            return []
        kinds = [("SLB", "lb-1"), ("NATGateway", "ngw-1"), *[("ECS", f"i-{n}") for n in range(cluster.get("size", 0))]]
        held_resources = [
            {"cluster_id": cluster["cluster_id"], "resource_type": k, "instance_id": i, "state": "CREATE_COMPLETE"}
            for k, i in kinds
        ]
        for resource in held_resources:
            known(models.DescribeClusterResourcesResponseBody, resource)
        return held_resources


class Server:
    """The API on a free port of 127.0.0.1, as a context manager."""

    def __init__(self, cloud: Cloud) -> None:
        handler = type("CloudHandler", (Handler,), {"cloud": cloud})
        self.http = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.endpoint = f"127.0.0.1:{self.http.server_address[1]}"

    def __enter__(self) -> Server:
        threading.Thread(target=self.http.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.http.shutdown()
        self.http.server_close()
