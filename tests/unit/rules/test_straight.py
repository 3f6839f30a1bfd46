"""Security is read for the workload that a call is for: what may lead the call elsewhere, or change it, leaves it open."""

from __future__ import annotations

from typing import Any

import pytest

from loadtests.entries import entry
from loadtests.entries.question import SECURITY, ResponseCheck
from loadtests.rules import security
from loadtests.rules.logs import NOTHING, logged
from loadtests.rules.mesh_config import as_object
from loadtests.rules.workloads import BY_GATEWAY, INGRESS_PRINCIPAL
from loadtests.verdict import Expected

CLIENT = "cluster.local/ns/echo/sa/client"
CALL = {
    "namespace": "echo", "app": "echo", "port": 8080, "principal": CLIENT, "caller": {"app": "client"}, "method": "GET",
    "uri": "/books", "authority": "echo:8080",
}  # fmt: skip
ENTERING = {
    **CALL, **BY_GATEWAY, "principal": INGRESS_PRINCIPAL, "authority": "echo.lab.internal", "gateway": "echo/echo",
}  # fmt: skip
OK = {"call": {"HTTP 200": 1.0}}


def thing(kind: str, name: str, of: str = "echo", **spec: Any) -> dict[str, Any]:
    metadata = {"name": name, "namespace": of, "uid": f"{kind}/{of}/{name}", "generation": 1, "creationTimestamp": name}
    return {"kind": kind, "metadata": metadata, "spec": spec}


def service(name: str, of: str = "echo") -> dict[str, Any]:
    return thing("Service", name, of, ports=[{"name": "http", "port": 8080}], selector={"app": name})


def to(host: str, **more: Any) -> dict[str, Any]:
    return {"destination": {"host": host, "port": {"number": 8080}, **more}}


def rule(*routes: dict[str, Any], hosts: tuple[str, ...] = ("echo",), of: str = "echo", **more: Any) -> dict[str, Any]:
    return thing("VirtualService", "x", of, hosts=list(hosts), http=list(routes), **more)


def expected(*objects: dict[str, Any], expectation: Any = security.permitted, **request: Any) -> Expected:
    question = ResponseCheck(SECURITY, expectation, {"call": {**CALL, **request}}, namespace="echo")
    return question.expect([ECHO, service("echo"), service("pool"), *objects]).expected


def without(*objects: dict[str, Any], **request: Any) -> list[str]:
    """Why there is no expectation; empty if there is the one that there is without those rules."""
    found = expected(*objects, **request)
    assert found.broken == ()
    assert found.unknown or found.shares == OK
    return list(found.unknown.get("call", ()))


ECHO = thing(
    "Deployment", "echo",
    template={"metadata": {"labels": {"app": "echo"}}, "spec": {"serviceAccountName": "echo"}},
)  # fmt: skip
PLAIN = {"route": [to("echo")]}
HALF = {"route": [{**to("echo"), "weight": 50}, {**to("pool"), "weight": 50}]}
ABORT = {"fault": {"abort": {"httpStatus": 403, "percentage": {"value": 100}}}, **PLAIN}
NEVER = {"fault": {"abort": {"httpStatus": 403, "percentage": {"value": 0}}}, **PLAIN}
CHANGES: list[tuple[dict[str, Any], str]] = [
    ({"redirect": {"uri": "/elsewhere"}}, "redirect"),
    ({"directResponse": {"status": 403}}, "directResponse"),
    (ABORT, "fault"),
    ({"route": [to("pool")]}, "route"),
    (HALF, "route"),
    ({"route": [to("echo", subset="v1")]}, "route"),
    ({"rewrite": {"uri": "/public"}, **PLAIN}, "rewrite.uri"),
    ({"rewrite": {"authority": "pool"}, **PLAIN}, "rewrite.authority"),
    ({"headers": {"request": {"set": {"x-user": "ann"}}}, **PLAIN}, "headers.request.set.x-user"),
    ({"timeout": "1s", **PLAIN}, "timeout"),
]
SUBSET = thing("DestinationRule", "echo", host="echo", subsets=[{"name": "v1", "labels": {"version": "v1"}}])


@pytest.mark.parametrize(("route", "field"), CHANGES)
def test_a_rule_that_leads_a_call_elsewhere_or_changes_it_leaves_it_open(route: dict[str, Any], field: str) -> None:
    assert without(rule(route), SUBSET) == [f"VirtualService x: spec.http[0].{field}"]


@pytest.mark.parametrize(
    "there",
    [
        rule(PLAIN),
        rule(NEVER),
        rule({"retries": {"attempts": 3}, "name": "a", "corsPolicy": {"maxAge": "1s"}, **PLAIN}),
        rule(ABORT, hosts=("pool",)),
        rule(ABORT, gateways=["echo"]),
        rule(ABORT, of="other", hosts=("echo.other.svc.cluster.local",)),
        rule(ABORT, of="other", hosts=("echo.echo.svc.cluster.local",), exportTo=["."]),
        rule({"match": [{"sourceLabels": {"app": "auditor"}}], **ABORT}, PLAIN),
        rule({"match": [{"uri": {"prefix": "/private"}}], **ABORT}, PLAIN),
        rule({"route": [{**to("echo"), "weight": 100}, {**to("pool"), "weight": 0}]}),
        thing("Sidecar", "default", egress=[{"hosts": ["./*"]}]),
        thing("Sidecar", "default", workloadSelector={"labels": {"app": "auditor"}}, egress=[{"hosts": ["other/*"]}]),
        thing("Sidecar", "default", of="other", egress=[{"hosts": ["./*"]}]),
        thing("ServiceEntry", "x", hosts=["x.lab"], ports=[{"number": 80, "name": "http", "protocol": "HTTP"}]),
        thing("HTTPRoute", "x", parentRefs=[{"group": "", "kind": "Service", "name": "pool"}], rules=[]),
    ],
)
def test_a_rule_that_leaves_the_call_alone_changes_nothing(there: dict[str, Any]) -> None:
    assert without(there) == []


