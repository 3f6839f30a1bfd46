"""What Telemetry resources have logged, and how lines of the log are read."""

from __future__ import annotations

from typing import Any

import pytest

from loadtests.entries.question import ResponseCheck
from loadtests.mesh.observed import fields_of
from loadtests.rules.logs import NOTHING, line_of, logged
from loadtests.rules.mesh_config import LOG_FORMAT
from loadtests.verdict import Expected
from tests.unit.test_inputs import PROJECT

REQUEST = {
    "namespace": "echo", "app": "echo", "port": 8080, "authority": "a.lab",
    "row": (("GET", "/a", 200), ("POST", "/b", 404), ("GET", "/c", 500)),
}  # fmt: skip
LINES = [f"{call} - inbound|8080|| a.lab" for call in ("GET /a 200", "POST /b 404", "GET /c 500")]
ENVOY = {"providers": [{"name": "envoy"}]}
ECHO: dict[str, Any] = {"selector": {"matchLabels": {"app": "echo"}}}
DEPLOYMENT = {
    "kind": "Deployment", "metadata": {"name": "echo", "uid": "d", "generation": 1, "namespace": "echo"},
    "spec": {"template": {"metadata": {"labels": {"app": "echo"}}}},
}  # fmt: skip


def telemetry(*logging: dict[str, Any], name: str = "t", of: str = "echo", made: str = "", **spec: Any) -> dict[str, Any]:
    metadata = {"name": name, "uid": f"{of}/{name}", "generation": 1, "namespace": of, "creationTimestamp": made}
    return {"kind": "Telemetry", "metadata": metadata, "spec": {"accessLogging": list(logging), **spec}}


def only_if(expression: str, **more: Any) -> dict[str, Any]:
    return {**ENVOY, "filter": {"expression": expression}, **more}


def expected(*objects: dict[str, Any]) -> Expected:
    return ResponseCheck((), logged, {"row": REQUEST}, namespace="echo").expect([DEPLOYMENT, *objects]).expected


def outcome(*objects: dict[str, Any]) -> str | None:
    """All lines; None if they are not known."""
    found = expected(*objects)
    assert found.broken == ()
    return None if found.unknown else next(iter(found.shares["row"]))


@pytest.mark.parametrize(
    ("expression", "lines"),
    [
        ("response.code >= 404", LINES[1:]),
        ("response.code > 404", LINES[2:]),
        ("response.code <= 404", LINES[:2]),
        ("response.code < 404", LINES[:1]),
        (" response.code==404 ", LINES[1:2]),
        ("response.code != 404", [LINES[0], LINES[2]]),
        ("response.code >= 600", [NOTHING]),
        ("", LINES),
        ("response.code >= 400 && request.method == 'GET'", None),
        ("!has(response.code)", None),
    ],
)
def test_filters(expression: str, lines: list[str] | None) -> None:
    assert outcome(telemetry(only_if(expression))) == (None if lines is None else "; ".join(lines))


ALL = "; ".join(LINES)
FAILED = only_if("response.code >= 500")


