"""Entries: one folder each. Those of the catalogue are found by name, others by the path of their folder."""

from __future__ import annotations

import argparse
import difflib
import importlib.util
import json
import re
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

from loadtests import ending
from loadtests.entries.question import Question, ResponseCheck, Split
from loadtests.mesh.cluster import Cluster
from loadtests.rules.workloads import SYSTEM_NAMESPACES

CATALOGUE = Path(__file__).parents[1] / "catalogue"
NEEDED = ("policy.yaml", "control.yaml", "traffic.py")
"""Files without which a folder is no entry."""
NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,48}[a-z0-9])?")
"""Names of entries: with the variant, one is the value of a label."""


class Traffic(Protocol):
    """How one traffic class behaves."""

    def start(self, client: Any) -> None:
        """Prepare the client (log in, say); called once for each user."""

    def visit(self, client: Any) -> str | Sequence[str]:
        """One request, or several: the outcome of each (the name of the pod that answered, say), or ``ERROR``."""


@dataclass(frozen=True)
class Entry:
    """One entry: the question, and how to send each traffic class."""

    name: str
    question: Question
    traffic: dict[str, Traffic]
    prepare: Callable[[Cluster], bool] | None = None
    """Makes what the rules need beside them, unless it is there; tells whether it did."""


def names() -> list[str]:
    """All entries, sorted."""
    return sorted(folder.name for folder in CATALOGUE.iterdir() if (folder / "traffic.py").exists())


class Accepted(list[str]):
    """The catalogue's names, to choose from; the path of a folder is accepted beside them."""

    def __contains__(self, name: object) -> bool:
        """Whether it is one of them, or a path."""
        return super().__contains__(name) or is_path(str(name))


def is_path(name: str) -> bool:
    """Whether an entry is given by the path of its folder, and not by a name of the catalogue."""
    return "/" in name


def name_of(name: str) -> str:
    """The name by which an entry is reported: of the catalogue's, or of its folder."""
    return Path(name).name


def load(name: str) -> Entry:
    """The entry ``name``, of the catalogue; or that in the folder ``name``, if it is a path.

    :raises KeyError: saying why, if there is none, with near matches; or if the folder is not an entry
    """
    if is_path(name):
        return _load_folder(Path(name))
    if name not in names():
        near = difflib.get_close_matches(name, names(), n=3, cutoff=0.4) or names()
        raise KeyError(f"{name} was given; accepted: an entry of the catalogue, such as {', '.join(near)}")
    return _entry_of(name, _run_file(name, CATALOGUE / name / "traffic.py"))


def _run_file(name: str, file: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"loadtests.catalogue.{name}", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _entry_of(name: str, module: ModuleType) -> Entry:
    return Entry(name, module.QUESTION, module.TRAFFIC, getattr(module, "PREPARE", None))


def _load_folder(folder: Path) -> Entry:
    """An entry of somebody's own.

    :raises KeyError: saying why, if it cannot be used
    """
    name, given = folder.name, f"{folder} was given"
    if not folder.is_dir():
        raise KeyError(f"{given}, and there is no such folder; accepted: a folder with {', '.join(NEEDED)}")
    if lacking := [file for file in NEEDED if not (folder / file).is_file()]:
        raise KeyError(f"{given}, which lacks {', '.join(lacking)}; accepted: a folder with {', '.join(NEEDED)}")
    if not NAME.fullmatch(name):
        raise KeyError(f"{given}; accepted: a folder whose name has up to 50 lower-case letters, digits and inner hyphens")
    if name in names():
        raise KeyError(f"{given}, and the catalogue has an entry {name}; accepted: a folder with another name")
    file = folder / "traffic.py"
    try:
        found = _entry_of(name, _run_file(name, file))
    except (Exception, SystemExit) as error:  # any: the file is somebody else's
        raise KeyError(f"{file}{_line_in(file, error)}: {type(error).__name__}: {' '.join(str(error).split())}") from error
    if wrong := _wrong_with(found):
        raise KeyError(f"{file}: {wrong}")
    return found


def _line_in(file: Path, error: BaseException) -> str:
    """The line of ``file`` that an error comes from, as compilers write it; '' if it comes from elsewhere."""
    if isinstance(error, SyntaxError):
        return f":{error.lineno}" if error.filename == str(file) else ""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(file)]
    return f":{lines[-1]}" if lines else ""


def _wrong_with(found: Entry) -> str:
    """Why an entry cannot be judged; '' if it can."""
    question, traffic = found.question, found.traffic
    if not isinstance(question, Split | ResponseCheck):
        return f"QUESTION is a {type(question).__name__}; accepted: a Split or a ResponseCheck of loadtests.entries.question"
    if question.namespace in SYSTEM_NAMESPACES:
        return f"QUESTION is about namespace {question.namespace}; accepted: a namespace of services, and none of the system"
    if not isinstance(traffic, dict) or traffic.keys() != question.classes.keys() or not traffic:
        asked = ", ".join(question.classes) or "at least one"
        return f"TRAFFIC has other traffic classes than QUESTION; accepted: a dict with a client for each ({asked})"
    if silent := [name for name, client in traffic.items() if not (hasattr(client, "start") and hasattr(client, "visit"))]:
        return f"TRAFFIC has no client for {', '.join(silent)}; accepted: an object with start and visit"
    return ""


def main() -> int:
    """``python -m loadtests.entries.entry NAME``: one entry as JSON, with what applying it needs."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("name")
    try:
        found = load(parser.parse_args().name)
    except KeyError as error:
        print(error.args[0], file=sys.stderr)
        return 1
    print(json.dumps({"name": found.name, "namespace": found.question.namespace}))
    return 0


if __name__ == "__main__":
    sys.exit(ending.guarded(main))
