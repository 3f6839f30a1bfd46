"""``make verify`` of entries side by side, interrupted, with other commands beside it and after it, as a user does."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests import lab

ENTRIES = ("reviews-80-20", "jwt", "grpc-balance")
"""Of three samples, so that they are judged side by side."""
COMMAND = [str(lab.PROJECT / "scripts/run.py")]
CHOICE = f"ARGS=-e '{{lab_verify_entries: [{', '.join(ENTRIES)}]}}'"
LOCK = lab.STATE.parent / f"{lab.NAME}.lock"


def start(*words: str, name: str = lab.NAME) -> subprocess.Popen[str]:
    """Start a command as a terminal does: in a process group of its own that heeds Ctrl-C."""
    return subprocess.Popen(
        [*COMMAND, *words, f"LAB={name}"], cwd=lab.PROJECT, text=True, start_new_session=True, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip


def reports() -> dict[str, Path]:
    """The reports that entries have now."""
    found = {name: lab.STATE / "results" / name / "verdict.json" for name in ENTRIES}
    return {name: file for name, file in found.items() if file.exists()}


def judging() -> list[str]:
    """Processes that judge an entry of this lab, or are a playbook's."""
    lines = []
    for process in psutil.process_iter():
        try:
            line = " ".join(process.cmdline())
        except psutil.Error:
            continue
        if str(lab.KUBECONFIG) in line or f'{{"lab_name": "{lab.NAME}"}}' in line:
            lines.append(line)
    return lines


@pytest.fixture
def verify() -> Iterator[subprocess.Popen[str]]:
    run = start("verify", CHOICE)
    yield run
    if run.poll() is None:
        os.killpg(run.pid, signal.SIGINT)
    run.communicate(timeout=20)


def refused(*words: str) -> str:
    done = start(*words)
    said = done.communicate(timeout=60)[1]
    assert done.returncode == 1
    return said


@pytest.mark.parametrize("words", [["verify"], ["load"], ["destroy"], ["lab"], ["policy"]])
def test_no_other_command_of_this_lab_begins_beside_it(verify: subprocess.Popen[str], words: list[str]) -> None:
    while not LOCK.exists() and verify.poll() is None:
        time.sleep(0.1)
    said = refused(*words)
    assert said.startswith(f"LAB: {lab.NAME} is in use by make verify (process {verify.pid}, since ")
    assert len(said.splitlines()) == 1


def test_nor_does_a_plain_playbook(verify: subprocess.Popen[str]) -> None:
    while not LOCK.exists() and verify.poll() is None:
        time.sleep(0.1)
    refused = lab.playbook("apply_policy.yml", lab_entry="reviews-80-20")
    assert refused.returncode == 1, refused.stdout[-3000:]
    assert f"[ERROR]: LAB: {lab.NAME} is in use by make verify (process {verify.pid}, since " in lab.words(refused.stdout)
    assert verify.poll() is None


def test_a_plain_playbook_that_was_killed_leaves_no_lock() -> None:
    run = lab.start_playbook("verify_catalogue.yml", {}, lab_verify_entries=list(ENTRIES))
    while not LOCK.exists() and run.poll() is None:
        time.sleep(0.1)
    assert f"is in use by ansible-playbook verify_catalogue.yml (process {run.pid}, since " in refused("policy")
    os.killpg(run.pid, signal.SIGKILL)
    run.wait(timeout=20)
    until = time.monotonic() + 60  # a task of it may go on, and the lock with it
    while (after := start("policy")).wait(timeout=60) != 0:
        assert time.monotonic() < until, after.communicate()


# In Ansible's first second, while it prepares, and while entries are judged.
@pytest.mark.parametrize("moment", [0.5, 2.0, 6.0, 14.0, 19.0, 24.0])
def test_an_interrupt_leaves_no_process_no_lock_and_no_verdict_of_an_earlier_run(
    moment: float, verify: subprocess.Popen[str]
) -> None:
    began = time.time()
    time.sleep(moment)
    if verify.poll() is not None:
        pytest.fail("it has ended by itself")
    os.killpg(verify.pid, signal.SIGINT)
    at = time.monotonic()
    _, said = verify.communicate(timeout=60)
    assert time.monotonic() - at < 2
    assert judging() == []
    assert (verify.returncode, said) == (2, "interrupted by SIGINT; what was running has ended\n")
    assert not LOCK.exists()
    for name, file in reports().items():
        found = json.loads(file.read_text())
        assert file.stat().st_mtime > began - 1, f"{name} has a verdict of an earlier run"
        assert found["outcome"] == "PASS" or "interrupted" in found["reasons"][0], (name, found["reasons"])


@pytest.fixture
def other() -> Iterator[str]:
    """A second lab, of which nothing but its cluster is there."""
    name = f"{lab.NAME}-other"
    state = lab.STATE.parent / name
    state.mkdir(parents=True)
    for link in ("bin", "containers.conf"):
        (state / link).symlink_to(lab.STATE / link)
    made = lab.playbook("create_cluster.yml", lab_name=name)
    yield name
    lab.playbook("destroy_lab.yml", lab_name=name)
    assert made.returncode == 0, made.stdout[-3000:]


def test_it_is_not_disturbed_by_the_end_of_another_lab(other: str) -> None:
    began, verify = time.time(), start("verify", CHOICE)
    while "VOID" not in "".join(file.read_text() for file in reports().values()) and verify.poll() is None:
        time.sleep(0.1)
    destroy = start("destroy", name=other)
    said = destroy.communicate(timeout=300)
    assert destroy.returncode == 0, said
    assert verify.poll() is None, "it ended before the other lab did"
    said = verify.communicate(timeout=300)
    assert verify.returncode == 0, said
    assert passed_since(began)
    assert not (lab.STATE.parent / other).exists()


def passed_since(began: float) -> bool:
    """Whether all entries have been judged since then, and passed."""
    found = {name: json.loads(file.read_text()) for name, file in reports().items() if file.stat().st_mtime > began}
    return {name: one["outcome"] for name, one in found.items()} == dict.fromkeys(ENTRIES, "PASS")


def test_one_that_is_started_at_once_after_an_interrupt_is_not_disturbed(verify: subprocess.Popen[str]) -> None:
    while "VOID" not in "".join(file.read_text() for file in reports().values()) and verify.poll() is None:
        time.sleep(0.1)
    os.killpg(verify.pid, signal.SIGINT)
    verify.communicate(timeout=60)
    began = time.time()
    second = start("verify", CHOICE)
    output, said = second.communicate(timeout=300)
    assert second.returncode == 0, output + said
    assert passed_since(began)
