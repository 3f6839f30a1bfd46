"""The ACK module with a stand-in for the cloud's API that checks signatures, takes time, and loses responses."""

from __future__ import annotations

import stat
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from alibabacloud_cs20151215 import models
from alibabacloud_cs20151215.client import Client
from alibabacloud_tea_openapi.utils_models import Config

from tests.ack_api import KEY_ID, KEY_SECRET, Cloud, Fault, Server, known
from tests.unit.test_inputs import plugin

ack = plugin("modules", "ack_cluster")
WANTED = {
    "name": "lab", "lab": "istio-lab", "region": "cn-test", "zones": ["cn-test-a"], "instance_types": ["ecs.g7.xlarge"],
    "poll": 0.05, "timeout": 5,
}  # fmt: skip
TAGS = {"istio-lab": "istio-lab"}


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch) -> Cloud:
    # The SDK uses a proxy even for 127.0.0.1.
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
        monkeypatch.delenv(name, raising=False)
    return Cloud()


def module(check: bool = False, **given: Any) -> Any:
    """Options as Ansible passes them to the module: given values and defaults."""
    defaults = {name: option.get("default") for name, option in ack.argument_spec().items()}
    return SimpleNamespace(params=defaults | WANTED | given, check_mode=check)


def api(server: Server, secret: str = KEY_SECRET) -> Any:
    client = Client(
        Config(access_key_id=KEY_ID, access_key_secret=secret, endpoint=server.endpoint, protocol="http", region_id="cn-test")
    )
    return ack.Api(client, sleep=lambda seconds: time.sleep(min(seconds, 0.05)))


def run(cloud: Cloud, check: bool = False, **given: Any) -> dict[str, Any]:
    asked = module(check, **given)
    with Server(cloud) as server:
        result: dict[str, Any] = (ack.present if asked.params["state"] == "present" else ack.absent)(api(server), asked)
    return result


def created(cloud: Cloud) -> int:
    return sum(operation == "CreateCluster" for operation, _ in cloud.requests)


def test_a_cluster_is_created_then_kept(cloud: Cloud, tmp_path: Path) -> None:
    file, log = tmp_path / "state/kubeconfig", tmp_path / "ack.log"
    first = run(cloud, kubeconfig=str(file), log=str(log))
    assert (first["changed"], first["action"]) == (True, "create")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert file.read_text() == cloud.kubeconfig
    assert "the control plane is being made" in log.read_text()
    second = run(cloud, kubeconfig=str(file))
    assert (second["changed"], second["action"], second["drift"]) == (False, "keep", [])
    assert second["cluster_id"] == first["cluster_id"]
    assert (created(cloud), cloud.refused) == (1, [])


def test_the_request_matches_the_settings(cloud: Cloud) -> None:
    run(cloud, vpc="vpc-1", vswitches=["vsw-1"], zones=[], spot=True, nodes=3, disk_gib=80, public_endpoint=False, snat=False,
        resource_group="rg-1", tags={"team": "mesh"}, deletion_protection=True)  # fmt: skip
    body = next(b for operation, b in cloud.requests if operation == "CreateCluster")
    group = body["nodepools"][0]["scaling_group"]
    assert (body["vpcid"], body["vswitch_ids"], "zone_ids" in body) == ("vpc-1", ["vsw-1"], False)
    assert (group["spot_strategy"], group["desired_size"], group["system_disk_size"]) == ("SpotAsPriceGo", 3, 80)
    assert (body["endpoint_public_access"], body["snat_entry"], body["deletion_protection"]) == (False, False, True)
    assert (body["resource_group_id"], body["cluster_type"]) == ("rg-1", "ManagedKubernetes")
    assert {"key": "team", "value": "mesh"} in body["tags"]


def test_every_field_of_a_request_is_in_the_sdks_model() -> None:
    body = ack.create_body(module(vpc="v", vswitches=["s"], resource_group="r", version="1.36.3-aliyun.1").params, "token")
    assert known(models.CreateClusterRequest, body)
    with pytest.raises(AssertionError, match="does not know"):
        known(models.CreateClusterRequest, {**body, "vpc_id": "v"})


def test_check_mode_makes_nothing(cloud: Cloud) -> None:
    result = run(cloud, check=True)
    assert (result["changed"], result["action"], created(cloud), cloud.clusters) == (True, "create", 0, {})


@pytest.mark.parametrize("status", [0, 500, 503])
def test_a_lost_answer_makes_no_second_cluster(cloud: Cloud, status: int) -> None:
    cloud.faults.append(Fault("CreateCluster", status=status, after=True))
    assert run(cloud)["action"] == "create"
    assert (created(cloud), len(cloud.clusters)) == (1, 1)


def test_a_lost_request_is_repeated(cloud: Cloud) -> None:
    cloud.faults += [Fault("CreateCluster", status=503), Fault("CreateCluster", status=400, code="Throttling.User")]
    assert run(cloud)["action"] == "create"
    assert len(cloud.clusters) == 1


def test_throttling_and_server_errors_are_retried(cloud: Cloud) -> None:
    cloud.add("lab", tags=TAGS)
    cloud.faults += [Fault("DescribeClustersV1", status=429, code="Throttling.Api"), Fault("DescribeClustersV1", status=502),
                     Fault("DescribeClustersV1", status=0)]  # fmt: skip
    assert run(cloud)["action"] == "change"
    cloud.faults += [Fault("DescribeClustersV1", status=503, message="the service is down") for _ in range(ack.ATTEMPTS)]
    with pytest.raises(ack.AckError, match="the service is down"):
        run(cloud)


