"""A browser, and Locust's web UI started as a user does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, sync_playwright

from scripts import pictures
from tests import lab


@pytest.fixture
def page() -> Iterator[Page]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=pictures.CHROMIUM, args=pictures.FLAGS)
        yield browser.new_page(viewport={"width": 1280, "height": 800})
        browser.close()


@pytest.fixture
def locust_ui(tmp_path: Path) -> Iterator[str]:
    with pictures.console(lab.NAME, tmp_path / "locust.log", "reviews-v1") as url:
        yield url
    assert "password:" in (tmp_path / "locust.log").read_text()
