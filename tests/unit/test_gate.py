"""The gate's own parts: what is chosen, what is said, what is left of an interrupted run."""

from __future__ import annotations

import contextlib
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from plugins.action.check_host import Host
from scripts import gate
from tests import lab, leftovers, tiers
from tests.unit.test_inputs import PROJECT

KNOWN = ["bundle", "default", "istio", "telemetry"]


def test_the_core_tier_leaves_out_what_only_the_full_one_has() -> None:
    assert tiers.scenarios("core", known=KNOWN) == ["istio", "telemetry"]
    assert tiers.scenarios("full", known=KNOWN) == ["bundle", "istio", "telemetry"]
    assert tiers.scenarios("core", "telemetry", KNOWN) == ["telemetry"]
    assert tiers.scenarios("full", "bundle", KNOWN) == ["bundle"]


@pytest.mark.parametrize(
    ("only", "words"),
    [
        ("telemetri", "ONLY: telemetri was given (did you mean telemetry?); accepted: istio, telemetry; nothing was changed"),
        ("bundle", "ONLY: bundle was given, which make test-full alone runs; accepted: istio, telemetry; nothing was changed"),
        ("default", "ONLY: default was given; accepted: istio, telemetry; nothing was changed"),
    ],
)
def test_an_unknown_scenario_is_refused_with_the_valid_names(only: str, words: str) -> None:
    with pytest.raises(tiers.UnknownScenarioError) as refused:
        tiers.scenarios("core", only, KNOWN)
    assert str(refused.value) == words


def test_make_test_refuses_an_unknown_scenario_before_anything_else() -> None:
    command = [sys.executable, "-m", "scripts.gate", "core"]
    done = subprocess.run(
        command, cwd=PROJECT, env={"ONLY": "no-such", "PATH": "/usr/bin:/bin"}, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("ONLY: no-such was given; accepted: bookinfo, ")


def test_too_small_a_host_and_a_port_in_use_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "look", lambda asked: Host(0, 24.0, 6.5, (), (30080,)))
    core, full = gate.host_problems("core"), gate.host_problems("full")
    assert [problem.split(":")[0] for problem in core] == ["lab_min_disk_gib", "kind_cluster_gateway_port"]
    assert [problem.split(":")[0] for problem in full] == [
        "lab_min_disk_gib", "lab_min_memory_gib", "kind_cluster_gateway_port",
    ]  # fmt: skip
    assert "accepted: 40 or more" in full[0]


@pytest.mark.parametrize(
    ("line", "scenario"),
    [
        ("\x1b[34mINFO    \x1b[0m [\x1b[1mistio\x1b[0m > \x1b[1mconverge\x1b[0m] Executing", "istio"),
        ("INFO     [kind_cluster > verify] Executing", "kind_cluster"),
        ("INFO     kind_cluster ➜ verify: Executing", "kind_cluster"),
        ("INFO     [istio > discovery] scenario test matrix: converge, idempotence, verify", ""),
        ("TASK [istio : Install Istio]", ""),
        ("    a test that prints [istio > verify]", ""),
        ("", ""),
    ],
)
def test_molecules_words_for_where_it_is(line: str, scenario: str) -> None:
    assert gate.step_of(line) == scenario


JUNIT = """<testsuites><testsuite name="pytest" tests="3" failures="1" errors="0" skipped="1" time="9">
<testcase classname="a" name="quick" time="1.5"/><testcase classname="a" name="slow" time="7"><failure message="no"/></testcase>
<testcase classname="a" name="left" time="0"><skipped message="why"/></testcase></testsuite></testsuites>"""


