"""Bookinfo as deployed by the role: its interface, inside the cluster and through the gateway."""

from __future__ import annotations

import json

import pytest
import requests

from tests import lab

TITLE = "<title>Simple Bookstore App</title>"


def ask(url: str, options: str = "") -> tuple[int, str]:
    """Status and body of a request sent from the ratings pod."""
    done = lab.pod("ratings", "ratings").run(f"curl -s -m 12 {options} -w '\n%{{http_code}}' {url}")
    body, _, status = done.stdout.rpartition("\n")
    return int(status), body


def test_sidecars_come_from_a_webhook_that_stays() -> None:
    # istioctl install disables one webhook before it creates the default tag's: pods in between get no sidecar.
    tag = json.loads(lab.kubectl("get", "mutatingwebhookconfiguration", "istio-revision-tag-default", "-o", "json"))
    first = min(str(d["metadata"]["creationTimestamp"]) for d in lab.items("deployments", "bookinfo"))
    assert tag["metadata"]["creationTimestamp"] <= first


def test_every_pod_shows_its_sidecar() -> None:
    pods = [p for p in lab.items("pods", "bookinfo") if not p["metadata"].get("deletionTimestamp")]
    assert len(pods) == 6
    for pod in pods:
        statuses = pod["status"].get("initContainerStatuses", []) + pod["status"]["containerStatuses"]
        assert any(s["name"] == "istio-proxy" and s["ready"] for s in statuses), pod["metadata"]["name"]


def test_a_sidecar_listens_and_runs_as_1337() -> None:
    proxy = lab.pod("productpage", "istio-proxy")
    assert proxy.socket("tcp://0.0.0.0:15006").is_listening
    assert proxy.run("id -u").stdout.strip() == "1337"


def test_the_page_inside_and_outside() -> None:
    status, inside = ask("http://productpage:9080/productpage")
    outside = requests.get(f"{lab.gateway_url()}/productpage", timeout=10)
    assert (status, outside.status_code) == (200, 200)
    for page in (inside, outside.text):
        assert TITLE in page
        assert "Book Details" in page
        assert "Reviews served by:" in page


@pytest.mark.parametrize("service", ["productpage", "details", "reviews", "ratings"])
def test_health(service: str) -> None:
    assert ask(f"http://{service}:9080/health")[0] == 200


def test_details_interface() -> None:
    status, body = ask("http://details:9080/details/0")
    assert status == 200
    assert json.loads(body) == {
        "id": 0, "author": "William Shakespeare", "year": 1595, "type": "paperback", "pages": 200, "publisher": "PublisherA",
        "language": "English", "ISBN-10": "1234567890", "ISBN-13": "123-1234567890",
    }  # fmt: skip
    status, body = ask("http://details:9080/details/x")
    assert status == 400
    assert "error" in json.loads(body)


def test_ratings_interface() -> None:
    assert json.loads(ask("http://ratings:9080/ratings/0")[1]) == {"id": 0, "ratings": {"Reviewer1": 5, "Reviewer2": 4}}
    assert ask("http://ratings:9080/ratings/x")[0] == 400
    assert ask("http://ratings:9080/ratings/77", "-d '{bad'")[0] == 400
    posted = ask("http://ratings:9080/ratings/77", """-d '{"Reviewer1":1,"Reviewer2":2}'""")
    assert posted == (200, '{"id":77,"ratings":{"Reviewer1":1,"Reviewer2":2}}')
    assert json.loads(ask("http://ratings:9080/ratings/77")[1])["ratings"] == {"Reviewer1": 1, "Reviewer2": 2}


@pytest.mark.parametrize(("version", "rating"), [("v1", None), ("v2", "black"), ("v3", "red")])
def test_reviews_interface(version: str, rating: str | None) -> None:
    name = lab.pod_name("reviews", version)
    body = json.loads(lab.pod("reviews", "reviews", version).run("curl -s -m 12 http://localhost:9080/reviews/0").stdout)
    assert body["id"] == "0"
    assert body["podname"] == name
    assert [r["reviewer"] for r in body["reviews"]] == ["Reviewer1", "Reviewer2"]
    wanted = None if rating is None else {"stars": 5, "color": rating}
    assert body["reviews"][0].get("rating") == wanted


def test_products_interface_and_metrics() -> None:
    base = lab.gateway_url()
    assert requests.get(f"{base}/api/v1/products", timeout=10).json()[0]["title"] == "The Comedy of Errors"
    assert requests.get(f"{base}/api/v1/products/0", timeout=10).json()["author"] == "William Shakespeare"
    assert requests.get(f"{base}/api/v1/products/0/ratings", timeout=10).json()["ratings"]["Reviewer1"] == 5
    assert 'request_result_total{destination_app="details",response_code="200"}' in ask("http://productpage:9080/metrics")[1]


def test_a_clients_own_end_user_header_is_dropped() -> None:
    session = requests.Session()
    url = f"{lab.gateway_url()}/productpage"
    login = session.post(
        f"{lab.gateway_url()}/login", data={"username": "jason", "passwd": "x"}, timeout=10, allow_redirects=False
    )
    assert login.status_code == 302
    assert 'id="user">jason' in session.get(url, timeout=10).text
    assert 'id="user"' not in requests.get(url, headers={"end-user": "jason"}, timeout=10).text
