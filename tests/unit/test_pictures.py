"""The documentation's pictures come from the command that takes them, and from nowhere else."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from scripts import pictures, run
from tests.unit.test_inputs import PROJECT

PAGES = [*PROJECT.glob("README*.md"), *PROJECT.glob("docs/*.md"), *PROJECT.glob("docs/zh/*.md")]
PICTURE = re.compile(r"!\[[^\]]*\]\(([^)]+)\)|<img[^>]+src=\"([^\"]+)\"")


def shown(page: Path) -> set[Path]:
    """The pictures that a page shows, from the folder of pictures."""
    found = [one or other for one, other in PICTURE.findall(page.read_text())]
    return {(page.parent / name).resolve().relative_to(pictures.FOLDER.resolve()) for name in found}


def test_every_picture_is_one_that_the_command_makes_and_is_shown() -> None:
    files = {file.relative_to(pictures.FOLDER) for file in pictures.FOLDER.rglob("*.*")}
    assert set().union(*map(shown, PAGES)) == files
    assert files <= set(pictures.pictures())


def test_a_missing_program_is_named_and_nothing_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(pictures, "NEEDED", {str(tmp_path / "none"): "chromium", str(tmp_path): "fonts-noto-cjk"})
    monkeypatch.setattr(pictures, "take", lambda *_: pytest.fail("something was started"))
    monkeypatch.setattr(sys, "argv", ["pictures", "--lab=x", f"--state={tmp_path}"])
    assert pictures.main() == 1
    assert capsys.readouterr().err == "pictures: this host lacks chromium; run: apt-get install chromium\n"


def test_pictures_are_replaced_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "images"
    monkeypatch.setattr(pictures, "NEEDED", {})
    monkeypatch.setattr(pictures, "FOLDER", folder)
    monkeypatch.setattr(sys, "argv", ["pictures", "--lab=x", f"--state={tmp_path}"])
    ends = [False, True]

    def take(lab: str, password: Path, work: Path) -> None:
        for picture in pictures.pictures():
            (work / picture).parent.mkdir(exist_ok=True)
            (work / picture).write_text("new")
            if not ends[0]:
                raise pictures.PictureError("http://x: Timeout")

    monkeypatch.setattr(pictures, "take", take)
    assert pictures.main() == 2
    assert capsys.readouterr().err == "pictures: http://x: Timeout; the old ones stay\n"
    assert not folder.exists()
    ends.pop(0)
    assert pictures.main() == 0
    assert {file.relative_to(folder) for file in folder.rglob("*.png")} == set(pictures.pictures())


def test_the_site_is_built_with_new_pictures_only_if_they_are_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def python(_: run.Call, *words: object) -> int:
        asked.append(str(words[1]))
        return 0

    monkeypatch.setattr(run.Call, "python", python)

    def install(_: run.Call, packages: str) -> int:
        asked.append(packages)
        return 0

    monkeypatch.setattr(run, "install_packages", install)
    call = run.Call("docs", run.DEFAULTS, {"HOME": str(tmp_path)})
    assert run.write_docs(call) == 0
    with pytest.raises(run.RefusedError, match="lab istio-lab does not exist"):
        run.write_docs(run.Call("docs", {**run.DEFAULTS, "UI": "1"}, {"HOME": str(tmp_path)}))
    call.state.mkdir(parents=True)
    call.kubeconfig.touch()
    assert run.write_docs(run.Call("docs", {**run.DEFAULTS, "UI": "1"}, {"HOME": str(tmp_path)})) == 0
    assert asked == ["docs", "scripts.docs", "dev", "scripts.pictures", "scripts.docs"]
