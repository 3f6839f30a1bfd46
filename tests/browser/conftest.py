"""A browser, and Locust's web UI started as a user does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from scripts import pictures
from tests import lab


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=pictures.CHROMIUM, args=pictures.FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """With nothing of another test in it."""
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    yield context.new_page()
    context.close()


@pytest.fixture
def locust_ui(tmp_path: Path) -> Iterator[str]:
    with pictures.console(lab.NAME, tmp_path / "locust.log", "reviews-v1") as url:
        yield url
    assert "password:" in (tmp_path / "locust.log").read_text()
