"""Texts of the console's pages, by language: words.json."""

from __future__ import annotations

import json
from pathlib import Path

WORDS: dict[str, dict[str, str]] = json.loads((Path(__file__).parent / "words.json").read_text(encoding="utf-8"))


def language(asked: str | None, best: str | None) -> str:
    """The language to use: the requested one, else the browser's, else English."""
    return next((code for code in (asked, best) if code in WORDS), "en")
