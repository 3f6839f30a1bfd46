"""Traffic settings of one service: its rules as values of a form.

Pure: nothing here talks to a cluster. ``drafts`` does the reverse.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from loadtests.entries.policy import LABEL
from loadtests.rules.actions import seconds
from loadtests.rules.expectations import Objects, of_kind
from loadtests.rules.view import View, not_modelled, viewed

Values = dict[str, Any]
"""``routes`` (list), ``destination``, ``rate``, ``mtls`` (by field name), ``callers`` (list or None), ``egress`` (list)."""


class RefusedError(ValueError):
    """The values cannot be written; the message names the field, what was given, and what is accepted."""


@dataclass(frozen=True)
class Service:
    """A Service in the cluster, with the parts that rules refer to."""

    name: str
    namespace: str
    selector: Mapping[str, str]
    versions: tuple[str, ...]
    """Values of its pods' label ``version``, sorted."""
    pods: int = 0
    """How many pods it selects; 0 if that is not known."""


@dataclass(frozen=True)
class Field:
    """One value of the form, and its place in a rule."""

    name: str
    path: str
    """Keys and list indexes, separated by dots."""
    kind: str
    """integer, percent (fraction of 100), seconds, text, or choice."""
    low: float = 0
    high: float = 100
    choices: tuple[str, ...] = ()
    needs: str = ""
    """The field that this one depends on."""

    def read(self, tree: Any) -> Any:
        """The value in a rule; None if it is not set."""
        found = fetch(tree, self.path)
        return seconds(found) if self.kind == "seconds" and found is not None else found

    def accepted(self) -> str:
        """Description of the accepted values."""
        if self.kind == "choice":
            return f"one of {', '.join(self.choices)}"
        return "text" if self.kind == "text" else f"{self.kind} from {self.low:g} to {self.high:g}"

    def checked(self, value: Any, where: str) -> Any:
        """The value as a rule spells it.

        :raises RefusedError: if the value is not accepted
        """
        if value in (None, ""):
            return None
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        fits = {
            "choice": value in self.choices,
            "text": isinstance(value, str) and len(value) <= 200,
            "integer": number and float(value).is_integer() and self.low <= value <= self.high,
        }.get(self.kind, number and self.low <= value <= self.high)
        if not fits:
            raise RefusedError(f"{where}{self.name}: {value!r} was given; accepted: {self.accepted()}")
        return f"{value:g}s" if self.kind == "seconds" else value


def duration(name: str, path: str, needs: str = "") -> Field:
    """A duration field, in seconds."""
    return Field(name, path, "seconds", 0.001, 3600, needs=needs)


ROUTE = (
    Field("uri_prefix", "match.0.uri.prefix", "text"),
    Field("method", "match.0.method.exact", "choice", choices=("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")),
    Field("mirror", "mirror.subset", "text"),
    Field("mirror_percent", "mirrorPercentage.value", "percent", needs="mirror"),
    duration("delay", "fault.delay.fixedDelay"),
    Field("delay_percent", "fault.delay.percentage.value", "percent", needs="delay"),
    Field("abort", "fault.abort.httpStatus", "integer", 200, 599),
    Field("abort_percent", "fault.abort.percentage.value", "percent", needs="abort"),
    duration("timeout", "timeout"),
    Field("retries", "retries.attempts", "integer", 0, 20),
    duration("retry_timeout", "retries.perTryTimeout", "retries"),
    Field("retry_on", "retries.retryOn", "text", needs="retries"),
)
DESTINATION = (
    Field("connections", "trafficPolicy.connectionPool.tcp.maxConnections", "integer", 1, 1_000_000),
    Field("pending", "trafficPolicy.connectionPool.http.http1MaxPendingRequests", "integer", 1, 1_000_000),
    Field("per_connection", "trafficPolicy.connectionPool.http.maxRequestsPerConnection", "integer", 1, 1_000_000),
    Field("eject_after", "trafficPolicy.outlierDetection.consecutive5xxErrors", "integer", 1, 1000),
    duration("eject_interval", "trafficPolicy.outlierDetection.interval", "eject_after"),
    duration("eject_time", "trafficPolicy.outlierDetection.baseEjectionTime", "eject_after"),
    Field("eject_percent", "trafficPolicy.outlierDetection.maxEjectionPercent", "integer", 0, 100, needs="eject_after"),
)
BUCKET = "configPatches.0.patch.value.typed_config.token_bucket"
RATE = (
    Field("rate_requests", f"{BUCKET}.max_tokens", "integer", 1, 1_000_000),
    Field("rate_seconds", f"{BUCKET}.fill_interval", "seconds", 0.05, 3600, needs="rate_requests"),
)
MTLS = (Field("mtls", "mtls.mode", "choice", choices=("STRICT", "PERMISSIVE", "DISABLE")),)
EGRESS = (
    Field("port", "ports.0.number", "integer", 1, 65535),
    Field("protocol", "ports.0.protocol", "choice", choices=("HTTP", "TLS", "TCP")),
)
TABLES = {"routes": ROUTE, "destination": DESTINATION, "rate": RATE, "mtls": MTLS, "egress": EGRESS}


