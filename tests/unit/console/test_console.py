"""The console's endpoints, without a cluster: their content and their refusals."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from flask import Flask, jsonify
from flask.testing import FlaskClient
from flask_login import LoginManager, login_required

from loadtests.console import changes, pages, settings, topology, web
from loadtests.entries import entry, policy
from loadtests.mesh.cluster import Cluster, ClusterError
from loadtests.reports import docs
from loadtests.reports.report import Progress, moment_of
from loadtests.verdict import Expected, Observed, Verdict, judge

WORDS = json.loads((Path(web.__file__).parent / "app/src/words.json").read_text(encoding="utf-8"))


@pytest.fixture
def environment(tmp_path: Path) -> SimpleNamespace:
    """The parts of Locust's environment that the pages use, around a plain Flask application."""
    app = Flask(__name__)
    app.add_url_rule("/", "locust.index", lambda: "<body>Locust</body>")
    app.add_url_rule("/swarm", "locust.swarm", lambda: "", methods=["POST"])
    app.add_url_rule("/stats/requests", "locust.request_stats", lambda: jsonify(state="ready"))
    ui = SimpleNamespace(app=app, template_args={}, auth_required_if_enabled=lambda view: view, web_login=False)
    options = SimpleNamespace(
        web_base_path="", results=str(tmp_path), num_users=7, spawn_rate=None, host="http://gateway", kubeconfig="none",
        entry="reviews-v1", judge="", judged="",
    )  # fmt: skip
    made = SimpleNamespace(web_ui=ui, parsed_options=options, runner=SimpleNamespace(state="ready"), progress=None)
    web.extend(made, lambda: made.progress)
    return made


@pytest.fixture
def client(environment: SimpleNamespace) -> FlaskClient:
    made: FlaskClient = environment.web_ui.app.test_client()
    return made


def test_the_catalogue_has_every_entry_with_its_last_verdict(client: FlaskClient, environment: SimpleNamespace) -> None:
    facts = {"started": "2026-11-26T19:00:00Z", "seconds": 21.5}
    more = {"classes": [], "facts": {**facts, "margin": 0.05}}
    verdict_ = {"outcome": "PASS", "n": 1820, **more, "reasons": ["<script>alert(1)</script>"]}
    folder = Path(environment.parsed_options.results) / "reviews-80-20"
    folder.mkdir()
    (folder / "verdict.json").write_text(json.dumps(verdict_))
    groups = get(client, "/mesh/catalogue").get_json()["groups"]
    found = {one["name"]: one for group in groups for one in group["entries"]}
    assert sorted(found) == entry.names()
    assert [name for name, one in found.items() if one["outcome"]] == ["reviews-80-20"]
    judged = found["reviews-80-20"]
    assert {name: judged[name] for name in ("outcome", "n", "started", "seconds", "namespace")} == {
        "outcome": "PASS", "n": 1820, **facts, "namespace": "bookinfo",
    }  # fmt: skip
    assert judged["aim"] == docs.paragraphs((entry.CATALOGUE / "reviews-80-20/README.md").read_text())["Aim"]
    titles = [group["title"] for group in get(client, "/mesh/catalogue?lang=zh").get_json()["groups"]]
    assert titles == list(docs.groups("zh"))
    assert titles != [group["title"] for group in groups] == list(docs.groups("en"))


def get(client: FlaskClient, path: str, **headers: str) -> Any:
    return client.get(path, base_url="http://127.0.0.1:8089", headers=headers)


def test_the_page_loads_nothing_from_elsewhere(client: FlaskClient) -> None:
    policy_ = get(client, "/").headers["Content-Security-Policy"]
    assert policy_.startswith("default-src 'self'; ")
    assert "script-src" not in policy_, "scripts are limited like everything else: none in the page, none evaluated"
    assert "frame-ancestors 'none'" in policy_


