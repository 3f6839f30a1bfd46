"""A browser, and Locust's web UI started as a user does."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from playwright.sync_api import Page, sync_playwright

from tests import lab

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync"]  # fmt: skip


@pytest.fixture
def page() -> Iterator[Page]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=FLAGS)
        yield browser.new_page(viewport={"width": 1280, "height": 800})
        browser.close()


@pytest.fixture
def locust_ui(tmp_path: Path) -> Iterator[str]:
    port = lab.free_port()
    command = [str(lab.PROJECT / "scripts/run.py"), "load", "UI=1", f"LAB={lab.NAME}", f"UI_PORT={port}", "ENTRY=reviews-v1"]
    with open(tmp_path / "locust.log", "w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
        url = f"http://127.0.0.1:{port}"
        try:
            for _ in range(360):  # the application may have to be built
                try:
                    requests.get(f"{url}/login", timeout=2)
                    break
                except requests.ConnectionError:
                    time.sleep(0.5)
            yield url
        finally:
            process.terminate()
            process.wait(timeout=30)
    assert "password:" in (tmp_path / "locust.log").read_text()