# -- places in a rule ---------------------------------------------------------------------------------------------------


def fetch(tree: Any, path: str) -> Any:
    """The value at ``path``; None if there is none."""
    for key in path.split("."):
        if isinstance(tree, list):
            tree = tree[int(key)] if key.isdigit() and int(key) < len(tree) else None
        else:
            tree = tree.get(key) if isinstance(tree, Mapping) else None
    return tree


def store(tree: dict[str, Any], path: str, value: Any) -> None:
    """Set the value at ``path``; None removes it, and all containers that become empty."""
    key, _, rest = path.partition(".")
    if not rest:
        tree.pop(key, None) if value is None else tree.update({key: value})
        return
    position, _, deeper = rest.partition(".")
    if position.isdigit():
        rows = tree.setdefault(key, [{}])
        store(rows[int(position)], deeper, value)
        empty = not any(rows)
    else:
        branch = tree.setdefault(key, {})
        store(branch, rest, value)
        empty = not branch
    if empty:
        tree.pop(key)


# -- rules as form values ------------------------------------------------------------------------------------------------


def means(host: str, service: Service) -> bool:
    """Whether a rule's host names the service."""
    name, full = service.name, f"{service.name}.{service.namespace}"
    return host in (name, full, f"{full}.svc", f"{full}.svc.cluster.local")


def selects(rule: Mapping[str, Any], service: Service) -> bool:
    """Whether a rule selects exactly the service's pods."""
    return bool(service.selector) and fetch(rule, "spec.selector.matchLabels") == dict(service.selector)


def in_mesh(rule: Mapping[str, Any]) -> bool:
    """Whether a VirtualService applies to sidecars."""
    return "mesh" in rule["spec"].get("gateways", ["mesh"])


def principals(rule: Mapping[str, Any]) -> list[str] | None:
    """The allowed callers, if an AuthorizationPolicy restricts nothing else; otherwise None."""
    spec = rule["spec"]
    froms = [source for r in spec.get("rules", []) for source in r.get("from", [])]
    plain = all(set(r) == {"from"} for r in spec.get("rules", [])) and all(set(f["source"]) == {"principals"} for f in froms)
    if spec.get("action", "ALLOW") != "ALLOW" or not plain:
        return None
    return [p for f in froms for p in f["source"]["principals"]]


def rule_of(part: str, objects: Objects, service: Service) -> Mapping[str, Any] | None:
    """The object behind a part of the form; None if it does not exist."""
    tests: dict[str, tuple[str, Callable[[Mapping[str, Any]], bool]]] = {
        "routes": ("VirtualService", lambda o: in_mesh(o) and any(means(h, service) for h in o["spec"].get("hosts", []))),
        "destination": ("DestinationRule", lambda o: means(o["spec"].get("host", ""), service)),
        "rate": ("EnvoyFilter", lambda o: o["metadata"]["name"] == f"{service.name}-rate"),
        "mtls": ("PeerAuthentication", lambda o: selects(o, service)),
        "callers": ("AuthorizationPolicy", lambda o: selects(o, service) and principals(o) is not None),
    }
    kind, test = tests[part]
    return next((o for o in of_kind(objects, kind) if test(o)), None)


def owner(rule: Mapping[str, Any]) -> str:
    """The rule's owner: the lab's label, or else its last field manager."""
    metadata = rule["metadata"]
    if mark := metadata.get("labels", {}).get(LABEL, ""):
        return f"istio-lab: {mark}"
    managers = [m.get("manager", "") for m in metadata.get("managedFields", []) if m.get("subresource", "") == ""]
    return managers[-1] if managers and managers[-1] else "unknown"


def is_ours(rule: Mapping[str, Any]) -> bool:
    """Whether the lab wrote the rule and may therefore overwrite it."""
    return LABEL in rule["metadata"].get("labels", {})


