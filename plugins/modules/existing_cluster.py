#!/usr/bin/python
"""Ansible module: may the lab go onto a cluster that is there, and how will its gateway be reached?"""

from __future__ import annotations

import base64
import json
import re
import socket
import traceback
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule, missing_required_lib

try:
    import yaml
    from kubernetes import config
    from kubernetes.client import ApiException, Configuration
    from kubernetes.config import ConfigException
    from urllib3.exceptions import HTTPError

    MISSING = ""
except ImportError:
    MISSING = traceback.format_exc()

DOCUMENTATION = r"""
module: existing_cluster
short_description: Looks whether a cluster that is there can carry the lab
description:
  - Reads only. Asks for the server's version, the rights that the lab needs, another Istio, names that are taken, and room.
  - What carries the lab's label is the lab's, and so is an Istio whose namespace carries it.
  - Tells how the ingress gateway shall be reached, and gives a kubeconfig of this cluster alone.
options:
  kubeconfig: {description: "The user's kubeconfig.", type: path, required: true}
  context: {description: "Context in it; its current one when empty.", type: str, default: ""}
  namespaces: {description: "Namespaces that the lab will make.", type: list, elements: str, required: true}
  oldest: {description: "Oldest Kubernetes version that Istio takes, such as 1.32.", type: str, required: true}
  newest: {description: "Newest Kubernetes version that the lab takes.", type: str, required: true}
  own: {description: "The lab's own kubeconfig; when it is there, the cluster must be that one.", type: path, required: true}
  record: {description: "The lab's record of its cluster, which says the same when C(own) is lost.", type: path, required: true}
  cpus: {description: "Cores that must be free.", type: float, default: 1.0}
  memory_gib: {description: "Memory that must be free, in GiB.", type: float, default: 3.0}
  reach:
    description: "How the gateway is reached; C(auto) chooses."
    type: str
    choices: [auto, LoadBalancer, NodePort, port-forward]
    default: auto
author: istio-lab developers
"""

EXAMPLES = r"""
- name: Look at the cluster
  existing_cluster:
    kubeconfig: /root/.kube/config
    context: staging
    own: /root/.local/state/istio-lab/istio-lab/kubeconfig
    record: /root/.local/state/istio-lab/istio-lab/cluster.json
    namespaces: [istio-system, bookinfo]
    oldest: "1.32"
    newest: "1.37"
"""

RETURN = r"""
kubeconfig: {description: "Kubeconfig of this cluster alone, as YAML text.", returned: success, type: str}
server: {description: "Version of the API server.", returned: success, type: str}
api: {description: "Address of the API server.", returned: success, type: str}
reach: {description: "LoadBalancer, NodePort or port-forward.", returned: success, type: str}
why: {description: "Why that one.", returned: success, type: str}
address: {description: "Address of a node, for NodePort.", returned: success, type: str}
"""

LABEL = ("app.kubernetes.io/part-of", "istio-lab")
# Providers that give Services of type LoadBalancer an address, by the scheme of their nodes' ids.
BALANCED = ("alicloud", "aws", "azure", "digitalocean", "gce", "ibm", "linode", "oci", "openstack", "vsphere")
KUBELET_PORT = 10250
WRITE = ("create", "patch", "delete")
# (API group, resources, verbs): what the lab makes, reads and removes. istioctl makes ClusterRoles with rights of their own,
# and only who has those may hand them on.
NEEDED: tuple[tuple[str, tuple[str, ...], tuple[str, ...]], ...] = (
    ("", ("namespaces", "nodes", "pods", "services"), ("list",)),
    ("", ("namespaces", "services", "serviceaccounts", "configmaps", "secrets"), WRITE),
    ("", ("pods/exec", "pods/portforward", "serviceaccounts/token"), ("create",)),
    ("", ("pods/log",), ("get",)),
    ("apps", ("deployments", "statefulsets"), ("list", *WRITE)),
    ("apiextensions.k8s.io", ("customresourcedefinitions",), ("list", *WRITE)),
    ("rbac.authorization.k8s.io", ("clusterroles", "clusterrolebindings", "roles", "rolebindings"), WRITE),
    ("rbac.authorization.k8s.io", ("clusterroles",), ("escalate", "bind")),
    (
        "admissionregistration.k8s.io", ("mutatingwebhookconfigurations", "validatingwebhookconfigurations"), ("list", *WRITE),
    ),
    ("networking.k8s.io", ("ingressclasses",), ("list", *WRITE)),
    ("networking.istio.io", ("virtualservices", "destinationrules", "serviceentries", "gateways"), WRITE),
    ("security.istio.io", ("peerauthentications", "authorizationpolicies"), WRITE),
)  # fmt: skip


# -- pure -------------------------------------------------------------------------------------------------------------


