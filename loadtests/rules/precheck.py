"""Finds what makes manifests impossible to hold, before they are applied."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from loadtests.rules.declared import Objects, namespace_of, of_kind
from loadtests.rules.hosts import long_name
from loadtests.rules.promises import serves

DOMAIN = "cluster.local"


def weightless(virtual_service: Mapping[str, Any]) -> Iterable[str]:
    """Routes whose weights sum to 0: Istio refuses them."""
    for number, route in enumerate(virtual_service["spec"].get("http", [])):
        weights = [d.get("weight", 0) for d in route.get("route", [])]
        if len(weights) > 1 and sum(weights) == 0:
            yield f"VirtualService {virtual_service['metadata']['name']}: spec.http[{number}]: weights sum to 0"


def missing_subsets(virtual_service: Mapping[str, Any], rules: Objects, namespace: str) -> Iterable[str]:
    """Subsets that no DestinationRule of the service has.

    :param namespace: of objects that do not say
    """
    own = namespace_of(virtual_service, namespace)
    subsets = {
        (long_name(r["spec"]["host"], namespace_of(r, namespace), DOMAIN), s["name"])
        for r in rules
        for s in r["spec"].get("subsets", [])
    }
    for route in virtual_service["spec"].get("http", []):
        for to in (d["destination"] for d in route.get("route", [])):
            if to.get("subset") and (long_name(to["host"], own, DOMAIN), to["subset"]) not in subsets:
                name = virtual_service["metadata"]["name"]
                yield f"VirtualService {name}: no DestinationRule of {to['host']} has a subset {to['subset']}"


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


def overlap(served: str, host: str) -> bool:
    """Whether a Gateway's server host and a VirtualService's host have names in common; either may have a wildcard."""
    return serves(served, host) or serves(host, served.rpartition("/")[2])


def unserved_hosts(objects: Objects, gateways: Objects) -> Iterable[str]:
    """Hosts of VirtualServices that none of its gateways serves, and gateways that are not there."""
    known = {g["metadata"]["name"]: g for g in (*gateways, *of_kind(objects, "Gateway"))}
    for service in of_kind(objects, "VirtualService"):
        names = service["spec"].get("gateways", ["mesh"])
        told = f"VirtualService {service['metadata']['name']}"
        # Of another namespace's gateway nothing is known here, and sidecars take every host.
        missing = [name for name in names if "/" not in name and name != "mesh" and name not in known]
        for name in missing:
            yield f"{told}: there is no Gateway {name}"
        if missing or "mesh" in names or any("/" in name for name in names):
            continue
        served = [h for name in names for server in known[name]["spec"].get("servers", []) for h in server.get("hosts", [])]
        for host in service["spec"].get("hosts", []):
            if not any(overlap(one, host) for one in served):
                yield f"{told}: no Gateway of {', '.join(names)} serves {host}"


def unknown_destinations(objects: Objects, services: Objects) -> Iterable[str]:
    """Services of the same namespace that a VirtualService sends to, or mirrors to, and that are not there."""
    known = {s["metadata"]["name"] for s in services}
    for service in of_kind(objects, "VirtualService"):
        spec = service["spec"]
        routes = [r for kind in ("http", "tcp", "tls") for r in spec.get(kind, [])]
        sent = [d["destination"]["host"] for r in routes for d in r.get("route", [])]
        mirrored = [r["mirror"]["host"] for r in routes if "mirror" in r] + [
            m["destination"]["host"] for r in routes for m in r.get("mirrors", [])
        ]
        for host in sent + mirrored:
            # A name with dots may be a ServiceEntry's, or another namespace's.
            if "." not in host and host not in known:
                yield f"VirtualService {service['metadata']['name']}: there is no Service {host}"


def unknown_backends(objects: Objects, services: Objects) -> Iterable[str]:
    """Services that an HTTPRoute or an Ingress leads to and that are not there."""
    known = {s["metadata"]["name"] for s in services}
    for route in of_kind(objects, "HTTPRoute"):
        for name in (b["name"] for rule in route["spec"].get("rules", []) for b in rule.get("backendRefs", [])):
            if name not in known:
                yield f"HTTPRoute {route['metadata']['name']}: there is no Service {name}"
    for ingress in of_kind(objects, "Ingress"):
        paths = [p for rule in ingress["spec"].get("rules", []) for p in rule.get("http", {}).get("paths", [])]
        for name in (p["backend"]["service"]["name"] for p in paths):
            if name not in known:
                yield f"Ingress {ingress['metadata']['name']}: there is no Service {name}"


def check(objects: Objects, services: Objects, pods: Objects, gateways: Objects, namespace: str = "") -> list[str]:
    """Every contradiction in ``objects``, given what is in the cluster; empty when they can be held.

    :param namespace: where objects go that do not say
    """
    rules = of_kind(objects, "DestinationRule")
    routed = of_kind(objects, "VirtualService")
    return [
        *(reason for v in routed for reason in (*weightless(v), *missing_subsets(v, rules, namespace))),
        *empty_subsets(objects, services, pods),
        *unserved_hosts(objects, gateways),
        *unknown_destinations(objects, services),
        *unknown_backends(objects, services),
    ]