def subsets(rule: Mapping[str, Any] | None, service: Service) -> list[str]:
    """Names that weights may use: subsets, and versions without a subset."""
    there = (rule or {}).get("spec", {}).get("subsets", [])
    covered = {s.get("labels", {}).get("version") for s in there}
    return [s["name"] for s in there] + [v for v in service.versions if v not in covered]


def route_values(route: Mapping[str, Any], service: Service) -> Values:
    """One HTTP route as form values.

    :return: ``weights`` is None if the route points elsewhere; ``kept`` is true if the form cannot express its match
    """
    values: Values = {f.name: f.read(route) for f in ROUTE}
    headers: dict[str, dict[str, str]] = fetch(route, "match.0.headers") or {}
    header = next(iter(headers), None)
    values |= {"header": header, "header_value": headers[header].get("exact") if header else None}
    destinations = route.get("route", [])
    own = bool(destinations) and all(means(d["destination"]["host"], service) for d in destinations)
    lone = 100 if len(destinations) == 1 else 0
    values["weights"] = {d["destination"].get("subset", ""): d.get("weight", lone) for d in destinations} if own else None
    values["kept"] = bool(route.get("match")) and match_written(values) != route["match"]
    return values


def match_written(values: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The match that the form's fields produce; empty to match every request."""
    match: dict[str, Any] = {}
    for field in ROUTE[:2]:
        store({"match": [match]}, field.path, values.get(field.name) or None)
    if values.get("header"):
        match["headers"] = {values["header"]: {"exact": values.get("header_value") or ""}}
    return [match] if match else []


def egress_values(objects: Objects) -> list[Values]:
    """The external hosts that the lab's rules allow, one host and port per rule."""
    return [
        {"host": o["spec"]["hosts"][0], **{f.name: f.read(o["spec"]) for f in EGRESS}}
        for o in of_kind(objects, "ServiceEntry")
        if is_host(o)
    ]


def is_host(rule: Mapping[str, Any]) -> bool:
    """Whether the form can write this ServiceEntry."""
    spec = rule["spec"]
    plain = len(spec.get("hosts", [])) == 1 and len(spec.get("ports", [])) == 1 and not spec.get("endpoints")
    return is_ours(rule) and plain and fetch(spec, "ports.0.protocol") in EGRESS[1].choices


def rules_of(objects: Objects, service: Service) -> dict[str, Mapping[str, Any] | None]:
    """Part of the form -> the object behind it, for the parts with a single object."""
    return {part: rule_of(part, objects, service) for part in ("routes", "destination", "rate", "mtls", "callers")}


def read(objects: Objects, service: Service) -> Values:
    """A service's rules as form values.

    :param objects: the objects in the service's namespace
    """
    found = rules_of(objects, service)
    spec = {part: (rule or {}).get("spec", {}) for part, rule in found.items()}
    return {
        "routes": [{"from": i, **route_values(r, service)} for i, r in enumerate(spec["routes"].get("http", []))],
        **{part: {f.name: f.read(spec[part]) for f in TABLES[part]} for part in ("destination", "rate", "mtls")},
        "callers": principals(found["callers"]) if found["callers"] else None,
        "egress": egress_values(objects),
    }


def unknown_fields(objects: Objects, service: Service) -> list[str]:
    """Fields of the lab's rules for a service that the form does not know: ``VirtualService reviews: spec.http[0].corsPolicy``.

    They stay as they are.
    """
    rules: list[View] = []
    for part, rule in rules_of(viewed(objects), service).items():
        if not isinstance(rule, View) or not is_ours(rule):
            continue
        rules.append(rule)
        spec = rule["spec"]
        spec.accept("hosts", "host", "gateways", "selector", "action", "rules")
        if part == "rate":
            spec.accept_all()  # as the form writes it
        for one in TABLES.get(part, ()) if part != "routes" else ():
            one.read(spec)
        for subset in spec.get("subsets", []):
            subset.accept("name", "labels")
        for route in spec.get("http", []):
            route_values(route, service)
            if "mirror" in route:
                route["mirror"].accept("host")
            for leg in route.get("route", []):
                leg["destination"].accept("host", "subset", "port")
    return list(not_modelled(rules))


def locks(objects: Objects, service: Service) -> dict[str, str]:
    """Part of the form -> owner of its rule, for the parts whose rule does not belong to the lab."""
    found = rules_of(objects, service)
    return {part: owner(rule) for part, rule in found.items() if rule and not is_ours(rule)}