def test_the_page_knows_the_forms_fields_and_the_labs_namespaces(environment: SimpleNamespace) -> None:
    given = environment.web_ui.template_args["console"]
    assert "bookinfo" in given["namespaces"]
    assert "kube-system" not in given["namespaces"]
    names = {field.name for table in settings.TABLES.values() for field in table}
    assert {field["name"] for table in given["fields"].values() for field in table} == names
    assert json.loads(json.dumps(given)) == json.loads(json.dumps(given, default=list)), "Locust writes it into its page"
    assert all(f"f_{name}" in words for words in WORDS.values() for name in names | {"header", "header_value", "host"})


def test_all_languages_have_the_same_texts() -> None:
    assert set(WORDS) == set(pages.LANGUAGES)
    assert len({frozenset(words) for words in WORDS.values()}) == 1
    assert all(text for words in WORDS.values() for text in words.values())


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
    [
        ("", 200, {"versions": [], "edges": [], "notice": ""}),
        ("namespace/webfront", 409, {"error": "GET x: HTTP 403"}),
    ],
)
def test_a_missing_namespace_has_no_calls(
    there: str, status: int, expected: dict[str, Any], client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(cluster: Cluster) -> None:
        raise ClusterError("GET x: HTTP 403")

    monkeypatch.setattr(topology, "read", refused)
    monkeypatch.setattr(Cluster, "kubectl", lambda *_, **__: there)
    answer = get(client, "/mesh/topology?namespace=webfront")
    assert (answer.status_code, answer.get_json()) == (status, expected)
    refused_ = get(client, "/mesh/topology?namespace=kube-system")
    assert (refused_.status_code, refused_.get_json()["error"][:27]) == (409, "namespace: kube-system was ")


@pytest.mark.parametrize("path", ["rules", "settings/state"])
@pytest.mark.parametrize(
    ("there", "words"),
    [
        ("", "namespace webfront is not in the cluster; an entry of this namespace deploys it: make policy ENTRY=..."),
        ("namespace/webfront", "GET x: HTTP 403"),
    ],
)
def test_a_missing_namespace_is_named_where_its_rules_are_asked_for(
    there: str, words: str, path: str, client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(cluster: Cluster) -> None:
        raise ClusterError("GET x: HTTP 403")

    monkeypatch.setattr(changes, "read", refused)
    monkeypatch.setattr(changes, "read_rules", refused)
    monkeypatch.setattr(Cluster, "kubectl", lambda *_, **__: there)
    answer = get(client, f"/mesh/{path}?namespace=webfront")
    assert (answer.status_code, answer.get_json()) == (409, {"error": words})


def test_nothing_is_applied_during_a_run(client: FlaskClient, environment: SimpleNamespace) -> None:
    environment.runner.state = "running"
    answer = start(client, "reviews-80-20")
    assert (answer.status_code, answer.get_json()["error"]) == (409, "a run is active: stop it first")


def test_other_sites_start_nothing(client: FlaskClient) -> None:
    assert start(client, "reviews-80-20", Origin="http://evil.example").status_code == 403
    assert start(client, "reviews-80-20", Host="evil.example").status_code == 403
    assert start(client, "reviews-80-20", **{"Sec-Fetch-Site": "cross-site"}).status_code == 403


EXPECTED = Expected({"<b>all</b>": {"v1": 0.8, "v3": 0.2}})


def progress_of(verdict: Verdict, **more: Any) -> Progress:
    given: dict[str, Any] = {
        "beginning": False,
        "pending": True,
        "finished": False,
        "generator": "not saturated (20 users)",
        "margin": 0.05,
    }
    return Progress("reviews-v1", verdict, **given | more)


def test_the_current_run_with_the_part_of_its_history_that_the_page_lacks(
    client: FlaskClient, environment: SimpleNamespace
) -> None:
    verdicts = [judge(EXPECTED, Observed({"<b>all</b>": {"v1": 4 * n, "v3": n}})) for n in (10, 20, 30)]
    history = tuple(moment_of(verdict, 1.0 + second) for second, verdict in enumerate(verdicts))
    environment.progress = progress_of(verdicts[-1], epoch=7, history=history, remarks=("a remark",))
    run = get(client, "/mesh/verdict").get_json()
    assert (run["entry"], run["namespace"], run["outcome"], run["n"], run["epoch"]) == (
        "reviews-v1",
        "bookinfo",
        "INCONCLUSIVE",
        150,
        7,
    )
    assert (run["service"], pages.service_of("retries")) == ("reviews", ""), "only a split is about one service's versions"
    assert (run["known"], [moment["n"] for moment in run["history"]]) == (0, [50, 100, 150])
    assert (run["remarks"], run["generator"], run["margin"]) == (["a remark"], "not saturated (20 users)", 0.05)
    name, version, expected, observed, low, high = run["history"][0]["shares"][0]
    assert (name, version, expected, observed) == ("<b>all</b>", "v1", 0.8, 0.8)
    widths = [moment["shares"][0][5] - moment["shares"][0][4] for moment in run["history"]]
    assert high - low == widths[0] > widths[1] > widths[2], "the confidence sequence narrows"
    more = get(client, "/mesh/verdict?epoch=7&since=2").get_json()
    assert (more["known"], [moment["n"] for moment in more["history"]]) == (2, [150])
    again = get(client, "/mesh/verdict?epoch=6&since=2").get_json()
    assert (again["known"], len(again["history"])) == (0, 3), "counting has started again since"


def test_an_infinite_e_value_is_text(client: FlaskClient, environment: SimpleNamespace) -> None:
    environment.progress = progress_of(judge(EXPECTED, Observed({"<b>all</b>": {"v2": 5}})))
    assert get(client, "/mesh/verdict").get_json()["classes"][0]["e_value"] == "inf"


@pytest.mark.parametrize(
    ("beginning", "pending", "state"), [(True, False, "spawning"), (False, True, "running"), (False, False, "ready")]
)
def test_locusts_page_polls_for_as_long_as_there_is_something_to_come(
    beginning: bool, pending: bool, state: str, client: FlaskClient, environment: SimpleNamespace
) -> None:
    environment.progress = progress_of(judge(EXPECTED, Observed({})), beginning=beginning, pending=pending)
    assert get(client, "/stats/requests").get_json() == {"state": state}


def test_without_a_session_the_page_leads_to_the_login_and_requests_are_refused(tmp_path: Path) -> None:
    app = Flask(__name__)
    for name in ("index", "login", "request_stats"):
        app.add_url_rule(f"/{name}", f"locust.{name}", login_required(lambda: "in") if name != "login" else lambda: "login")
    ui = SimpleNamespace(app=app, login_manager=LoginManager(app))
    web.add_login(ui, "", "the password")
    there = app.test_client()
    assert there.get("/index").headers["Location"] == "/login"
    refused = there.get("/request_stats")
    assert (refused.status_code, refused.get_json()) == (401, {"error": "the session has expired: log in again"})
    there.post("/login_submit", data={"password": "another"})
    assert there.get("/index").status_code == 302
    there.post("/login_submit", data={"password": "the password"})
    assert [there.get(path).get_data(as_text=True) for path in ("/index", "/request_stats")] == ["in", "in"]


def test_load_goes_to_the_lab_only(client: FlaskClient) -> None:
    def swarm(**form: str) -> Any:
        return client.post("/swarm", data=form, base_url="http://127.0.0.1:8089")

    refused = swarm(host="http://192.0.2.1", user_count="1")
    assert (refused.status_code, refused.get_data(as_text=True)) == (403, "load goes to this lab only: http://gateway\n")
    for form in ({"host": "http://gateway"}, {"host": "http://gateway/"}, {"host": ""}, {}):
        assert swarm(**form).status_code == 200


SETTINGS = {"namespace": "bookinfo", "service": "reviews", "values": {}, "digest": "x", "number": 1}


@pytest.mark.parametrize("path", ["draft", "plan", "apply", "undo", "propagation"])
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
