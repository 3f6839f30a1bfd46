"""README and docs/: limits, links, commands, settings, and paths, both languages, and the site built from them."""

from __future__ import annotations

import re
import shlex
import subprocess
import unicodedata
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest
import yaml

from loadtests.entries import entry
from loadtests.reports import docs as readmes
from scripts import docs, run
from tests.unit.test_architecture import FLOORS
from tests.unit.test_inputs import PROJECT, plugin

READMES = [PROJECT / "README.md", PROJECT / "README.zh-CN.md"]
ENGLISH = sorted(docs.SOURCE.glob("*.md"))
CHINESE = sorted((docs.SOURCE / "zh").glob("*.md"))
PAGES = [*READMES, PROJECT / "CONTRIBUTING.md", PROJECT / "CHANGELOG.md", *ENGLISH, *CHINESE]
PAIRS = [(PROJECT / "README.md", PROJECT / "README.zh-CN.md"), *((docs.SOURCE / f.name, f) for f in CHINESE)]
NO_TRANSLATION = {"architecture.md", "measured.md", "settings.md"}
"""Pages of tables, and the page for developers: the Chinese site shows the English version."""

FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"(?<!\!)\[[^\]]*\]\(([^)\s]+)\)|!\[[^\]]*\]\(([^)\s]+)\)")
FOLDERS = ("inventories", "playbooks", "roles", "samples", "plugins", "loadtests", "molecule", "tests", "scripts", "docs")
PATH = re.compile(rf"(?:{'|'.join(FOLDERS)})/[\w./<>*-]*|requirements[\w*.-]*\.(?:in|txt)|\.pre-commit-config\.yaml")
SPECS = plugin("action", "check_inputs").read_specs(PROJECT / "roles")
SHARED = set(plugin("action", "check_inputs").SHARED) | {
    name for file in PROJECT.glob("*/**/group_vars/**/*.yml") for name in yaml.safe_load(file.read_text())
}


def name_of(page: Path) -> str:
    return str(page.relative_to(PROJECT))


def prose(page: Path) -> str:
    """A page without its code blocks."""
    return FENCE.sub("", page.read_text())


def commands(text: str) -> list[str]:
    """Every ``make`` command in shell blocks and code spans."""
    lines = [line for language, block in FENCE.findall(text) if language == "sh" for line in block.splitlines()]
    spans = CODE.findall(FENCE.sub("", text))
    found = []
    for line in [*lines, *spans]:
        plain = re.sub(r"\s+# .*$", "", line)
        for part in re.split(r"\$\(|\)\"$", plain):
            words = re.sub(r"^(?:[A-Z_]+=\S+ )+", "", part.strip())
            if words == "make" or words.startswith("make "):
                found.append(words)
    return found


def slugs(page: Path) -> set[str]:
    """Anchors of a page's headings, in the format that GitHub and the site's generator share for Latin letters."""
    titles = re.findall(r"^#+ (.+)$", FENCE.sub("", page.read_text()), re.MULTILINE)
    plain = [re.sub(r"[^\w\s-]", "", unicodedata.normalize("NFKD", title)).strip().lower() for title in titles]
    return {re.sub(r"[-\s]+", "-", title) for title in plain}


def width(line: str) -> int:
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in line)


def rows(text: str) -> list[list[str]]:
    """The cells of all table rows, without the separator rows."""
    lines = [line for line in text.splitlines() if line.startswith("|") and not re.fullmatch(r"[|\-: ]+", line)]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


