"""What a playbook shows in brief: phases with their times, what tasks say, and why one failed; the log has all of it."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.test_inputs import PROJECT, plugin

PLAYS = """
- name: Check the [variables]
  hosts: localhost
  gather_facts: false
  tasks: [{name: Look, ansible.builtin.command: 'true', changed_when: false}]
- name: Create the cluster
  hosts: localhost
  gather_facts: false
  tasks:
    - name: Make it
      ansible.builtin.command: sleep {{ seconds | default(0) }}
      changed_when: new | default(true) | bool
      vars: {__x_progress_status: "{{ where | default('') }}"}
    - {name: Hide, ansible.builtin.command: echo hush, changed_when: false, no_log: true}
    - {name: Hold, ansible.builtin.assert: {that: true, quiet: true}}
    - {name: Judge, ansible.builtin.assert: {that: true, success_msg: "mirror: PASS after 9 requests"}}
    - {name: Say, ansible.builtin.debug: {msg: ["Bookinfo: http://lab/", "Next: make load"]}}
    - {name: Fail, ansible.builtin.command: "sh -c 'echo no such thing >&2; exit {{ bad | default(0) }}'", changed_when: false}
"""


def command(folder: Path, **variables: str) -> tuple[list[str], dict[str, str]]:
    (folder / "play.yml").write_text(PLAYS)
    given = {"ansible_python_interpreter": sys.executable, **variables}
    words = [word for name, value in given.items() for word in ("-e", f"{name}={value}")]
    environment = {
        **os.environ, "ANSIBLE_CONFIG": str(PROJECT / "ansible.cfg"), "LAB_OUTPUT": "brief", "TERM": "xterm",
        "LAB_LOG": str(folder / "log/ansible.log"), "ANSIBLE_NOCOLOR": "1",
    }  # fmt: skip
    playbook = [sys.executable, "-m", "ansible", "playbook", "-i", "localhost,", "-c", "local"]
    return [*playbook, *words, str(folder / "play.yml")], environment


def play(folder: Path, *more: str, **variables: str) -> subprocess.CompletedProcess[str]:
    words, environment = command(folder, **variables)
    return subprocess.run([*words, *more], env=environment, cwd=PROJECT, capture_output=True, text=True, check=False)


def on_a_terminal(words: list[str], environment: dict[str, str]) -> str:
    """What a terminal gets of a playbook that succeeds."""
    leader, follower = pty.openpty()
    shown = b""
    with subprocess.Popen(words, env=environment, cwd=PROJECT, stdin=follower, stdout=follower, stderr=follower) as running:
        os.close(follower)
        while True:
            try:
                part = os.read(leader, 65536)
            except OSError:  # the other side is closed
                break
            if not part:
                break
            shown += part
    os.close(leader)
    assert running.returncode == 0, shown
    return shown.decode()


@pytest.fixture
def lab(tmp_path: Path) -> Path:
    (tmp_path / "log").mkdir()
    return tmp_path


def test_phases_and_messages_are_shown_and_the_log_has_the_rest(lab: Path) -> None:
    done = play(lab)
    assert (done.returncode, done.stderr) == (0, "")
    lines = [re.sub(r" +[\d.]+ s\b", " T s", line) for line in done.stdout.splitlines()]
    assert lines == [
        "✓ Check the [variables] T s", "mirror: PASS after 9 requests", "Bookinfo: http://lab/", "Next: make load",
        "✓ Create the cluster T s", "in all T s, changed=1",
    ]  # fmt: skip
    log = lab / "log/ansible.log"
    text = log.read_text()
    assert all(part in text for part in ("TASK [Make it]", "changed: [localhost]", "PLAY RECAP", "  play.yml\n"))
    assert "hush" not in text
    assert text.count("changed=1") == 1
    assert log.stat().st_mode & 0o777 == 0o600


def test_a_run_that_changes_nothing_says_so(lab: Path) -> None:
    assert play(lab, new="false").stdout.splitlines()[-1].endswith("changed=0: nothing was changed")


def test_a_failure_is_a_cross_and_one_line(lab: Path) -> None:
    done = play(lab, bad="3")
    assert done.returncode == 2
    assert done.stderr.splitlines() == [f"[ERROR]: Fail: no such thing; log: {lab / 'log/ansible.log'}"]
    assert done.stdout.splitlines()[-1].startswith("✗ Create the cluster")
    assert "rc: 3" in (lab / "log/ansible.log").read_text()


def test_all_of_it_is_on_the_terminal_if_that_is_asked_for(lab: Path) -> None:
    done = play(lab, "-v")
    assert "TASK [Make it]" in done.stdout
    assert "✓" not in done.stdout


def test_without_a_folder_for_it_there_is_no_log(tmp_path: Path) -> None:
    assert play(tmp_path, bad="3").returncode == 2
    assert [p.name for p in tmp_path.iterdir()] == ["play.yml"]


def test_a_log_that_is_too_long_is_begun_anew(lab: Path) -> None:
    log = lab / "log/ansible.log"
    log.write_text("x" * (5 * 1024**2 + 1))
    play(lab)
    assert "TASK [Make it]" in log.read_text()
    assert log.stat().st_size < 10_000
    assert (lab / "log/ansible.log.1").stat().st_size > 5 * 1024**2


def test_a_terminal_shows_what_is_under_way_and_is_left_as_it_was(lab: Path) -> None:
    (lab / "status").write_text("anonymous: v1 [79.6 %] of 80 %; 810 requests\n")
    text = on_a_terminal(*command(lab, seconds="3", where=str(lab / "status")))
    assert "Create the cluster: " in text
    assert "anonymous: v1 [79.6 %]" in text
    assert "✓" in text
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l"), "the cursor is visible again"


WRITES = """
import threading
from ansible.utils.display import Display
from tests.unit.test_inputs import plugin
lock = Display()._lock
screen = plugin("callback", "lab_progress").Screen(lock)
ended = threading.Event()
def tick():
    while not ended.is_set():
        screen.at("a phase", "a task", 1.0)
