"""Which calls leave a trace, as Telemetries and the settings of the mesh say."""

from __future__ import annotations

from typing import Any

import pytest

from loadtests.entries.question import ResponseCheck
from loadtests.rules.traces import NOT_TRACED, trace_of, traced
from loadtests.verdict import Expected

ZIPKIN = {"service": "zipkin.telemetry.svc.cluster.local", "port": 9411}
LAB: dict[str, Any] = {"extensionProviders": [{"name": "lab-zipkin", "zipkin": ZIPKIN}]}
REQUEST = {
    "namespace": "echo", "app": "echo", "port": 8080, "caller": {"app": "client"}, "sidecar": True,
    "collector": (ZIPKIN["service"], ZIPKIN["port"]),
}  # fmt: skip
TRACE = "client.echo CLIENT, echo.echo SERVER"
CALLER: dict[str, Any] = {"selector": {"matchLabels": {"app": "client"}}}
CALLED: dict[str, Any] = {"selector": {"matchLabels": {"app": "echo"}}}


def deployment(app: str) -> dict[str, Any]:
    metadata = {"name": app, "uid": app, "generation": 1, "namespace": "echo"}
    return {"kind": "Deployment", "metadata": metadata, "spec": {"template": {"metadata": {"labels": {"app": app}}}}}


def telemetry(*tracing: dict[str, Any], name: str = "t", of: str = "echo", made: str = "", **spec: Any) -> dict[str, Any]:
    metadata = {"name": name, "uid": f"{of}/{name}", "generation": 1, "namespace": of, "creationTimestamp": made}
    return {"kind": "Telemetry", "metadata": metadata, "spec": {"tracing": list(tracing), **spec}}


def part(percentage: float | None = None, provider: str = "lab-zipkin", **more: Any) -> dict[str, Any]:
    sampled = {} if percentage is None else {"randomSamplingPercentage": percentage}
    return {**({"providers": [{"name": provider}]} if provider else {}), **sampled, **more}


def expected(*objects: dict[str, Any], mesh: dict[str, Any] | None = LAB) -> Expected:
    settings = {"kind": "MeshConfig", "metadata": {"name": "istio", "namespace": "istio-system", "uid": "m"}, "spec": mesh}
    there = [deployment("client"), deployment("echo"), *([settings] if mesh is not None else [])]
    return ResponseCheck((), traced, {"calls": REQUEST}, namespace="echo").expect([*there, *objects]).expected


def share(*objects: dict[str, Any], mesh: dict[str, Any] | None = LAB) -> float | None:
    """Of the calls that are traced; None if it is not known."""
    found = expected(*objects, mesh=mesh)
    assert found.broken == ()
    if found.unknown:
        return None
    shares = found.shares["calls"]
    assert shares.keys() <= {TRACE, NOT_TRACED}
    return shares.get(TRACE, 0.0)


ROOT = telemetry(part(100), of="istio-system")


