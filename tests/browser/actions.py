"""Actions of a person on the pages, and screenshots of them."""

from __future__ import annotations

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

from tests import lab

SHOTS = lab.PROJECT / "build" / "screenshots"


def shot(page: Page, name: str) -> None:
    SHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SHOTS / f"{name}.png", full_page=True)


def log_in(page: Page, url: str) -> None:
    enter(page, url, (lab.STATE / "ui-password").read_text().strip())


def enter(page: Page, url: str, password: str) -> None:
    """Log in, and wait for the catalogue."""
    page.goto(f"{url}/login")
    page.fill("input[name=username]", "operator")
    page.fill("input[name=password]", password)
    page.click("button[type=submit]")
    page.locator("[data-name]").first.wait_for()


def overflow(page: Page) -> int:
    """How many pixels the page is wider than its window."""
    wider: int = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
    return wider


def serious(page: Page) -> list[str]:
    """Serious and critical problems that axe-core finds on the page."""
    found = Axe().run(page).response["violations"]
    return [f"{v['id']}: {v['nodes'][0]['html'][:120]}" for v in found if v["impact"] in ("serious", "critical")]
