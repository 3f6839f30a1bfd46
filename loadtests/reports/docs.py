"""What the documentation says of the entries: each entry's README by paragraph, and the groups of the coverage page."""

from __future__ import annotations

import re
from pathlib import Path

from loadtests.entries import entry

PARTS = ("Aim", "Apply", "Expect", "Break it")
PAGES = Path(__file__).parents[2] / "docs"


def paragraphs(readme: str) -> dict[str, str]:
    """The paragraphs ``**Aim.** ...`` of a README, by their heading.

    :raises ValueError: if one of ``PARTS`` is missing
    """
    found = {m[1]: m[2] for m in re.finditer(r"^\*\*([A-Z][a-z ]+)\.\*\* (.+)$", readme, re.MULTILINE)}
    if missing := [part for part in PARTS if part not in found]:
        raise ValueError(f"an entry's README has no {', '.join(missing)}")
    return {name: found[name] for name in PARTS}


def groups(language: str) -> dict[str, list[str]]:
    """The entries by the first section of the coverage page that lists them: its title -> names."""
    page, found = ((PAGES if language == "en" else PAGES / language) / "coverage.md").read_text(), dict[str, list[str]]()
    for title, text in re.findall(r"^## (.+?)$(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL):
        listed = set(re.findall(r"`([\w-]+)`", text)).difference(*found.values())
        found[title] = [name for name in entry.names() if name in listed]
    return {title: names for title, names in found.items() if names}
