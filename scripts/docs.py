"""Builds the documentation site in English and Chinese: ``python -m scripts.docs FOLDER``, for ``make docs``.

The pages come from docs/. Two of them have a placeholder line, which is replaced by the list of catalogue entries, each with
its own page, and by the tables of settings from the roles' argument specs. A link to an example, alone in its line, is followed
by the example itself. The Chinese site shows the English version of pages that docs/zh/ lacks.
"""

from __future__ import annotations

import argparse
import ast
import difflib
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from loadtests.entries import entry
from loadtests.reports import docs

PROJECT = Path(__file__).resolve().parent.parent
SOURCE = PROJECT / "docs"
SITE = SOURCE / "site.yml"
LANGUAGES = {"en": "English", "zh": "中文"}
EXAMPLE = re.compile(r"^\[[^\]]+\]\((examples/[\w.-]+)\)$", re.MULTILINE)
ENTRIES, SETTINGS = "<!-- entries: written by make docs -->", "<!-- settings: written by make docs -->"


@dataclass(frozen=True)
class Words:
    """Headings and fixed texts of the generated tables, in one language."""

    entries: list[str]
    settings: list[str]
    wired: str
    list_of: str
    section: str

    @classmethod
    def of(cls, language: str) -> Words:
        """The texts in docs/words.yml."""
        return cls(**yaml.safe_load((SOURCE / "words.yml").read_text())[language])


class SiteError(Exception):
    """The site cannot be built; the message is what the generator found."""


def cell(text: str) -> str:
    """Text as a table cell, with pipes escaped."""
    return " ".join(text.split()).replace("|", r"\|")


def row(*cells: str) -> str:
    """One line of a table."""
    return f"| {' | '.join(map(cell, cells))} |"


def table(headings: Sequence[str], rows: Sequence[str]) -> str:
    """A whole table."""
    return "\n".join([row(*headings), row(*["---"] * len(headings)), *rows])


def fenced(language: str, text: str) -> str:
    """A block of code."""
    return f"```{language}\n{text.rstrip()}\n```"


def entry_page(name: str) -> str:
    """The page of one entry: its README, its traffic, its rules, and what its control breaks."""
    folder = entry.CATALOGUE / name
    policy, control = ((folder / f"{variant}.yaml").read_text().splitlines() for variant in ("policy", "control"))
    # All lines are context, so that the whole control file can be read.
    broken = difflib.unified_diff(policy, control, "policy.yaml", "control.yaml", n=len(policy), lineterm="")
    return "\n\n".join([
        (folder / "README.md").read_text().rstrip(),
        f"**Traffic.** {ast.get_docstring(ast.parse((folder / 'traffic.py').read_text())) or ''}",
        "## policy.yaml", fenced("yaml", "\n".join(policy)),
        "## control.yaml", fenced("diff", "\n".join(broken)),
    ]) + "\n"  # fmt: skip


def entries_tables(language: str) -> str:
    """Every entry with a link to its page, with a section for each group."""
    parts = []
    for title, names in docs.groups(language).items():
        rows = []
        for name in names:
            aim = docs.paragraphs((entry.CATALOGUE / name / "README.md").read_text())["Aim"]
            rows.append(row(f"[{name}](catalogue/{name}.md)", f"`{entry.load(name).question.namespace}`", aim))
        parts.append(f"### {title}\n\n{table(Words.of(language).entries, rows)}")
    return "\n\n".join(parts)


