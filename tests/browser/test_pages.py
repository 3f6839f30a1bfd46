"""What users see: Bookinfo through the gateway, and Locust's own page with the verdict."""

from __future__ import annotations

import json
import re
import time
from typing import Any

import requests
from playwright.sync_api import Page, expect

from tests import lab
from tests.browser.actions import log_in, shot


def test_jason_sees_black_stars_and_others_none(page: Page) -> None:
    lab.apply("reviews-by-user")
    page.goto(f"{lab.gateway_url()}/productpage")
    expect(page).to_have_title("Simple Bookstore App")
    expect(page.locator(".glyphicon-star")).to_have_count(0)
    page.fill("input[name=username]", "jason")
    page.fill("input[name=passwd]", "jason")
    page.click("button[type=submit]")
    expect(page.locator("#user")).to_have_text("jason")
    expect(page.locator(".glyphicon-star.text-black-500")).to_have_count(9)
    shot(page, "productpage-jason")


def test_a_run_from_locusts_page_ends_with_a_verdict(page: Page, locust_ui: str) -> None:
    lab.apply("reviews-v1")
    page.goto(locust_ui)
    page.fill("input[name=username]", "operator")
    page.fill("input[name=password]", "not the password")
    page.click("button[type=submit]")
    expect(page.get_by_text("Wrong password")).to_be_visible()
    log_in(page, locust_ui)
    page.get_by_role("tab", name="Load test").click()
    page.get_by_role("button", name="Start", exact=True).click()
    expect(page.get_by_role("tab", name="Mesh verdict", selected=True)).to_be_visible()
    # Beside it, the rules of the same namespace are judged.
    page.get_by_role("tab", name="Your rules").click()
    page.get_by_role("button", name="Judge all").click(timeout=30_000)
    expect(page.locator("[data-judged]")).to_have_text("PASS", timeout=120_000)
    shot(page, "locust-judged-beside-a-run")
    page.get_by_role("tab", name="Mesh verdict").click()
    expect(page.locator("[data-outcome]")).to_have_text("PASS", timeout=90_000)
    expect(page.get_by_role("heading", name="Counts by source")).to_be_visible(timeout=30_000)
    shot(page, "locust-verdict")
    page.get_by_role("tab", name="Statistics").click()
    expect(page.get_by_role("cell", name="Aggregated")).to_be_visible()


def test_an_entry_is_started_from_the_catalogue(page: Page, locust_ui: str) -> None:
    lab.apply("reviews-by-user")  # different rules from those of the started entry
    log_in(page, locust_ui)
    page.get_by_label("Filter").fill("reviews-v1")
    expect(page.locator("[data-name]")).to_have_count(1)
    shot(page, "catalogue-filtered")
    page.get_by_role("button", name="Start reviews-v1").press("Enter")
    expect(page.get_by_role("tab", name="Mesh verdict", selected=True)).to_be_visible(timeout=60_000)
    expect(page.locator("[data-outcome]")).to_have_text("PASS", timeout=90_000)
    assert verdict_of(page, locust_ui)["entry"] == "reviews-v1"
    until = time.monotonic() + 30
    while not verdict_of(page, locust_ui)["finished"]:  # the reports are written after the other sources have been read
        assert time.monotonic() < until
        time.sleep(0.5)
    page.goto(f"{locust_ui}/?tab=catalogue")
    expect(page.locator("[data-name=reviews-v1] [data-last]")).to_contain_text("PASS")


def verdict_of(page: Page, url: str) -> dict[str, Any]:
    """The verdict that the page polls."""
    answer: dict[str, Any] = page.request.get(f"{url}/mesh/verdict").json()
    return answer


def expected_in(verdict: dict[str, Any]) -> dict[str, float]:
    """Version -> expected share, of the only traffic class."""
    return {share["version"]: share["expected"] for one in verdict["classes"][:1] for share in one["shares"]}


def test_an_edited_rule_starts_the_verdict_again(page: Page, locust_ui: str) -> None:
    lab.apply("reviews-80-20")
    log_in(page, locust_ui)
    page.get_by_role("tab", name="Load test").click()
    page.get_by_text(re.compile("custom parameters", re.IGNORECASE)).click()
    page.locator("select[name=entry]").select_option("reviews-80-20")
    page.get_by_role("button", name="Start", exact=True).click()
    page.get_by_role("tab", name="Mesh verdict").click()
    until = time.monotonic() + 60
    while (before := verdict_of(page, locust_ui))["n"] < 200:
        assert time.monotonic() < until, before
        time.sleep(0.5)
    assert before["outcome"] == "INCONCLUSIVE"
    assert expected_in(before) == {"v1": 0.8, "v3": 0.2}
    patch = json.dumps([{"op": "replace", "path": f"/spec/http/0/route/{i}/weight", "value": 50} for i in (0, 1)])
    lab.kubectl("-n", "bookinfo", "patch", "virtualservices.networking.istio.io", "reviews", "--type=json", "-p", patch)
    until = time.monotonic() + 30
    while expected_in(after := verdict_of(page, locust_ui)) != {"v1": 0.5, "v3": 0.5}:
        assert time.monotonic() < until, after
        time.sleep(0.2)
    assert after["n"] < before["n"], "responses under the old rule must not count"
    assert after["epoch"] > before["epoch"]
    expect(page.locator("[data-outcome]")).to_have_text("PASS", timeout=120_000)
    until = time.monotonic() + 30
    while not (last := verdict_of(page, locust_ui))["finished"]:  # the proxies' own counts arrive last
        assert time.monotonic() < until, last
        time.sleep(0.5)
    assert last["outcome"] == "PASS", last
    assert set(expected_in(last).values()) == {0.5}
    assert len(last["history"]) > 2
    shot(page, "locust-verdict-after-an-edit")


def test_the_page_is_guarded(locust_ui: str) -> None:
    assert requests.get(f"{locust_ui}/stats/requests", allow_redirects=False, timeout=5).status_code == 401
    answer = requests.get(f"{locust_ui}/mesh/verdict", allow_redirects=False, timeout=5)
    assert (answer.status_code, answer.json()) == (401, {"error": "the session has expired: log in again"})
    assert requests.get(f"{locust_ui}/login", headers={"Host": "evil.example"}, timeout=5).status_code == 403
    for path in ("/swarm", "/login_submit", "/mesh/entry", "/mesh/settings/apply", "/mesh/judge", "/mesh/judge/stop"):
        crossed = requests.post(f"{locust_ui}{path}", headers={"Origin": "http://evil.example"}, timeout=5)
        assert crossed.status_code == 403
    answer = requests.get(f"{locust_ui}/login", headers={"Origin": "http://evil.example"}, timeout=5)
    assert not [h for h in answer.headers if h.lower().startswith("access-control-")]
