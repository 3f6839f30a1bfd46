"""Programs of the project that are no modules of a package: those of roles and samples."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

from tests.unit.test_inputs import PROJECT


def load(path: str) -> ModuleType:
    """The program at a path in the project, loaded again, so that nobody sees what another test has set in it."""
    spec = importlib.util.spec_from_file_location(Path(path).stem, PROJECT / path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
