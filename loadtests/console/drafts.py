"""Turns form values into rules: which objects change, and how.

Pure: nothing here talks to a cluster. Fields that the form does not know stay unchanged.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from loadtests.console.settings import (
    BUCKET,
    DESTINATION,
    EGRESS,
    MTLS,
    RATE,
    ROUTE,
    Field,
    RefusedError,
    Service,
    Values,
    egress_values,
    fetch,
    is_host,
    is_ours,
    match_written,
    owner,
    read,
    route_values,
    rule_of,
    store,
    subsets,
)
from loadtests.entries.policy import LABEL
from loadtests.mesh.writes import Change
from loadtests.rules.expectations import Objects, of_kind

MINE = "console"
"""Label value of rules that the page wrote; applying an entry removes them, like those of other entries."""
APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
NETWORKING, SECURITY, FILTERS = "networking.istio.io/v1", "security.istio.io/v1", "networking.istio.io/v1alpha3"
HOST = re.compile(r"(\*\.)?[a-z0-9]([-a-z0-9.]*[a-z0-9])?")
HEADER = re.compile(r"[a-z0-9][-a-z0-9_]*")
SHAPE: dict[str, type] = {"routes": list, "destination": dict, "rate": dict, "mtls": dict, "egress": list}


def fill(tree: dict[str, Any], fields: Sequence[Field], asked: Mapping[str, Any], where: str = "") -> None:
    """Write the values of ``fields`` that differ to a rule.

    :raises RefusedError: if a value is not accepted
    """
    untouched = {f.name for f in fields if asked.get(f.name) == f.read(tree)}
    for one in fields:
        value = one.checked(asked.get(one.name), where)
        if one.name not in untouched or (one.needs and one.needs not in untouched):
            store(tree, one.path, None if one.needs and asked.get(one.needs) in (None, "") else value)


def made(kind: str, name: str, api: str, namespace: str, spec: dict[str, Any]) -> dict[str, Any]:
    """A new object, as the page writes it."""
    return {"apiVersion": api, "kind": kind, "metadata": {"name": name, "namespace": namespace}, "spec": spec}


def plain(rule: Mapping[str, Any]) -> dict[str, Any]:
    """An object without the fields that the API server sets."""
    metadata = {k: v for k, v in rule["metadata"].items() if k in ("name", "namespace", "labels", "annotations")}
    return copy.deepcopy({"apiVersion": rule["apiVersion"], "kind": rule["kind"], "metadata": metadata, "spec": rule["spec"]})


def shown(rule: Mapping[str, Any]) -> dict[str, Any]:
    """An object as a person would write it."""
    manifest = plain(rule)
    manifest["metadata"].get("annotations", {}).pop(APPLIED, None)
    if not manifest["metadata"].get("annotations", True):
        del manifest["metadata"]["annotations"]
    return manifest


@dataclass
class Draft:
    """The changes that a form requests; each part of the form changes its own objects."""

    objects: Objects
    service: Service
    changes: list[Change] = field(default_factory=list)

    @property
    def names(self) -> list[str]:
        """Names that weights and mirrors may use."""
        return subsets(rule_of("destination", self.objects, self.service), self.service)

    def put(self, part: str, rule: Mapping[str, Any] | None, after: dict[str, Any] | None) -> None:
        """Record that ``rule`` becomes ``after``.

        :raises RefusedError: if the rule does not belong to the lab
        """
        if rule is not None and not is_ours(rule):
            message = f"{part}: {rule['kind']} {rule['metadata']['name']} belongs to {owner(rule)}"
            raise RefusedError(f"{message}; the lab does not overwrite it")
        if after is not None:
            after["metadata"].setdefault("labels", {})[LABEL] = MINE
        self.changes.append(Change(plain(rule) if rule else None, after))

    def routes(self, asked: Sequence[Values]) -> None:
        """Change the VirtualService."""
        rule = rule_of("routes", self.objects, self.service)
        there = (rule or {}).get("spec", {}).get("http", [])
        routes = []
        for number, values in enumerate(asked):
            index = values.get("from")
            known = isinstance(index, int) and not isinstance(index, bool) and 0 <= index < len(there)
            routes.append(self.route(there[index] if known else None, values, f"routes[{number}]."))
        spec = {"hosts": [self.service.name], **copy.deepcopy((rule or {}).get("spec", {})), "http": routes}
        after = plain(rule) if rule else made("VirtualService", self.service.name, NETWORKING, self.service.namespace, {})
        self.put("routes", rule, {**after, "spec": spec} if routes or spec.keys() & {"tcp", "tls"} else None)

    def route(self, original: Mapping[str, Any] | None, asked: Values, where: str) -> dict[str, Any]:
        """One HTTP route with the form's values; unchanged if they are the same.

        :raises RefusedError: if a value is not accepted
        """
        now = route_values(original, self.service) if original else {}
        if original and now == {key: asked.get(key) for key in now}:
            return dict(original)
        route = copy.deepcopy(dict(original or {}))
        fill(route, ROUTE[2:], asked, where)
        if not now.get("kept"):
            route.pop("match", None)
            if match := self.match(asked, where):
                route["match"] = match
        if asked.get("mirror"):
            if asked["mirror"] not in self.names:
                raise RefusedError(f"{where}mirror: {asked['mirror']!r} was given; accepted: {', '.join(self.names)}")
            route["mirror"]["host"] = self.service.name
        elif now.get("mirror"):
            route.pop("mirror", None)
        # Weights that nobody has changed stay as they are, whatever they sum to.
        if original is None or now["weights"] not in (None, asked.get("weights")):
            self.weights(route, asked.get("weights") or {}, where)
        return route

    def match(self, asked: Values, where: str) -> list[dict[str, Any]]:
        """The match of a route; empty to match every request.

        :raises RefusedError: if a value is not accepted
        """
        for known in ROUTE[:2]:
            known.checked(asked.get(known.name), where)
        header, value = asked.get("header") or "", asked.get("header_value") or ""
        if not isinstance(header, str) or (header and not HEADER.fullmatch(header)):
            raise RefusedError(f"{where}header: {header!r} was given; accepted: a header's name in lower case")
        if not isinstance(value, str) or len(value) > 200:
            raise RefusedError(f"{where}header_value: {value!r} was given; accepted: text")
        return match_written(asked)

    def weights(self, route: dict[str, Any], asked: Mapping[str, Any], where: str) -> None:
        """Write the weights to a route.

        :raises RefusedError: if they do not sum to 100, or name an unknown subset
        """
        for name, weight in asked.items():
            if name and name not in self.names:
                accepted = ", ".join(self.names) or "no version"
                raise RefusedError(f"{where}weights: {name!r} was given; accepted: {accepted}")
            if isinstance(weight, bool) or not isinstance(weight, int) or not 0 <= weight <= 100:
                raise RefusedError(f"{where}weights: {weight!r} was given for {name}; accepted: integer from 0 to 100")
        if sum(asked.values()) != 100:
            raise RefusedError(f"{where}weights: they sum to {sum(asked.values())}; accepted: a sum of 100")
        there = {d["destination"].get("subset", ""): d for d in route.get("route", [])}
        port = next((d["destination"]["port"] for d in there.values() if "port" in d["destination"]), None)
        route["route"] = []
        for name, weight in asked.items():
            fresh = {"host": self.service.name, **({"subset": name} if name else {}), **({"port": port} if port else {})}
            if weight:
                route["route"].append({**there.get(name, {"destination": fresh}), "weight": weight})

    def destination(self, asked: Values, routes: Sequence[Values]) -> None:
        """Change the DestinationRule: its limits, and a subset for every version that a route uses."""
        rule = rule_of("destination", self.objects, self.service)
        fresh = made("DestinationRule", self.service.name, NETWORKING, self.service.namespace, {"host": self.service.name})
        after = plain(rule or fresh)
        fill(after["spec"], DESTINATION, asked, "destination.")
        used = {name for r in routes for name, weight in (r.get("weights") or {}).items() if name and weight}
        used |= {r["mirror"] for r in routes if r.get("mirror")}
        there = {s["name"] for s in after["spec"].get("subsets", [])}
        if missing := sorted((used - there) & set(self.service.versions)):
            more = [{"name": version, "labels": {"version": version}} for version in missing]
            after["spec"]["subsets"] = after["spec"].get("subsets", []) + more
        if after["spec"] != (rule or fresh)["spec"]:
            self.put("destination", rule, after if set(after["spec"]) > {"host"} else None)

    def rate(self, asked: Values) -> None:
        """Change the EnvoyFilter that limits the request rate of each pod."""
        rule = rule_of("rate", self.objects, self.service)
        after = plain(rule) if rule else made(
            "EnvoyFilter", f"{self.service.name}-rate", FILTERS, self.service.namespace, rate_limit(self.service)
        )  # fmt: skip
        if asked.get("rate_requests") not in (None, "") and asked.get("rate_seconds") in (None, ""):
            raise RefusedError("rate.rate_seconds: nothing was given; accepted: seconds from 0.05 to 3600")
        fill(after["spec"], RATE, asked, "rate.")
        tokens = fetch(after["spec"], f"{BUCKET}.max_tokens")
        if tokens is not None:
            store(after["spec"], f"{BUCKET}.tokens_per_fill", tokens)
        self.put("rate", rule, after if tokens is not None else None)

    def mtls(self, asked: Values) -> None:
        """Change the PeerAuthentication of the service's pods."""
        rule = rule_of("mtls", self.objects, self.service)
        spec = {"selector": {"matchLabels": dict(self.service.selector)}}
        after = plain(rule) if rule else made("PeerAuthentication", self.service.name, SECURITY, self.service.namespace, spec)
        fill(after["spec"], MTLS, asked, "mtls.")
        self.put("mtls", rule, after if fetch(after["spec"], "mtls.mode") else None)

    def callers(self, asked: Any) -> None:
        """Change the AuthorizationPolicy that lists the allowed callers."""
        rule = rule_of("callers", self.objects, self.service)
        if asked is not None and (not isinstance(asked, list) or not all(isinstance(p, str) and p for p in asked)):
            raise RefusedError(f"callers: {asked!r} was given; accepted: a list of principals")
        spec = {"selector": {"matchLabels": dict(self.service.selector)}, "action": "ALLOW"}
        name = f"{self.service.name}-callers"
        after = plain(rule) if rule else made("AuthorizationPolicy", name, SECURITY, self.service.namespace, spec)
        # In Istio, an ALLOW policy without rules allows nobody.
        after["spec"]["rules"] = [{"from": [{"source": {"principals": asked}}]}] if asked else []
        self.put("callers", rule, after if asked is not None else None)

    def egress(self, asked: Sequence[Values]) -> None:
        """Change the ServiceEntries: one for each external host and port."""
        rows = [egress_row(row, f"egress[{number}].") for number, row in enumerate(asked)]
        now = egress_values(self.objects)
        for rule in of_kind(self.objects, "ServiceEntry"):
            if is_host(rule) and egress_values([rule])[0] not in rows:
                self.put("egress", rule, None)
        for row in rows:
            if row not in now:
                host, port, protocol = (row[key] for key in ("host", "port", "protocol"))
                name = f"egress-{host.replace('*', 'any').replace('.', '-')}-{port}"
                spec = {
                    "hosts": [host], "location": "MESH_EXTERNAL", "resolution": "NONE" if "*" in host else "DNS",
                    "ports": [{"number": port, "name": protocol.lower(), "protocol": protocol}],
                }  # fmt: skip
                self.put("egress", None, made("ServiceEntry", name, NETWORKING, self.service.namespace, spec))


