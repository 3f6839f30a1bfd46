"""Mistakes that a reader of rules could have: made in a copy of the lab's, with which the oracle then has to disagree."""

from __future__ import annotations

import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.oracle import comparison
from tests.oracle.program import PROJECT
from tests.oracle.worlds import World

RULES = Path("loadtests/rules")
Answered = tuple[World, list[dict[str, Any]]]
"""A world, and what the oracle answers to its calls."""


@dataclass(frozen=True)
class Mistake:
    """A part of a file of ``loadtests/rules``, and what stands there by mistake."""

    file: str
    right: str
    wrong: str

    def make(self, project: Path) -> None:
        """Make it in a copy of the project.

        :raises ValueError: if the right part is not there once
        """
        path = project / RULES / self.file
        text = path.read_text()
        if (times := text.count(self.right)) != 1:
            raise ValueError(f"{self.file} has {self.right!r} {times} times")
        path.write_text(text.replace(self.right, self.wrong))


MISTAKES = {
    "weights are percentages": Mistake(
        "actions.py", "total = sum(weights)", "total = 100 if len(weights) > 1 else sum(weights)"
    ),
    "the newest rule comes first": Mistake(
        "registry.py", 'o["kind"] == kind), key=age)', 'o["kind"] == kind), key=age, reverse=True)'
    ),
    "a rule that is exported to its own namespace is everybody's": Mistake(
        "virtual.py", "frozenset(owner if one == OWN else one", "frozenset(EVERYBODY if one == OWN else one"
    ),
    "a rewrite replaces more than the prefix": Mistake(
        "actions.py", 'return call.uri[: len(uri["prefix"])] if "prefix" in uri else call.uri', "return call.uri"
    ),
    "retryOn adds to what is tried again by default": Mistake(
        "actions.py", "(*conditions, *codes) if text", "(*RETRY_ON, *conditions, *codes) if text"
    ),
    "a delay without a percentage hits every call": Mistake(
        "actions.py", 'otherwise=int(delay.get("percent", 0)) / 100)', "otherwise=1.0)"
    ),
    "TLS that no route takes is answered": Mistake("entrances.py", "or NoRoute.CLOSED", "or NoRoute.NOT_FOUND"),
    "prefixes of paths come before exact paths": Mistake(
        "ingress.py", '{"Exact": 3, "PathPrefix": 2,', '{"Exact": 2, "PathPrefix": 3,'
    ),
    "prefixes of paths end anywhere": Mistake(
        "ingress.py", 'uri.startswith(prefix.rstrip("/") + "/")', 'uri.startswith(prefix.rstrip("/"))'
    ),
    "a method is not looked at": Mistake(
        "ingress.py", 'match.get("method", request["method"]) == request["method"]', 'match.get("method", "GET") != ""'
    ),
    "backends without a weight have one": Mistake(
        "backends.py", 'int(backend.get("weight", 1))', 'int(backend.get("weight") or 1)'
    ),
    "paths of Ingresses of one length keep their order": Mistake(
        "ingresses.py", 'return len(value), kind == "Exact"', "return (len(value),)"
    ),
    "a listener for TCP has its newest route": Mistake("l4_routes.py", "_age(one.route))", "_age(one.route), reverse=True)"),
    "the name of a GRPCRoute's service ends anywhere": Mistake(
        "grpc_routes.py", 'Path(BEGINNING, f"/{service}/")', 'Path(BEGINNING, f"/{service}")'
    ),
}


def first_disagreement(mistake: Mistake | None, worlds: Iterable[Answered], folder: Path) -> str:
    """The first call on which a copy of the reader disagrees with the oracle; '' if there is none.

    :param folder: an empty one, for the copy
    """
    for name in ("loadtests", "tests/oracle"):
        shutil.copytree(PROJECT / name, folder / name, ignore=shutil.ignore_patterns("static", "catalogue", "__pycache__"))
    if mistake is not None:
        mistake.make(folder)
    recorded = folder / "worlds"
    recorded.write_bytes(pickle.dumps(list(worlds)))
    command = [sys.executable, "-m", comparison.__name__, str(recorded)]
    done = subprocess.run(
        command, cwd=folder, env={**os.environ, "PYTHONPATH": str(folder)}, stdout=subprocess.PIPE, check=True
    )
    return done.stdout.decode().strip()
