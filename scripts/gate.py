"""The regression gate: ``python -m scripts.gate core|full``, for ``make test`` and ``make test-full``.

Runs lint and unit tests, then the Molecule scenarios on a separate lab beside the user's, and prints a table of results. All
test results are in build/junit.xml.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import yaml
from junitparser import Failure, JUnitXml, TestCase, TestSuite

from plugins.action.check_host import host_errors, look
from scripts import pictures
from tests import lab, leftovers, tiers

BUILD = lab.PROJECT / "build"
LAB_SETTINGS = lab.PROJECT / "playbooks/group_vars/all/lab.yml"
KIND_SETTINGS = lab.PROJECT / "inventories/kind/group_vars/lab.yml"
# The full tier runs two labs at once, and stores registries and a bundle.
MORE = {"core": (0, 0), "full": (15, 4)}
"""Tier -> GiB of disk and memory needed in addition to one lab's."""
PACKAGES = {**pictures.NEEDED, "docker-registry": "docker-registry"}
"""Command, or file -> Debian package that provides it."""
ANSI = re.compile(r"\x1b\[[0-9;]*m")
STEP = re.compile(r"\[?([a-z_]+) (?:➜|>) ([a-z_]+)\]?")
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
END_SECONDS = 20


@dataclass(frozen=True)
class Row:
    """One line of the result table."""

    name: str
    tests: int
    failed: int
    skipped: int
    seconds: float


def say(text: str) -> None:
    """Print without buffering, to keep the order with subprocess output."""
    print(text, flush=True)


def step_of(line: str) -> str:
    """The scenario that a line of Molecule's output names as current; empty for other lines."""
    plain = ANSI.sub("", line)
    found = STEP.search(plain) if "INFO" in plain[:12] else None
    # Before the first step, Molecule lists each scenario once with its steps.
    return found[1] if found and found[2] != "discovery" else ""


def host_problems(tier: str) -> list[str]:
    """Why this host cannot run the tier; checked before anything is changed."""
    settings, kind = (yaml.safe_load(file.read_text()) for file in (LAB_SETTINGS, KIND_SETTINGS))
    disk, memory = MORE[tier]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "istio-lab"
    asked = {"disk": str(cache), "tools": ["apt-get", "tar", "flock"], "engine": "podman"}
    found = look({**asked, "ports": [kind["kind_cluster_gateway_port"]]})
    return host_errors(found, settings["lab_min_disk_gib"] + disk, settings["lab_min_memory_gib"] + memory)


def result_suites(name: str, build: Path = BUILD) -> list[TestSuite]:
    """Results of one part in ``build``: junit-NAME.xml, and junit-NAME-*.xml from tests in separate processes."""
    files = sorted([*build.glob(f"junit-{name}.xml"), *build.glob(f"junit-{name}-*.xml")])
    return [suite for file in files for suite in JUnitXml.fromfile(str(file))]


def record(name: str, test: str, seconds: float, failure: str = "", build: Path = BUILD) -> None:
    """Write the result of a step that is not a pytest test as one: junit-NAME-TEST.xml in ``build``.

    :param failure: why it failed; empty if it passed
    """
    case, suite, results = TestCase(test, name, seconds), TestSuite(name), JUnitXml()
    if failure:
        case.result = [Failure(failure)]
    suite.add_testcase(case)
    results.add_testsuite(suite)
    results.write(str(build / f"junit-{name}-{test}.xml"))


def rows(names: Sequence[str], seconds: Mapping[str, float], build: Path = BUILD) -> list[Row]:
    """A row for each name, from its results in ``build``; 0 tests if it has none."""
    made = []
    for name in names:
        suites = result_suites(name, build)
        total, failed, skipped = (sum(getattr(s, part) for s in suites) for part in ("tests", "failures", "skipped"))
        errors = sum(s.errors for s in suites)
        made.append(Row(name, total, failed + errors, skipped, seconds.get(name, 0.0)))
    return made


def table(lines: Iterable[Row]) -> list[str]:
    """The result table, with a row of totals."""
    lines = list(lines)
    total = Row("total", *(sum(getattr(r, part) for r in lines) for part in ("tests", "failed", "skipped", "seconds")))
    width = max(len(r.name) for r in [*lines, total])
    head = f"{'scenario':<{width}}  tests  failed  skipped  seconds"
    return [
        head,
        *(f"{r.name:<{width}}  {r.tests:5d}  {r.failed:6d}  {r.skipped:7d}  {r.seconds:7.0f}" for r in [*lines, total]),
    ]


def cases(names: Sequence[str], build: Path = BUILD) -> list[tuple[str, TestCase]]:
    """Every test case of the named parts, with the part's name."""
    return [(name, case) for name in names for suite in result_suites(name, build) for case in suite]