@pytest.mark.parametrize("page", READMES, ids=name_of)
def test_the_readme_is_short(page: Path) -> None:
    text = page.read_text()
    lines = text.splitlines()
    assert len(lines) < 120
    assert [line for line in lines if width(line) > 120] == []
    # Chinese has no spaces between words: two characters count as one.
    word = r"[\u4e00-\u9fff]{1,2}|[^\s\u4e00-\u9fff]+"
    assert [cell for row in rows(text) for cell in row if len(re.findall(word, cell)) > 20] == []
    verbs = {words.split()[1] for words in commands(text) if " " in words}
    assert {"lab", "test"} <= verbs
    assert len(verbs) <= 10


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_link_leads_somewhere(page: Path) -> None:
    for found in LINK.findall(prose(page)):
        target = found[0] or found[1]
        if target.startswith("https://"):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.is_file(), f"{target}: no such file"
        # Sections for settings and pages for entries exist only in the site.
        generated = docs.settings_tables("en") if file.name == "settings.md" else ""
        roles = set(re.findall(r"^## (\w+)$", generated, re.MULTILINE))
        assert not anchor or anchor in slugs(file) | roles, f"{target}: no such section"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_code_block_parses(page: Path) -> None:
    for language, block in FENCE.findall(page.read_text()):
        assert language in ("sh", "yaml", "text"), "every block names its language"
        if language == "sh":
            done = subprocess.run(["bash", "-n"], input=block, text=True, capture_output=True, check=False)
            assert (done.returncode, done.stderr) == (0, ""), block
        if language == "yaml":
            assert list(yaml.safe_load_all(block))


def given_variables(arguments: str) -> set[str]:
    """Names that ARGS= sets with -e: NAME=VALUE, or a YAML mapping."""
    words = shlex.split(arguments)
    values = [value for option, value in pairwise(words) if option == "-e"]
    assert len(values) * 2 == len(words), arguments
    names: set[str] = set()
    for value in values:
        names |= set(yaml.safe_load(value)) if value.startswith("{") else {value.partition("=")[0]}
    return names


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_make_command_exists(page: Path) -> None:
    verbs = set(run.VERBS)
    for command in commands(page.read_text()):
        words = shlex.split(command)[1:]
        options = dict(word.split("=", 1) for word in words if "=" in word)
        assert {word for word in words if "=" not in word} <= verbs, command
        assert set(options) <= set(run.DEFAULTS), command
        assert given_variables(options.get("ARGS", "")) <= set(SPECS) | SHARED, command
        if (name := options.get("ENTRY", "name")) != "name" and "/" not in name:
            assert name in entry.names(), command
        assert (PROJECT / "inventories" / options.get("INVENTORY", "kind")).is_dir(), command
        assert options.get("ONLY", "loadtest") in {f.name for f in (PROJECT / "molecule").iterdir()}, command


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_named_path_and_setting_exists(page: Path) -> None:
    text = page.read_text()
    spans = CODE.findall(FENCE.sub("", text))
    shell = [word for language, block in FENCE.findall(text) if language == "sh" for word in block.split()]
    for span in [*spans, *shell]:
        if PATH.fullmatch(span):
            pattern = re.sub(r"<\w+>", "*", span).rstrip("/")
            assert next(PROJECT.glob(pattern), None), f"{span}: no such path"
    roles = {f.name for f in (PROJECT / "roles").iterdir()}
    prefixes = ("lab_", *(f"{role}_" for role in roles))
    looks = {s for s in spans if re.fullmatch(r"[a-z_]+", s) and s.startswith(prefixes)} - roles
    assert looks <= set(SPECS) | SHARED


def test_every_verb_of_the_makefile_is_described() -> None:
    verbs = set(run.VERBS) - {"help", "unbundle"}
    assert verbs <= {command.split()[1] for command in commands((docs.SOURCE / "commands.md").read_text()) if " " in command}


def test_the_architecture_page_has_every_package_from_the_top() -> None:
    table = (docs.SOURCE / "architecture.md").read_text().partition("| From the top |")[2].partition("\n\n")[0]
    packages = [re.sub(r".*/(\w+)(?:/|\.py)$", r"\1", row[0].strip("`")) for row in rows(table)]
    assert packages == ["catalogue", *reversed(FLOORS)]


