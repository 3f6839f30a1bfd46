"""The gate's own parts: the choice of scenarios, its output, and leftovers of an interrupted run."""

from __future__ import annotations

import os
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
        ("bundle", "ONLY: bundle was given, which only make test-full runs; accepted: istio, telemetry; nothing was changed"),
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
def test_the_scenario_is_read_from_molecules_output(line: str, scenario: str) -> None:
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
        "total          3       1        1       61",
    ]
    assert gate.slowest(gate.cases(["istio"], tmp_path), 2) == ["    7.0 s  istio: slow", "    1.5 s  istio: quick"]
    gate.merge(["istio", "telemetry"], tmp_path)
    merged = (tmp_path / "junit.xml").read_text()
    assert merged.count("<testcase") == 3
    assert 'name="istio"' in merged
    assert 'failures="1"' in merged


def test_every_test_lab_is_removed() -> None:
    made = {""}
    for file in [*PROJECT.glob("molecule/*/tests/*.py"), *PROJECT.glob("tests/*.py")]:
        made |= set(re.findall(r'(?:NAME|CLUSTER|name|lab_name) ?= ?f"{lab\.NAME}(-[a-z-]+)"', file.read_text()))
    assert made == {*leftovers.SUFFIXES, *leftovers.CONTAINERS}


def test_results_of_other_steps_count_too(tmp_path: Path) -> None:
    (tmp_path / "junit-istio.xml").write_text(JUNIT)
    (tmp_path / "junit-istio-pages.xml").write_text(JUNIT.replace("quick", "quicker"))
    gate.record("lint", "lint", 30.0, build=tmp_path)
    gate.record("default", "molecule", 0.0, "molecule ended with 2", tmp_path)
    assert gate.rows(["lint", "istio", "default"], {}, tmp_path) == [
        gate.Row("lint", 1, 0, 0, 0.0), gate.Row("istio", 6, 2, 2, 0.0), gate.Row("default", 1, 1, 0, 0.0),
    ]  # fmt: skip
    gate.merge(["lint", "istio", "default"], tmp_path)
    merged = (tmp_path / "junit.xml").read_text()
    assert merged.count("<testcase") == 8
    assert "quicker" in merged
    assert 'message="molecule ended with 2"' in merged


def test_a_run_in_which_a_scenario_left_no_results_has_not_passed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = gate.Gate("core", ["istio"], whole=False, build=tmp_path)
    (tmp_path / "junit-istio.xml").write_text(
        JUNIT.replace('<failure message="no"/>', "").replace('failures="1"', 'failures="0"')
    )
    assert not run.report(passed=True)
    assert "not run: default" in capsys.readouterr().out
    gate.record("default", "destroyed", 1.0, build=tmp_path)
    assert run.report(passed=True)
    assert not run.report(passed=False)
    assert capsys.readouterr().out.splitlines()[-1] == "3 passed, 0 failed, 1 skipped"


def test_a_process_of_the_tests_is_recognized_by_its_environment() -> None:
    def belongs(command: str, *environment: str) -> bool:
        return leftovers.belongs(command, b"\0".join(one.encode() for one in environment))

    ours = f"{leftovers.VARIABLE}={lab.NAME}"
    assert belongs("molecule", "PATH=/bin", ours)
    assert not belongs("conmon", ours)
    assert not belongs("tail", "PATH=/bin", f"LAB_TEST_NAME={lab.NAME}"), "users may have set that variable"
    assert not belongs("molecule", f"{ours}-other")
    assert not belongs("molecule", f"X{ours}")
    assert not belongs("kthreadd", "")


# A run without preparation, whose only part runs forever and has started a process in another session.
RUN = """
import signal
import sys
from pathlib import Path
from scripts import gate
from tests import leftovers

folder = Path(sys.argv[1])
leftovers.FOLDERS, leftovers.LOCK, leftovers.HOSTS = (), folder / "lock", folder / "hosts"
leftovers.remove_containers = lambda engine: []
gate.host_problems = lambda tier: []
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # the tests themselves may run under nohup


class Endless(gate.Gate):
    def prepare(self):
        pass

    def lint_and_unit(self):
        self.stream(self.start("sh", "-c", "setsid sleep 300 & sleep 0.3; echo began; wait"))


sys.exit(gate.guarded(Endless("core", [], build=folder)))
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_nothing_keeps_running_after_an_interrupted_run(
    number: signal.Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lab, "NAME", f"istio-lab-unit-{os.getpid()}")
    (tmp_path / "hosts").touch()
    environment = {**os.environ, "LAB_TEST_NAME": lab.NAME}
    environment.pop(leftovers.VARIABLE, None)
    command = [sys.executable, "-c", RUN, str(tmp_path)]
    with subprocess.Popen(command, cwd=PROJECT, env=environment, stdout=subprocess.PIPE, text=True) as run:
        try:
            assert run.stdout
            assert run.stdout.readline().strip() == "began"
            assert any("sleep 300" in line for line in leftovers.processes().values())
            run.send_signal(number)
            run.wait(timeout=30)
            if number == signal.SIGKILL:
                assert len(leftovers.end_processes()) >= 2, "the next run ends what a killed run left"
            else:
                assert run.returncode == 130
            assert leftovers.processes() == {}
        finally:
            run.kill()
            leftovers.end_processes()


def test_a_second_run_of_the_same_lab_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leftovers, "LOCK", tmp_path / "cache" / "lock")
    with leftovers.only_run():
        words = f"LAB_TEST_NAME: {lab.NAME} is in use by another make test; accepted: "
        with pytest.raises(leftovers.RunningError, match=words), leftovers.only_run():
            pass
    with leftovers.only_run():
        pass


@pytest.mark.parametrize(("left", "status"), [(["a lab"], 0), ([], 2)])
def test_the_host_is_checked_again_after_removing_leftovers(
    left: list[str], status: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    problems = [["lab_min_memory_gib: 1.0 GiB of memory are available"], []]
    monkeypatch.setattr(leftovers, "LOCK", tmp_path / "lock")
    monkeypatch.setattr(leftovers, "remove", lambda: left)
    monkeypatch.setattr(gate, "host_problems", lambda tier: problems.pop(0))
    monkeypatch.setattr(signal, "signal", lambda number, handler: None)
    run = gate.Gate("core", [], build=tmp_path)
    monkeypatch.setattr(run, "run", lambda: 0)
    assert gate.guarded(run) == status
    assert ("lab_min_memory_gib" in capsys.readouterr().err) == bool(status)


def test_only_lines_of_test_labs_are_removed_from_hosts() -> None:
    mine = "127.0.0.1 web.lab.internal # istio-lab istio-lab webfront"
    lines = ["127.0.0.1 localhost", f"127.0.0.1 two.lab.internal # istio-lab {lab.NAME}-two webfront", mine]
    assert leftovers.without(lines) == ["127.0.0.1 localhost", mine]
