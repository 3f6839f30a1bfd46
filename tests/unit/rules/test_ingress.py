"""What Kubernetes' own ways in promise."""

from __future__ import annotations

from typing import Any

import pytest

from loadtests.rules import ingress
from loadtests.rules.declared import BrokenPromiseError

HOST = "a.lab"


def http_route(*matches: dict[str, Any], hosts: list[str] | None = None) -> dict[str, Any]:
    spec = {"hostnames": hosts or [HOST], "rules": [{"matches": list(matches)} if matches else {}]}
    return {"kind": "HTTPRoute", "metadata": {"name": "r"}, "spec": spec}


def path(kind: str, value: str, **more: Any) -> dict[str, Any]:
    return {"path": {"type": kind, "value": value}, **more}


@pytest.mark.parametrize(
    ("match", "uri", "taken"),
    [
        (path("Exact", "/a"), "/a", True),
        (path("Exact", "/a"), "/a/", False),
        (path("PathPrefix", "/a"), "/a", True),
        (path("PathPrefix", "/a/"), "/a", True),
        (path("PathPrefix", "/a"), "/a/b", True),
        (path("PathPrefix", "/a"), "/ab", False),
        (path("PathPrefix", "/"), "/anything", True),
        (path("RegularExpression", "/a+"), "/aaa", True),
        (path("RegularExpression", "/a+"), "/aab", False),
        (path("PathPrefix", "/a", method="GET"), "/a", True),
        (path("PathPrefix", "/a", method="POST"), "/a", False),
        (path("PathPrefix", "/a", headers=[{"name": "X-Who", "value": "me"}]), "/a", True),
        (path("PathPrefix", "/a", headers=[{"name": "X-Who", "value": "you"}]), "/a", False),
    ],
)
def test_http_routes(match: dict[str, Any], uri: str, taken: bool) -> None:
    request = {"route": "r", "authority": HOST, "uri": uri, "method": "GET", "headers": {"x-who": "me"}}
    assert ingress.http_routed([http_route(match)], request) == {f"HTTP {200 if taken else 404}": 1.0}


def test_an_http_route_takes_its_hosts_alone_and_all_paths_when_it_names_none() -> None:
    request = {"route": "r", "authority": HOST, "uri": "/", "method": "GET"}
    assert ingress.http_routed([http_route()], request) == {"HTTP 200": 1.0}
    assert ingress.http_routed([http_route(hosts=["*.lab"])], request) == {"HTTP 200": 1.0}
    assert ingress.http_routed([http_route(hosts=["b.lab"])], request) == {"HTTP 404": 1.0}
    with pytest.raises(BrokenPromiseError, match="no HTTPRoute r is in force"):
        ingress.http_routed([], request)


@pytest.mark.parametrize(
    ("kind", "value", "uri", "host", "taken"),
    [
        ("Exact", "/a", "/a", HOST, True),
        ("Exact", "/a", "/a/b", HOST, False),
        ("Prefix", "/a", "/a/b", HOST, True),
        ("Prefix", "/a", "/ab", HOST, False),
        ("Prefix", "/a", "/a", "b.lab", False),
    ],
)
def test_ingresses(kind: str, value: str, uri: str, host: str, taken: bool) -> None:
    rule = {"host": HOST, "http": {"paths": [{"path": value, "pathType": kind, "backend": {}}]}}
    found = {"kind": "Ingress", "metadata": {"name": "i"}, "spec": {"rules": [rule]}}
    request = {"ingress": "i", "authority": host, "uri": uri}
    assert ingress.ingress_routed([found], request) == {f"HTTP {200 if taken else 404}": 1.0}
