#!/usr/bin/python
"""Ansible module: a managed Kubernetes cluster (ACK) on Alibaba Cloud, by name and region."""

from __future__ import annotations

import os
import tempfile
import time
import traceback
import uuid
from collections.abc import Callable, Mapping
from typing import Any

from ansible.module_utils.basic import AnsibleModule, missing_required_lib

try:
    from alibabacloud_credentials.client import Client as Credentials
    from alibabacloud_cs20151215 import models
    from alibabacloud_cs20151215.client import Client
    from alibabacloud_tea_openapi.utils_models import Config
    from darabonba.exceptions import UnretryableException
    from Tea.exceptions import TeaException

    MISSING = ""
except ImportError:
    MISSING = traceback.format_exc()

DOCUMENTATION = r"""
module: ack_cluster
short_description: Makes, changes or removes a managed Kubernetes cluster (ACK) of Alibaba Cloud
description:
  - A cluster is known by its name in its region, and is the lab's when it carries the lab's tag. One of the same name without
    the tag is never touched.
  - Where the lab was interrupted, or an answer was lost, the cluster that is there is taken up again; there is never
    a second one.
  - What differs from what is wanted is reported; it is changed where the API changes it in place (deletion protection, resource
    group, public endpoint, tags, number of nodes), and left as it is elsewhere.
  - Credentials are found by the SDK's default chain (environment, profile, RAM role).
options:
  name: {description: "Name of the cluster.", type: str, required: true}
  state: {description: "What shall be.", type: str, choices: [present, absent], default: present}
  region: {description: "Region id.", type: str, required: true}
  lab: {description: "Name of the lab; the value of the tag istio-lab.", type: str, required: true}
  endpoint: {description: "HOST[:PORT] of the CS API; that of the region when empty.", type: str, default: ""}
  protocol: {description: "How the endpoint is spoken to.", type: str, choices: [https, http], default: https}
  version: {description: "Kubernetes version; the API's own default when empty.", type: str, default: ""}
  spec: {description: "Kind of the control plane.", type: str, choices: [ack.standard, ack.pro.small], default: ack.standard}
  vpc: {description: "Id of the VPC; one is made, in C(zones), when empty.", type: str, default: ""}
  vswitches: {description: "Ids of the vSwitches in the VPC.", type: list, elements: str, default: []}
  zones: {description: "Zones for a VPC that is made.", type: list, elements: str, default: []}
  pod_cidr: {description: "Addresses of pods.", type: str, default: 10.100.0.0/16}
  service_cidr: {description: "Addresses of Services.", type: str, default: 172.21.0.0/20}
  instance_types: {description: "Instance types of nodes.", type: list, elements: str, default: []}
  nodes: {description: "Number of nodes.", type: int, default: 2}
  disk_category: {description: "Category of a node's system disk.", type: str, default: cloud_essd}
  disk_gib: {description: "Size of a node's system disk in GiB.", type: int, default: 60}
  spot: {description: "Whether nodes are spot instances, at the market's price.", type: bool, default: false}
  public_endpoint: {description: "Whether the API server has a public address.", type: bool, default: true}
  snat: {description: "Whether nodes reach the Internet by a NAT gateway that is made.", type: bool, default: true}
  deletion_protection: {description: "Whether the cluster refuses to be deleted.", type: bool, default: false}
  resource_group: {description: "Id of the resource group; the default one when empty.", type: str, default: ""}
  tags: {description: "Further tags.", type: dict, default: {}}
  kubeconfig: {description: "File for the kubeconfig (0600); none is fetched when empty.", type: path, default: ""}
  kubeconfig_minutes: {description: "How long it is valid; 15 to 4320.", type: int, default: 4320}
  confirm: {description: "For C(state: absent), the name of the cluster once more.", type: str, default: ""}
  timeout: {description: "Seconds to wait for the cluster to be there or gone.", type: int, default: 1800}
  poll: {description: "Seconds between two looks.", type: float, default: 10.0}
  log: {description: "File that receives the API's own events while the module waits.", type: path, default: ""}
author: istio-lab developers
"""