def role_options(specs: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The options of all entry points of a role, by name."""
    return {name: option for point in specs.values() for name, option in point.get("options", {}).items()}


def setting_row(name: str, option: Mapping[str, Any], words: Words) -> str:
    """One option of a role."""
    accepted = f"{words.list_of} {option['elements']}" if "elements" in option else option.get("type", "str")
    if "choices" in option:
        accepted = ", ".join(f"`{choice}`" for choice in option["choices"])
    default = words.wired if option.get("required") else ""
    if "default" in option:
        default = f"`{json.dumps(option['default'])}`"
    return row(f"`{name}`", accepted, default, option["description"])


def settings_tables(language: str) -> str:
    """Every role's options, with a section for each role."""
    words, parts = Words.of(language), []
    for file in sorted((PROJECT / "roles").glob("*/meta/argument_specs.yml")):
        specs = yaml.safe_load(file.read_text())["argument_specs"]
        rows = [setting_row(name, option, words) for name, option in role_options(specs).items()]
        title = f"## {file.parent.parent.name}\n\n{specs['main']['short_description']}."
        parts.append(f"{title}\n\n{table(words.settings, rows)}")
    return "\n\n".join(parts)


def with_example(link: re.Match[str]) -> str:
    """A link to an example, and the example."""
    file = SOURCE / link[1]
    language = {".sh": "sh", ".yml": "yaml"}[file.suffix]
    return f"{link[0]}\n\n{fenced(language, file.read_text())}"


def pages(language: str) -> dict[str, str]:
    """All pages of one language's site: path in the site -> Markdown."""
    found = {file.name: file.read_text() for file in SOURCE.glob("*.md")}
    if language != "en":
        for file in (SOURCE / language).glob("*.md"):
            # Pictures and untranslated pages are one folder up in the sources, and in the same folder in the site.
            found[file.name] = file.read_text().replace("](../", "](")
    for placeholder, text in ((ENTRIES, entries_tables(language)), (SETTINGS, settings_tables(language))):
        found = {name: page.replace(placeholder, text) for name, page in found.items()}
    found = {name: EXAMPLE.sub(with_example, page) for name, page in found.items()}
    return found | {f"catalogue/{name}.md": entry_page(name) for name in entry.names()}


def configuration(language: str, found: Mapping[str, str]) -> dict[str, Any]:
    """The generator's settings for one language; the entries' pages are a section after the catalogue page."""
    shared: dict[str, Any] = yaml.safe_load(SITE.read_text())
    below = sorted(name for name in found if name.startswith("catalogue/"))
    nav: list[Any] = list(shared["nav"])
    nav.insert(nav.index("catalogue.md") + 1, {Words.of(language).section: below})
    up = "" if language == "en" else "../"
    links = {code: f"{up}index.html" if code == "en" else f"{up}{code}/index.html" for code in LANGUAGES}
    alternate = [{"name": name, "link": links[code], "lang": code} for code, name in LANGUAGES.items()]
    return shared | {
        "docs_dir": language,
        "site_dir": "site" if language == "en" else f"site/{language}",
        "nav": nav,
        "theme": shared["theme"] | {"language": language},
        "extra": shared["extra"] | {"alternate": alternate},
    }


def build(language: str, work: Path) -> None:
    """Write one language's sources and configuration to ``work``, and build its site under ``work/site``.

    :raises SiteError: if the generator prints a warning, for example about a broken link
    """
    found, source, file = pages(language), work / language, work / f"{language}.yml"
    for name, text in found.items():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text(text)
    for folder in ("assets", "examples", "images"):
        if (SOURCE / folder).is_dir():
            shutil.copytree(SOURCE / folder, source / folder)
    file.write_text(yaml.safe_dump(configuration(language, found), allow_unicode=True, sort_keys=False))
    command = [sys.executable, "-m", "zensical", "build", "--strict", "--clean", "--config-file", str(file)]
    done = subprocess.run(command, check=False, cwd=work, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        # Drop the color codes, and the generator's own traceback after its findings.
        raise SiteError(re.sub(r"\x1b\[[0-9;]*m", "", done.stdout).partition("\nTraceback ")[0])


def build_all(folder: Path) -> None:
    """Build both sites, the English one in ``folder``, the Chinese one in ``folder/zh``; old ones stay until both are built."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as work:
        for language in LANGUAGES:
            build(language, Path(work))
        shutil.rmtree(folder, ignore_errors=True)
        (Path(work) / "site").rename(folder)


def main() -> None:
    """Build the site and print its location."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    folder: Path = parser.parse_args().folder.resolve()
    try:
        build_all(folder)
    except SiteError as error:
        sys.exit(f"istio-lab: the site could not be built:\n{error}")
    print(f"written: {folder / 'index.html'}")


if __name__ == "__main__":
    main()
