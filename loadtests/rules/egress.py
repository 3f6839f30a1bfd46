"""What rules about hosts outside promise for one payment, outcome by outcome: pure functions for ``question.Contract``."""

from __future__ import annotations

from typing import Any

from loadtests.rules.declared import Objects, of_kind, shares_of, weights
from loadtests.rules.promises import Request, Shares, named, route

EGRESS = ("istio-system", "istio-egressgateway")


def covers(entry: dict[str, Any], request: Request) -> bool:
    """Whether a ServiceEntry stands for the request's host and port."""
    hosts = any(h == request["host"] or (h.startswith("*.") and request["host"].endswith(h[1:])) for h in entry["hosts"])
    return hosts and any(port["number"] == request["port"] for port in entry["ports"])


def reached(objects: Objects, request: Request) -> Shares:
    """Whether a host outside may be called: registered, or the namespace's Sidecar allows any."""
    modes = [
        s["spec"].get("outboundTrafficPolicy", {}).get("mode", "")
        for s in of_kind(objects, "Sidecar")
        if "workloadSelector" not in s["spec"]
    ]
    allowed = "ALLOW_ANY" in modes or any(covers(s["spec"], request) for s in of_kind(objects, "ServiceEntry"))
    if request.get("at_server"):
        return {"arrived" if allowed else "did not arrive": 1.0}
    return {"HTTP 200" if allowed else f"HTTP 500 at http://{request['host']}:{request['port']}/send": 1.0}


def book_fetched(objects: Objects, request: Request) -> Shares:
    """Whether the books API may be asked, and whether a rule for its port has sidecars make TLS of plain calls."""
    if not any(covers(s["spec"], request) for s in of_kind(objects, "ServiceEntry")):
        return {"HTTP 500": 1.0}
    settings = [
        setting
        for rule in of_kind(objects, "DestinationRule")
        if rule["metadata"]["name"] == request["destination_rule"] and rule["spec"]["host"] == request["host"]
        for setting in rule["spec"].get("trafficPolicy", {}).get("portLevelSettings", [])
        if setting["port"]["number"] == request["port"]
    ]
    secure = any(setting.get("tls", {}).get("mode") in ("SIMPLE", "MUTUAL") for setting in settings)
    return {f"HTTP 200 over {'https' if secure else 'http'}": 1.0}


def by_gateway(objects: Objects, request: Request) -> Shares:
    """Whether calls of sidecars are led through the gateway, whose routes mark them."""
    routes = named(objects, "VirtualService", request["virtual_service"]).get("http", [])

    def of(gateway: str) -> dict[str, Any]:
        return next((dict(r) for r in routes if any(gateway in m.get("gateways", []) for m in r.get("match", []))), {})

    to = [d["destination"]["host"].split(".")[0] for d in of("mesh").get("route", [])]
    mark = of(request["gateway"]).get("headers", {}).get("request", {}).get("set", {}).get("x-by", "")
    return {f"HTTP 200 by {mark}" if to == ["istio-egressgateway"] and mark else "HTTP 200": 1.0}


def released(objects: Objects, request: Request) -> Shares:
    """Share of each release, named by the label ``version`` of its subset."""
    subsets = named(objects, "DestinationRule", request["destination_rule"]).get("subsets", [])
    version = {s["name"]: s["labels"]["version"] for s in subsets}
    return {version.get(subset, subset): share for subset, share in shares_of(weights(route(objects, request))).items()}