EXAMPLES = r"""
- name: Make the cluster
  ack_cluster:
    name: lab
    lab: istio-lab
    region: cn-hangzhou
    zones: [cn-hangzhou-j]
    instance_types: [ecs.g7.xlarge]
    kubeconfig: /root/.local/state/istio-lab/istio-lab/kubeconfig
"""

RETURN = r"""
cluster_id: {description: Id of the cluster., returned: when there is one, type: str}
action: {description: "One of: create, resume, change, keep, delete, none.", returned: success, type: str}
drift:
  description: What differs from what is wanted; each with name, wanted, found and whether the API changes it in place.
  returned: "state: present"
  type: list
costs: {description: What the cluster holds that costs money., returned: "state: absent", type: list}
left: {description: What is left of that., returned: "state: absent", type: list}
"""

TAG = "istio-lab"
RUNNING = "running"
GONE = "deleted"
BROKEN = ("failed", "delete_failed", "inactive", "unavailable", "disconnected")
ATTEMPTS = 6
BACKOFF_SECONDS = 0.5
# No answer at all, throttled or ill: the same call may succeed a moment later.
PASSING = (0, 408, 429, 500, 502, 503, 504)
POOL = "istio-lab"


class AckError(Exception):
    """What the API said, in one line."""


# -- pure: what is asked for, and what differs ------------------------------------------------------------------------


def tags_of(wanted: Mapping[str, Any]) -> dict[str, str]:
    """All tags that the cluster shall carry."""
    return {**{str(k): str(v) for k, v in wanted["tags"].items()}, TAG: wanted["lab"]}


def create_body(wanted: Mapping[str, Any], token: str) -> dict[str, Any]:
    """The request that makes the cluster, as the CS API names its fields.

    :param token: what makes the API take a repeated request for the same one
    """
    network = (
        {"vpcid": wanted["vpc"], "vswitch_ids": list(wanted["vswitches"])}
        if wanted["vpc"]
        else {"zone_ids": list(wanted["zones"])}
    )
    group = {
        "instance_types": list(wanted["instance_types"]), "desired_size": wanted["nodes"],
        "system_disk_category": wanted["disk_category"], "system_disk_size": wanted["disk_gib"],
        "instance_charge_type": "PostPaid", "spot_strategy": "SpotAsPriceGo" if wanted["spot"] else "NoSpot",
    }  # fmt: skip
    if wanted["vswitches"]:
        group["vswitch_ids"] = list(wanted["vswitches"])
    body = {
        "name": wanted["name"], "region_id": wanted["region"], "cluster_type": "ManagedKubernetes",
        "cluster_spec": wanted["spec"], "kubernetes_version": wanted["version"], "container_cidr": wanted["pod_cidr"],
        "service_cidr": wanted["service_cidr"],
        "endpoint_public_access": wanted["public_endpoint"], "snat_entry": wanted["snat"],
        "deletion_protection": wanted["deletion_protection"], "resource_group_id": wanted["resource_group"],
        "addons": [{"name": "flannel"}], "client_token": token,
        "tags": [{"key": key, "value": value} for key, value in sorted(tags_of(wanted).items())],
        "nodepools": [{"nodepool_info": {"name": POOL}, "scaling_group": group}],
        **network,
    }  # fmt: skip
    return {key: value for key, value in body.items() if value not in ("", [])}


