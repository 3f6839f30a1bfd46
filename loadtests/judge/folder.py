"""Writes the folder of a new entry: all of its files, or none, and nothing in the place of what is there."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from loadtests.entries import entry


def refusal(folder: Path) -> str:
    """Why a folder cannot become an entry; '' if it can."""
    if not entry.NAME.fullmatch(folder.name):
        return f"{folder} was given; accepted: a folder whose name has up to 50 lower-case letters, digits and inner hyphens"
    if folder.name in entry.names():
        return f"{folder} was given, and the catalogue has an entry {folder.name}; accepted: a folder with another name"
    if folder.exists() or folder.is_symlink():
        return f"{folder} exists already, and nothing in it is overwritten; accepted: a folder that does not exist"
    return ""


def write(folder: Path, files: Mapping[str, str]) -> None:
    """Write the files of an entry, unless the folder exists.

    :raises OSError: if it exists, or cannot be written
    :raises KeyError: saying why, if the files are no entry
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as made:
        new = Path(made, folder.name)
        new.mkdir()
        for name, text in files.items():
            (new / name).write_text(text, encoding="utf-8")
        if all((new / name).exists() for name in entry.NEEDED):
            entry.load(str(new))
            shutil.rmtree(new / "__pycache__", ignore_errors=True)  # its program has run
        # Of two that write it at once, the second one finds a folder that is not empty, and fails.
        new.rename(folder)
