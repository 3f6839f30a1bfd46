"""Catalogue entries: one folder each, found by name; nothing else lists them."""

from __future__ import annotations

import argparse
import difflib
import importlib.util
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from loadtests import ending
from loadtests.entries.question import Question
from loadtests.mesh.cluster import Cluster

CATALOGUE = Path(__file__).parents[1] / "catalogue"


class Traffic(Protocol):
    """How one traffic class behaves."""

    def start(self, client: Any) -> None:
        """Prepare the client (log in, say); called once for each user."""

    def visit(self, client: Any) -> str | Sequence[str]:
        """One request, or several: the outcome of each (the name of the pod that answered, say), or ``ERROR``."""


@dataclass(frozen=True)
class Entry:
    """One catalogue entry: the question, and how to send each traffic class."""

    name: str
    question: Question
    traffic: dict[str, Traffic]
    prepare: Callable[[Cluster], bool] | None = None
    """Makes what the rules need beside them, unless it is there; tells whether it did."""


def names() -> list[str]:
    """All entries, sorted."""
    return sorted(folder.name for folder in CATALOGUE.iterdir() if (folder / "traffic.py").exists())


def load(name: str) -> Entry:
    """The entry ``name``.

    :raises KeyError: with near matches, if there is none
    """
    if name not in names():
        near = difflib.get_close_matches(name, names(), n=3, cutoff=0.4) or names()
        raise KeyError(f"{name} was given; accepted: an entry of the catalogue, such as {', '.join(near)}")
    spec = importlib.util.spec_from_file_location(f"loadtests.catalogue.{name}", CATALOGUE / name / "traffic.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return Entry(name, module.QUESTION, module.TRAFFIC, getattr(module, "PREPARE", None))


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
