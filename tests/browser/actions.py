"""Actions of a person on the pages, and screenshots of them."""

from __future__ import annotations

import re

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

from tests import lab

SHOTS = lab.PROJECT / "build" / "screenshots"


def shot(page: Page, name: str) -> None:
    SHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SHOTS / f"{name}.png", full_page=True)


def log_in(page: Page, url: str) -> None:
    page.goto(f"{url}/login")
    page.fill("input[name=username]", "operator")
    page.fill("input[name=password]", (lab.STATE / "ui-password").read_text().strip())
    page.click("button[type=submit]")
    page.get_by_role("button", name=re.compile("start", re.IGNORECASE)).wait_for()


def serious(page: Page) -> list[str]:
    """Serious and critical problems that axe-core finds on the page."""
    found = Axe().run(page).response["violations"]
    return [f"{v['id']}: {v['nodes'][0]['html'][:120]}" for v in found if v["impact"] in ("serious", "critical")]