@pytest.mark.parametrize(
    ("objects", "traced_share"),
    [
        ([telemetry(part(30))], 0.3),
        ([telemetry(part(0.29))], 0.0028),  # as Envoy rounds 28.999
        ([telemetry(part(0))], 0.0),
        ([telemetry(part(100))], 1.0),
        ([ROOT], 1.0),
        # The namespace's setting takes the place of the mesh's, field by field; those for some pods come last.
        ([telemetry(part(30)), ROOT], 0.3),
        ([telemetry(part(30, provider="")), ROOT], 0.3),
        ([telemetry(part(30)), telemetry(part(50, provider=""), name="u", **CALLER)], 0.5),
        ([telemetry(part(30)), telemetry(part(50, provider=""), name="u", **CALLED)], 0.3),
        ([telemetry(part(40), name="u", made="2", **CALLER), telemetry(part(50), name="v", made="1"), ROOT], 0.4),
        ([telemetry(part(40), name="u", made="2", **CALLER), telemetry(part(50), name="v", made="1", **CALLER), ROOT], 0.4),
        # Of two for the whole namespace, the older one.
        ([telemetry(part(30), made="2"), telemetry(part(50), name="u", made="1")], 0.5),
        ([telemetry(part(30)), telemetry(part(50), of="istio-system", **CALLER)], 0.3),
        ([telemetry(part(30), part(50))], 0.5),
        ([telemetry(part(30), part(50, match={"mode": "CLIENT"}))], 0.5),
        ([telemetry(part(30), part(50, match={"mode": "SERVER"}))], 0.3),
        ([telemetry(part(30, disableSpanReporting=True))], 0.0),
        ([telemetry(part(30, customTags={"a": {"literal": {"value": "b"}}}, enableIstioTags=False))], 0.3),
        ([telemetry(part(30), accessLogging=[{"disabled": True}], metrics=[{}])], 0.3),
        ([telemetry(part(30, provider="LAB-zipkin"))], 0.3),
        ([telemetry(part(30, provider="nobody"))], 0.0),
        ([telemetry(part(30, provider=""))], 0.0),
        # Only one side reports spans.
        ([telemetry(part(30), part(None, disableSpanReporting=True, match={"mode": "SERVER"}))], None),
        ([telemetry(part(30), part(None, disableSpanReporting=True, match={"mode": "CLIENT"}))], None),
        ([telemetry(part(30), **CALLER)], None),
        # What the proxies' own setting says.
        ([telemetry(part(None))], None),
        ([telemetry(part(30, match={"mode": "SERVER"}), part(None, match={"mode": "CLIENT"}))], None),
        ([telemetry(part(30, useRequestIdForTraceSampling=False))], None),
        ([telemetry(part(30, disableContextPropagation=True))], None),
    ],
)  # fmt: skip
def test_the_share_of_traces(objects: list[dict[str, Any]], traced_share: float | None) -> None:
    assert share(*objects) == (None if traced_share is None else pytest.approx(traced_share))


def test_a_field_for_the_other_side_of_the_call_counts() -> None:
    with_field = part(None, provider="", disableContextPropagation=True, match={"mode": "SERVER"})
    assert expected(telemetry(part(30), with_field)).unknown == {
        "calls": ("Telemetry t: spec.tracing[1].disableContextPropagation",)
    }


@pytest.mark.parametrize(
    ("mesh", "traced_share"),
    [
        (None, 0.3),
        ({}, 0.0),
        ({"extensionProviders": [{"name": "lab-zipkin", "zipkin": {**ZIPKIN, "port": 9412}}]}, None),
        ({"extensionProviders": [{"name": "lab-zipkin", "zipkin": {**ZIPKIN, "path": "/spans"}}]}, None),
        ({"extensionProviders": [{"name": "lab-zipkin", "opentelemetry": ZIPKIN}]}, None),
    ],
)
def test_where_spans_go(mesh: dict[str, Any] | None, traced_share: float | None) -> None:
    assert share(telemetry(part(30)), mesh=mesh) == traced_share


def test_the_default_provider_of_the_mesh() -> None:
    assert share(telemetry(part(30, provider="")), mesh={**LAB, "defaultProviders": {"tracing": ["lab-zipkin"]}}) == 0.3


def test_without_a_telemetry_nothing_is_promised() -> None:
    words = ("calls: no Telemetry says what the proxy of client traces",)
    assert expected().broken == words
    assert expected(telemetry(part(30, match={"mode": "SERVER"}))).broken == words


def test_a_call_that_may_be_led_elsewhere_is_not_known() -> None:
    fault = {"abort": {"httpStatus": 503, "percentage": {"value": 50}}}
    aborted = {"fault": fault, "route": [{"destination": {"host": "echo"}}]}
    metadata = {"name": "echo", "namespace": "echo", "uid": "v", "generation": 1}
    service = {"kind": "Service", "metadata": metadata, "spec": {"ports": [{"name": "http", "port": 8080}]}}
    rule = {"kind": "VirtualService", "metadata": metadata, "spec": {"hosts": ["echo"], "http": [aborted]}}
    assert expected(telemetry(part(30)), service, rule).unknown == {"calls": ("VirtualService echo: spec.http[0].fault",)}


def test_a_trace_in_words() -> None:
    assert trace_of([("b", "SERVER"), ("a", "CLIENT")]) == "a CLIENT, b SERVER"
    assert trace_of([]) == NOT_TRACED
