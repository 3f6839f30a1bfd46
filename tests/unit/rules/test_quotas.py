"""Quotas of Envoy's rate limit service: what filters tell it, and what its configuration allows."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from loadtests.entries.question import ResponseCheck
from loadtests.rules.calls import Call, Caller
from loadtests.rules.patches import IN_FRONT
from loadtests.rules.quotas import GLOBAL_RATE_LIMIT, quota, statuses
from loadtests.verdict import Expected
from tests.unit.pods import pod

CALL = replace(
    Call("shop:8080", 8080, Caller("quota", {"app": "client"}, all_labels=False), "/limited"), varied=frozenset(("x-user",))
)
HOST = "ratelimit.quota.svc.cluster.local"
REQUEST: dict[str, Any] = {
    "namespace": "quota", "app": "shop", "port": 8080, "call": CALL, "row": 12, "config": "ratelimit", "service": (HOST, 8081),
}  # fmt: skip
USER, PATH = (
    {"request_headers": {"header_name": name, "descriptor_key": key}} for name, key in (("x-user", "user"), (":path", "path"))
)


def limit(number: int, unit: str = "month") -> dict[str, Any]:
    return {"rate_limit": {"unit": unit, "requests_per_unit": number}}


CONFIG: list[dict[str, Any]] = [
    {"key": "user", **limit(7)},
    {"key": "path", "value": "/limited", "descriptors": [{"key": "user", **limit(4)}]},
]


def thing(kind: str, name: str, **spec: Any) -> dict[str, Any]:
    metadata = {"name": name, "uid": f"{kind}/{name}", "generation": 1, "namespace": "quota"}
    return {"kind": kind, "metadata": metadata, "spec": spec}


def service(name: str, port: int) -> dict[str, Any]:
    return thing("Service", name, selector={"app": name}, ports=[{"name": "grpc" if port == 8081 else "http", "port": port}])


def config(descriptors: Any = CONFIG, domain: str = "quota", **more: Any) -> dict[str, Any]:
    content = json.dumps({"domain": domain, "descriptors": descriptors, **more})  # which is YAML as well
    return {**thing("ConfigMap", "ratelimit"), "data": {"config.yaml": content}}


def asks(name: str = "asks", to: str = f"outbound|8081||{HOST}", match: Any = IN_FRONT, **settings: Any) -> dict[str, Any]:
    filtered = {
        "@type": f"type.googleapis.com/{GLOBAL_RATE_LIMIT}", "domain": "quota", "timeout": "5s",
        "rate_limit_service": {"transport_api_version": "V3", "grpc_service": {"envoy_grpc": {"cluster_name": to}}}, **settings,
    }  # fmt: skip
    patch = {"operation": "INSERT_BEFORE", "value": {"name": "limit", "typed_config": filtered}}
    return thing("EnvoyFilter", name, configPatches=[{"applyTo": "HTTP_FILTER", "match": match, "patch": patch}])


def tells(*actions: Any, name: str = "tells", match: Any = None, operation: str = "MERGE", **more: Any) -> dict[str, Any]:
    """An EnvoyFilter by which the service receives a descriptor for each list of actions."""
    value = {"route": {"rate_limits": [{"actions": one, **more} for one in actions]}}
    change = {"operation": operation, "value": value}
    return thing(
        "EnvoyFilter", name, configPatches=[
            {"applyTo": "HTTP_ROUTE", "match": match or {"context": "SIDECAR_INBOUND"}, "patch": change},
        ],
    )  # fmt: skip


BOTH = tells([USER], [PATH, USER])
OF_HOSTS = thing(
    "EnvoyFilter", "hosts", configPatches=[
        {
            "applyTo": "HTTP_ROUTE", "match": {"context": "SIDECAR_INBOUND"},
            "patch": {"operation": "MERGE", "value": {"rate_limits": [{"actions": [USER]}]}},
        }
    ],
)  # fmt: skip
SAMPLE = [
    service("shop", 8080), service("ratelimit", 8081), service("stopped", 8081),
    thing("Deployment", "shop", template={"metadata": {"labels": {"app": "shop"}}}),
    pod("ratelimit-1", {"app": "ratelimit"}, "quota"),
]  # fmt: skip


def expected(*objects: dict[str, Any], request: Mapping[str, Any] = REQUEST) -> Expected:
    return ResponseCheck((), quota, {"row": request}, namespace="quota").expect([*SAMPLE, *objects]).expected


def outcome(*objects: dict[str, Any], request: Mapping[str, Any] = REQUEST) -> str | None:
    """The statuses of a row; None if they are not known."""
    found = expected(*objects, request=request)
    assert found.broken == ()
    return None if found.unknown else next(iter(found.shares["row"]))


def elsewhere(uri: str) -> dict[str, Any]:
    return {**REQUEST, "call": replace(CALL, uri=uri)}


ALL, SEVEN, FOUR, FAILED = "12 HTTP 200", "7 HTTP 200, 5 HTTP 429", "4 HTTP 200, 8 HTTP 429", "12 HTTP 500"


def test_the_strictest_limit_counts() -> None:
    assert outcome(asks(), BOTH, config()) == FOUR
    assert outcome(asks(), tells([USER]), config()) == SEVEN
    assert outcome(asks(), BOTH, config(), request=elsewhere("/free")) == SEVEN
    assert outcome(asks(), tells([PATH, USER]), config(), request=elsewhere("/free")) == ALL
    assert outcome() == ALL


@pytest.mark.parametrize(
    ("descriptors", "found"),
    [
        ([{"key": "user", **limit(20)}], ALL),
        ([{"key": "user", **limit(0)}], "12 HTTP 429"),
        ([{"key": "other", **limit(1)}], ALL),
        # A value of its own comes before a key alone, and a random user has none.
        ([{"key": "user", "value": "ann", **limit(1)}, {"key": "user", **limit(7)}], SEVEN),
        ([{"key": "path", "descriptors": [{"key": "user", **limit(4)}]}], FOUR),
        ([{"key": "path", **limit(1), "descriptors": [{"key": "user", **limit(4)}]}], FOUR),
        ([{"key": "path", "value": "/limited"}, {"key": "path", "descriptors": [{"key": "user", **limit(4)}]}], ALL),
        # What is not known.
        ([{"key": "user", **limit(7, "second")}], None),
        ([{"key": "user", **limit(7, "hour")}], None),
        ([{"key": "user", "rate_limit": {"unlimited": True}}], None),
        ([{"key": "user", **limit(7), "shadow_mode": True}], None),
        ([{"key": "user", "value": "a*", **limit(7)}], None),
        ([{"key": "user_path", **limit(7)}], None),
        ([{"key": "other", **limit(7), "detailed_metric": True}], None),
    ],
)
def test_limits_of_the_service(descriptors: list[dict[str, Any]], found: str | None) -> None:
    assert outcome(asks(), BOTH, config(descriptors)) == found


def test_a_limit_that_all_users_share_is_not_known() -> None:
    assert outcome(asks(), tells([PATH]), config([{"key": "path", **limit(4)}])) is None


@pytest.mark.parametrize(("closed", "found"), [(True, FAILED), (False, ALL), (None, ALL)])
def test_a_service_that_is_down(closed: bool | None, found: str) -> None:
    mode: dict[str, Any] = {} if closed is None else {"failure_mode_deny": closed}
    down = f"outbound|8081||stopped.{HOST.partition('.')[2]}"
    assert outcome(asks(to=down, **mode), BOTH, config()) == found
    ended = pod("stopped-1", {"app": "stopped"}, "quota") | {"status": {"phase": "Failed"}}
    assert outcome(asks(to=down, **mode), BOTH, config(), ended) == found
    # It is another service, whose configuration is not known.
    assert outcome(asks(to=down, **mode), BOTH, config(), pod("stopped-1", {"app": "stopped"}, "quota")) is None
    # Nothing is asked.
    nobody = {**REQUEST, "call": replace(CALL, varied=frozenset())}
    hidden = tells([{"request_headers": {"header_name": "tenant", "descriptor_key": "user"}}])
    assert outcome(asks(to=down, **mode), hidden, config(), request=nobody) == ALL


@pytest.mark.parametrize(
    "objects",
    [
        [asks(to=f"outbound|8081|v1|{HOST}"), BOTH],
        [asks(to=f"inbound|8081||{HOST}"), BOTH],
        [asks(to="ratelimit"), BOTH],
        [asks(timeout="0.02s"), BOTH],
        [asks(rate_limited_status={"code": 503}), BOTH],
        [asks(status_on_error={"code": 503}), BOTH],
        [asks(stage=1), BOTH],
        [asks(domain="other"), BOTH],
        [asks(match={"context": "ANY"}), BOTH],
        [asks(match={"context": "GATEWAY", "listener": IN_FRONT["listener"]}), BOTH],
        [asks(), asks(name="again"), BOTH],
        [asks(), BOTH, tells([USER], name="more")],
        [asks(), tells([USER], match={"context": "SIDECAR_INBOUND", "routeConfiguration": {"name": "x"}})],
        [asks(), tells([USER], operation="REPLACE")],
        [asks(), OF_HOSTS],
        [asks(), tells([USER], stage=1)],
        [asks(), tells([USER], disable_key="x")],
        [asks(), tells([{"generic_key": {"descriptor_value": "x"}}])],
        [asks(), tells([{"request_headers": {**USER["request_headers"], "skip_if_absent": True}}])],
        [asks(), tells([{"request_headers": {"header_name": "x-request-id", "descriptor_key": "user"}}])],
        [asks(), BOTH, thing("DestinationRule", "r", host="ratelimit", trafficPolicy={"tls": {"mode": "ISTIO_MUTUAL"}})],
        [asks(), BOTH, thing("Sidecar", "s", egress=[{"hosts": ["./shop"]}], workloadSelector={"labels": {"app": "shop"}})],
    ],
)
def test_another_form_is_not_known(objects: list[dict[str, Any]]) -> None:
    assert outcome(*objects, config()) is None


def test_configuration_that_is_not_known() -> None:
    assert outcome(asks(), BOTH, config(more=1)) is None
    two = config()
    two["data"] = {**two["data"], "other.yaml": "domain: other"}
    assert outcome(asks(), BOTH, two) is None


def test_what_is_missing_breaks_the_promise() -> None:
    assert expected(asks(), BOTH).broken == ("row: no ConfigMap ratelimit is applied",)
    for port, host in ((8082, HOST), (8081, "nobody.quota.svc.cluster.local")):
        words = (f"row: proxies are to ask {host}:{port}, which does not exist",)
        assert expected(asks(to=f"outbound|{port}||{host}"), BOTH, config()).broken == words


def test_what_is_tried_again_is_not_known() -> None:
    route = {"retries": {"attempts": 1, "retryOn": "5xx"}, "route": [{"destination": {"host": "shop"}}]}
    rule = thing("VirtualService", "shop", hosts=["shop"], http=[route])
    down = f"outbound|8081||stopped.{HOST.partition('.')[2]}"
    assert outcome(asks(to=down, failure_mode_deny=True), BOTH, config(), rule) is None
    assert outcome(asks(), BOTH, config(), rule) == FOUR


def test_a_row_in_words() -> None:
    assert statuses({429: 1, 200: 2, 500: 0}) == "2 HTTP 200, 1 HTTP 429"
