"""What a page would load from elsewhere."""

from __future__ import annotations

import re
from html.parser import HTMLParser


class Loaded(HTMLParser):
    """What a page would load, and its programs."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.found += [f"{tag} {found[name]}" for name in ("src", "srcset", "data", "xlink:href") if name in found]
        self.found += [tag] if tag in ("script", "link", "iframe", "object", "embed", "base") else []


def loaded(page: str) -> list[str]:
    """Everything that an HTML page would load, and its programs; empty for one that stands alone."""
    parser = Loaded()
    parser.feed(page)
    return [*parser.found, *re.findall(r"@import[^;]*|url\([^)]*\)", page)]
