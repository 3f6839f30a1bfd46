"""One page of all entries, from their own files: ``python -m loadtests.reports.docs FILE``."""

from __future__ import annotations

import argparse
import ast
import re
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader
from markupsafe import Markup, escape

from loadtests.entries import entry
from loadtests.reports.report import TEMPLATES, write_whole

PARTS = ("Aim", "Apply", "Expect", "Break it")


@dataclass(frozen=True)
class Page:
    """What one entry's folder says of it."""

    name: str
    namespace: str
    parts: dict[str, Markup]
    asks: str
    policy: str
    control: str


def parts_of(readme: str) -> dict[str, Markup]:
    """The paragraphs ``**Aim.** ...`` of a README, by their first word; what stands in back quotes is code.

    :raises ValueError: if one of ``PARTS`` is missing
    """
    found = {m[1]: m[2] for m in re.finditer(r"^\*\*([A-Z][a-z ]+)\.\*\* (.+)$", readme, re.MULTILINE)}
    if missing := [part for part in PARTS if part not in found]:
        raise ValueError(f"an entry's README has no {', '.join(missing)}")
    return {
        name: Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(found[name]))))  # noqa: S704 - escaped just there
        for name in PARTS
    }


def page_of(name: str) -> Page:
    """One entry."""
    folder = entry.CATALOGUE / name
    asks = ast.get_docstring(ast.parse((folder / "traffic.py").read_text())) or ""
    policy, control = ((folder / f"{variant}.yaml").read_text() for variant in ("policy", "control"))
    return Page(name, entry.load(name).question.namespace, parts_of((folder / "README.md").read_text()), asks, policy, control)


def render() -> str:
    """The whole page."""
    template = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True).get_template("docs.html")
    return template.render(pages=[page_of(name) for name in entry.names()])


def main() -> None:
    """Write the page and say where."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    file: Path = parser.parse_args().file
    write_whole(file.parent, {file.name: render()})
    print(f"written: {file}")


if __name__ == "__main__":
    main()
