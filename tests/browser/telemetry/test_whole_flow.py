"""The console's main flow: judge, look, change, look again, undo."""

from __future__ import annotations

import json
import statistics
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from playwright.sync_api import Page, expect

from loadtests.console import changes, drafts
from tests import lab
from tests.browser.actions import log_in, overflow, serious, shot

PAY = {"Host": "billing.lab.internal"}
TO_MSGD = "svcb v0.1>msgd.outside.internal"


def rules() -> dict[str, Any]:
    """Every rule in the two namespaces, as a person would write it."""
    kinds = ",".join(changes.KINDS)
    found = [o for namespace in ("bookinfo", "billing") for o in lab.items(kinds, namespace)]
    written = [drafts.shown(o) for o in found if not o["metadata"]["name"].startswith("istio-lab-sentinel")]
    return {f"{o['kind']} {o['metadata']['namespace']}/{o['metadata']['name']}": o for o in written}


@pytest.fixture
def payments() -> Iterator[None]:
    """Five payments per second, each of which calls msgd, outside the mesh."""
    ended = threading.Event()

    def pay() -> None:
        while not ended.wait(0.2):
            requests.get(f"{lab.gateway_url()}/pay/flow", headers=PAY, timeout=10)

    thread = threading.Thread(target=pay)
    thread.start()
    yield
    ended.set()
    thread.join()


def address_of_msgd() -> str:
    return lab.kubectl("-n", "billing", "exec", "deploy/witness", "--", "getent", "ahostsv4", "msgd.outside.internal").split()[
        0
    ]


def change(page: Page) -> None:
    """Show the difference and apply it."""
    page.get_by_role("button", name="Show the difference").click()
    expect(page.get_by_role("button", name="Apply")).to_be_visible(timeout=30_000)


def undo(page: Page) -> None:
    """Undo the last applied change, and wait until the proxies are in sync."""
    button = page.get_by_role("button", name="Undo").first
    number = button.get_attribute("aria-label")
    button.click()
    expect(page.get_by_role("button", name=str(number), exact=True)).to_have_count(0, timeout=30_000)
    expect(page.get_by_role("button", name="Show the difference")).to_be_enabled(timeout=60_000)
    expect(page.locator(".MuiAlert-colorError")).to_have_count(0)


def verdict(page: Page, outcome: str) -> None:
    try:
        expect(page.locator("[data-outcome]")).to_have_text(outcome, timeout=120_000)
    except AssertionError as error:
        raise AssertionError(f"{page.locator('main').inner_text()}\n{lab.failed_calls('productpage')}") from error


def answers_in(page: Page, urls: list[str]) -> float:
    """Median response time in seconds for each address, requested in turn."""
    took = []
    for url in urls * 8:
        started = time.monotonic()
        assert page.request.get(url).ok, url
        took.append(time.monotonic() - started)
    return statistics.median(took)


def test_judge_see_change_and_undo(page: Page, locust_ui: str, payments: None) -> None:
    # With the playbook, which deploys the sample.
    done = lab.playbook("apply_policy.yml", lab_entry="egress-allowed")
    assert done.returncode == 0, done.stdout[-2000:]
    lab.apply("reviews-80-20")
    before = rules()
    log_in(page, locust_ui)
    assert serious(page) == []
    page.get_by_role("button", name="Start reviews-80-20").click()
    verdict(page, "INCONCLUSIVE")
    shot(page, "verdict-live")
    paths = ("", "mesh/verdict", "mesh/catalogue", "mesh/settings/state?namespace=bookinfo", "mesh/topology")
    urls = [f"{locust_ui}/{path}" for path in paths]
    median = answers_in(page, urls)
    print(f"pages and API while a test runs: median {median * 1000:.0f} ms")
    verdict(page, "PASS")
    expect(page.locator("[data-chart] svg")).to_be_visible()
    expect(page.locator("main")).to_contain_text("the access logs", timeout=30_000)
    expect(page.get_by_role("region", name="VirtualService reviews")).to_contain_text("weight: 80")
    shot(page, "verdict-pass")

    page.get_by_role("tab", name="Traffic settings").click()
    weights = {version: page.get_by_role("spinbutton", name=version, exact=True) for version in ("v1", "v3")}
    expect(weights["v1"]).to_have_value("80")
    shot(page, "settings")
    assert serious(page) == []
    weights["v1"].fill("50")
    expect(weights["v3"]).to_have_value("50")  # they keep their sum
    change(page)
    difference = page.get_by_role("region", name="Difference", exact=True)
    expect(difference).to_contain_text("weight: 50")
    expect(page.get_by_label("then judge reviews-80-20")).to_be_checked()
    shot(page, "settings-difference")
    assert serious(page) == []
    page.get_by_role("button", name="Apply").click()
    expect(page.locator('tr[data-share$=">v1"]')).to_contain_text("50.0 %", timeout=90_000)
    verdict(page, "PASS")
    shot(page, "verdict-after-a-change")

    page.goto(f"{locust_ui}/?tab=settings")
    expect(weights["v1"]).to_have_value("50")
    for there, weight in ((70, "70"), (50, "50")):
        patch = [
            {"op": "replace", "path": f"/spec/http/0/route/{i}/weight", "value": w} for i, w in enumerate((there, 100 - there))
        ]
        lab.kubectl(
            "-n", "bookinfo", "patch", "virtualservices.networking.istio.io", "reviews", "--type=json", "-p", json.dumps(patch)
        )
        expect(weights["v1"]).to_have_value(weight, timeout=15_000)

    edge = page.locator(f'tr[data-edge="{TO_MSGD}"]')
    page.goto(f"{locust_ui}/?tab=topology&namespace=billing")
    expect(edge).to_be_visible(timeout=60_000)
    expect(edge).not_to_contain_text("blocked")
    page.goto(f"{locust_ui}/?tab=settings&namespace=billing")
    host = page.locator("[data-host]")
    expect(host.get_by_label("host")).to_have_value("msgd.outside.internal")
    host.get_by_role("button", name="Remove").click()
    change(page)
    expect(difference).to_contain_text("-   - msgd.outside.internal")
    page.get_by_role("button", name="Apply").click()
    expect(page.get_by_role("status")).to_contain_text("proxies in sync", timeout=60_000)
    page.goto(f"{locust_ui}/?tab=topology&namespace=billing")
    # No rule mentions that port any more, so the mesh knows only the address, not the host.
    expect(page.locator(f'tr[data-edge="svcb v0.1>{address_of_msgd()}:9997"]')).to_contain_text("blocked", timeout=60_000)
    shot(page, "topology-blocked")
    assert serious(page) == []

    for namespace in ("billing", "bookinfo"):
        page.goto(f"{locust_ui}/?tab=settings&namespace={namespace}")
        expect(page.get_by_role("button", name="Undo").first).to_be_visible(timeout=30_000)
        undo(page)
    shot(page, "settings-undone")
    assert rules() == before
    page.set_viewport_size({"width": 360, "height": 800})
    page.emulate_media(color_scheme="dark")
    page.reload()
    expect(page.get_by_role("button", name="Show the difference")).to_be_visible(timeout=30_000)
    assert overflow(page) <= 0, "the narrow page scrolls sideways"
    assert serious(page) == []
    shot(page, "settings-narrow-dark")
    assert median < 0.2
