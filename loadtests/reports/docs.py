"""An entry's README, by paragraph."""

from __future__ import annotations

import re

from markupsafe import Markup, escape

PARTS = ("Aim", "Apply", "Expect", "Break it")


def paragraphs(readme: str) -> dict[str, str]:
    """The paragraphs ``**Aim.** ...`` of a README, by their heading.

    :raises ValueError: if one of ``PARTS`` is missing
    """
    found = {m[1]: m[2] for m in re.finditer(r"^\*\*([A-Z][a-z ]+)\.\*\* (.+)$", readme, re.MULTILINE)}
    if missing := [part for part in PARTS if part not in found]:
        raise ValueError(f"an entry's README has no {', '.join(missing)}")
    return {name: found[name] for name in PARTS}


def parts_of(readme: str) -> dict[str, Markup]:
    """The same as HTML, with text in backquotes as code."""
    return {
        name: Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))  # noqa: S704 - escaped in the same line
        for name, text in paragraphs(readme).items()
    }
