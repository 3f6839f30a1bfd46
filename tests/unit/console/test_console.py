"""The console's pages, without a cluster: their content and their refusals."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from loadtests.console import changes, settings, topology, web
from loadtests.console.words import WORDS, language
from loadtests.entries import entry, policy
from loadtests.mesh.cluster import Cluster, ClusterError
from loadtests.reports.report import Progress
from loadtests.verdict import Expected, Observed, judge


@pytest.fixture
def environment(tmp_path: Path) -> SimpleNamespace:
    """The parts of Locust's environment that the pages use, around a plain Flask application."""
    app = Flask(__name__)
    app.add_url_rule("/", "locust.index", lambda: "<body>Locust</body>")
    app.add_url_rule("/swarm", "locust.swarm", lambda: "", methods=["POST"])
    app.add_url_rule("/stats/requests", "locust.request_stats", lambda: "")
    ui = SimpleNamespace(app=app, template_args={}, auth_required_if_enabled=lambda view: view, web_login=False)
    options = SimpleNamespace(
        web_base_path="", results=str(tmp_path), num_users=7, spawn_rate=None, host="http://gateway", kubeconfig="none",
        entry="reviews-v1",
    )  # fmt: skip
    made = SimpleNamespace(web_ui=ui, parsed_options=options, runner=SimpleNamespace(state="ready"), progress=None)
    web.extend(made, lambda: made.progress)
    return made


@pytest.fixture
def client(environment: SimpleNamespace) -> FlaskClient:
    made: FlaskClient = environment.web_ui.app.test_client()
    return made


def test_the_catalogue_shows_every_entry_with_its_last_verdict(client: FlaskClient, environment: SimpleNamespace) -> None:
    verdict_ = {"outcome": "PASS", "n": 1820, "facts": {"started": "now"}, "reasons": ["<script>alert(1)</script>"]}
    folder = Path(environment.parsed_options.results) / "reviews-80-20"
    folder.mkdir()
    (folder / "verdict.json").write_text(json.dumps(verdict_))
    answer = client.get("/mesh/", base_url="http://127.0.0.1:8089")
    page = answer.get_data(as_text=True)
    assert answer.status_code == 200
    assert all(f'data-start="{name}"' in page for name in entry.names())
    assert page.count("not run") == len(entry.names()) - 1
    assert "n=1820" in page
    assert "<script>alert" not in page, "text in a verdict is escaped"
    assert answer.headers["Content-Security-Policy"].startswith("default-src 'self'")
    assert 'data-users="7"' in page


def test_the_page_uses_the_requested_or_the_browsers_language(client: FlaskClient) -> None:
    def heading(path: str, accept: str) -> bool:
        page = client.get(path, base_url="http://127.0.0.1", headers={"Accept-Language": accept}).get_data(as_text=True)
        return f"<h1>{WORDS['zh']['title']}</h1>" in page

    assert heading("/mesh/", "zh-CN,zh;q=0.9")
    assert not heading("/mesh/", "de")
    assert heading("/mesh/?lang=zh", "en")
    assert not heading("/mesh/?lang=en", "zh")
    assert language("xx", None) == "en"


def test_all_languages_have_the_same_texts() -> None:
    assert len({frozenset(words) for words in WORDS.values()}) == 1


def test_locusts_page_leads_to_the_catalogue(client: FlaskClient) -> None:
    assert 'href="/mesh/"' in client.get("/", base_url="http://127.0.0.1").get_data(as_text=True)


def start(client: FlaskClient, name: Any, **headers: str) -> Any:
    return client.post("/mesh/entry", json={"entry": name}, base_url="http://127.0.0.1:8089", headers=headers)


def test_an_entry_is_applied(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    put: list[tuple[Any, ...]] = []

    def record(cluster: Cluster, name: str, variant: str, catalogue: Path, writer: Cluster) -> list[str]:
        put.append((cluster.namespace, name, variant, catalogue, writer.user))
        return ["x created"]

    monkeypatch.setattr(Cluster, "kubectl", lambda *_, **__: "namespace/bookinfo")
    monkeypatch.setattr(policy, "put", record)
    answer = start(client, "reviews-80-20", Origin="http://127.0.0.1:8089")
    assert (answer.status_code, answer.get_json()) == (200, {"entry": "reviews-80-20", "changes": ["x created"]})
    account = "system:serviceaccount:bookinfo:istio-lab-console"
    assert put == [("bookinfo", "reviews-80-20", "policy", entry.CATALOGUE, account)], "with the console's own rights"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("reviews-80-21", "accepted: an entry of the catalogue, such as reviews-80-20"),
        ("../../etc", "accepted: an entry of the catalogue"),
        (None, "accepted: an entry of the catalogue"),
        ("retries", "its sample is not deployed yet; run: make policy ENTRY=retries"),
    ],
)
def test_an_entry_that_cannot_start_is_refused(
    name: Any, words: str, client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Cluster, "kubectl", lambda *_, **__: "")
    answer = start(client, name)
    assert answer.status_code == 409
    assert words in answer.get_json()["error"]