def egress_row(row: Any, where: str) -> Values:
    """One external host, checked.

    :raises RefusedError: if a value is not accepted
    """
    host = str(row.get("host") or "") if isinstance(row, dict) else ""
    if not HOST.fullmatch(host) or len(host) > 200:
        raise RefusedError(f"{where}host: {host!r} was given; accepted: a host name, or *. and a host name")
    values = {one.name: one.checked(row.get(one.name), where) for one in EGRESS}
    for one in EGRESS:
        if values[one.name] is None:
            raise RefusedError(f"{where}{one.name}: nothing was given for {host}; accepted: {one.accepted()}")
    return {"host": host, **values}


def rate_limit(service: Service) -> dict[str, Any]:
    """Envoy's local rate limit at the service's own proxies, without the numbers."""
    always = {"default_value": {"numerator": 100}}
    config = {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit",
        "stat_prefix": "http_local_rate_limiter", "filter_enabled": always, "filter_enforced": always,
    }  # fmt: skip
    chain = {"filterChain": {"filter": {"name": "envoy.filters.network.http_connection_manager"}}}
    patch = {"operation": "INSERT_BEFORE", "value": {"name": "envoy.filters.http.local_ratelimit", "typed_config": config}}
    where = {"applyTo": "HTTP_FILTER", "match": {"context": "SIDECAR_INBOUND", "listener": chain}, "patch": patch}
    return {"workloadSelector": {"labels": dict(service.selector)}, "configPatches": [where]}