def alone(kubeconfig: Mapping[str, Any], context: str, read: Callable[[str], bytes]) -> dict[str, Any]:
    """The kubeconfig with one context and what it names, files taken in.

    :param read: content of a file that the kubeconfig names
    :raises KeyError: when the context, or what it names, is not there; the message says which
    """

    def named(kind: str, name: str) -> dict[str, Any]:
        for one in kubeconfig.get(kind) or []:
            if one["name"] == name:
                return dict(one)
        there = ", ".join(one["name"] for one in kubeconfig.get(kind) or []) or "none"
        raise KeyError(f"{name or 'no name'} was given; {kind} in this file: {there}")

    chosen = named("contexts", context or kubeconfig.get("current-context") or "")
    cluster, user = named("clusters", chosen["context"]["cluster"]), named("users", chosen["context"]["user"])
    for part in (cluster["cluster"], user["user"]):
        for key in ("certificate-authority", "client-certificate", "client-key"):
            if file := part.pop(key, None):
                part[f"{key}-data"] = base64.b64encode(read(file)).decode()
    return {
        "apiVersion": "v1", "kind": "Config", "current-context": chosen["name"], "contexts": [chosen],
        "clusters": [cluster], "users": [user],
    }  # fmt: skip


def version_error(server: str, oldest: str, newest: str) -> str:
    """What is wrong with the server's version; empty when nothing is."""
    found, low, high = (tuple(int(n) for n in re.findall(r"\d+", v)[:2]) for v in (server, oldest, newest))
    if low <= found <= high:
        return ""
    return f"the cluster's Kubernetes is {server}; accepted: {oldest} to {newest}"


def ours(item: Mapping[str, Any]) -> bool:
    """Whether an object carries the lab's label."""
    return (item["metadata"].get("labels") or {}).get(LABEL[0]) == LABEL[1]


def taken(found: Mapping[str, list[dict[str, Any]]], wanted: Iterable[str]) -> list[str]:
    """What stands in the way: another Istio, or names of the lab that others have.

    :param found: kind -> objects, of: namespaces, deployments (istiod's), definitions, webhooks, ingressclasses
    :param wanted: namespaces that the lab will make
    """
    lab = {n["metadata"]["name"] for n in found["namespaces"] if ours(n)}
    others = [n for n in found["namespaces"] if not ours(n)]
    reasons = [
        f"namespace {n['metadata']['name']} is there and is not the lab's"
        for n in others
        if n["metadata"]["name"] in set(wanted)
    ]
    reasons += [
        f"another Istio is there: {d['metadata']['namespace']}/{d['metadata']['name']}"
        for d in found["deployments"]
        if d["metadata"]["namespace"] not in lab
    ]
    # An Istio of the lab brings its own.
    if "istio-system" not in lab:
        for kind in ("definitions", "webhooks", "ingressclasses"):
            if names := sorted(i["metadata"]["name"] for i in found[kind]):
                reasons.append(f"another Istio has left {', '.join(names[:3])}{' and more' if names[3:] else ''}")
    asking = ("istio-injection", "istio.io/rev")
    reasons += [
        f"namespace {n['metadata']['name']} asks for sidecars, and would have the lab's"
        for n in others
        if set(asking) & set(n["metadata"].get("labels") or {})
    ]
    return reasons


UNITS = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "m": 1e-3, "": 1.0}


def quantity(text: str) -> float:
    """A Kubernetes quantity as a number: cores, or bytes."""
    found = re.fullmatch(r"([0-9.]+)([A-Za-z]*)", text)
    if found is None or found[2] not in UNITS:
        raise ValueError(f"{text} is no quantity that is known here")
    return float(found[1]) * UNITS[found[2]]


def room(nodes: list[dict[str, Any]], pods: list[dict[str, Any]]) -> tuple[float, float]:
    """Cores and bytes that nodes which take pods have, less what pods have asked for."""
    cpus = memory = 0.0
    open_nodes = set()
    for node in nodes:
        effects = {t.get("effect") for t in node["spec"].get("taints") or []}
        if not node["spec"].get("unschedulable") and not effects & {"NoSchedule", "NoExecute"}:
            open_nodes.add(node["metadata"]["name"])
            cpus += quantity(node["status"]["allocatable"]["cpu"])
            memory += quantity(node["status"]["allocatable"]["memory"])
    for pod in pods:
        if pod["spec"].get("nodeName") in open_nodes and pod.get("status", {}).get("phase") not in ("Succeeded", "Failed"):
            for container in pod["spec"]["containers"]:
                asked = container.get("resources", {}).get("requests") or {}
                cpus -= quantity(asked.get("cpu", "0"))
                memory -= quantity(asked.get("memory", "0"))
    return cpus, memory