@pytest.mark.parametrize(
    ("objects", "lines"),
    [
        ([telemetry(ENVOY)], ALL),
        ([telemetry({**FAILED, "match": {"mode": "SERVER"}})], LINES[2]),
        ([telemetry(ENVOY, {**FAILED, "match": {"mode": "CLIENT"}})], ALL),
        ([telemetry({**ENVOY, "disabled": True})], NOTHING),
        ([telemetry({**ENVOY, "disabled": False})], ALL),
        # Of several, the last one counts.
        ([telemetry(ENVOY, FAILED)], LINES[2]),
        ([telemetry({**ENVOY, "disabled": True}, FAILED)], LINES[2]),
        # The oldest Telemetry of a level counts, and only if it is for the pods.
        ([telemetry(ENVOY), telemetry(FAILED, name="u")], ALL),
        ([telemetry(ENVOY), telemetry(FAILED, name="u", made="0")], ALL),
        ([telemetry(ENVOY, made="2"), telemetry(FAILED, name="u", made="1")], LINES[2]),
        ([telemetry(ENVOY), telemetry(FAILED, name="u", selector={"matchLabels": {"app": "pool"}})], ALL),
        ([telemetry(ENVOY), telemetry(FAILED, of="istio-system", **ECHO)], ALL),
        ([telemetry(FAILED, of="istio-system")], LINES[2]),
        # Traces and metrics are another matter.
        ([telemetry(ENVOY), telemetry(name="u", of="istio-system", tracing=[{"randomSamplingPercentage": 1}])], ALL),
        ([telemetry(ENVOY, metrics=[{"providers": [{"name": "prometheus"}]}])], ALL),
        # Settings that are merged, or those of the mesh.
        ([telemetry(ENVOY), telemetry(FAILED, of="istio-system")], None),
        ([telemetry(ENVOY), telemetry(FAILED, name="u", **ECHO)], None),
        ([telemetry(ENVOY, **ECHO), telemetry(FAILED, name="u", **ECHO)], None),
        ([telemetry({**FAILED, "match": {"mode": "CLIENT"}})], None),
        ([telemetry({"filter": {"expression": "response.code >= 500"}})], None),
        ([telemetry({"providers": [{"name": "other"}]})], None),
        ([telemetry({"providers": [{"name": "envoy"}, {"name": "other"}]})], None),
    ],
)
def test_which_telemetry_counts(objects: list[dict[str, Any]], lines: str | None) -> None:
    assert outcome(*objects) == lines


def test_without_a_telemetry_nothing_is_promised() -> None:
    assert expected().broken == ("row: no Telemetry says what the proxy of echo logs",)


TAIL = "127.0.0.6:37 10.244.0.8:8080 10.244.0.1:0 outbound_.8080_._.echo.echo.svc.cluster.local default"
LOG = f"""2026-11-26T10:00:00Z info xdsproxy connected
[2026-11-26T10:00:01.000Z] "GET /a HTTP/1.1" 200 - via_upstream - "-" 0 98 3 2 "10.1.1.1" "lab-1" "i" "a.lab" "10.244.0.8:80" inbound|8080|| {TAIL}
[2026-11-26T10:00:01.100Z] "GET /a HTTP/1.1" 200 - via_upstream - "-" 0 98 3 2 "10.1.1.1" "lab-2" "i" "a.lab" "10.244.0.8:80" inbound|8080|| {TAIL}
[2026-11-26T10:00:01.200Z] "POST /b HTTP/2" 403 UAEX rbac_access_denied - "-" 0 19 0 - "-" "lab-1" "i" "b.lab:80" "-" inbound|8080|| - {TAIL[13:]}
"""  # noqa: E501 - lines as proxies write them


def test_the_fields_of_a_clients_own_lines() -> None:
    found = [fields_of(line, "lab-1") for line in LOG.splitlines()]
    assert [line and line_of(line) for line in found] == [
        None,
        "GET /a 200 - inbound|8080|| a.lab",
        None,
        "POST /b 403 UAEX inbound|8080|| b.lab:80",
    ]


def mesh(**settings: Any) -> dict[str, Any]:
    return {"kind": "MeshConfig", "metadata": {"name": "istio", "namespace": "istio-system", "uid": "m"}, "spec": settings}


@pytest.mark.parametrize(
    ("settings", "known"),
    [
        ({}, True),
        ({"accessLogFormat": f"{LOG_FORMAT}\n"}, True),
        ({"accessLogFormat": "%PROTOCOL%"}, False),
        ({"accessLogEncoding": "TEXT"}, True),
        ({"accessLogEncoding": "JSON"}, False),
    ],
)
def test_a_log_with_other_fields_is_not_known(settings: dict[str, Any], known: bool) -> None:
    assert outcome(telemetry(ENVOY), mesh(**settings)) == ("; ".join(LINES) if known else None)


def test_the_lab_pins_the_default_format() -> None:
    template = (PROJECT / "roles/istio/templates/operator.yaml.j2").read_text()
    assert f"accessLogFormat: |\n      {LOG_FORMAT}\n" in template