def test_every_page_is_in_the_sites_menu_and_linked_from_the_readme() -> None:
    nav = yaml.safe_load(docs.SITE.read_text())["nav"]
    assert sorted(nav) == [f.name for f in ENGLISH]
    linked = {found[0] for found in LINK.findall((PROJECT / "README.md").read_text())}
    assert {f"docs/{name}" for name in nav} - linked == {"docs/index.md"}


def test_both_languages_have_the_same_pages() -> None:
    assert {f.name for f in ENGLISH} - {f.name for f in CHINESE} == NO_TRANSLATION
    assert {f.name for f in CHINESE} <= {f.name for f in ENGLISH}


def without_comments(text: str) -> list[str]:
    return [re.sub(r"\s*#[^\n]*", "", block) for language, block in FENCE.findall(text) if language == "sh"]


@pytest.mark.parametrize(("english", "chinese"), PAIRS, ids=lambda f: name_of(f))
def test_both_languages_have_the_same_content(english: Path, chinese: Path) -> None:
    one, other = english.read_text(), chinese.read_text()
    assert without_comments(one) == without_comments(other)
    levels = [re.findall(r"^(#+) ", FENCE.sub("", text), re.MULTILINE) for text in (one, other)]
    assert levels[0] == levels[1]
    assert [len(row) for row in rows(one)] == [len(row) for row in rows(other)]
    assert set(CODE.findall(FENCE.sub("", one))) == set(CODE.findall(FENCE.sub("", other)))
    figures = [sorted(re.findall(r"\d[\d.,]*\d|\d", re.sub(r"\]\([^)]*\)", "", prose(f)))) for f in (english, chinese)]
    assert figures[0] == figures[1]
    assert re.search(r"[\u4e00-\u9fff]", other)


def test_the_settings_page_has_every_option_of_every_role() -> None:
    page = docs.pages("en")["settings.md"]
    options = {
        name
        for file in PROJECT.glob("roles/*/meta/argument_specs.yml")
        for name in docs.role_options(yaml.safe_load(file.read_text())["argument_specs"])
    }
    assert set(SPECS) <= options
    for name in options:
        assert f"\n| `{name}` | " in page
    choices = '| `istio_gateway_type` | `NodePort`, `LoadBalancer`, `ClusterIP` | `"NodePort"` | '
    assert choices in page


def test_shared_settings_are_those_of_the_playbooks() -> None:
    page = (docs.SOURCE / "settings.md").read_text()
    documented = {row[0].strip("`"): row[2] for row in rows(page)[1:]}
    values = yaml.safe_load((PROJECT / "playbooks/group_vars/all/lab.yml").read_text())
    assert set(plugin("action", "check_inputs").SHARED) <= set(documented) <= set(values)
    for name, default in documented.items():
        if "{{" not in str(values[name]):
            assert default.strip("`") == (
                "empty" if values[name] == "" else str(values[name]).replace("False", "false").replace("True", "true")
            )


def test_the_catalogue_has_a_page_for_every_entry_with_its_rules() -> None:
    pages = docs.pages("en")
    for name in entry.names():
        page = pages[f"catalogue/{name}.md"]
        assert f"| [{name}](catalogue/{name}.md) | " in pages["catalogue.md"]
        assert (entry.CATALOGUE / name / "policy.yaml").read_text().strip() in page
        # The diff contains the whole control: the lines that it shares with the policy, and those that it adds.
        after = [line[1:] for line in page.rpartition("```diff\n")[2].splitlines()[3:-1] if line[0] in " +"]
        assert after == (entry.CATALOGUE / name / "control.yaml").read_text().rstrip().splitlines()
    assert "`make load ENTRY=retries`" in pages["catalogue/retries.md"]
    with pytest.raises(ValueError, match="no Expect, Break it"):
        readmes.paragraphs("# x\n\n**Aim.** a\n\n**Apply.** b\n")


COVERAGE = {"coverage.md": ("not covered yet", "all"), "zh/coverage.md": ("尚未覆盖", "全部")}
AREAS = ["Traffic", "Resilience", "Security", "Policy", "Observability", "Platforms", "Scale"]


