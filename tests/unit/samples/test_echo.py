"""How answers of the echo sample are told apart, and what the sample answers itself."""

from __future__ import annotations

import importlib.util
import json
import threading
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPResponse
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from loadtests.samples import echo
from tests.unit.test_inputs import PROJECT


def answer(status: int, body: Any) -> SimpleNamespace:
    return SimpleNamespace(json=lambda: {"caller": "client-1", "status": status, "body": body})


@pytest.mark.parametrize(
    ("status", "body", "service", "text"),
    [
        (200, {"pod": "pool-5d8f7-x2x"}, "pool", "HTTP 200"),
        (200, {"pod": "shaky-v-faulty-5d8f7-x2x"}, "shaky-v-faulty", "HTTP 200"),
        (503, "Closed for maintenance.", "HTTP 503", "HTTP 503 Closed for maintenance."),
        (410, "", "HTTP 410", "HTTP 410"),
        (403, "RBAC: access denied", "HTTP 403", "HTTP 403 RBAC: access denied"),
    ],
)
def test_what_a_caller_reports(status: int, body: Any, service: str, text: str) -> None:
    assert echo.called_service(answer(status, body)) == service
    assert echo.called_text(answer(status, body)) == text


@pytest.fixture(scope="module")
def program() -> ModuleType:
    """The sample's own program."""
    spec = importlib.util.spec_from_file_location("echo_sample", PROJECT / "samples/echo/src/echo.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def port(program: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    monkeypatch.setattr(program, "AUTHORIZED", ["ann"])
    monkeypatch.setattr(program, "VERSION", "v1")
    with program.Server(("127.0.0.1", 0), program.Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


def ask(port: int, path: str, *headers: tuple[str, str]) -> tuple[HTTPResponse, dict[str, Any]]:
    connection = HTTPConnection("127.0.0.1", port, timeout=5)
    connection.putrequest("GET", path)
    for name, value in headers:
        connection.putheader(name, value)
    connection.endheaders()
    response = connection.getresponse()
    found: dict[str, Any] = json.loads(response.read())
    connection.close()
    return response, found


def test_headers_of_one_name_are_all_reported(port: int) -> None:
    response, told = ask(port, "/", ("X-Lab-Added", "client"), ("x-lab-added", "route"), ("x-lab-set", "a"))
    assert (told["headers"]["x-lab-added"], told["headers"]["x-lab-set"]) == ("client, route", "a")
    assert response.headers["x-lab-version"] == "v1"


@pytest.mark.parametrize(("headers", "status"), [([], 401), ([("x-user", "eve")], 403), ([("x-user", "ann")], 200)])
def test_whom_the_authorizer_allows(port: int, headers: list[tuple[str, str]], status: int) -> None:
    assert ask(port, "/authorize/private/1", *headers)[0].status == status


def test_only_json_is_reported_as_data(program: ModuleType, port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    assert program.call(f"http://127.0.0.1:{port}/", "GET", {})["body"]["path"] == "/"
    monkeypatch.setattr(program.Handler, "send_header", lambda self, name, value: None)
    told = program.call(f"http://127.0.0.1:{port}/", "GET", {"Connection": "close"})
    assert isinstance(told["body"], str)
