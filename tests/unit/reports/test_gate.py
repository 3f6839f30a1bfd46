"""What delivery tools learn about verdicts: nothing but a fresh PASS lets anything through."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from loadtests.reports import gate
from tests.unit.test_inputs import PROJECT

TOKEN = "of-this-lab"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
HOOK = {"name": "shop", "namespace": "shop", "phase": "Progressing", "metadata": {"token": TOKEN}}


def report(state: Path, outcome: str, age: float = 0.0, folder: str = "judged/shop", text: str = "") -> None:
    file = state / folder / "verdict.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text or json.dumps({"outcome": outcome, "reasons": [f"because {outcome}"]}))
    os.utime(file, (time.time() - age,) * 2)


def client(state: Path, run: Callable[[], int] = lambda: 9, namespace: str = "shop") -> FlaskClient:
    return gate.gate(state, TOKEN, namespace, run).test_client()


def said(answer: TestResponse) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(answer.text)
    return found


class Counted:
    """A run that does nothing but count itself."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self) -> int:
        self.times += 1
        return 0


def asked(state: Path, path: str = "/argo/namespaces/shop") -> dict[str, Any]:
    answer = client(state).get(path, headers=BEARER)
    assert answer.status_code == 200, answer.text
    return said(answer)


OUTCOMES = [
    ("PASS", "PASS"), ("FAIL", "FAIL"), ("INCONCLUSIVE", "INCONCLUSIVE"), ("VOID", "INCONCLUSIVE"), ("UNKNOWN", "INCONCLUSIVE"),
    ("", "INCONCLUSIVE"), ("pass", "INCONCLUSIVE"),
]  # fmt: skip


@pytest.mark.parametrize(("outcome", "verdict"), OUTCOMES)
def test_each_outcome_has_its_form(tmp_path: Path, outcome: str, verdict: str) -> None:
    report(tmp_path, outcome)
    found = asked(tmp_path)
    assert (found["verdict"], found["outcome"]) == (verdict, outcome)
    assert found["reasons"] == [f"because {outcome}"]
    hook = client(tmp_path).post("/flagger/namespaces/shop", json=HOOK)
    assert hook.status_code == (200 if outcome == "PASS" else 412)
    assert hook.text.startswith(verdict)


@pytest.mark.parametrize("outcome", ["PASS", "FAIL"])
def test_an_old_verdict_decides_nothing(tmp_path: Path, outcome: str) -> None:
    report(tmp_path, outcome, age=601)
    found = asked(tmp_path)
    assert (found["verdict"], found["outcome"]) == ("INCONCLUSIVE", outcome)
    assert found["reasons"] == ["the verdict is 601 s old, and may be 600 s"]
    assert asked(tmp_path, "/argo/namespaces/shop?max_age=700")["verdict"] == outcome
    assert client(tmp_path).post("/flagger/namespaces/shop?max_age=60", json=HOOK).status_code == 412


def test_a_report_of_tomorrow_decides_nothing(tmp_path: Path) -> None:
    report(tmp_path, "PASS", age=-60)
    assert asked(tmp_path)["verdict"] == "INCONCLUSIVE"


@pytest.mark.parametrize("text", ["{", "[]", "null", '"PASS"'])
def test_a_file_that_is_no_report_decides_nothing(tmp_path: Path, text: str) -> None:
    report(tmp_path, "", text=text)
    assert asked(tmp_path)["verdict"] == "INCONCLUSIVE"


def test_entries_have_verdicts_of_their_own(tmp_path: Path) -> None:
    report(tmp_path, "PASS", folder="results/checkout-canary")
    assert asked(tmp_path, "/argo/entries/checkout-canary")["verdict"] == "PASS"
    assert asked(tmp_path, "/argo/namespaces/checkout-canary")["reasons"] == ["there is no verdict"]


@pytest.mark.parametrize("max_age", ["0", "-1", "x", "86401", "1e3", "", "nan", "inf"])
def test_an_age_that_is_none_is_refused(tmp_path: Path, max_age: str) -> None:
    report(tmp_path, "PASS")
    for form, method in gate.METHODS.items():
        answer = client(tmp_path).open(f"/{form}/namespaces/shop?max_age={max_age}", method=method, headers=BEARER)
        assert (answer.status_code, answer.text[:8]) == (400, "max_age:")


@pytest.mark.parametrize(("headers", "body"), [
    ({}, None), ({"Authorization": TOKEN}, None), ({"Authorization": "Bearer "}, None),
    ({"Authorization": "Bearer other"}, None), ({"Authorization": f"Basic {TOKEN}"}, None),
    ({}, {**HOOK, "metadata": {"token": "other"}}), ({}, {**HOOK, "metadata": None}), ({}, [TOKEN]), ({}, "x"),
    ({"Authorization": "Bearer \u00e9"}, None),
])  # fmt: skip
def test_without_the_token_nothing_is_answered_or_done(tmp_path: Path, headers: dict[str, str], body: Any) -> None:
    report(tmp_path, "PASS")
    runs = Counted()
    for path in ("/flagger/namespaces/shop", "/argo/namespaces/shop/judge", "/nosuch"):
        answer = client(tmp_path, runs).post(path, headers=headers, json=body)
        assert (answer.status_code, "PASS" in answer.text, runs.times) == (401, False, 0)


@pytest.mark.parametrize("path", ["/argo/namespaces/..", "/argo/namespaces/Shop", "/argo/others/shop", "/argo/entries/a%2fb"])
def test_other_paths_are_not_there(tmp_path: Path, path: str) -> None:
    assert client(tmp_path).get(path, headers=BEARER).status_code == 404