def addresses(nodes: list[dict[str, Any]]) -> list[str]:
    """Addresses of nodes, those that are public first."""
    found = [a for n in nodes for a in n["status"].get("addresses", []) if a["type"] in ("ExternalIP", "InternalIP")]
    return [a["address"] for a in sorted(found, key=lambda a: str(a["type"]))]


def choose(
    asked: str, nodes: list[dict[str, Any]], services: list[dict[str, Any]], answers: Callable[[str, int], bool]
) -> dict[str, str]:
    """How the gateway is reached (``reach``), ``why``, and the ``address`` of a node.

    :param answers: whether a port of an address is reached from here
    """
    near = "" if asked == "LoadBalancer" else next((a for a in addresses(nodes) if answers(a, KUBELET_PORT)), "")
    if asked != "auto":
        return {"reach": asked, "why": "existing_cluster_reach says so", "address": near or (addresses(nodes) or [""])[0]}
    scheme = next((n["spec"].get("providerID", "").partition(":")[0] for n in nodes), "")
    if scheme in BALANCED:
        return {"reach": "LoadBalancer", "why": f"{scheme} gives Services an address", "address": ""}
    for service in services:
        for given in service.get("status", {}).get("loadBalancer", {}).get("ingress") or []:
            at = given.get("ip") or given.get("hostname") or ""
            if any(answers(at, p["port"]) for p in service["spec"]["ports"]):
                name = f"{service['metadata']['namespace']}/{service['metadata']['name']}"
                why = f"Service {name} is reached at an address that it was given"
                return {"reach": "LoadBalancer", "why": why, "address": ""}
    if near:
        return {"reach": "NodePort", "why": f"nodes are reached from here ({near})", "address": near}
    why = "nobody is known to give Services an address, and no node is reached from here"
    return {"reach": "port-forward", "why": why, "address": ""}


# -- the cluster ------------------------------------------------------------------------------------------------------


def reached(address: str, port: int) -> bool:
    """Whether a port takes a connection from here."""
    try:
        with socket.create_connection((address, port), timeout=2):
            return True
    except OSError:
        return False


class Cluster:
    """The API server, asked with the user's rights."""

    def __init__(self, kubeconfig: dict[str, Any]) -> None:
        settings = Configuration()
        settings.retries = False  # a server that hangs would be asked four times
        self.client = config.new_client_from_config_dict(kubeconfig, client_configuration=settings)  # type: ignore[no-untyped-call] # typed in part

    def call(self, method: str, path: str, query: Mapping[str, str] | None = None, body: dict[str, Any] | None = None) -> Any:
        """One answer, as plain data."""
        asked = self.client.param_serialize(
            method, path, query_params=list((query or {}).items()), body=body, auth_settings=["BearerToken"],
            header_params={"Accept": "application/json", "Content-Type": "application/json"},
        )  # fmt: skip
        answer = self.client.call_api(*asked, _request_timeout=20)
        answer.read()
        return yaml.safe_load(answer.data)

    def items(self, path: str, **query: str) -> list[dict[str, Any]]:
        """Objects of one kind."""
        return list(self.call("GET", path, query)["items"])

    def may(self, group: str, resource: str, verb: str) -> bool:
        """Whether the user may do that in every namespace."""
        kind, _, part = resource.partition("/")
        attributes = {"group": group, "resource": kind, "subresource": part, "verb": verb}
        body = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": attributes},
        }
        review = self.call("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", body=body)
        return bool(review["status"]["allowed"])

    def missing_rights(self) -> list[str]:
        """What the user may not do and the lab needs."""
        return [
            f"{verb} {resource}{'.' + group if group else ''}"
            for group, resources, verbs in NEEDED
            for resource in resources
            for verb in verbs
            if not self.may(group, resource, verb)
        ]