@pytest.mark.parametrize(
    ("there", "status", "expected"),
    [("", 200, {"edges": []}), ("namespace/webfront", 409, {"error": "no metrics (GET x: HTTP 403); run: make telemetry"})],
)
def test_a_missing_namespace_has_no_edges(
    there: str, status: int, expected: dict[str, Any], client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(cluster: Cluster) -> None:
        raise ClusterError("GET x: HTTP 403")

    monkeypatch.setattr(topology, "read", refused)
    monkeypatch.setattr(Cluster, "kubectl", lambda *_, **__: there)
    answer = client.get("/mesh/edges?namespace=webfront", base_url="http://127.0.0.1:8089")
    assert (answer.status_code, answer.get_json()) == (status, expected)


def test_nothing_is_applied_during_a_run(client: FlaskClient, environment: SimpleNamespace) -> None:
    environment.runner.state = "running"
    answer = start(client, "reviews-80-20")
    assert (answer.status_code, answer.get_json()["error"]) == (409, "a run is active: stop it first")


def test_other_sites_start_nothing(client: FlaskClient) -> None:
    assert start(client, "reviews-80-20", Origin="http://evil.example").status_code == 403
    assert start(client, "reviews-80-20", Host="evil.example").status_code == 403
    assert start(client, "reviews-80-20", **{"Sec-Fetch-Site": "cross-site"}).status_code == 403


def test_the_live_verdict_is_a_part_of_locusts_page(client: FlaskClient, environment: SimpleNamespace) -> None:
    page = client.get("/", base_url="http://127.0.0.1").get_data(as_text=True)
    assert 'data-live="/mesh/live"' in page
    verdict = judge(Expected({"<b>all</b>": {"v1": 0.8, "v3": 0.2}}), Observed({"<b>all</b>": {"v1": 78, "v3": 22}}))
    environment.progress = Progress("reviews-v1", verdict, False, True, False, "not saturated (20 users)", 0.05)
    live = client.get("/mesh/live", base_url="http://127.0.0.1").get_data(as_text=True)
    assert live.count("<svg") == 2
    assert "INCONCLUSIVE" in live
    assert "not saturated (20 users)" in live
    assert "<b>" not in live, "names are escaped"


def test_load_goes_to_the_lab_only(client: FlaskClient) -> None:
    def swarm(**form: str) -> Any:
        return client.post("/swarm", data=form, base_url="http://127.0.0.1:8089")

    refused = swarm(host="http://192.0.2.1", user_count="1")
    assert (refused.status_code, refused.get_data(as_text=True)) == (403, "load goes to this lab only: http://gateway\n")
    for form in ({"host": "http://gateway"}, {"host": "http://gateway/"}, {"host": ""}, {}):
        assert swarm(**form).status_code == 200


SETTINGS = {"namespace": "bookinfo", "service": "reviews", "values": {}, "digest": "x", "number": 1}


def test_the_settings_page_has_a_label_for_every_field(client: FlaskClient) -> None:
    page = client.get("/mesh/settings?namespace=echo", base_url="http://127.0.0.1").get_data(as_text=True)
    assert "<option selected>echo</option>" in page
    names = {field.name for table in settings.TABLES.values() for field in table} | {"header", "header_value", "host"}
    assert all(f"f_{name}" in words for words in WORDS.values() for name in names)
    fields = json.loads(page.split('id="fields">')[1].split("</script>")[0])
    assert {field["name"] for table in fields.values() for field in table} | {"header", "header_value", "host"} == names


@pytest.mark.parametrize("path", ["plan", "apply", "undo", "propagation"])
def test_settings_change_only_from_this_page_and_in_the_labs_namespaces(path: str, client: FlaskClient) -> None:
    def post(body: Any, **headers: str) -> Any:
        return client.post(f"/mesh/settings/{path}", json=body, base_url="http://127.0.0.1:8089", headers=headers)

    bodies: tuple[Any, ...] = (SETTINGS | {"namespace": "kube-system"}, SETTINGS | {"namespace": ["bookinfo"]}, [], None)
    for body in bodies:
        refused = post(body)
        assert (refused.status_code, refused.get_json()["error"][:10]) == (409, "namespace:"), body
    for headers in ({"Origin": "http://evil.example"}, {"Host": "evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
        assert post(SETTINGS, **headers).status_code == 403
    assert client.get(f"/mesh/settings/{path}", base_url="http://127.0.0.1:8089").status_code == 405


def test_the_clusters_refusals_are_passed_on(client: FlaskClient) -> None:
    answer = client.post("/mesh/settings/plan", json=SETTINGS, base_url="http://127.0.0.1:8089")
    assert answer.status_code == 409
    assert "GET /api" in answer.get_json()["error"]


def test_markup_in_names_stays_text_in_the_state(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    service = settings.Service("<img src=x>", "bookinfo", {"app": "x"}, ("v1",))
    monkeypatch.setattr(changes, "read", lambda cluster: changes.State([], (service,), ("cluster.local/ns/x/sa/y",)))
    answer = client.get("/mesh/settings/state?namespace=bookinfo", base_url="http://127.0.0.1:8089")
    state = answer.get_json()
    assert answer.mimetype == "application/json"
    assert (state["service"], state["services"], state["weights"]) == ("<img src=x>", ["<img src=x>"], ["v1"])
    assert (state["history"], state["rules"], state["entry"]) == ([], [], "reviews-v1")
    export = client.get("/mesh/settings/export?namespace=bookinfo", base_url="http://127.0.0.1:8089")
    assert export.headers["Content-Disposition"] == 'attachment; filename="bookinfo-rules.yaml"'
