"""What rules about hosts outside promise for one payment, outcome by outcome: pure functions for ``question.Contract``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from loadtests.rules.declared import Objects, Shares, legs, namespace_of, shares_of, views_of, weights
from loadtests.rules.promises import INERT, Request, named, route, serves, virtual_service
from loadtests.rules.view import View

EGRESS = ("istio-system", "istio-egressgateway")


def exported(rule: Mapping[str, Any], namespace: str) -> bool:
    """Whether a rule is for sidecars of a namespace, as far as its ``exportTo`` goes."""
    to = rule["spec"].get("exportTo") or ["*"]
    own = namespace_of(rule, namespace)
    return any(t in ("*", namespace) or (t == "." and own == namespace) for t in to)


def covers(entry: View, request: Request) -> bool:
    """Whether a ServiceEntry stands for the request's host and port."""
    hosts = [h == request["host"] or (h.startswith("*.") and request["host"].endswith(h[1:])) for h in entry["hosts"]]
    ports = [port["number"] == request["port"] for port in entry["ports"]]
    for port in entry["ports"]:
        port.accept("name", "protocol", "targetPort")
    # Where a name that is covered leads to has no bearing on whether it may be called.
    entry.accept("location", "resolution", "endpoints", "addresses", "subjectAltNames")
    return any(hosts) and any(ports)


def imported(sidecar: View, rule: Mapping[str, Any], host: str, namespace: str) -> bool:
    """Whether a Sidecar's ``egress`` gives a host of a rule to its pods; without one, everything is given."""
    listed = [h for listener in sidecar.get("egress", []) for h in listener.get("hosts", ["*/*"])]
    if not listed:
        return True
    own = namespace_of(rule, namespace)

    def one(pattern: str) -> bool:
        where, _, name = pattern.rpartition("/")
        return where in ("*", own, "") or (where == "." and own == namespace) if serves(name, host) else False

    return any(one(pattern) for pattern in listed)


def reached(objects: Objects, request: Request) -> Shares:
    """Whether a host outside may be called: registered, given to the namespace's sidecars, or their Sidecar allows any.

    :param request: ``namespace`` of the callers
    """
    namespace = request["namespace"]
    default = [s["spec"] for s in views_of(objects, "Sidecar") if "workloadSelector" not in s["spec"]]
    modes = [s.get("outboundTrafficPolicy", {}).get("mode", "") for s in default]
    known = [rule for rule in views_of(objects, "ServiceEntry") if covers(rule["spec"], request) and exported(rule, namespace)]
    given = [rule for rule in known if all(imported(s, rule, request["host"], namespace) for s in default)]
    for sidecar in default:
        for listener in sidecar.get("egress", []):
            listener.get("hosts")
    allowed = "ALLOW_ANY" in modes or bool(given)
    if request.get("at_server"):
        return {"arrived" if allowed else "did not arrive": 1.0}
    return {"HTTP 200" if allowed else f"HTTP 500 at http://{request['host']}:{request['port']}/send": 1.0}


def book_fetched(objects: Objects, request: Request) -> Shares:
    """Whether the books API may be asked, and whether a rule for its port has sidecars make TLS of plain calls."""
    known = [covers(s["spec"], request) for s in views_of(objects, "ServiceEntry")]
    if not any(known):
        return {"HTTP 500": 1.0}
    secure = False
    for rule in views_of(objects, "DestinationRule"):
        spec = rule["spec"]
        if rule["metadata"]["name"] != request["destination_rule"] or spec["host"] != request["host"]:
            spec.accept()
            continue
        spec.accept("workloadSelector")
        for setting in spec.get("trafficPolicy", {}).get("portLevelSettings", []):
            if setting["port"]["number"] != request["port"]:
                setting.accept()
                continue
            tls = setting.get("tls", {})
            if isinstance(tls, View):
                tls.accept("credentialName", "sni", "subjectAltNames", "caCertificates")
            secure = secure or tls.get("mode") in ("SIMPLE", "MUTUAL")
    return {f"HTTP 200 over {'https' if secure else 'http'}": 1.0}


def by_gateway(objects: Objects, request: Request) -> Shares:
    """Whether calls of sidecars are led through the gateway, whose routes mark them."""
    routes = virtual_service(objects, request).get("http", [])

    def of(gateway: str) -> Mapping[str, Any]:
        found = next((r for r in routes if any(gateway in m.get("gateways", []) for m in r.get("match", []))), None)
        if found is None:
            return {}
        for match in found["match"]:
            match.accept("port")
        legs(found)
        found.accept(*INERT)
        return dict(found)

    to = [d["destination"]["host"].split(".")[0] for d in of("mesh").get("route", [])]
    mark = of(request["gateway"]).get("headers", {}).get("request", {}).get("set", {}).get("x-by", "")
    return {f"HTTP 200 by {mark}" if to == ["istio-egressgateway"] and mark else "HTTP 200": 1.0}


def released(objects: Objects, request: Request) -> Shares:
    """Share of each release, named by the label ``version`` of its subset."""
    rule = named(objects, "DestinationRule", request["destination_rule"])
    rule.accept("host")
    version = {s["name"]: s["labels"]["version"] for s in rule.get("subsets", [])}
    taken = route(objects, request)
    taken.accept(*INERT)
    return {version.get(subset, subset): share for subset, share in shares_of(weights(taken)).items()}
