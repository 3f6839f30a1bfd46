"""What runs in the cluster: what it says itself counts, not the names of images."""

from __future__ import annotations

from typing import Any

import pytest

from loadtests.mesh import versions
from loadtests.mesh.cluster import Cluster, ClusterError

SHA = "9e5580933739775e8bce696a57a2e1bc99368f23"
UPSTREAM = [{"name": "envoy.filters.http.router", "type_urls": ["envoy.extensions.filters.http.router.v3.Router"]}]
ISTIO = [*UPSTREAM, {"name": "istio.alpn", "category": "envoy.filters.http"}]


def dump(extensions: Any = None, version: Any = None, **metadata: str) -> dict[str, Any]:
    build = {"version": version or {"major_number": 1, "minor_number": 40}, "metadata": metadata or {"revision.sha": SHA}}
    node = {"user_agent_build_version": build, "extensions": UPSTREAM if extensions is None else extensions}
    return {"configs": [{"bootstrap": {"node": node}}, {"@type": "type.googleapis.com/envoy.admin.v3.ClustersConfigDump"}]}


@pytest.mark.parametrize(
    ("server_info", "build"),
    [
        (dump(), "1.40.0 (9e5580933739, upstream's build, without Istio's filters)"),
        (dump(ISTIO, {"major_number": 1, "minor_number": 40, "patch": 2}), "1.40.2 (9e5580933739, Istio's build)"),
        (dump([]), ""),
        (dump(**{"build.type": "RELEASE"}), ""),
        ({}, ""),
    ],
    ids=["upstream", "Istio", "no extensions", "no revision", "nothing"],
)
def test_an_envoy_is_named_as_built_or_not_at_all(server_info: dict[str, Any], build: str) -> None:
    assert versions.build_of(server_info) == build


def pod(name: str, image: str, digest: str) -> dict[str, Any]:
    statuses = [{"name": "reviews", "image": image, "imageID": digest}]
    proxy = {"name": "istio-proxy", "image": "registry.istio.io/release/proxyv2:1.31.1", "imageID": "sha256:cc"}
    spec = {"containers": [{"name": "reviews"}], "initContainers": [{"name": "istio-proxy"}]}
    status = {"phase": "Running", "containerStatuses": statuses, "initContainerStatuses": [proxy]}
    return {"metadata": {"name": name, "namespace": "bookinfo", "labels": {"app": "reviews"}}, "spec": spec, "status": status}


PODS = [pod("reviews-v3-0", "reviews-v3:1", "docker.io/reviews-v3@sha256:bb"), pod("reviews-v1-0", "reviews-v1:1", "sha256:aa")]
IMAGES = {
    "istio-proxy": "registry.istio.io/release/proxyv2:1.31.1 sha256:cc",
    "reviews": "reviews-v1:1 sha256:aa, reviews-v3:1 sha256:bb",
}


class Answering(Cluster):
    def items(self, *kinds: str, namespace: str = "") -> list[dict[str, Any]]:
        return PODS

    def ask(self, path: str, **query: str) -> dict[str, Any]:
        return {"gitVersion": "v1.36.3"}

    def proxy_dump(self, pod: str, namespace: str = "", **query: str) -> dict[str, Any]:
        assert (pod, namespace, query) == ("reviews-v3-0", "bookinfo", {"mask": versions.MASK})
        return dump()


def test_every_image_that_runs_is_named_with_its_digest() -> None:
    assert versions.images_of(PODS) == IMAGES


def test_what_runs_reports_itself() -> None:
    found = versions.running(Answering("kubeconfig", "bookinfo"), (("bookinfo", "reviews"),))
    build = "1.40.0 (9e5580933739, upstream's build, without Istio's filters)"
    assert found == {"kubernetes": "v1.36.3", "envoy": build, **IMAGES}


def test_what_cannot_be_found_out_is_left_out() -> None:
    class Silent(Answering):
        def proxy_dump(self, pod: str, namespace: str = "", **query: str) -> dict[str, Any]:
            raise ClusterError("no answer")

    found = versions.running(Silent("kubeconfig", "bookinfo"), (("bookinfo", "reviews"),))
    assert found == {"kubernetes": "v1.36.3", **IMAGES}