def test_an_interrupted_creation_is_resumed(cloud: Cloud) -> None:
    cluster_id = cloud.add(
        "lab", "initial", TAGS, due=time.monotonic() + 3.0, becomes="running", cluster_spec="ack.standard",
        service_cidr="172.21.0.0/20",
        master_url='{"api_server_endpoint":"https://47.1.1.1:6443"}',
    )  # fmt: skip
    cloud.pools[cluster_id] = {
        "nodepool_info": {"name": "istio-lab", "nodepool_id": "np"},
        "scaling_group": {"desired_size": 2, "instance_types": ["ecs.g7.xlarge"]},
    }  # fmt: skip
    result = run(cloud)
    assert (result["cluster_id"], result["action"], result["changed"], created(cloud)) == (cluster_id, "resume", False, 0)


def test_drift_is_reported_and_corrected_where_possible(cloud: Cloud) -> None:
    run(cloud)
    result = run(
        cloud,
        check=True,
        nodes=4,
        deletion_protection=True,
        public_endpoint=False,
        service_cidr="172.22.0.0/20",
        tags={"a": "b"},
    )
    assert {d["name"]: d["in_place"] for d in result["drift"]} == {
        "deletion_protection": True, "public_endpoint": True, "tags": True, "service_cidr": False, "nodes": True,
    }  # fmt: skip
    assert "nodes: 4\n" in result["diff"]["after"]
    assert run(cloud)["drift"] == [], "check mode has changed nothing"
    changed = run(
        cloud, nodes=4, deletion_protection=True, public_endpoint=False, service_cidr="172.22.0.0/20", tags={"a": "b"}
    )
    assert changed["action"] == "change"
    again = run(cloud, nodes=4, deletion_protection=True, public_endpoint=False, service_cidr="172.22.0.0/20", tags={"a": "b"})
    assert ([d["name"] for d in again["drift"]], again["changed"]) == (["service_cidr"], False)


def test_a_failed_creation_is_reported_with_the_apis_reason(cloud: Cloud) -> None:
    cloud.fails_with = "QuotaExceeded.SLB: the quota of load balancers is used up"
    with pytest.raises(ack.AckError, match=r"the cluster is failed: .*the quota of load balancers is used up"):
        run(cloud)


def test_a_cluster_that_is_not_the_labs_is_left_alone(cloud: Cloud) -> None:
    cloud.add("lab", tags={"istio-lab": "another"})
    for state in ("present", "absent"):
        with pytest.raises(ack.AckError, match="which a cluster has that is not this lab's"):
            run(cloud, state=state, confirm="lab")
    assert {operation for operation, _ in cloud.requests} == {"DescribeClustersV1"}


def test_a_cluster_created_concurrently_by_somebody_else_is_not_taken_over(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    find, seen = ack.Api.find, []

    def first_nothing(self: Any, name: str, region: str) -> Any:
        seen.append(name)
        if len(seen) == 1:
            return None
        if not cloud.clusters:
            cloud.add("lab", tags={"team": "shop"})
        return find(self, name, region)

    monkeypatch.setattr(ack.Api, "find", first_nothing)
    cloud.faults.append(Fault("CreateCluster", status=503))
    with pytest.raises(ack.AckError, match="which a cluster has that is not this lab's"):
        run(cloud)
    assert len(cloud.clusters) == 1


def test_names_match_as_a_whole(cloud: Cloud) -> None:
    cloud.add("lab-2")
    assert run(cloud)["action"] == "create", "the API matches a part of the name"


def test_deletion_requires_the_name_and_lists_resources(cloud: Cloud) -> None:
    run(cloud)
    with pytest.raises(
        ack.AckError,
        match=r"confirm: '' was given; accepted: lab; it holds SLB lb-1, NATGateway ngw-1, ECS i-0, ECS i-1; nothing",
    ):
        run(cloud, state="absent")
    assert len(cloud.clusters) == 1
    result = run(cloud, state="absent", confirm="lab")
    assert (result["changed"], result["costs"][0], result["left"], cloud.clusters) == (True, "SLB lb-1", [], {})
    assert run(cloud, state="absent", confirm="lab")["changed"] is False


def test_the_api_refuses_a_wrong_key(cloud: Cloud) -> None:
    with Server(cloud) as server, pytest.raises(ack.AckError, match="SignatureDoesNotMatch"):
        ack.present(api(server, secret="wrong"), module())
    assert cloud.refused == ["the signature does not match"]


def test_waiting_has_a_limit(cloud: Cloud) -> None:
    cloud.seconds_to_run = 60
    with pytest.raises(ack.AckError, match="timeout: after 1 s the cluster is still initial; run again"):
        run(cloud, timeout=1)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"instance_types": []}, "instance_types: nothing was given"),
        ({"vpc": "vpc-1"}, "vswitches: nothing was given"),
        ({"vswitches": ["vsw-1"]}, "vpc: nothing was given"),
        ({"zones": []}, "zones: nothing was given"),
        ({"nodes": 0}, "nodes: 0 was given"),
        ({"kubeconfig_minutes": 5}, "kubeconfig_minutes: 5 was given"),
    ],
)
def test_invalid_settings_are_refused(given: dict[str, Any], words: str) -> None:
    assert ack.wrong_inputs(module(**given).params).startswith(words)
    assert ack.wrong_inputs(module().params) == ""


def test_two_clusters_with_one_name_are_reported(cloud: Cloud) -> None:
    cloud.add("lab", tags=TAGS)
    cloud.add("lab", tags=TAGS)
    with pytest.raises(ack.AckError, match="which 2 clusters have"):
        run(cloud)


def test_a_change_that_finds_nothing_is_an_error(cloud: Cloud) -> None:
    run(cloud)
    cloud.faults.append(Fault("ModifyCluster", status=404, code="ErrorClusterNotFound", message="no such cluster"))
    with pytest.raises(ack.AckError, match="no such cluster"):
        run(cloud, deletion_protection=True)