@pytest.mark.parametrize("page", COVERAGE)
def test_coverage_lists_every_entry_and_says_what_has_none(page: str) -> None:
    text, (without, every) = (docs.SOURCE / page).read_text(), COVERAGE[page]
    cells = [row[1] for row in rows(text) if row[1] not in ("Entries", "条目")]
    assert len(cells) > 40
    named = [re.findall(r"`([\w-]+)`", cell) for cell in cells if not cell.startswith(every)]
    assert {name for names in named for name in names} == set(entry.names())
    listed = [cell for cell in cells if "`" not in cell]
    assert {cell for cell in listed if cell != every} == {without}
    # A cell with entries has nothing else.
    assert [c for c in cells if "`" in c and not c.startswith(every) and not re.fullmatch(r"(`[\w-]+` ?)+", c)] == []


@pytest.mark.parametrize("language", docs.LANGUAGES)
def test_the_catalogue_groups_every_entry_once_by_the_areas_of_coverage(language: str) -> None:
    groups = readmes.groups(language)
    assert sorted(name for names in groups.values() for name in names) == entry.names()
    assert list(groups.values()) == list(readmes.groups("en").values())
    headings = re.findall(r"^### (.+)$", docs.pages(language)["catalogue.md"], re.MULTILINE)
    assert headings == list(groups)
    assert re.findall(r"^## (.+)$", (docs.SOURCE / "coverage.md").read_text(), re.MULTILINE) == AREAS
    assert set(readmes.groups("en")) <= set(AREAS)


class Loads(HTMLParser):
    """Resources that a page loads: scripts, styles, pictures, frames."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag in ("script", "img", "iframe", "source") and given.get("src"):
            self.found.append(str(given["src"]))
        if tag == "link" and given.get("rel") in ("stylesheet", "icon", "preload", "preconnect"):
            self.found.append(str(given["href"]))


def test_the_site_is_built_without_a_warning_and_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    site = tmp_path / "site"
    docs.build_all(site)
    for folder, language in ((site, "en"), (site / "zh", "zh")):
        names = {name.replace(".md", ".html") for name in docs.pages(language)}
        assert names <= {str(f.relative_to(folder)) for f in folder.rglob("*.html")}
        for name in names:
            page = (folder / name).read_text()
            assert f'<html lang="{language}"' in page
            loads = Loads()
            loads.feed(page)
            for target in loads.found:
                assert ((folder / name).parent / target).resolve().is_file(), f"{name} loads {target}"
        # From file://, the search reads this script.
        index = (folder / "search.js").read_text()
        assert "reviews-80-20" in index
        assert "lab_mirrors" in index
    assert "置信序列" in (site / "zh/search.js").read_text()
    assert not list(tmp_path.glob("tmp*")), "nothing else is left"


def test_a_broken_link_fails_the_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pages = docs.pages("en")
    monkeypatch.setattr(docs, "pages", lambda language: pages | {"index.md": "# x\n\n[x](none.md)\n"})
    site = tmp_path / "site"
    site.mkdir()
    (site / "index.html").write_text("from the last build")
    with pytest.raises(docs.SiteError, match=r"page does not exist[\s\S]*none\.md"):
        docs.build_all(site)
    assert (site / "index.html").read_text() == "from the last build"


def test_packages_of_the_site_are_not_those_of_a_lab() -> None:
    locks = {name: (PROJECT / f"requirements{name}.txt").read_text() for name in ("", "-dev", "-docs")}
    pins = {name: dict(re.findall(r"^([\w-]+)==(\S+)", text, re.MULTILINE)) for name, text in locks.items()}
    assert "zensical" not in pins[""]
    assert pins["-docs"].items() <= (pins[""] | pins["-dev"]).items(), "make docs and make test have the same versions"


def test_the_license_is_whole() -> None:
    text = (PROJECT / "LICENSE").read_text()
    assert "Apache License" in text.splitlines()[1]
    assert "END OF TERMS AND CONDITIONS" in text