def slowest(found: Iterable[tuple[str, TestCase]], most: int = 10) -> list[str]:
    """One line for each of the slowest tests."""
    first = sorted(found, key=lambda one: -(one[1].time or 0.0))[:most]
    return [f"{case.time or 0.0:7.1f} s  {name}: {case.name}" for name, case in first]


def merge(names: Sequence[str], build: Path = BUILD) -> None:
    """Write all results to one file, junit.xml, with a suite for each part."""
    merged = JUnitXml("istio-lab")
    for name in names:
        suite = TestSuite(name)
        for _, case in cases([name], build):
            suite.add_testcase(case)
        merged.add_testsuite(suite)
    merged.write(str(build / "junit.xml"))


class Gate:
    """One run; ``seconds`` holds the duration of each part.

    :param whole: whether lint and the unit tests run first; not if a single scenario was requested
    """

    def __init__(self, tier: str, scenarios: Sequence[str], whole: bool = True, build: Path = BUILD) -> None:
        self.tier = tier
        self.build = build
        self.scenarios = list(scenarios)
        self.whole = whole
        self.started = time.monotonic()
        self.seconds: dict[str, float] = {}
        self.running: list[subprocess.Popen[str]] = []
        hidden = build / "hidden-toolchains"
        self.environment = {
            **os.environ, tiers.VARIABLE: tier, "LAB_TEST_NAME": lab.NAME, leftovers.VARIABLE: lab.NAME,
            "ANSIBLE_CONFIG": str(lab.PROJECT / "ansible.cfg"),
            "MOLECULE_EPHEMERAL_DIRECTORY": str(build / "molecule"), "PYTEST_DEBUG_TEMPROOT": str(leftovers.TEMPORARY),
            # The lab brings its own toolchains: the host's Go, Java, Node, Ruby and C compiler are made to fail.
            "PATH": f"{lab.PROJECT / '.venv/bin'}:{hidden}:{os.environ['PATH']}", "NO_COLOR": "1",
        }  # fmt: skip

    @property
    def elapsed(self) -> int:
        """Seconds since the start."""
        return round(time.monotonic() - self.started)

    def start(self, *command: str, output: Path | None = None) -> subprocess.Popen[str]:
        """Start a command in its own process group, so that an interrupt reaches this process first."""
        where = open(output, "w") if output else subprocess.PIPE  # noqa: SIM115 - the process writes it until it ends
        made = subprocess.Popen(
            command, cwd=lab.PROJECT, env=self.environment, stdin=subprocess.DEVNULL, stdout=where, stderr=subprocess.STDOUT,
            text=True, start_new_session=True,
        )  # fmt: skip
        self.running.append(made)
        return made

    def end(self) -> None:
        """End all processes that are still running."""
        for process in self.running:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGTERM)
        for process in self.running:
            try:
                process.wait(timeout=END_SECONDS)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)

    def prepare(self) -> None:
        """Install system packages for the tests, and remove leftovers of an interrupted run."""
        missing = [package for name, package in PACKAGES.items() if not (shutil.which(name) or Path(name).is_file())]
        if missing:
            say(f"installing {', '.join(missing)}")
            subprocess.run(["apt-get", "update", "-q"], check=True, stdout=subprocess.DEVNULL)
            install = ["apt-get", "install", "-y", "-q", "--no-install-recommends", *missing]
            subprocess.run(install, check=True, stdout=subprocess.DEVNULL)
        subprocess.run(["scripts/hide-toolchains.sh", str(self.build / "hidden-toolchains")], cwd=lab.PROJECT, check=True)
        remove_leftovers()
        for file in self.build.glob("junit*.xml"):
            file.unlink()
        leftovers.TEMPORARY.mkdir(parents=True)

    def lint_and_unit(self) -> bool:
        """Run lint and the unit tests in parallel."""
        say(f"=== lint and unit tests (after {self.elapsed} s)")
        began, log = time.monotonic(), self.build / "unit.log"
        unit = self.start(
            "pytest", "-q", "--numprocesses=4", f"--junitxml={self.build / 'junit-unit.xml'}", "tests/unit", output=log
        )
        lint = self.stream(self.start("scripts/lint.sh"))
        self.seconds["lint"] = time.monotonic() - began
        record("lint", "lint", self.seconds["lint"], f"scripts/lint.sh ended with {lint}" if lint else "", self.build)
        passed = unit.wait() == 0
        lines = log.read_text().splitlines()
        say("\n".join(lines[-1:] if passed else lines))
        self.seconds["unit"] = time.monotonic() - began
        return passed and lint == 0

    def stream(self, process: subprocess.Popen[str]) -> int:
        """Show a process's output until it ends, and announce each Molecule scenario."""
        at, began = "", time.monotonic()
        for line in process.stdout or ():
            scenario = step_of(line)
            if scenario and scenario != at:
                self.seconds[at] = self.seconds.get(at, 0.0) + time.monotonic() - began
                at, began = scenario, time.monotonic()
                number = f"{self.scenarios.index(at) + 1} of {len(self.scenarios)}" if at in self.scenarios else "lab"
                say(f"\n=== scenario {number}: {at} (after {self.elapsed} s)")
            print(line, end="", flush=True)
        self.seconds[at] = self.seconds.get(at, 0.0) + time.monotonic() - began
        return process.wait()

    def molecule(self) -> bool:
        """Run the scenarios on one lab, which the first creates and the last step removes, then check that nothing is left."""
        (self.build / "traces.json").write_text(json.dumps(sorted(lab.traces())))
        chosen = [argument for name in self.scenarios for argument in ("--scenario-name", name)]
        status = self.stream(self.start("molecule", "test", "--no-command-borders", *chosen))
        if status:
            # A failed playbook appears in no test result.
            if not any(row.failed for row in rows(self.scenarios, {}, self.build)):
                record("default", "molecule", 0.0, f"molecule ended with {status}, but no test failed", self.build)
            say(f"molecule failed ({status}); removing its lab")
            leftovers.remove(folders=False)
            return False
        results = f"--junitxml={self.build / 'junit-default.xml'}"
        return self.stream(self.start("pytest", "-q", results, "molecule/default/tests")) == 0

    def report(self, passed: bool) -> bool:
        """Print the table, the slowest tests and the outcome, and merge all results: whether everything ran and passed."""
        names = [*(["lint", "unit"] if self.whole else []), *self.scenarios, "default"]
        merge(names, self.build)
        lines = rows(names, self.seconds, self.build)
        say("\n" + "\n".join(table(lines)))
        say("\nthe slowest tests\n" + "\n".join(slowest(cases(names, self.build))))
        for name in (row.name for row in lines if not row.tests):
            passed = False
            say(f"not run: {name}")
        failed, skipped = sum(row.failed for row in lines), sum(row.skipped for row in lines)
        say(f"\n{'PASSED' if passed else 'FAILED'} after {self.elapsed} s; all results: build/junit.xml")
        say(f"{sum(row.tests for row in lines) - failed - skipped} passed, {failed} failed, {skipped} skipped")
        return passed

    def run(self) -> int:
        """Run everything: 0 if all passed, 1 if not, 130 if interrupted."""
        passed = False
        try:
            self.prepare()
            passed = (not self.whole or self.lint_and_unit()) and self.molecule()
        except KeyboardInterrupt:
            for number in SIGNALS:  # a second interrupt must not leave half a lab behind
                signal.signal(number, signal.SIG_IGN)
            say("interrupted: ending all processes and removing the test lab")
            self.end()
            leftovers.remove()
            return 130
        finally:
            self.end()
        return 0 if self.report(passed) else 1