def test_reading_starts_no_run(tmp_path: Path) -> None:
    runs = Counted()
    report(tmp_path, "PASS")
    asking = client(tmp_path, runs)
    for form in ("argo", "flagger"):
        assert asking.get(f"/{form}/namespaces/shop/judge", headers=BEARER).status_code in (404, 405)
    assert asking.get("/argo/namespaces/shop", headers=BEARER).status_code == 200
    assert asking.post("/argo/namespaces/shop", headers=BEARER).status_code == 405
    assert runs.times == 0


@pytest.mark.parametrize(("outcome", "status", "verdict"), [
    ("PASS", 0, "PASS"), ("FAIL", 1, "FAIL"), ("VOID", 2, "INCONCLUSIVE"), ("PASS", 2, "INCONCLUSIVE"), ("", 1, "INCONCLUSIVE"),
])  # fmt: skip
def test_a_run_that_is_made_now_decides(tmp_path: Path, outcome: str, status: int, verdict: str) -> None:
    def run() -> int:
        if outcome:
            report(tmp_path, outcome)
        return status

    found = client(tmp_path, run).post("/argo/namespaces/shop/judge", headers=BEARER)
    assert (found.status_code, said(found)["verdict"]) == (200, verdict)
    hook = client(tmp_path, run).post("/flagger/namespaces/shop/judge", json=HOOK)
    assert hook.status_code == (200 if verdict == "PASS" else 412)


def test_a_run_that_was_refused_is_named(tmp_path: Path) -> None:
    found = said(client(tmp_path, lambda: 1).post("/argo/namespaces/shop/judge", headers=BEARER))
    assert (found["verdict"], found["reasons"]) == ("INCONCLUSIVE", ["the run ended with status 1"])


def test_a_run_that_leaves_no_verdict_is_not_decided_by_an_earlier_one(tmp_path: Path) -> None:
    report(tmp_path, "PASS", age=5)
    found = client(tmp_path, lambda: 0).post("/argo/namespaces/shop/judge", headers=BEARER)
    assert said(found)["verdict"] == "INCONCLUSIVE"


@pytest.mark.parametrize("started_for", ["", "other"])
def test_only_the_namespace_that_was_given_at_the_start_is_judged(tmp_path: Path, started_for: str) -> None:
    runs = Counted()
    asking = client(tmp_path, runs, started_for)
    answer = asking.post("/argo/namespaces/shop/judge", headers=BEARER)
    assert (answer.status_code, answer.text) == (403, "this gate was not started with NAMESPACE=shop\n")
    assert runs.times == 0


def test_there_is_one_run_at_a_time(tmp_path: Path) -> None:
    second: list[str] = []

    def run() -> int:
        second.append(said(asking.post("/argo/namespaces/shop/judge", headers=BEARER))["reasons"][0])
        report(tmp_path, "PASS")
        return 0

    asking = client(tmp_path, run)
    assert said(asking.post("/argo/namespaces/shop/judge", headers=BEARER))["verdict"] == "PASS"
    assert second == ["another run is in flight"]
    assert said(asking.post("/argo/namespaces/shop/judge", headers=BEARER))["verdict"] == "PASS", "the next one may run"


def start(state: Path, port: int, *words: str, token: str = TOKEN) -> subprocess.Popen[str]:
    (state / "token").write_text(token)
    command = [sys.executable, "-m", "loadtests.reports.gate", f"--state={state}", f"--token-file={state / 'token'}"]
    return subprocess.Popen(
        [*command, f"--port={port}", *words], cwd=PROJECT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def test_it_serves_on_this_machine_and_judges(tmp_path: Path) -> None:
    file, port = tmp_path / "judged/shop/verdict.json", free_port()
    file.parent.mkdir(parents=True)
    judging = ["sh", "-c", 'echo \'{"outcome": "PASS"}\' >"$1"', "judge", str(file)]
    served = start(tmp_path, port, "--namespace=shop", "--", *judging)
    try:
        assert served.stdout is not None
        assert served.stdout.readline().startswith(f"gate: http://127.0.0.1:{port}   token: {tmp_path}/token ")
        there = f"http://127.0.0.1:{port}/flagger/namespaces/shop"
        assert requests.post(there, headers=BEARER, timeout=10).status_code == 412
        assert requests.post(f"{there}/judge", headers=BEARER, timeout=30).text == "PASS\n"
        second = start(tmp_path, port)
        _, words = second.communicate(timeout=30)
        assert second.returncode == 1
        assert words.count("\n") == 1
        assert words.startswith(f"HOST, UI_PORT: 127.0.0.1:{port} was given: ")
    finally:
        served.terminate()
        served.communicate(timeout=10)


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_is_how_it_is_meant_to_end(tmp_path: Path, sent: signal.Signals) -> None:
    served = start(tmp_path, free_port())
    assert served.stdout is not None
    served.stdout.readline()
    served.send_signal(sent)
    _, words = served.communicate(timeout=10)
    assert (served.returncode, words.count("\n")) == (0, 1), "as for the other pages of make open"
    assert words.startswith(f"interrupted by {sent.name}; the gate is closed")


def test_an_empty_token_lets_nobody_in(tmp_path: Path) -> None:
    served = start(tmp_path, free_port(), token="")
    _, words = served.communicate(timeout=30)
    assert (served.returncode, words.count("\n")) == (1, 1)
    assert words.startswith(f"{tmp_path}/token is empty")
