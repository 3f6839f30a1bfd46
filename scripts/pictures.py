"""Takes the pictures of README and docs in a lab's console: ``python -m scripts.pictures --lab NAME --state FOLDER``.

``make docs UI=1`` does so. The console is opened as a user opens it; an entry and the rules of its namespace are judged in it,
and the tabs are photographed in both languages. The pictures replace the old ones together, once all of them are taken.
"""

from __future__ import annotations

import argparse
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.error import URLError
from urllib.request import urlopen

if TYPE_CHECKING:
    from playwright.sync_api import Page

PROJECT = Path(__file__).resolve().parent.parent
FOLDER = PROJECT / "docs/images"
CHROMIUM = "/usr/bin/chromium"
CHINESE = "/usr/share/fonts/opentype/noto/NotoSansCJK-Regular.ttc"
NEEDED = {CHROMIUM: "chromium", CHINESE: "fonts-noto-cjk"}
"""File -> Debian package that provides it."""
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync"]  # fmt: skip
LANGUAGES = ("en", "zh")
ENTRY = "reviews-80-20"
TABS = {
    "verdict": ("tab=verdict", "[data-chart] svg"),
    "catalogue": ("tab=catalogue", "[data-name]"),
    "rules": ("tab=judge&namespace=bookinfo", "[data-check]"),
}
"""Picture -> where it is taken, and what is there once the page is complete."""
OPEN_SECONDS, RUN_SECONDS = 180, 180


class PictureError(Exception):
    """A picture could not be taken; the message is one line."""


def pictures() -> list[Path]:
    """What the command makes, below ``docs/images``."""
    return [Path(language, f"{name}.png") for language in LANGUAGES for name in TABS]


def free_port() -> int:
    """A free port on 127.0.0.1."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@contextmanager
def console(lab: str, log: Path, entry: str = ENTRY) -> Iterator[str]:
    """A lab's console, opened as a user does, until the end: its URL.

    :param log: receives what the command prints
    :param entry: that Locust's own form names first
    :raises PictureError: if it does not answer in time
    """
    port = free_port()
    command = [PROJECT / "scripts/run.py", "load", "UI=1", f"LAB={lab}", f"UI_PORT={port}", f"ENTRY={entry}"]
    url = f"http://127.0.0.1:{port}"
    with open(log, "w") as output:
        process = subprocess.Popen([*map(str, command)], stdout=output, stderr=output)
        try:
            until = time.monotonic() + OPEN_SECONDS  # the application may have to be built
            while not _answers(url):
                if process.poll() is not None or time.monotonic() > until:
                    lines = log.read_text().splitlines()
                    raise PictureError(f"the console does not answer: {lines[-1] if lines else 'it printed nothing'}")
                time.sleep(0.5)
            yield url
        finally:
            process.terminate()
            process.wait(timeout=60)


def _answers(url: str) -> bool:
    try:
        with urlopen(f"{url}/login", timeout=2) as answer:  # noqa: S310 - its own page, by http
            return bool(answer.status == 200)
    except (URLError, OSError):
        return False


def judge(page: Page, url: str, password: str) -> None:
    """Log in, and judge the entry and its namespace."""
    page.goto(f"{url}/login")
    page.fill("input[name=username]", "operator")
    page.fill("input[name=password]", password)
    page.click("button[type=submit]")
    page.get_by_role("button", name=f"Start {ENTRY}", exact=True).click()
    page.locator("[data-outcome]", has_text="PASS").wait_for(timeout=RUN_SECONDS * 1000)
    # With the counts of the proxies and the logs, which come last.
    page.get_by_role("heading", name="Counts by source").wait_for(timeout=60_000)
    page.goto(f"{url}/?{TABS['rules'][0]}")
    page.get_by_role("button", name="Judge all").click()
    page.locator("[data-judged]").wait_for(timeout=RUN_SECONDS * 1000)


def take(lab: str, password: Path, folder: Path) -> None:
    """Take all pictures.

    :param folder: for the pictures of each language
    :raises PictureError: if one cannot be taken
    """
    from playwright.sync_api import Error, sync_playwright

    with console(lab, folder / "console.log") as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page(viewport={"width": 1280, "height": 860}, color_scheme="light", locale="en")
        try:
            judge(page, url, password.read_text().strip())
            for language in LANGUAGES:
                for name, (query, ready) in TABS.items():
                    page.goto(f"{url}/?{query}&lang={language}")
                    page.locator(ready).first.wait_for()
                    page.screenshot(path=folder / language / f"{name}.png")
        except Error as error:
            raise PictureError(f"{page.url}: {str(error).splitlines()[0]}") from error
        finally:
            browser.close()


def main() -> int:
    """0 once all pictures are replaced."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lab", required=True)
    parser.add_argument("--state", type=Path, required=True, help="the lab's folder")
    options = parser.parse_args()
    if missing := [package for file, package in NEEDED.items() if not Path(file).exists()]:
        print(f"pictures: this host lacks {' and '.join(missing)}; run: apt-get install {' '.join(missing)}", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as work:
        try:
            take(options.lab, options.state / "ui-password", Path(work))
        except PictureError as error:
            print(f"pictures: {error}; the old ones stay", file=sys.stderr)
            return 2
        for picture in pictures():
            (FOLDER / picture).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(Path(work) / picture, FOLDER / picture)
    print(f"written: {FOLDER}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