def remove_leftovers() -> bool:
    """Remove leftovers of an interrupted run and report them; whether there were any."""
    found = leftovers.remove()
    for what in found:
        say(f"removed a leftover of an earlier run: {what}")
    return bool(found)


def interrupted(signum: int, frame: FrameType | None) -> None:
    """Treat any of the signals as an interrupt."""
    raise KeyboardInterrupt


def guarded(gate: Gate) -> int:
    """Run, unless another run is active or the host is too small: the exit status, 2 if refused."""
    try:
        with leftovers.only_run():
            problems = host_problems(gate.tier)
            # The lab of an interrupted run uses memory and may occupy the gateway's port.
            if problems and remove_leftovers():
                problems = host_problems(gate.tier)
            if problems:
                print(f"{'; '.join(problems)}; nothing was started", file=sys.stderr)
                return 2
            gate.build.mkdir(exist_ok=True)
            for number in SIGNALS:
                if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # as under nohup
                    signal.signal(number, interrupted)
            return gate.run()
    except leftovers.RunningError as error:
        print(error, file=sys.stderr)
        return 2


def main() -> int:
    """The exit status of the run; 2 if refused."""
    tier, only = sys.argv[1], os.environ.get("ONLY", "")
    try:
        scenarios = tiers.scenarios(tier, only)
    except tiers.UnknownScenarioError as error:
        print(error, file=sys.stderr)
        return 2
    return guarded(Gate(tier, scenarios, whole=not only))


if __name__ == "__main__":
    sys.exit(main())