def drift_of(wanted: Mapping[str, Any], cluster: Mapping[str, Any], pool: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """What differs from what is wanted: ``name``, ``wanted``, ``found``, and whether the API changes it ``in_place``."""
    found_tags = {t["key"]: t["value"] for t in cluster.get("tags") or []}
    group = (pool or {}).get("scaling_group") or {}
    compared: list[tuple[str, Any, Any, bool]] = [
        ("deletion_protection", wanted["deletion_protection"], bool(cluster.get("deletion_protection")), True),
        ("public_endpoint", wanted["public_endpoint"], has_public_endpoint(cluster), True),
        ("tags", tags_of(wanted), {k: found_tags.get(k, "") for k in tags_of(wanted)}, True),
        ("service_cidr", wanted["service_cidr"], cluster.get("service_cidr"), False),
        ("spec", wanted["spec"], cluster.get("cluster_spec"), False),
    ]
    if wanted["resource_group"]:
        compared.append(("resource_group", wanted["resource_group"], cluster.get("resource_group_id"), True))
    if wanted["version"]:
        compared.append(("version", wanted["version"], cluster.get("current_version"), False))
    if wanted["vpc"]:
        compared.append(("vpc", wanted["vpc"], cluster.get("vpc_id"), False))
    if pool is None:
        compared.append(("nodes", wanted["nodes"], 0, False))
    else:
        compared.append(("nodes", wanted["nodes"], group.get("desired_size"), True))
        compared.append(("instance_types", sorted(wanted["instance_types"]), sorted(group.get("instance_types") or []), False))
    return [{"name": n, "wanted": w, "found": f, "in_place": place} for n, w, f, place in compared if w != f]


def has_public_endpoint(cluster: Mapping[str, Any]) -> bool:
    """Whether the API server has a public address; ``master_url`` is JSON in a string."""
    return '"api_server_endpoint":"http' in (cluster.get("master_url") or "").replace(" ", "")


def wrong_inputs(wanted: Mapping[str, Any]) -> str:
    """What cannot be asked for, in one line; empty when all can."""
    if not wanted["region"]:
        return "region: nothing was given; accepted: the id of a region, such as cn-hangzhou"
    if wanted["state"] == "absent":
        return ""
    if not wanted["instance_types"]:
        return "instance_types: nothing was given; accepted: instance types of the region, such as ecs.g7.xlarge"
    if wanted["vpc"] and not wanted["vswitches"]:
        return "vswitches: nothing was given; vpc needs those of its vSwitches in which nodes shall be"
    if wanted["vswitches"] and not wanted["vpc"]:
        return "vpc: nothing was given; vswitches belong to one"
    if not wanted["vpc"] and not wanted["zones"]:
        return "zones: nothing was given; a VPC that is made needs at least one, such as cn-hangzhou-j"
    if not 1 <= wanted["nodes"] <= 100:
        return f"nodes: {wanted['nodes']} was given; accepted: 1 to 100"
    if not 15 <= wanted["kubeconfig_minutes"] <= 4320:
        return f"kubeconfig_minutes: {wanted['kubeconfig_minutes']} was given; accepted: 15 to 4320"
    return ""


# -- the API ----------------------------------------------------------------------------------------------------------


def refuse_others(cluster: Mapping[str, Any], wanted: Mapping[str, Any], done: str) -> None:
    """Only a cluster with the lab's tag is the lab's; the tag is part of the request that makes one.

    :raises AckError: if this one has none
    """
    tags = {t["key"]: t["value"] for t in cluster.get("tags") or []}
    if tags.get(TAG) != wanted["lab"]:
        raise AckError(
            f"name: {wanted['name']} was given, which a cluster has that is not this lab's ({cluster['cluster_id']}); "
            f"accepted: a name that no cluster of {wanted['region']} has; {done}"
        )


def in_words(error: Exception) -> str:
    """One line of an error, without what the SDK adds."""
    message = str(getattr(error, "message", "") or error)
    code = getattr(error, "code", "")
    return f"{code}: {message}" if code and code not in message else " ".join(message.split())


class Api:
    """The CS API, with bounded patience: a call that was throttled, or met a server that is ill, is made again."""

    def __init__(self, client: Any, sleep: Callable[[float], None] = time.sleep) -> None:
        self.client = client
        self.sleep = sleep

    def call(self, name: str, *arguments: Any, attempts: int = ATTEMPTS) -> Any:
        """The body of one answer, as plain data; None where there is no such thing (404).

        :raises AckError: with the API's own words, when it refuses, or goes on failing
        """
        for attempt in range(1, attempts + 1):
            try:
                # Some answers have none.
                body = getattr(getattr(self.client, name)(*arguments), "body", None)
            except TeaException as error:
                status = int(getattr(error, "status_code", 0) or 0)
                # What is asked for may not be there; what shall be changed must be.
                if status == 404 and name.startswith("describe_"):
                    return None
                passing = status in PASSING or "Throttling" in str(getattr(error, "code", ""))
                if not passing or attempt == attempts:
                    raise AckError(in_words(error)) from error
            except UnretryableException as error:
                if attempt == attempts:
                    raise AckError(f"{name}: no answer: {in_words(error)}") from error
            else:
                return [b.to_map() for b in body] if isinstance(body, list) else body.to_map() if body is not None else {}
            self.sleep(BACKOFF_SECONDS * 2 ** (attempt - 1))
        raise AssertionError("unreachable")

    def find(self, name: str, region: str) -> dict[str, Any] | None:
        """The cluster of that very name, if there is one that is not gone.

        :raises AckError: if there are several
        """
        request = models.DescribeClustersV1Request(name=name, region_id=region, page_size=50)
        listed = (self.call("describe_clusters_v1", request) or {}).get("clusters") or []
        found = [c for c in listed if c["name"] == name and c.get("state") != GONE]
        if len(found) > 1:
            raise AckError(
                f"name: {name} was given, which {len(found)} clusters have: {', '.join(c['cluster_id'] for c in found)}"
            )
        return found[0] if found else None

    def pool(self, cluster_id: str) -> dict[str, Any] | None:
        """The lab's node pool."""
        request = models.DescribeClusterNodePoolsRequest()
        listed = (self.call("describe_cluster_node_pools", cluster_id, request) or {}).get("nodepools") or []
        return next((p for p in listed if (p.get("nodepool_info") or {}).get("name") == POOL), None)

    def create(self, wanted: Mapping[str, Any]) -> str:
        """Ask for the cluster; its id. An answer that was lost is no reason to ask for another one: it is looked for first."""
        token = str(uuid.uuid5(uuid.NAMESPACE_DNS, f"{wanted['lab']}.{wanted['region']}.{wanted['name']}.{time.time_ns()}"))
        request = models.CreateClusterRequest().from_map(create_body(wanted, token))
        failure = AckError("no answer")
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return str(self.call("create_cluster", request, attempts=1)["cluster_id"])
            except AckError as error:
                if (there := self.find(wanted["name"], wanted["region"])) is not None:
                    refuse_others(there, wanted, "nothing was made")
                    return str(there["cluster_id"])
                cause = error.__cause__
                status = int(getattr(cause, "status_code", 0) or 0)
                if (
                    isinstance(cause, TeaException)
                    and status not in PASSING
                    and "Throttling" not in str(getattr(cause, "code", ""))
                ):
                    raise
                failure = error
                self.sleep(BACKOFF_SECONDS * 2 ** (attempt - 1))
        raise failure

    def why_failed(self, cluster_id: str, task_id: str) -> str:
        """What the API itself says of a creation that failed: its task's error, or else its last event that is no good one."""
        task = self.call("describe_task_info", task_id) if task_id else None
        error = (task or {}).get("error") or {}
        if error.get("message"):
            return f"{error.get('code', '')}: {error['message']}"
        events = self.events(cluster_id)
        bad = [e for e in events if e["level"] in ("error", "warning")]
        return (bad or events or [{"message": "the API gives no reason"}])[-1]["message"]

    def events(self, cluster_id: str) -> list[dict[str, str]]:
        """Events of a cluster, the oldest first: ``id``, ``time``, ``level``, ``message``."""
        request = models.DescribeClusterEventsRequest(page_size=50)
        listed = (self.call("describe_cluster_events", cluster_id, request) or {}).get("events") or []
        events = [
            {
                "id": e.get("event_id", ""),
                "time": e.get("time", ""),
                **{k: (e.get("data") or {}).get(k) or "" for k in ("level", "message")},
            }
            for e in listed
        ]
        return sorted(events, key=lambda e: e["time"])

    def resources(self, cluster_id: str) -> list[str]:
        """What a cluster holds that costs money, in words."""
        listed = self.call("describe_cluster_resources", cluster_id, models.DescribeClusterResourcesRequest()) or []
        return [
            f"{r.get('resource_type')} {r.get('instance_id')}"
            for r in listed
            if r.get("state") not in (GONE, "DELETE_COMPLETE")
        ]


def wait(api: Api, module: AnsibleModule, cluster_id: str, until: str, task_id: str = "") -> None:
    """Look again and again until the cluster is ``running`` or ``deleted``; new events go to the log meanwhile.

    :raises AckError: if it fails, or takes too long
    """
    end, seen = time.monotonic() + module.params["timeout"], set()
    if module.params["log"]:
        os.makedirs(os.path.dirname(module.params["log"]), mode=0o700, exist_ok=True)
    while True:
        cluster = api.call("describe_cluster_detail", cluster_id)
        state = GONE if cluster is None else cluster.get("state", "")
        if module.params["log"]:
            new = [e for e in (api.events(cluster_id) if cluster is not None else []) if e["id"] not in seen]
            seen |= {e["id"] for e in new}
            with open(module.params["log"], "a", encoding="utf-8") as log:
                log.writelines(f"{e['time']} {e['level']} {e['message']}\n" for e in new)
        if state == until:
            return
        if state in BROKEN or (until == RUNNING and state == GONE):
            raise AckError(f"the cluster is {state}: {api.why_failed(cluster_id, task_id)}")
        if time.monotonic() > end:
            raise AckError(f"timeout: after {module.params['timeout']} s the cluster is still {state}; run again to go on")
        api.sleep(module.params["poll"])


def settle(api: Api, module: AnsibleModule, cluster_id: str, drift: list[dict[str, Any]], pool: dict[str, Any] | None) -> None:
    """Change in place what can be."""
    wanted = {d["name"]: d["wanted"] for d in drift if d["in_place"]}
    fields = {
        "deletion_protection": "deletion_protection",
        "resource_group": "resource_group_id",
        "public_endpoint": "api_server_eip",
    }
    changes = {fields[name]: value for name, value in wanted.items() if name in fields}
    if changes:
        api.call("modify_cluster", cluster_id, models.ModifyClusterRequest().from_map(changes))
    if "tags" in wanted:
        body = [{"key": key, "value": value} for key, value in sorted(wanted["tags"].items())]
        api.call("modify_cluster_tags", cluster_id, models.ModifyClusterTagsRequest().from_map({"body": body}))
    if "nodes" in wanted and pool is not None:
        request = models.ModifyClusterNodePoolRequest().from_map({"scaling_group": {"desired_size": wanted["nodes"]}})
        api.call("modify_cluster_node_pool", cluster_id, pool["nodepool_info"]["nodepool_id"], request)


def keep_kubeconfig(api: Api, module: AnsibleModule, cluster_id: str) -> None:
    """Fetch the kubeconfig, for a limited time, and put it in place whole, for its owner alone."""
    request = models.DescribeClusterUserKubeconfigRequest(
        private_ip_address=not module.params["public_endpoint"], temporary_duration_minutes=module.params["kubeconfig_minutes"]
    )
    config = (api.call("describe_cluster_user_kubeconfig", cluster_id, request) or {}).get("config", "")
    if not config:
        raise AckError("the API gave no kubeconfig; does this account have rights in the cluster?")
    folder = os.path.dirname(module.params["kubeconfig"])
    os.makedirs(folder, mode=0o700, exist_ok=True)
    # mkstemp makes it 0600.
    handle, partial = tempfile.mkstemp(dir=folder)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(config)
    os.replace(partial, module.params["kubeconfig"])


def present(api: Api, module: AnsibleModule) -> dict[str, Any]:
    """The cluster is there and runs."""
    wanted = module.params
    found = api.find(wanted["name"], wanted["region"])
    if found is None:
        result = {"changed": True, "action": "create", "drift": [], "diff": {"before": "", "after": f"{wanted['name']}\n"}}
        if module.check_mode:
            return result
        cluster_id = api.create(wanted)
        wait(
            api, module, cluster_id, RUNNING, str((api.call("describe_cluster_detail", cluster_id) or {}).get("task_id") or "")
        )
    else:
        cluster_id = found["cluster_id"]
        refuse_others(found, wanted, "nothing was made")
        resumed = found.get("state") != RUNNING
        if resumed and not module.check_mode:
            wait(api, module, cluster_id, RUNNING)
        cluster, pool = api.call("describe_cluster_detail", cluster_id) or found, api.pool(cluster_id)
        drift = drift_of(wanted, cluster, pool)
        changing = [d for d in drift if d["in_place"]]
        lines = {side: "".join(f"{d['name']}: {d[side]}\n" for d in drift) for side in ("found", "wanted")}
        result = {
            "changed": bool(changing), "action": "change" if changing else "resume" if resumed else "keep", "drift": drift,
            "diff": {"before": lines["found"], "after": lines["wanted"]},
        }  # fmt: skip
        if changing and not module.check_mode:
            settle(api, module, cluster_id, drift, pool)
            wait(api, module, cluster_id, RUNNING)
    if wanted["kubeconfig"] and not module.check_mode:
        keep_kubeconfig(api, module, cluster_id)
    return result | {"cluster_id": cluster_id}


def absent(api: Api, module: AnsibleModule) -> dict[str, Any]:
    """The cluster is gone, with what was made for it."""
    wanted = module.params
    found = api.find(wanted["name"], wanted["region"])
    if found is None:
        return {"changed": False, "action": "none", "costs": [], "left": []}
    cluster_id = found["cluster_id"]
    refuse_others(found, wanted, "nothing was deleted")
    costs = api.resources(cluster_id)
    if wanted["confirm"] != wanted["name"]:
        held = ", ".join(costs) or "nothing that it names"
        raise AckError(
            f"confirm: {wanted['confirm']!r} was given; accepted: {wanted['name']}; it holds {held}; nothing was deleted"
        )
    if not module.check_mode:
        if found.get("state") != "deleting":
            request = models.DeleteClusterRequest(retain_all_resources=False, keep_slb=False)
            api.call("delete_cluster", cluster_id, request)
        wait(api, module, cluster_id, GONE)
    left = [] if module.check_mode else api.resources(cluster_id)
    return {"changed": True, "action": "delete", "cluster_id": cluster_id, "costs": costs, "left": left}


def argument_spec() -> dict[str, Any]:
    """The module's options, read from its documentation, so that the two cannot differ."""
    import yaml

    kept = ("type", "required", "default", "choices", "elements")
    options = yaml.safe_load(DOCUMENTATION)["options"]
    return {name: {key: option[key] for key in kept if key in option} for name, option in options.items()}


def main() -> None:
    """Entry point that Ansible calls."""
    module = AnsibleModule(argument_spec=argument_spec(), supports_check_mode=True)
    if MISSING:
        module.fail_json(msg=missing_required_lib("alibabacloud-cs20151215"), exception=MISSING)
    wanted = module.params
    if wrong := wrong_inputs(wanted):
        module.fail_json(msg=f"{wrong}; nothing was made")
    try:
        credentials = Credentials()
    except Exception as error:  # the SDK's chain raises what each of its links does
        module.fail_json(
            msg=f"credentials: none were found ({in_words(error)}); set ALIBABA_CLOUD_ACCESS_KEY_ID and _SECRET, or a profile; "
            "nothing was made"
        )
    endpoint = wanted["endpoint"] or f"cs.{wanted['region']}.aliyuncs.com"
    config = Config(credential=credentials, endpoint=endpoint, protocol=wanted["protocol"], region_id=wanted["region"])
    try:
        result = (present if wanted["state"] == "present" else absent)(Api(Client(config)), module)
    except AckError as error:
        module.fail_json(msg=str(error))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