def test_a_rule_of_another_namespace_for_the_called_host_leaves_it_open() -> None:
    there = rule(ABORT, of="other", hosts=("echo.echo.svc.cluster.local",))
    assert without(there) == ["VirtualService x: spec.http[0].fault"]
    assert without(there, principal="", caller={"app": "legacy"}) == [], "no proxy of the caller's applies it"


@pytest.mark.parametrize(
    ("there", "named"),
    [
        (thing("Sidecar", "default", egress=[{"hosts": ["other/*"]}]), "Sidecar default: spec.egress"),
        (thing("Sidecar", "default", "istio-system", egress=[{"hosts": ["istio-system/*"]}]), "Sidecar default: spec.egress"),
        (rule({"match": [{"uri": {"prefix": "/private"}}], **PLAIN}), "VirtualService x: spec.http"),
        (
            thing("HTTPRoute", "x", parentRefs=[{"group": "", "kind": "Service", "name": "echo"}], rules=[]),
            "HTTPRoute x: spec.parentRefs",
        ),
    ],
)
def test_a_call_that_has_no_route_or_another_kind_of_route_is_left_open(there: dict[str, Any], named: str) -> None:
    (reason,) = without(there)
    assert named in reason


GATEWAY = thing(
    "Gateway", "echo", selector={"istio": "ingressgateway"},
    servers=[{"port": {"number": 8080, "name": "http", "protocol": "HTTP"}, "hosts": ["echo.lab.internal"]}],
)  # fmt: skip


def entering(*routes: dict[str, Any]) -> dict[str, Any]:
    return rule(*routes, hosts=("echo.lab.internal",), gateways=["echo"])


def test_a_call_by_the_gateway_is_read_as_well() -> None:
    assert without(GATEWAY, entering(PLAIN), **ENTERING) == []
    for route, field in CHANGES:
        assert without(GATEWAY, entering(route), SUBSET, **ENTERING) == [f"VirtualService x: spec.http[0].{field}"]
    nothing = entering({"match": [{"uri": {"exact": "/"}}], **PLAIN})
    (reason,) = without(GATEWAY, nothing, **ENTERING)
    assert "VirtualService x: spec.http" in reason
    (reason,) = without(GATEWAY, entering(PLAIN), **{**ENTERING, "gateway": ""})
    assert reason == "by which Gateway calls to echo.lab.internal enter"


def test_a_name_in_a_certificate_and_a_token_are_that_of_the_same_call() -> None:
    strict = thing("PeerAuthentication", "default", mtls={"mode": "STRICT"})
    found = expected(strict, rule({"route": [to("pool")]}), expectation=security.identified, deployment="echo")
    assert found.unknown == {"call": ("VirtualService x: spec.http[0].route",)}
    token = {**ENTERING, "claims": None, "expectation": security.token_accepted}
    assert without(GATEWAY, entering(PLAIN), **token) == []
    assert without(GATEWAY, entering({"directResponse": {"status": 401}}), **token)
    by_token = {"match": [{"headers": {"authorization": {"prefix": "Bearer"}}}], **PLAIN}
    assert without(GATEWAY, entering(by_token, PLAIN), **token) == [
        "VirtualService x: spec.http[0].match[0].headers.authorization"
    ]


def test_what_a_proxy_logs_is_left_open_where_requests_do_not_reach_it() -> None:
    log = thing("Telemetry", "x", accessLogging=[{"providers": [{"name": "envoy"}], "disabled": True}])
    row = {**ENTERING, "expectation": logged, "row": (("GET", "/a", 200), ("GET", "/b", 200))}
    assert expected(log, GATEWAY, entering(PLAIN), **row).shares == {"call": {NOTHING: 1.0}}
    answered = {"match": [{"uri": {"exact": "/b"}}], "directResponse": {"status": 200}}
    found = expected(log, GATEWAY, entering(answered, PLAIN), **row)
    assert found.unknown == {"call": ("VirtualService x: spec.http[0].directResponse",)}


def test_settings_of_the_mesh_that_are_read_elsewhere_do_not_leave_it_open() -> None:
    mesh = as_object({"metadata": {"name": "istio", "uid": "m"}, "data": {"mesh": "enableAutoMtls: false"}})
    assert without(mesh, rule(PLAIN)) == []


def test_entries_about_security_read_what_may_lead_calls_elsewhere() -> None:
    judged = [security.permitted, security.identified, security.token_accepted]
    questions = [entry.load(name).question for name in entry.names()]
    checks = [one for one in questions if isinstance(one, ResponseCheck) and one.expectation in judged]
    assert checks
    for check in checks:
        assert set(SECURITY) <= set(check.kinds)
        for request in check.classes.values():
            assert request["port"]
            assert "gateway" in request or request.get("caller", {}).get("istio") != "ingressgateway"


@pytest.mark.parametrize("principal", [CALL["principal"], ""])
def test_a_sidecar_that_says_how_its_pods_take_calls_leaves_them_open(principal: str) -> None:
    listener = {"port": {"number": 8080, "name": "http", "protocol": "HTTP"}, "defaultEndpoint": "127.0.0.1:9"}
    for app, reasons in (("echo", ["Sidecar x: spec.ingress"]), ("pool", [])):
        takes = thing("Sidecar", "x", workloadSelector={"labels": {"app": app}}, ingress=[listener])
        assert without(takes, principal=principal) == reasons