def changes(objects: Objects, service: Service, asked: Values) -> list[Change]:
    """The changes that turn the current rules into ``asked``; empty if there is no difference.

    :param objects: the objects in the service's namespace
    :param asked: form values, in the format of ``read``
    :raises RefusedError: if a value is not accepted, or a rule does not belong to the lab
    """
    shaped = isinstance(asked, dict) and all(isinstance(asked.get(k), t) for k, t in SHAPE.items())
    if not shaped or not all(isinstance(r, dict) and isinstance(r.get("weights") or {}, dict) for r in asked["routes"]):
        raise RefusedError(f"the form: unexpected content was given; accepted: {', '.join(SHAPE)}")
    now, draft = read(objects, service), Draft(objects, service)
    if asked["routes"] != now["routes"] or asked["destination"] != now["destination"]:
        draft.destination(asked["destination"], asked["routes"])
    if asked["routes"] != now["routes"]:
        draft.routes(asked["routes"])
    for part in ("rate", "mtls", "callers", "egress"):
        if asked.get(part) != now[part]:
            getattr(draft, part)(asked.get(part))
    return [c for c in draft.changes if not same(c.before, c.after)]


def same(one: Mapping[str, Any] | None, other: Mapping[str, Any] | None) -> bool:
    """Whether two states of an object have the same spec, regardless of who wrote them."""
    return (one or {}).get("spec") == (other or {}).get("spec") and (one is None) == (other is None)
