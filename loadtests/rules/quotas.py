"""What Envoy's rate limit service enforces: quotas that hold across all pods. Pure functions for ``question.ResponseCheck``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from loadtests.rules.actions import seconds
from loadtests.rules.calls import Call
from loadtests.rules.expectations import (
    NoExpectationError,
    NotModelledError,
    Objects,
    Shares,
    is_running,
    namespace_of,
    of_kind,
)
from loadtests.rules.hosts import long_name, overlap
from loadtests.rules.patches import Patch, patches_of
from loadtests.rules.resilience import led_to_service
from loadtests.rules.responses import Request
from loadtests.rules.view import View, title
from loadtests.rules.workloads import spec_of

GLOBAL_RATE_LIMIT = "envoy.extensions.filters.http.ratelimit.v3.RateLimit"
LONG_UNITS = ("day", "week", "month", "year")
"""Units so long that rows of requests hardly ever lie in two of them."""
PATIENT_SECONDS = 1.0
"""A time-out that a service which is there does not exceed; Envoy's own is 20 ms."""
LIMITED, FAILED = 429, 500

Entry = tuple[str, str | None]
"""Key and value of a part of a descriptor; None is a value that no other row has."""


def statuses(counts: Mapping[int, int]) -> str:
    """A row of requests, as outcomes have it: how many got each status."""
    return ", ".join(f"{count} HTTP {status}" for status, count in sorted(counts.items()) if count)


def quota(objects: Sequence[View], request: Request) -> Shares:
    """Statuses of a ``row`` of quick requests by one user who has made no others.

    :param request: ``call``; the workload: ``app``, ``namespace``, ``port``; ``service``: host and port of the rate limit
        service whose configuration is in ConfigMap ``config``
    :raises NoExpectationError: if a filter asks a service that does not exist
    :raises NotModelledError: if calls may go elsewhere or are tried again, or filters have another form than the one that
        Istio's documentation shows for sidecars
    """
    led, row = led_to_service(objects, request), int(request["row"])
    if "loadBalancer" in led.settings:
        led.settings["loadBalancer"].accept_all()  # a quota is the same for all pods
    limits, rate_limits = _filters(objects, request)
    if limits is None or not rate_limits:
        return {statuses({200: row}): 1.0}
    asked = _service_of(limits)
    limits.accept("stat_prefix", "enable_x_ratelimit_headers")
    descriptors = [_descriptor(one, request["call"]) for one in rate_limits]
    closed = bool(limits.get("failure_mode_deny", False))
    domain = str(limits["domain"])
    if "timeout" not in limits or seconds(limits["timeout"]) < PATIENT_SECONDS:
        raise NotModelledError(f"EnvoyFilter: {limits.path_of('timeout')}")
    if not any(descriptors):  # nothing is asked
        served, otherwise = row, LIMITED
    elif not _is_up(objects, request, asked):
        served, otherwise = (0, FAILED) if closed else (row, FAILED)
    else:
        if asked != tuple(request["service"]):
            raise NotModelledError(f"EnvoyFilter: {limits.path_of('rate_limit_service')}")
        found = [_limit(objects, request, domain, one) for one in descriptors if one]
        served, otherwise = min([row, *(one for one in found if one is not None)]), LIMITED
    if served < row:
        led.refuse_retries(otherwise)
    return {statuses({200: served, otherwise: row - served}): 1.0}


def _tells(patch: Patch) -> bool:
    """Whether a patch says what a rate limit service receives; of virtual hosts as well, which is not modelled."""
    return "rate_limits" in patch.value or "rate_limits" in patch.route


def _filters(objects: Objects, request: Request) -> tuple[View | None, list[View]]:
    """The filter that asks a rate limit service, and what it sends there, of the called pods.

    :raises NotModelledError: if there are several, or they do not see all inbound requests
    """
    filters, routes = list[View](), list[list[View]]()
    for patch in patches_of(objects, request, lambda one: one.is_of_type(GLOBAL_RATE_LIMIT) or _tells(one)):
        if patch.is_of_type(GLOBAL_RATE_LIMIT):
            filters.append(patch.filter)
        else:
            patch.refuse_some_routes()
            routes += [patch.route["rate_limits"]] if "rate_limits" in patch.route else []
    if len(filters) > 1 or len(routes) > 1:
        raise NotModelledError("several EnvoyFilters ask for limits of one workload")
    return (filters[0] if filters else None), (routes[0] if routes else [])


def _service_of(limits: View) -> tuple[str, int]:
    """Host and port of the rate limit service that a filter asks."""
    service = limits["rate_limit_service"]
    envoy_grpc = (service.get("grpc_service") or View({})).get("envoy_grpc") or View({})
    envoy_grpc.accept("authority")
    direction, port, subset, host = (*str(envoy_grpc.get("cluster_name", "")).split("|"), "", "", "", "")[:4]
    if (direction, subset, service.get("transport_api_version")) != ("outbound", "", "V3") or not port.isdigit():
        raise NotModelledError(f"EnvoyFilter: {limits.path_of('rate_limit_service')}")
    return host, int(port)


