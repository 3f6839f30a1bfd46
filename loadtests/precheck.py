"""Refuses manifests that contradict each other before they are applied: ``python -m loadtests.precheck FILE``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path

import yaml

from loadtests.cluster import Cluster, ClusterError
from loadtests.declared import Objects, contradictions, of_kind


def empty_subsets(objects: Objects, services: Objects, pods: Objects) -> Iterable[str]:
    """Subsets that a route sends to and that select no pod of their service."""
    selectors = {s["metadata"]["name"]: s["spec"].get("selector", {}) for s in services}
    used = {
        (d["destination"]["host"].split(".")[0], d["destination"].get("subset", ""))
        for v in of_kind(objects, "VirtualService")
        for route in v["spec"].get("http", [])
        for d in route.get("route", [])
    }
    for rule in of_kind(objects, "DestinationRule"):
        host = rule["spec"]["host"].split(".")[0]
        for subset in rule["spec"].get("subsets", []):
            wanted = (selectors.get(host, {}) | subset.get("labels", {})).items()
            asked = (host, subset["name"]) in used and host in selectors
            if asked and not any(wanted <= p["metadata"].get("labels", {}).items() for p in pods):
                yield f"DestinationRule {rule['metadata']['name']}: subset {subset['name']} selects no pod of {host}"


def serves(server_host: str, host: str) -> bool:
    """Whether a Gateway's server host (``*``, ``*.lab``, ``ns/books.lab``) covers a VirtualService's host."""
    pattern = server_host.rpartition("/")[2]
    return pattern in ("*", host) or (pattern.startswith("*.") and host.endswith(pattern[1:]))


def unserved_hosts(objects: Objects, gateways: Objects) -> Iterable[str]:
    """Hosts of VirtualServices that are bound to a gateway which does not serve them, or is not there."""
    known = {g["metadata"]["name"]: g for g in (*gateways, *of_kind(objects, "Gateway"))}
    for service in of_kind(objects, "VirtualService"):
        for name in service["spec"].get("gateways", []):
            if name == "mesh" or "/" in name:
                continue
            told = f"VirtualService {service['metadata']['name']}"
            if name not in known:
                yield f"{told}: there is no Gateway {name}"
                continue
            hosts = [h for server in known[name]["spec"].get("servers", []) for h in server.get("hosts", [])]
            for host in service["spec"].get("hosts", []):
                if not any(serves(h, host) for h in hosts):
                    yield f"{told}: Gateway {name} does not serve {host}"


def check(objects: Objects, services: Objects, pods: Objects, gateways: Objects) -> list[str]:
    """Every contradiction in ``objects``, given what is in the cluster; empty when they can be held."""
    rules = of_kind(objects, "DestinationRule")
    found = [c for v in of_kind(objects, "VirtualService") for c in contradictions(v, rules)]
    return [*found, *empty_subsets(objects, services, pods), *unserved_hosts(objects, gateways)]


def main() -> int:
    """0 when the manifests can be held; else 1, with every reason in one line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--kubeconfig", required=True)
    parser.add_argument("--namespace", default="bookinfo")
    options = parser.parse_args()
    cluster = Cluster(options.kubeconfig, options.namespace)
    try:
        objects = [o for o in yaml.safe_load_all(options.file.read_text()) if o]
        there = cluster.items("services", "pods", "gateways.networking.istio.io")
        found = check(objects, of_kind(there, "Service"), of_kind(there, "Pod"), of_kind(there, "Gateway"))
    except (ClusterError, OSError, yaml.YAMLError, KeyError, TypeError) as error:
        found = [f"{type(error).__name__}: {' '.join(str(error).split())}"]
    if found:
        print("; ".join(dict.fromkeys(found)), file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