def test_the_table_counts_what_the_results_say(tmp_path: Path) -> None:
    (tmp_path / "junit-istio.xml").write_text(JUNIT)
    lines = gate.rows(["istio", "telemetry"], {"istio": 61.4}, tmp_path)
    assert lines == [gate.Row("istio", 3, 1, 1, 61.4), gate.Row("telemetry", 0, 0, 0, 0.0)]
    assert gate.table(lines) == [
        "scenario   tests  failed  skipped  seconds",
        "istio          3       1        1       61",
        "telemetry      0       0        0        0",
        "in all         3       1        1       61",
    ]
    assert gate.slowest(gate.cases(["istio"], tmp_path), 2) == ["    7.0 s  istio: slow", "    1.5 s  istio: quick"]
    gate.merge(["istio", "telemetry"], tmp_path)
    merged = (tmp_path / "junit.xml").read_text()
    assert merged.count("<testcase") == 3
    assert 'name="istio"' in merged
    assert 'failures="1"' in merged


def test_every_lab_that_tests_make_is_among_those_that_are_removed() -> None:
    made = {""}
    for file in [*PROJECT.glob("molecule/*/tests/*.py"), *PROJECT.glob("tests/*.py")]:
        made |= set(re.findall(r'(?:NAME|CLUSTER|name|lab_name) ?= ?f"{lab\.NAME}(-[a-z-]+)"', file.read_text()))
    assert made == {*leftovers.SUFFIXES, *leftovers.CONTAINERS}


@pytest.mark.parametrize(
    ("command", "ours"),
    [
        (f"kubectl --kubeconfig /root/.local/state/istio-lab/{lab.NAME}/kubeconfig port-forward", True),
        (f"kubectl --kubeconfig /home/x/.local/state/istio-lab/{lab.NAME}-pull/kubeconfig get pods", True),
        (f"docker-registry serve {leftovers.TEMPORARY}/pytest-of-root/pytest-0/registry0/config.yml", True),
        (f"ansible-playbook --extra-vars lab_name={lab.NAME} site.yml", True),
        ("kubectl --kubeconfig /root/.local/state/istio-lab/istio-lab/kubeconfig port-forward", False),
        (f"kubectl --kubeconfig /root/.local/state/istio-lab/{lab.NAME}-mine/kubeconfig get pods", False),
        ("docker-registry serve /etc/docker/registry/config.yml", False),
        ("ansible-playbook --extra-vars lab_name=istio-lab site.yml", False),
    ],
)
def test_a_process_is_the_tests_by_what_it_names(command: str, ours: bool) -> None:
    assert leftovers.belongs(command) == ours


def test_hosts_keep_every_line_that_is_not_a_test_labs() -> None:
    mine = "127.0.0.1 web.lab.internal # istio-lab istio-lab webfront"
    lines = ["127.0.0.1 localhost", f"127.0.0.1 two.lab.internal # istio-lab {lab.NAME}-two webfront", mine]
    assert leftovers.without(lines) == ["127.0.0.1 localhost", mine]


def alive(group: int) -> list[str]:
    """Processes of a group that still run; what has ended stays in the table until somebody has asked how."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, its_group = stat.read_text().rpartition(")")[2].split()[:3]
            found += [stat.parent.name] if int(its_group) == group and state != "Z" else []
    return found


INTERRUPTED = """
import signal, sys
from scripts import gate
gate.leftovers.remove = lambda: print("removed", flush=True) or []
gate.Gate.prepare = lambda self: None
gate.Gate.lint_and_unit = lambda self: self.stream(self.start("sh", "-c", "echo began $$; sleep 61 & wait")) == 0
signal.signal(signal.SIGTERM, gate.interrupted)
sys.exit(gate.Gate("core", ["istio"]).run())
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_ends_what_it_started_and_removes_its_lab(number: int) -> None:
    with subprocess.Popen([sys.executable, "-c", INTERRUPTED], cwd=PROJECT, stdout=subprocess.PIPE, text=True) as run:
        said = iter(run.stdout or ())
        group = int(next(line for line in said if line.startswith("began ")).split()[1])
        run.send_signal(number)
        rest = [line.strip() for line in said]
    assert run.returncode == 130
    assert rest == ["interrupted: ending what runs, and removing the test lab", "removed"]
    assert alive(group) == []
