"""The mistakes that the oracle has to notice."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.oracle.mistakes import MISTAKES, RULES
from tests.oracle.program import PROJECT


@pytest.mark.parametrize("mistake", MISTAKES)
def test_each_can_be_made_in_the_reader_as_it_is(mistake: str, tmp_path: Path) -> None:
    shutil.copytree(PROJECT / RULES, tmp_path / RULES)
    MISTAKES[mistake].make(tmp_path)
    ours, made = ((folder / RULES / MISTAKES[mistake].file).read_text() for folder in (PROJECT, tmp_path))
    assert made != ours
    compile(made, MISTAKES[mistake].file, "exec")
