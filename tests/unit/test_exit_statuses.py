"""The exit statuses of the programs: 0 PASS or done, 1 FAIL or refused, 2 anything else."""

from __future__ import annotations

import importlib
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from loadtests import ending
from loadtests.entries import entry, policy
from loadtests.mesh import analysis, explain
from loadtests.mesh.cluster import Cluster, ClusterError
from loadtests.mesh.writes import ConflictError
from loadtests.run import verify
from loadtests.verdict import Outcome
from tests.unit.latency import ends
from tests.unit.test_inputs import PROJECT

PROGRAMS = sorted(
    str(f)
    for f in (PROJECT / "loadtests").rglob("*.py")
    if f.name != "__main__.py" and '__name__ == "__main__"' in f.read_text()
)


def raises(error: Exception) -> Callable[..., Any]:
    def call(*_: Any, **__: Any) -> Any:
        raise error

    return call


def verdicts(*outcomes: str) -> Callable[[Path], None]:
    """Verdicts of the first entries."""

    def write(results: Path) -> None:
        for name, outcome in zip(entry.names(), outcomes, strict=False):
            (results / name).mkdir()
            facts = {"started": "", "seconds": 1.0, "margin": 0.05}
            text = {"outcome": outcome, "n": 1, "reasons": [], "classes": [], "facts": facts}
            (results / name / "verdict.json").write_text(json.dumps(text))

    return write


def broken_report(results: Path) -> None:
    verdicts("PASS")(results)
    (results / entry.names()[0] / "verdict.json").write_text("{")


TWO = ",".join(entry.names()[:2])
SUMMARY = ["--results", "{results}", "--since", "1", "--entries", TWO]
POLICY = ["reviews-80-20", "--kubeconfig", "none", "--namespace", "bookinfo"]
VERIFY = ["--kubeconfig", "none", "--results", "{results}", "--logs", "{results}", "--progress", "{results}/p"]
EXPLAIN = ["bookinfo/reviews", "--kubeconfig", "none"]
DOWN = ClusterError("GET /version: refused")
APPLIED = [(policy, "put", lambda *_, **__: ["x created"]), (analysis, "in_force", lambda *_: ("istioctl analyze: a hint",))]
# Program, arguments, input, and exit status.
TABLE: list[tuple[str, list[str], Any, int]] = [
    ("reports.summary", SUMMARY, verdicts("PASS", "PASS"), 0),
    ("reports.summary", SUMMARY, verdicts("PASS", "FAIL"), 1),
    ("reports.summary", SUMMARY, verdicts("FAIL", "VOID"), 1),
    ("reports.summary", SUMMARY, verdicts("PASS", "VOID"), 2),
    ("reports.summary", SUMMARY, verdicts("PASS", "INCONCLUSIVE"), 2),
    ("reports.summary", SUMMARY, verdicts("PASS"), 2),
    ("reports.summary", SUMMARY, verdicts(), 2),
    ("reports.summary", ["--results", "{results}"], verdicts("FAIL"), 0),
    ("reports.summary", SUMMARY, broken_report, 2),
    ("entries.policy", POLICY, APPLIED[:1], 0),
    ("entries.policy", [*POLICY, "--wait", "0"], APPLIED, 0),
    ("entries.policy", POLICY, [(policy, "put", raises(policy.RefusedError("weights sum to 90")))], 1),
    ("entries.policy", ["reviews-80-21", *POLICY[1:]], [], 1),
    ("entries.policy", POLICY, [(policy, "put", raises(DOWN))], 2),
    ("entries.policy", POLICY, [(policy, "put", raises(ConflictError("changed in the cluster since it was read")))], 2),
    ("entries.policy", POLICY, [(policy, "put", raises(TypeError("not foreseen")))], 2),
    ("entries.policy", [*POLICY, "--wait", "1"],
     [*APPLIED[:1], (analysis, "in_force", lambda *_: ()), (policy, "wait", lambda *_: ["the proxy of x"])], 2),
    ("entries.policy", [*POLICY, "--wait", "1"],
     [*APPLIED[:1], (analysis, "in_force", lambda *_: ()), (policy, "wait", raises(DOWN))], 2),
    ("run.verify", ["--entries", "reviews-80-21", *VERIFY], [], 1),
    ("run.verify", ["--entries", "reviews-80-20", *VERIFY], [(verify.Judge, "wait_for_pods", raises(DOWN))], 2),
    ("run.verify", ["--entries", "reviews-80-20", *VERIFY],
     [(verify.Judge, "wait_for_pods", lambda *_: None), (verify.Judge, "apply_rules", raises(TypeError("not foreseen")))], 0),
    ("mesh.explain", EXPLAIN, [(Cluster, "items", lambda *_, **__: [])], 1),
    ("mesh.explain", EXPLAIN, [(Cluster, "items", raises(DOWN))], 2),
    ("mesh.explain", EXPLAIN,
     [(explain, "first_pod", lambda *_: "x"), (explain, "report", raises(TypeError("not foreseen")))], 2),
    ("entries.entry", ["reviews-80-20"], [], 0),
    ("entries.entry", ["reviews-80-21"], [], 1),
    ("console.access", ["--kubeconfig", "none"], [(Cluster, "kubectl", raises(DOWN))], 2),
    ("console.access", ["--kubeconfig", "none"], [(Cluster, "kubectl", raises(TypeError("not foreseen")))], 2),
]  # fmt: skip


@pytest.fixture
def no_guard(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do nothing: the guard would end this process."""
    monkeypatch.setattr(ending, "Guard", lambda *_, **__: SimpleNamespace(start=lambda: None))


@pytest.mark.usefixtures("no_guard")
@pytest.mark.parametrize(("program", "arguments", "given", "status"), TABLE)
def test_the_exit_status(
    program: str, arguments: list[str], given: Any, status: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    if callable(given):
        given(tmp_path)
    for where, name, value in [] if callable(given) else given:
        monkeypatch.setattr(where, name, value)
    monkeypatch.setattr(sys, "argv", [program, *(text.format(results=tmp_path) for text in arguments)])
    module = importlib.import_module(f"loadtests.{program}")
    assert ending.guarded(module.main) == status
    said = capsys.readouterr().err
    assert "Traceback" not in said
    reported = program == "reports.summary" or "wait_for_pods" in str(given)
    assert len(said.splitlines()) == (1 if status and not reported else said.count("\n"))


@pytest.fixture(scope="module")
def ended() -> list[tuple[int, str]]:
    done = subprocess.run(
        [sys.executable, "-m", "tests.unit.latency.ends"], cwd=PROJECT, capture_output=True, text=True, check=True, timeout=120
    )
    found: list[tuple[int, str]] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("number", range(len(ends.ROWS)))
def test_the_exit_status_of_make_latency(number: int, ended: list[tuple[int, str]]) -> None:
    _, measured, expected = ends.ROWS[number]
    status, said = ended[number]
    assert status == expected
    assert "Traceback" not in said
    # What was measured is reported on standard output.
    assert isinstance(measured, tuple) or len(said.splitlines()) == 1


@pytest.mark.parametrize("program", PROGRAMS)
def test_every_program_is_guarded(program: str) -> None:
    text = Path(program).read_text()
    assert re.search(r"^    sys\.exit\(ending\.guarded\(main\b.*\)\)$", text, re.MULTILINE)


@pytest.mark.parametrize("outcome", Outcome)
def test_the_status_of_a_verdict(outcome: Outcome) -> None:
    assert outcome.exit_code == {"PASS": 0, "FAIL": 1}.get(outcome.value, 2)
