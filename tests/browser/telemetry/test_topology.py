"""The topology page, on a lab with telemetry and traffic."""

from __future__ import annotations

import re
import statistics
import threading
import time
from collections.abc import Iterator

import pytest
import requests
from playwright.sync_api import Page, expect

from tests import lab
from tests.browser.actions import log_in, overflow, shot


@pytest.fixture
def traffic() -> Iterator[None]:
    """Ten requests per second through the gateway, and one per second to a host that no rule allows."""
    ended = threading.Event()
    ratings = lab.pod("ratings", "ratings")

    def visit() -> None:
        while not ended.wait(0.1):
            requests.get(f"{lab.gateway_url()}/productpage", timeout=10)

    def stray() -> None:
        while not ended.wait(1.0):
            ratings.run("curl -s -o /dev/null -H 'Host: nowhere.example' http://198.51.100.7/")

    threads = [threading.Thread(target=visit), threading.Thread(target=stray)]
    for thread in threads:
        thread.start()
    yield
    ended.set()
    for thread in threads:
        thread.join()


def test_the_call_graph_shows_expected_shares(page: Page, locust_ui: str, traffic: None) -> None:
    lab.apply("reviews-50-50")
    log_in(page, locust_ui)
    page.get_by_role("tab", name="Topology").click()

    def row(edge: str) -> str:
        found = page.locator(f'tr[data-edge="{edge}"]')
        expect(found).to_be_visible(timeout=60_000)
        return found.inner_text()

    assert re.search(r"productpage v1\s+reviews v1\s+50\.0 %", row("productpage v1>reviews v1"))
    assert re.search(r"productpage v1\s+reviews v3\s+50\.0 %.*mutual TLS", row("productpage v1>reviews v3"), re.DOTALL)
    assert "mutual TLS" in row("istio-ingressgateway>productpage v1")
    assert re.search(r"\bblocked\b", row("ratings v1>nowhere.example"))
    graph = page.get_by_role("region", name="Call graph")
    expect(graph.get_by_label(re.compile("productpage v1 → reviews v3: .*/s"))).to_be_attached()
    expect(graph.locator(".react-flow__edge.blocked")).to_be_attached()
    expect(graph.locator(".react-flow__node-version", has_text="v2").first).to_be_visible()  # deployed, and without traffic
    shot(page, "topology")
    # The page follows a rule that is changed elsewhere.
    lab.apply("reviews-v1")
    expect(page.locator('tr[data-edge="productpage v1>reviews v1"]')).to_contain_text("100.0 %", timeout=60_000)
    took = []
    for _ in range(15):
        started = time.monotonic()
        assert page.request.get(f"{locust_ui}/mesh/topology?namespace=bookinfo").ok
        took.append(time.monotonic() - started)
    print(f"topology: median {statistics.median(took) * 1000:.0f} ms")
    page.emulate_media(color_scheme="dark")
    page.set_viewport_size({"width": 360, "height": 800})
    page.reload()
    expect(graph.get_by_label(re.compile("productpage v1 → reviews v1"))).to_be_attached(timeout=30_000)
    assert overflow(page) <= 0, "the narrow page scrolls sideways"
    shot(page, "topology-narrow-dark")
    page.get_by_label("Namespace").select_option("webfront")
    expect(page.get_by_role("status")).to_have_text(
        re.compile("no requests in the last 30 seconds|webfront has no services yet"), timeout=20_000
    )