timer = threading.Thread(target=tick, daemon=True)
timer.start()
for number in range(300):
    with lock:  # as Ansible writes a line
        print(f"line {number} of a task")
ended.set()
timer.join()
screen.end()
"""


def test_a_line_of_ansible_and_one_of_what_is_under_way_do_not_wait_for_each_other() -> None:
    words = [sys.executable, "-c", WRITES]
    environment = {**os.environ, "FORCE_COLOR": "1"}  # a terminal, to rich
    done = subprocess.run(words, env=environment, cwd=PROJECT, capture_output=True, text=True, check=True, timeout=60)
    assert all(f"line {number} of a task" in done.stdout for number in range(300))


COMPILE = """
- name: Build
  hosts: localhost
  gather_facts: false
  vars:
    binaries_dest: "{{ where }}/made"
    binaries_go_cache_dir: "{{ where }}/cache"
    binaries_log_dir: "{{ where }}/log"
    binaries_bin_dir: ""
    binaries_go: "{{ where }}"
    binaries_versions: {kubernetes: 1.36.3, istio: 1.31.0, containerd: 2.3.0}
    binaries_stages: {first: [a/cmd/one], second: [a/cmd/two, a/etcd/server/v3]}
  tasks:
    - {name: Start, ansible.builtin.import_role: {name: binaries}}
    - {name: Wait, ansible.builtin.import_role: {name: binaries, tasks_from: stage}, vars: {binaries_stage: second}}
    - {name: See, ansible.builtin.command: "cat {{ where }}/asked", changed_when: false, register: asked}
    - {name: Say, ansible.builtin.debug: {msg: "{{ asked.stdout_lines }}"}}
"""
GO = """#!/bin/sh
case "$1 $2" in
    "list -deps")
        [ "$5" != -f ] || echo "$4 $6" >>{where}/asked
        printf '%s\\n' 'std ' 'a/x std' 'a/cmd/one a/x' 'a/y std' 'a/cmd/two a/x a/y' 'a/etcd/server/v3 a/y';;
    "build -v")
        sleep 1
        case "$*" in *one) all='std a/x a/cmd/one';; *) all='a/y a/cmd/two a/etcd/server/v3';; esac
        for each in $all; do echo $each >&2; sleep 1; done
        sleep 1;;
esac
"""


@pytest.mark.parametrize("terminal", [True, False])
def test_a_compile_shows_which_program_and_how_many_packages(terminal: bool, lab: Path) -> None:
    words, environment = command(lab, where=str(lab))
    (lab / "play.yml").write_text(COMPILE)
    (lab / "go").write_text(GO.replace("{where}", str(lab)))
    (lab / "go").chmod(0o755)
    environment |= {"ANSIBLE_ROLES_PATH": str(PROJECT / "roles"), "ANSIBLE_ASYNC_DIR": str(lab / "async"), "COLUMNS": "120"}
    if not terminal:  # the real callback, with a shorter interval
        source = (PROJECT / "plugins/callback/lab_progress.py").read_text()
        (lab / "callback").mkdir()
        (lab / "callback/lab_progress.py").write_text(source.replace("PERIOD_SECONDS = 20.0", "PERIOD_SECONDS = 0.2"))
        environment["ANSIBLE_CALLBACK_PLUGINS"] = f"{lab / 'callback'}:{PROJECT / 'plugins/callback'}"
        done = subprocess.run(words, env=environment, cwd=PROJECT, capture_output=True, text=True, check=True)
    text = on_a_terminal(words, environment) if terminal else done.stdout
    shown = re.findall(r"compiling (\S+), (\d+) of 6 packages", text)
    seen, steps = list(dict.fromkeys(shown)), [*(("one", str(n)) for n in range(4)), ("two", "3"), ("two", "4"), ("two", "5")]
    assert seen == [step for step in [*steps, ("etcd", "6")] if step in seen], "a busy machine leaves some out"
    assert {("etcd", "6")} < set(seen)
    build = (PROJECT / "roles/binaries/files/build.sh").read_text()
    tags = re.findall(r"^tags=(.+)$", build, re.MULTILINE)
    assert f'{tags[0]} {{{{.ImportPath}}}} {{{{join .Imports " "}}}}' in text, "packages that are compiled, and no others"
    if not terminal:
        assert re.search(r"^\.\.\. compiling etcd, 6 of 6 packages: \d+ s$", text, re.MULTILINE)


def test_packages_that_the_cache_has_are_counted_and_those_of_another_compile_are_not(tmp_path: Path) -> None:
    log, listed = tmp_path / "compile.log", tmp_path / "compile.packages"
    now = plugin("callback", "lab_progress").Compile(log)
    log.write_text("compiling tools from /x\na/z\n")
    assert now.status() == "", "no list yet"
    listed.write_text("node=a/cmd/one\ntools=a/cmd/two\nstd \na/x std\na/cmd/one a/x\na/y std\na/z a/y\na/cmd/two a/z\n")
    assert now.status() == "compiling two, 5 of 6 packages", "a/z needs a/y and std"
    with log.open("a") as file:
        file.write("compiling node from /x\n")
    assert now.status() == "compiling one, 0 of 6 packages"
    with log.open("a") as file:
        file.write("go: downloading a v1\na/x\ncompiling metallb from /y\na/y\n")
    assert now.status() == "", "not what the list is of"
