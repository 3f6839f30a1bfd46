"""A run that is interrupted at any moment leaves nothing but a verdict that says so."""

from __future__ import annotations

import functools
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests import kubeconfig
from tests.unit.test_inputs import PROJECT

SEED = 26
STALE: dict[str, Any] = {"outcome": "PASS", "n": 1, "reasons": ["it is of an earlier run"]}
MESH = "tests/unit/run/played_mesh.py"


def locust(results: Path, *options: str) -> list[str]:
    return [
        sys.executable, "-m", "loadtests.run", "-f", MESH, "--users", "20", "--spawn-rate", "20", "--only-summary",
        "--kubeconfig", "none", "--results", str(results), "--max-seconds", "60",
        "--logfile", str(results / "locust.log"), *options,
    ]  # fmt: skip


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """A folder with the verdict of an earlier run."""
    (tmp_path / "reviews-80-20").mkdir()
    for name in ("verdict.json", "verdict.html", "verdict.xml"):
        (tmp_path / "reviews-80-20" / name).write_text(json.dumps(STALE))
    return tmp_path


def verdict(results: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((results / "reviews-80-20/verdict.json").read_text())
    return found


def wait_for(happened: Callable[[], bool], seconds: float = 30) -> None:
    until = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < until, "it did not begin"
        time.sleep(0.02)


def begun(results: Path) -> bool:
    return verdict(results) != STALE


def spawned(results: Path) -> bool:
    """Whether the workers have their users; on a slow machine, Locust does not wait until they say so."""
    return any(words in (results / "locust.log").read_text() for words in ("All users spawned", "Spawning is complete"))


@pytest.fixture
def group(results: Path) -> Iterator[list[subprocess.Popen[str]]]:
    """Processes that a test starts, in their own groups; they and their children must have ended."""
    started: list[subprocess.Popen[str]] = []
    yield started
    for run in started:
        try:
            # Killed processes may stay in the kernel's table for a moment.
            wait_for(functools.partial(ended, run), seconds=1)
        finally:
            for process in left(run):
                process.kill()
            run.kill()
            run.communicate()


def ended(run: subprocess.Popen[str]) -> bool:
    return left(run) == []


def left(run: subprocess.Popen[str]) -> list[psutil.Process]:
    """Running processes that a run has started."""
    return [p for p in psutil.process_iter() if p.pid != run.pid and in_group(p, run.pid)]


def in_group(process: psutil.Process, group: int) -> bool:
    try:
        return os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE
    except (OSError, psutil.Error):
        return False


def start(group: list[subprocess.Popen[str]], command: list[str], **environment: str) -> subprocess.Popen[str]:
    run = subprocess.Popen(
        command, cwd=PROJECT, env={**os.environ, **environment}, text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    group.append(run)
    return run


def interrupt(run: subprocess.Popen[str], how: str) -> None:
    if how == "terminated":
        run.terminate()
    else:
        os.killpg(run.pid, signal.SIGINT)
    if how == "twice":
        time.sleep(0.05)
        if run.poll() is None:
            os.killpg(run.pid, signal.SIGINT)


chance = random.Random(SEED)
MOMENTS = [(how, round(chance.uniform(0, 2.5), 2)) for how in ("once", "terminated", "twice") for _ in range(2)]


@pytest.mark.parametrize(("how", "moment"), MOMENTS)
def test_an_interrupted_run_says_so_and_leaves_nothing(
    how: str, moment: float, results: Path, group: list[subprocess.Popen[str]]
) -> None:
    # Slow enough that there is no verdict yet.
    run = start(group, locust(results, "--headless"), PLAYED_PACE="5")
    wait_for(lambda: begun(results))
    time.sleep(moment)
    at = time.monotonic()
    interrupt(run, how)
    _, said = run.communicate(timeout=10)
    assert time.monotonic() - at < 2
    verdict_ = verdict(results)
    name = "SIGTERM" if how == "terminated" else "SIGINT"
    assert (run.returncode, verdict_["outcome"]) == (2, "VOID")
    assert str(verdict_["reasons"]).startswith(f"['interrupted by {name} after ")
    assert "Traceback" not in said
    assert said.splitlines() == [f"reviews-80-20: VOID: {verdict_['reasons'][0]}"]
    assert all(STALE["reasons"][0] not in file.read_text() for file in (results / "reviews-80-20").iterdir()), (
        "of the earlier run"
    )


def test_with_workers_all_of_them_end(results: Path, group: list[subprocess.Popen[str]]) -> None:
    run = start(group, locust(results, "--headless", "--processes", "2"), PLAYED_PACE="5")
    wait_for(lambda: begun(results))
    wait_for(lambda: spawned(results))
    at = time.monotonic()
    interrupt(run, "terminated")
    run.communicate(timeout=10)
    assert time.monotonic() - at < 2
    assert run.returncode == 2
    assert "interrupted by SIGTERM" in str(verdict(results)["reasons"])


def test_workers_end_with_a_master_that_is_killed(results: Path, group: list[subprocess.Popen[str]]) -> None:
    run = start(group, locust(results, "--headless", "--processes", "2"), PLAYED_PACE="5")
    wait_for(lambda: begun(results))
    wait_for(lambda: spawned(results))
    run.kill()
    run.wait()
    wait_for(lambda: not any(in_group(p, run.pid) for p in psutil.process_iter()), seconds=3)
    assert verdict(results)["outcome"] == "VOID"
    assert verdict(results)["reasons"] == ["interrupted before there was a verdict"]


def test_a_run_ends_with_whoever_asked_for_it(results: Path, group: list[subprocess.Popen[str]]) -> None:
    command = " ".join([*locust(results, "--headless"), "&", "wait"])
    run = start(group, ["sh", "-c", f"trap '' TERM; {command}"], PLAYED_PACE="5")
    wait_for(lambda: begun(results))
    run.kill()
    run.wait()
    wait_for(lambda: not any(in_group(p, run.pid) for p in psutil.process_iter()), seconds=3)
    assert "interrupted because the command that started it has ended" in str(verdict(results)["reasons"])


def test_a_verdict_that_was_there_before_the_signal_stays(results: Path, group: list[subprocess.Popen[str]]) -> None:
    run = start(group, locust(results, "--headless"), PLAYED_LINGER="20")
    wait_for(lambda: verdict(results)["outcome"] == "PASS" and verdict(results) != STALE)
    assert run.poll() is None, "it would end by itself"
    interrupt(run, "once")
    run.communicate(timeout=10)
    assert (run.returncode, verdict(results)["outcome"]) == (0, "PASS")


def test_the_run_after_an_interrupted_one_passes(results: Path, group: list[subprocess.Popen[str]]) -> None:
    run = start(group, locust(results, "--headless"))
    run.communicate(timeout=60)
    assert (run.returncode, verdict(results)["outcome"]) == (0, "PASS")


PLAY = """
- hosts: localhost
  connection: local
  gather_facts: false
  vars: {{ansible_python_interpreter: "{{{{ ansible_playbook_python }}}}"}}
  tasks:
    - name: Send traffic
      ansible.builtin.command:
        argv: {argv}
        chdir: {project}
"""


def running(results: Path) -> list[psutil.Process]:
    """Locust processes of a test, in any session."""

    def ours(process: psutil.Process) -> bool:
        try:
            return str(results) in process.cmdline() and process.status() != psutil.STATUS_ZOMBIE
        except psutil.Error:
            return False

    return [process for process in psutil.process_iter() if ours(process)]


@pytest.mark.parametrize("how", ["once", "twice", "ansible killed"])
def test_nothing_goes_on_after_ansible(how: str, results: Path, group: list[subprocess.Popen[str]]) -> None:
    # Its tasks run in separate sessions, which a terminal's signal does not reach.
    play = results / "play.yml"
    play.write_text(PLAY.format(argv=json.dumps(locust(results, "--headless")), project=PROJECT))
    command = [str(Path(sys.executable).parent / "ansible-playbook"), "--inventory", "localhost,", str(play)]
    run = start(group, command, PLAYED_PACE="5", ANSIBLE_CONFIG=str(PROJECT / "ansible.cfg"))
    try:
        wait_for(lambda: begun(results))
        at = time.monotonic()
        run.kill() if how == "ansible killed" else interrupt(run, how)
        run.communicate(timeout=10)
        wait_for(lambda: running(results) == [], seconds=3)
        assert time.monotonic() - at < 2
        assert run.returncode != 0
        assert verdict(results)["outcome"] == "VOID"
        assert "interrupted " in str(verdict(results)["reasons"])
    finally:
        for process in running(results):
            process.kill()


VERIFY = """
import sys
from loadtests import ending
from loadtests.run import verify
verify.policy.put = lambda *_, **__: []
verify.Judge.wait_for_pods = lambda *_: None
sys.exit(ending.guarded(verify.main, lambda: "the state"))
"""


@pytest.mark.parametrize("how", ["once", "terminated", "twice"])
def test_judging_many_ends_at_once(how: str, results: Path, group: list[subprocess.Popen[str]]) -> None:
    own = [*locust(results, "--headless")[3:]]
    own = own[: own.index("--logfile")]
    command = [
        sys.executable, "-c", VERIFY, "--entries", "reviews-80-20,reviews-90-10", "--kubeconfig", "none",
        "--results", str(results), "--logs", str(results), "--progress", str(results / "progress"), "--", *own,
    ]  # fmt: skip
    run = start(group, command, PLAYED_PACE="5")
    wait_for(lambda: (results / "locust-reviews-80-20.log").exists() or (results / "locust-reviews-90-10.log").exists())
    time.sleep(1)
    at = time.monotonic()
    interrupt(run, how)
    _, said = run.communicate(timeout=10)
    assert time.monotonic() - at < 2
    name = "SIGTERM" if how == "terminated" else "SIGINT"
    assert (run.returncode, said) == (2, f"interrupted by {name}; the state\n"), (results / "progress").read_text()
    wait_for(lambda: running(results) == [], seconds=1)
    found = [json.loads(file.read_text()) for file in results.glob("*/verdict.json")]
    assert [verdict_["outcome"] for verdict_ in found if verdict_ != STALE] == ["VOID"], "only the entry that was being judged"
    assert all("interrupted" in verdict_["reasons"][0] for verdict_ in found if verdict_ != STALE)


POLICY = """
import json, sys, time
from loadtests import ending
from loadtests.entries import policy
from loadtests.mesh import writes
from tests.unit.mesh import rules_api
from tests.unit.entries.test_policy import BEFORE

log, slow = open(sys.argv.pop(1), "w"), sys.argv.pop(1)
def fails(verb, given):
    print(verb, flush=True, file=log)
    time.sleep(0.1)
    return slow if verb == "create" and given["kind"] == "VirtualService" and given["spec"].get("weight") != 7 else ""
cluster = rules_api.kept(*BEFORE, fails=fails)
class Told(type(cluster)):
    def made(self, *given):
        now = super().made(*given)
        print(json.dumps(sorted(f"{k} {n} {v[0].get('weight')}" for (k, n), v in self.state().items())), flush=True, file=log)
        return now
policy.Cluster = lambda *_: Told(**vars(cluster))
sys.exit(ending.guarded(policy.main, writes.state))
"""
NEW = ["DestinationRule reviews None", "VirtualService reviews None"]
OLD = ["VirtualService ratings 100", "VirtualService reviews 7"]


@pytest.mark.parametrize(
    ("moment", "fault", "state", "rules"),
    [
        ("try", "", "nothing was changed", OLD), ("delete", "", "the new rules apply", NEW),
        ("create", "", "the new rules apply", NEW),
        ("create", "gone away", "the earlier rules apply again", OLD),
    ],
)  # fmt: skip
@pytest.mark.parametrize("how", ["once", "terminated", "twice"])
def test_rules_are_never_left_half_way(
    how: str, moment: str, fault: str, state: str, rules: list[str], results: Path, group: list[subprocess.Popen[str]]
) -> None:
    log = results / "writes"
    command = [
        sys.executable,
        "-c",
        POLICY,
        str(log),
        fault,
        "reviews-80-20",
        "--kubeconfig",
        "none",
        "--namespace",
        "bookinfo",
    ]
    run = start(group, command)
    wait_for(lambda: log.exists() and moment in log.read_text().split())
    interrupt(run, how)
    _, said = run.communicate(timeout=10)
    # It has finished what it had begun, and may then have ended by itself.
    assert said.strip().endswith(state) or (run.returncode == 0 and rules == NEW)
    assert len(said.splitlines()) <= 2
    left = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("[")]
    assert (left or [OLD])[-1] == rules


HANGS = """
import sys
from loadtests import ending
from loadtests.entries import policy
from loadtests.mesh import writes
from loadtests.mesh.cluster import Cluster
from tests.unit.mesh import rules_api
from tests.unit.entries.test_policy import BEFORE

log, kubeconfig, moment, fault = [sys.argv.pop(1) for _ in range(4)]
seen = []
def fails(verb, given):
    seen.append(f"{verb} {given['kind']}")
    if seen[-1] == moment or (moment == "restore" and "create VirtualService" in seen[:-1] and verb != "get"):
        print("hangs", flush=True, file=open(log, "w"))
        Cluster(kubeconfig, "bookinfo").ask("/version")
    return fault if seen[-1] == "create VirtualService" else ""
cluster = rules_api.kept(*BEFORE, fails=fails)
policy.Cluster = lambda *_: cluster
sys.exit(ending.guarded(policy.main, writes.state))
"""


@pytest.mark.parametrize(
    ("moment", "fault", "state"),
    [
        ("try VirtualService", "", "nothing was changed"),
        ("create VirtualService", "", "some of both the earlier and the new rules may apply"),
        ("restore", "gone away", "some of both the earlier and the new rules may apply"),
    ],
)
def test_an_api_server_that_hangs_does_not_hold_an_interrupt(
    moment: str, fault: str, state: str, results: Path, group: list[subprocess.Popen[str]]
) -> None:
    log = results / "hangs"
    with socket.create_server(("127.0.0.1", 0)) as silent:
        given = [str(log), kubeconfig.written(results, silent.getsockname()[1]), moment, fault]
        options = ["reviews-80-20", "--kubeconfig", "none", "--namespace", "bookinfo"]
        run = start(group, [sys.executable, "-c", HANGS, *given, *options])
        wait_for(log.exists)
        at = time.monotonic()
        interrupt(run, "once")
        _, said = run.communicate(timeout=30)
        assert time.monotonic() - at < 2
    assert (run.returncode, said) == (2, f"interrupted by SIGINT; {state}\n")