def _descriptor(rate_limit: View, call: Call) -> list[Entry]:
    """What the service receives about a request; nothing if the request lacks a header that belongs to it."""
    entries = list[Entry]()
    for action in rate_limit["actions"]:
        if set(action) != {"request_headers"}:
            raise NotModelledError(f"EnvoyFilter: {action.path_of('')}".rstrip("."))
        header, key = str(action["request_headers"]["header_name"]).lower(), str(action["request_headers"]["descriptor_key"])
        if header == ":path":
            entries.append((key, call.uri))
        elif header in call.varied:
            entries.append((key, None))
        elif header in call.headers:
            entries.append((key, call.headers[header]))
        elif header.startswith((":", "x-", "user-agent", "accept", "content-")):
            raise NotModelledError(f"EnvoyFilter: {action.path_of('request_headers')}: {header}")
        else:
            return []
    return entries


def _is_up(objects: Sequence[View], request: Request, asked: tuple[str, int]) -> bool:
    """Whether the pods of a service run that proxies ask, in the clear, by its name.

    :raises NoExpectationError: if there is no such service
    :raises NotModelledError: if rules say how it is called
    """
    host, port = asked
    name, _, rest = host.partition(".")
    namespace = rest.removesuffix(".svc.cluster.local")
    for rule in (one for kind in ("DestinationRule", "Sidecar", "ServiceEntry") for one in of_kind(objects, kind)):
        spec = spec_of(View(rule))  # views of their own: what else they say has no bearing
        hosts = [spec.get("host", ""), *spec.get("hosts", [])]
        own = rule["kind"] == "Sidecar" and namespace_of(rule) in (request["namespace"], "istio-system")
        if own or any(overlap(long_name(str(one), namespace_of(rule), "cluster.local"), host) for one in hosts if one):
            raise NotModelledError(f"{title(rule)}: spec")
    services = [one for one in of_kind(objects, "Service") if (one["metadata"]["name"], namespace_of(one)) == (name, namespace)]
    if not any(int(one["port"]) == port for service in services for one in service["spec"].get("ports", [])):
        raise NoExpectationError(f"proxies are to ask {host}:{port}, which does not exist")
    selector = dict(services[0]["spec"].get("selector") or {})
    if namespace != request["namespace"] or not selector:
        raise NotModelledError(f"Service {name}: whether its pods run")
    pods = [pod for pod in of_kind(objects, "Pod") if namespace_of(pod) == namespace and is_running(pod)]
    return any(selector.items() <= dict(pod["metadata"].get("labels") or {}).items() for pod in pods)


def _limit(objects: Objects, request: Request, domain: str, entries: Sequence[Entry]) -> int | None:
    """Requests that the service's configuration allows such a descriptor; None if it sets no limit."""
    config = _config_of(objects, request)
    if config.get("domain") != domain:
        raise NotModelledError(f"ConfigMap {request['config']}: domain {domain}")
    level, found = config["descriptors"], None
    for number, (key, value) in enumerate(entries):
        named = [one for one in level if one["key"] == key and "value" in one and one["value"] == value]
        one = next(iter(named or [one for one in level if one["key"] == key and "value" not in one]), None)
        if one is None:
            return None
        if number == len(entries) - 1:
            found = one.get("rate_limit")
        level = one.get("descriptors") or []
    if found is None:
        return None
    if all(value is not None for _, value in entries):
        raise NotModelledError(f"ConfigMap {request['config']}: a limit that all users share")
    return int(found["requests_per_unit"])


def _config_of(objects: Objects, request: Request) -> Mapping[str, Any]:
    """The configuration of the service, all of which is of the modelled form.

    :raises NoExpectationError: if it is not there
    """
    name = request["config"]
    maps = [one for one in of_kind(objects, "ConfigMap") if one["metadata"]["name"] == name]
    if not maps:
        raise NoExpectationError(f"no ConfigMap {name} is applied")
    files = dict(maps[0].get("data") or {})
    if len(files) != 1:
        raise NotModelledError(f"ConfigMap {name}: data")
    try:
        config = yaml.safe_load(next(iter(files.values())))
    except yaml.YAMLError as error:
        raise NoExpectationError(f"ConfigMap {name}: {' '.join(str(error).split())}") from error
    if not isinstance(config, dict) or set(config) != {"domain", "descriptors"}:
        raise NotModelledError(f"ConfigMap {name}: data")
    _check(config["descriptors"], f"ConfigMap {name}: descriptors")
    return config


def _check(descriptors: Sequence[Mapping[str, Any]], path: str) -> None:
    """Make sure that descriptors have no field, unit or pattern that is not modelled."""
    for number, one in enumerate(descriptors):
        here, limit = f"{path}[{number}]", one.get("rate_limit")
        if not {"key"} <= set(one) <= {"key", "value", "rate_limit", "descriptors"}:
            raise NotModelledError(here)
        # The service joins key and value by an underscore, and takes an asterisk for any text.
        if "_" in str(one["key"]) or str(one.get("value", "")).endswith("*"):
            raise NotModelledError(f"{here}: {one['key']}_{one.get('value', '')}")
        if limit is not None and (set(limit) != {"unit", "requests_per_unit"} or limit["unit"] not in LONG_UNITS):
            raise NotModelledError(f"{here}.rate_limit")
        _check(one.get("descriptors") or [], f"{here}.descriptors")
