"""Each package of the load tests imports only packages below it, so that you can read one without knowing those above."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
# From the ground floor up. The catalogue's entries may use all of them except the last five.
FLOORS = (
    "verdict", "ending", "rules", "mesh", "clients", "entries", "samples", "reports", "judge", "latency", "console", "run",
)  # fmt: skip
PURE = {"verdict", "rules"}
PURE_NAMES = (
    "attached", "checks", "connections", "guards", "lines", "outside", "plan", "reach", "requests", "routes", "shadows",
)  # fmt: skip
PURE_FILES = {Path("loadtests/judge", f"{name}.py") for name in PURE_NAMES}
IMPURE = {"loadtests.mesh", "kubernetes", "requests", "urllib3", "locust", "gevent", "subprocess", "socket", "time"}
MODULES = sorted(f.relative_to(PROJECT) for f in (PROJECT / "loadtests").rglob("*.py") if f.name != "__init__.py")


def imported(tree: ast.AST) -> list[str]:
    """Every imported module, anywhere in the file; ``from loadtests import x`` counts as ``loadtests.x``."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [a.name for a in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            found += [f"{node.module}.{a.name}" for a in node.names] if node.module == "loadtests" else [node.module]
    return found


def upward(module: Path, names: list[str]) -> list[str]:
    """Imports in ``module`` (relative to the project) from a package above its own."""
    floor = module.parts[1].removesuffix(".py")
    height = FLOORS.index("samples") if floor == "catalogue" else FLOORS.index(floor)
    floors = [(n, n.split(".")[1]) for n in names if n.startswith("loadtests.")]
    return [n for n, f in floors if FLOORS.index(f) > height]


def impure(module: Path, names: list[str]) -> list[str]:
    """Imports in a pure module that could reach a cluster, a network or a clock."""
    if module.parts[1].removesuffix(".py") not in PURE and module not in PURE_FILES:
        return []
    return [n for n in names if any(n == i or n.startswith(f"{i}.") for i in IMPURE)]


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_imports_point_downwards(module: Path) -> None:
    names = imported(ast.parse((PROJECT / module).read_text(encoding="utf-8")))
    assert upward(module, names) == []
    assert impure(module, names) == []


def test_an_upward_import_is_detected() -> None:
    tree = ast.parse("def f():\n    from loadtests import run\n    from loadtests.console.web import page\n    import time\n")
    assert upward(Path("loadtests/rules/egress.py"), imported(tree)) == ["loadtests.run", "loadtests.console.web"]
    assert upward(Path("loadtests/catalogue/cors/traffic.py"), ["loadtests.reports.docs"]) == ["loadtests.reports.docs"]
    assert upward(Path("loadtests/run/hooks.py"), imported(tree)) == []
    assert impure(Path("loadtests/rules/egress.py"), imported(tree)) == ["time"]
    assert impure(Path("loadtests/judge/plan.py"), imported(tree)) == ["time"]
    assert set(MODULES) >= PURE_FILES


WRITERS = {
    "loadtests/mesh/writes.py": "rules: of entries, their controls, and the console",
    "loadtests/mesh/propagation.py": "the sentinel, which is no rule of a user's",
    "loadtests/console/judges.py": "asks for a token of the account that judges, which the API server does not keep",
    "loadtests/judge/rights.py": "asks for a review of rights, which the API server does not keep",
}
"""Modules that may send the API server an object, and which."""


def written(tree: ast.AST) -> list[str]:
    """HTTP methods with which a module has the API server write."""
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)]
    first = [c.args[0].value for c in calls if c.func.attr == "write" and c.args and isinstance(c.args[0], ast.Constant)]  # type: ignore[attr-defined] # chosen above
    return [str(method) for method in first if method in ("POST", "PUT", "PATCH", "DELETE")]


def test_rules_are_written_in_one_place() -> None:
    found = {str(m) for m in MODULES if written(ast.parse((PROJECT / m).read_text(encoding="utf-8")))}
    assert found == set(WRITERS)


def test_unit_tests_mirror_the_packages() -> None:
    rooms = {p.name for p in (PROJECT / "tests/unit").iterdir() if p.is_dir() and p.name != "__pycache__"}
    assert rooms <= set(FLOORS), "a folder of unit tests is named after the package that it tests"