def look(cluster: Cluster, wanted: Mapping[str, Any]) -> dict[str, Any]:
    """What the module tells.

    :raises ValueError: what stands in the way, naming the variable and the way out
    """
    server = str(cluster.call("GET", "/version")["gitVersion"])
    if wrong := version_error(server, wanted["oldest"], wanted["newest"]):
        raise ValueError(f"existing_cluster_kubeconfig: {wrong}")
    if missing := cluster.missing_rights():
        listed = ", ".join(missing[:4]) + (f" and {len(missing) - 4} more" if missing[4:] else "")
        raise ValueError(
            f"existing_cluster_kubeconfig: its user lacks rights: {listed}; accepted: one who may, such as cluster-admin"
        )
    webhooks = [
        hook
        for kind in ("mutating", "validating")
        for hook in cluster.items(f"/apis/admissionregistration.k8s.io/v1/{kind}webhookconfigurations")
    ]
    found = {
        "namespaces": cluster.items("/api/v1/namespaces"),
        "deployments": cluster.items("/apis/apps/v1/deployments", labelSelector="app=istiod"),
        "definitions": [
            d
            for d in cluster.items("/apis/apiextensions.k8s.io/v1/customresourcedefinitions")
            if d["metadata"]["name"].endswith(".istio.io")
        ],
        "webhooks": [hook for hook in webhooks if "istio" in hook["metadata"]["name"]],
        "ingressclasses": [
            c for c in cluster.items("/apis/networking.k8s.io/v1/ingressclasses") if c["metadata"]["name"] == "istio"
        ],
    }
    if in_the_way := taken(found, wanted["namespaces"]):
        raise ValueError(
            f"existing_cluster_context: {'; '.join(in_the_way)}; accepted: a cluster without them, or remove them first"
        )
    nodes = cluster.items("/api/v1/nodes")
    pods = cluster.items("/api/v1/pods")
    running = any(p["metadata"]["namespace"] == "istio-system" for p in pods)
    cpus, memory = room(nodes, pods)
    if not running and (cpus < wanted["cpus"] or memory < wanted["memory_gib"] * 2**30):
        raise ValueError(
            f"existing_cluster_min_memory_gib, existing_cluster_min_cpus: {memory / 2**30:.1f} GiB and {cpus:.1f} cores are "
            f"not asked for by pods; accepted: {wanted['memory_gib']:g} GiB and {wanted['cpus']:g} cores or more"
        )
    way = choose(wanted["reach"], nodes, cluster.items("/api/v1/services"), reached)
    return {"server": server, **way}


def api_of(kubeconfig: Mapping[str, Any]) -> str:
    """The API server's address."""
    return str(kubeconfig["clusters"][0]["cluster"]["server"])


def moved(own: Mapping[str, Any], before: Mapping[str, Any]) -> str:
    """The API server that the lab is on, if it is another one than ``own`` names."""
    return "" if api_of(own) == api_of(before) else api_of(before)


def elsewhere(own: Mapping[str, Any], kept: Path, record: Path) -> str:
    """The same, as the lab's folder has it.

    :param kept: the lab's own kubeconfig
    :param record: what is asked where that is lost
    """
    if kept.exists():
        return moved(own, yaml.safe_load(kept.read_text()))
    there = str(json.loads(record.read_text()).get("api", "")) if record.exists() else ""
    return "" if there == api_of(own) else there


def main() -> None:
    """Entry point that Ansible calls."""
    module = AnsibleModule(
        argument_spec={
            "kubeconfig": {"type": "path", "required": True},
            "context": {"type": "str", "default": ""},
            "namespaces": {"type": "list", "elements": "str", "required": True},
            "oldest": {"type": "str", "required": True},
            "newest": {"type": "str", "required": True},
            "own": {"type": "path", "required": True},
            "record": {"type": "path", "required": True},
            "cpus": {"type": "float", "default": 1.0},
            "memory_gib": {"type": "float", "default": 3.0},
            "reach": {"type": "str", "choices": ["auto", "LoadBalancer", "NodePort", "port-forward"], "default": "auto"},
        },
        supports_check_mode=True,
    )
    if MISSING:
        module.fail_json(msg=missing_required_lib("kubernetes"), exception=MISSING)
    file = Path(module.params["kubeconfig"])
    variable = "existing_cluster_kubeconfig"

    def refuse(reason: str) -> None:
        module.fail_json(msg=f"{reason}; nothing was changed")

    try:
        # Relative names in a kubeconfig are those of its folder.
        given = yaml.safe_load(file.read_text()) or {}
        own = alone(given, module.params["context"], lambda name: (file.parent / name).read_bytes())
        if there := elsewhere(own, Path(module.params["own"]), Path(module.params["record"])):
            raise ValueError(f"{variable}: this lab is on {there}; accepted: that cluster, or another lab_name")
        found = look(Cluster(own), module.params)
    except OSError as error:
        refuse(f"{variable}: {error.filename}: {error.strerror}; accepted: a kubeconfig")
    except KeyError as error:
        refuse(f"existing_cluster_context: {error.args[0]}")
    except (ConfigException, HTTPError) as error:
        refuse(f"{variable}: the cluster does not answer: {str(getattr(error, 'reason', '') or error).splitlines()[-1]}")
    except ApiException as error:
        refuse(f"{variable}: the cluster refuses: {error.status} {error.reason}")
    except ValueError as error:
        refuse(str(error))
    except (yaml.YAMLError, AttributeError, TypeError):
        refuse(f"{variable}: {file} was given, which is no kubeconfig")
    module.exit_json(changed=False, kubeconfig=yaml.safe_dump(own), api=api_of(own), **found)


if __name__ == "__main__":
    main()
