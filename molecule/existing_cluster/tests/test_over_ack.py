"""The lab with the ack inventory, on a stand-in for the cloud's API that returns the kubeconfig of a local cluster."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator

import pytest
import requests

from tests import lab
from tests.ack_api import KEY_ID, KEY_SECRET, Cloud, Server
from tests.foreign import CLUSTER, ENTRIES, Foreign, alone, expected, lines

NAME = f"{lab.NAME}-ack"
STATE = lab.STATE.parent / NAME


class Ack:
    """The lab's playbooks, with the cloud's address and credentials."""

    def __init__(self, foreign: Foreign, cloud: Cloud, endpoint: str) -> None:
        self.foreign = foreign
        self.cloud = cloud
        self.given: dict[str, object] = {
            "lab_name": NAME, "image_source": "build",
            "ack_cluster_endpoint": endpoint, "ack_cluster_protocol": "http", "ack_cluster_region": "cn-test",
            "ack_cluster_zones": ["cn-test-a"], "ack_cluster_poll": 0.5, "ack_cluster_timeout": 120,
        }  # fmt: skip

    def play(self, name: str, secret: str = KEY_SECRET, **variables: object) -> subprocess.CompletedProcess[str]:
        keys = {"ALIBABA_CLOUD_ACCESS_KEY_ID": KEY_ID, "ALIBABA_CLOUD_ACCESS_KEY_SECRET": secret}
        return lab.playbook(f"-i inventories/ack {name}", keys, **self.given, **variables)

    def created(self) -> int:
        return sum(operation == "CreateCluster" for operation, _ in self.cloud.requests)


@pytest.fixture(scope="module")
def ack(foreign: Foreign, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ack]:
    # In the cloud, Services of type LoadBalancer get an address; here, MetalLB assigns one from the nodes' network.
    balancer = {
        "kind_cluster_name": CLUSTER, "metallb_kubeconfig": str(foreign.kubeconfig),
        "metallb_state_dir": str(tmp_path_factory.mktemp("metallb")),
    }  # fmt: skip
    for changed in (True, False):
        done = lab.playbook("install_load_balancer.yml", None, **balancer)
        assert done.returncode == 0, done.stdout[-3000:]
        assert ("changed=0" in done.stdout) != changed
    with pytest.MonkeyPatch.context() as patch:
        # The SDK uses a proxy even for 127.0.0.1.
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
            patch.delenv(name, raising=False)
        cloud = Cloud(seconds_to_run=3, kubeconfig=foreign.kubeconfig.read_text())
        with Server(cloud) as server:
            yield Ack(foreign, cloud, server.endpoint)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"ack_cluster_region": ""}, "ack_cluster_region: nothing was given"),
        ({"ack_cluster_zones": []}, "ack_cluster_zones: nothing was given"),
        ({"ack_cluster_nodes": 0}, "ack_cluster_nodes: 0 was given; accepted: 1 to 100"),
        ({"ack_cluster_nods": 3}, "did you mean ack_cluster_nodes"),
        ({"ack_cluster_vpc": "vpc-1"}, "ack_cluster_vswitches: nothing was given"),
    ],
)
def test_bad_input_is_refused_and_nothing_is_made(ack: Ack, given: dict[str, object], words: str) -> None:
    before = dict(ack.given)
    ack.given |= given
    try:
        done = ack.play("site.yml")
    finally:
        ack.given = before
    assert done.returncode != 0
    assert words in lab.words(done.stdout), done.stdout[-2000:]
    assert "changed=0" in done.stdout
    assert (ack.created(), STATE.exists()) == (0, False)


def test_wrong_credentials_are_refused_without_being_shown(ack: Ack) -> None:
    done = ack.play("site.yml", secret="not-the-secret")  # noqa: S106 - a wrong one
    assert done.returncode != 0
    assert "SignatureDoesNotMatch" in done.stdout, done.stdout[-2000:]
    assert "not-the-secret" not in done.stdout
    assert ack.created() == 0


def test_a_cloud_cluster_is_created_once(ack: Ack) -> None:
    done = ack.play("site.yml")
    assert done.returncode == 0, done.stdout[-3000:]
    assert KEY_SECRET not in done.stdout
    assert (STATE / "kubeconfig").stat().st_mode & 0o777 == 0o600
    url = json.loads((STATE / "gateway.json").read_text())["http"]
    service = json.loads(ack.foreign.kubectl("-n", "istio-system", "get", "service", "istio-ingressgateway", "-o", "json"))
    assert url == f"http://{service['status']['loadBalancer']['ingress'][0]['ip']}:80"
    assert "<title>Simple Bookstore App</title>" in requests.get(f"{url}/productpage", timeout=10).text
    again = ack.play("site.yml")
    assert "changed=0" in again.stdout, again.stdout[-3000:]
    assert ack.created() == 1
    assert "the control plane is being made" in (STATE / "log/ack.log").read_text(), "the cloud's own events"


def test_the_same_entries_give_the_same_report_as_on_kind(ack: Ack, registry: str, here: None) -> None:
    with alone():
        done = ack.play(
            "verify_catalogue.yml", lab_verify_entries=ENTRIES, lab_registry=f"{registry}/lab", lab_registry_tls_verify=False
        )
    assert done.returncode == 0, done.stdout[-3000:]
    assert lines(STATE) == lines(lab.STATE)
    assert expected(STATE) == expected(lab.STATE)


def test_locally_built_images_come_from_a_shared_registry(ack: Ack, registry: str) -> None:
    """The images of Locust, which sends from within the cluster, and of greeter, which it calls."""
    (STATE / "results/grpc-balance/verdict.json").unlink(missing_ok=True)
    done = ack.play(
        "run_loadtest.yml", lab_entry="grpc-balance", loadtest_where="cluster", loadtest_workers=1,
        lab_registry=f"{registry}/lab", lab_registry_tls_verify=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:]
    verdict = json.loads((STATE / "results/grpc-balance/verdict.json").read_text())
    assert verdict["outcome"] == "PASS"
    assert verdict["facts"]["versions"]["python"].startswith("3.13"), "a pod's Python, not this machine's"
    assert "lab/istio-lab/locust" in requests.get(f"http://{registry}/v2/_catalog", timeout=10).text
    pods = json.loads(ack.foreign.kubectl("-n", "greeter", "get", "pods", "-l", "app=greeter", "-o", "json"))["items"]
    images = {c["image"] for pod in pods for c in pod["spec"]["containers"] if c["name"] == "greeter"}
    assert len(images) == 1
    assert images.pop().startswith(f"{registry}/lab/istio-lab/greeter:")


def test_a_cluster_is_deleted_only_when_its_name_is_confirmed(ack: Ack) -> None:
    refused = ack.play("destroy_lab.yml")
    assert refused.returncode != 0
    assert f"ack_cluster_confirm: '' was given; accepted: {NAME}; it holds" in lab.words(refused.stdout), refused.stdout[-2000:]
    assert len(ack.cloud.clusters) == 1
    done = ack.play("destroy_lab.yml", ack_cluster_confirm=NAME)
    assert done.returncode == 0, done.stdout[-3000:]
    assert "to be deleted with the cluster:" in done.stdout
    assert "nothing is left that costs money" in done.stdout
    assert not STATE.exists()
    assert ack.cloud.clusters == {}
