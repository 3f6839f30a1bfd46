"""Calls to hosts outside that the caller has encrypted."""

from __future__ import annotations

from typing import Any

import pytest

from loadtests.rules.calls import Call, Caller
from loadtests.rules.egress import encrypted_by_caller
from loadtests.rules.expectations import NotModelledError, Shares
from loadtests.rules.view import not_modelled, viewed

END = {"address": "server.elsewhere", "port": 8443}
BLOCKED = {"refused": 1.0}


def thing(kind: str, **spec: Any) -> dict[str, Any]:
    metadata = {"name": "one", "namespace": "echo", "uid": kind}
    return {"apiVersion": "networking.istio.io/v1", "kind": kind, "metadata": metadata, "spec": spec}


def registered(host: str = "api.example", **port: Any) -> dict[str, Any]:
    ports = [{"number": 8443, "name": "tls", "protocol": "TLS"} | port]
    return thing(
        "ServiceEntry", hosts=[host], location="MESH_EXTERNAL", resolution="DNS", ports=ports,
        endpoints=[{"address": "server.elsewhere"}],
    )  # fmt: skip


LIMITED = thing("Sidecar", outboundTrafficPolicy={"mode": "REGISTRY_ONLY"}, egress=[{"hosts": ["./*"]}])


def shares(*rules: dict[str, Any]) -> Shares:
    call = Call("api.example", 8443, Caller("echo", {"app": "client"}, all_labels=False), scheme="tls")
    objects = viewed(rules)
    found = encrypted_by_caller(objects, {"call": call, **END})
    assert not not_modelled(objects)
    return found


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ([registered(), LIMITED], {"HTTP 200": 1.0}),
        ([registered("other.example"), LIMITED], BLOCKED),
        ([registered(number=443), LIMITED], BLOCKED),
        ([LIMITED], BLOCKED),
    ],
)
def test_which_calls_leave(rules: list[dict[str, Any]], expected: Shares) -> None:
    assert shares(*rules) == expected


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        # Without a limit, the proxy forwards to an address at which nobody is known to be.
        ([], "do not end at server.elsewhere:8443"),
        ([registered(targetPort=443)], "do not end at server.elsewhere:8443"),
        ([registered(), thing("DestinationRule", host="api.example", trafficPolicy={"tls": {"mode": "SIMPLE"}})], "tls.mode"),
    ],
)
def test_where_a_call_ends_may_be_unknown(rules: list[dict[str, Any]], words: str) -> None:
    with pytest.raises(NotModelledError, match=words):
        shares(*rules)
