"""Commands of the lab, through make and scripts/run.py: which host settings apply, refusals, exit statuses."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from loadtests.console import judging
from loadtests.entries import entry
from loadtests.run.verify import likely_seconds
from scripts import run
from scripts.run import locked
from tests.unit.test_inputs import PROJECT, plugin

# A stand-in for ansible-playbook that reports all settings that would affect Ansible, pip, Locust and the mesh's clients.
PROBE = rf"""#!{sys.executable} -P
import json, locale, os, re, subprocess, sys, urllib.request
# What the command has set: Python of the virtual environment sets some of it as well (scripts/bootstrap.sh).
with open(f"/proc/{{os.getppid()}}/status") as status, open("/proc/self/environ") as given:
    umask = int(re.search(r"^Umask:\s+(\d+)", status.read(), re.MULTILINE)[1], 8)
    variables = dict(one.split("=", 1) for one in given.read().split("\0") if one)
locale.setlocale(locale.LC_ALL, "")
from pip._internal.configuration import Configuration
pip = Configuration(isolated=False)
pip.load()
decides = ("ANSIBLE_", "LOCUST_", "PYTHON", "LC_", "LANG", "GO", "GIT_", "KUBE", "HELM_", "BASH_ENV", "CDPATH", "LD_", "MAKE")
print(json.dumps({{
    "variables": {{n: v for n, v in variables.items() if n.startswith(decides) and n != "PYTHONNOUSERSITE"}},
    "pip": {{n.partition(".")[2]: v for n, v in pip.items()}},
    "direct": [h for h in ("127.0.0.1", "localhost", "::1", "10.89.0.200") if urllib.request.proxy_bypass(h)],
    "proxy": urllib.request.getproxies().get("https", ""),
    "umask": umask, "arguments": sys.argv[1:], "encoding": sys.getfilesystemencoding(),
}}))
"""


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project, at a path with a space and non-ASCII letters, with these Python packages and the probe."""
    folder = tmp_path_factory.mktemp("checkout") / "ein Labor für 网格"
    skipped = shutil.ignore_patterns(".git", ".venv", "build", "__pycache__", ".*_cache", ".ansible")
    shutil.copytree(PROJECT, folder, ignore=skipped, symlinks=True)
    bin_folder = folder / ".venv/bin"
    bin_folder.mkdir(parents=True)
    for program in Path(sys.prefix, "bin").iterdir():
        (bin_folder / program.name).symlink_to(program)
    for name in ("lib", "pyvenv.cfg"):
        (folder / ".venv" / name).symlink_to(Path(sys.prefix, name))
    for name in ("lab.stamp", "dev.stamp"):
        (folder / ".venv" / name).touch()
    return folder


@pytest.fixture
def probed(checkout: Path) -> Iterator[Path]:
    """The copy with the probe for ansible-playbook."""
    program = checkout / ".venv/bin/ansible-playbook"
    kept = program.readlink()
    program.unlink()
    program.write_text(PROBE)
    program.chmod(0o755)
    yield checkout
    program.unlink()
    program.symlink_to(kept)


def environment(home: Path, **variables: str) -> dict[str, str]:
    """The environment of a user without settings."""
    return {"HOME": str(home), "PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "TERM": "dumb", **variables}


def call(checkout: Path, variables: Mapping[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    command = ["make", "--no-print-directory", *words]
    return subprocess.run(command, cwd=checkout, env=variables, capture_output=True, text=True, check=False, timeout=120)


def outcome(checkout: Path, variables: Mapping[str, str], *words: str) -> dict[str, Any]:
    done = call(checkout, variables, *(words or ("policy", "LAB=zz")))
    assert done.returncode == 0, done.stdout + done.stderr
    report: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return report


ANSIBLE = {
    "ROLES_PATH": "/etc/ansible/roles", "LIBRARY": "/usr/share/my_modules", "ACTION_PLUGINS": "/usr/share/my_actions",
    "FILTER_PLUGINS": "/usr/share/my_filters", "VAULT_PASSWORD_FILE": "/nowhere", "INVENTORY_ENABLED": "ini",
    "VARS_ENABLED": "none", "CALLBACKS_ENABLED": "timer", "TASK_TIMEOUT": "1", "SKIP_TAGS": "all", "RUN_TAGS": "foo",
    "STDOUT_CALLBACK": "community.general.yaml",
    "INVENTORY": "/etc/ansible/hosts", "CONFIG": "/etc/ansible/ansible.cfg", "CHECK_MODE": "1", "STRATEGY": "free",
    "BECOME": "1", "GATHERING": "implicit", "LOG_PATH": "/nowhere/log", "FORKS": "0", "PYTHON_INTERPRETER": "/usr/bin/python2",
}  # fmt: skip
IGNORED: dict[str, dict[str, str]] = {
    **{f"ANSIBLE_{name}": {f"ANSIBLE_{name}": value} for name, value in ANSIBLE.items()},
    **{f"LC_ALL={value}": {"LC_ALL": value} for value in ("zh_CN.UTF-8", "C", "POSIX", "de_DE.ISO-8859-1")},
    "LANG": {"LANG": "zh_CN.UTF-8", "LC_NUMERIC": "de_DE.UTF-8", "LANGUAGE": "zh"},
    "LC_*": {"LC_CTYPE": "zh_CN.GBK", "LC_MESSAGES": "de_DE.UTF-8", "LC_COLLATE": "POSIX"},
    "LOCUST_*": {"LOCUST_USERS": "1", "LOCUST_HEADLESS": "0", "LOCUST_RUN_TIME": "1s", "LOCUST_SKIP_MONKEY_PATCH": "1"},
    "PYTHONPATH": {"PYTHONPATH": "/usr/lib/python3/dist-packages", "PYTHONHOME": "/usr"},
    "PYTHONWARNINGS": {"PYTHONWARNINGS": "error", "PYTHONOPTIMIZE": "2", "PYTHONUTF8": "0", "PYTHONIOENCODING": "latin-1"},
    "PYTHONSTARTUP": {"PYTHONSTARTUP": "/nowhere", "PYTHONUSERBASE": "/tmp/base", "PYTHONBREAKPOINT": "x"},  # noqa: S108 - never used
    "PIP_USER": {"PIP_USER": "1"},
    "PIP_TARGET": {"PIP_TARGET": "/nowhere/elsewhere", "PIP_PREFIX": "/nowhere", "PIP_ROOT": "/nowhere"},
    "PIP_REQUIRE_VIRTUALENV": {"PIP_REQUIRE_VIRTUALENV": "1", "PIP_PYTHON": "/nowhere"},
    "PIP_NO_BINARY": {"PIP_NO_BINARY": ":all:", "PIP_NO_DEPS": "1", "PIP_CONSTRAINT": "/nowhere"},
    "PIP_CONFIG_FILE": {"PIP_CONFIG_FILE": "/nowhere/pip.conf", "PIP_REQUIREMENT": "/nowhere", "PIP_EDITABLE": "1"},
    "KUBECONFIG": {"KUBECONFIG": "/nowhere", "KUBECTL_EXTERNAL_DIFF": "x", "HELM_NAMESPACE": "x"},
    "GOFLAGS": {"GOFLAGS": "-mod=vendor", "GOROOT": "/nowhere", "GOARCH": "arm64", "GOTOOLCHAIN": "go1.1"},
    "GIT_*": {"GIT_DIR": "/nowhere", "GIT_WORK_TREE": "/nowhere", "GIT_CONFIG_GLOBAL": "/nowhere"},
    "BASH_ENV": {"BASH_ENV": "/nowhere/profile", "CDPATH": "/", "LD_PRELOAD": ""},
    "words of others": {"ENTRY": "x", "HOST": "machine", "CACHE": "1", "FILE": "x", "UI": "1", "ARGS": "x", "INVENTORY": "x"},
}  # fmt: skip
"""Settings that a host may have and that must have no effect."""


@pytest.fixture(scope="module")
def plain() -> dict[str, Any]:
    """The probe's report without any settings; stored by the first test that needs it."""
    return {}


@pytest.mark.parametrize("name", IGNORED)
def test_settings_of_other_programs_have_no_effect(name: str, plain: dict[str, Any], probed: Path, tmp_path: Path) -> None:
    if not plain:
        plain.update(outcome(probed, environment(tmp_path)))
    assert outcome(probed, environment(tmp_path, **IGNORED[name])) == plain
    assert plain["variables"]["LC_ALL"] == "C.UTF-8"


@pytest.mark.parametrize(
    "text",
    ["[install]\nuser = true\n", "[install]\ntarget = /nowhere\nno-binary = :all:\n[global]\nrequire-virtualenv = true\n"],
)
def test_pips_settings_for_where_to_install_have_no_effect(text: str, probed: Path, tmp_path: Path) -> None:
    plain = outcome(probed, environment(tmp_path))
    (tmp_path / ".config/pip").mkdir(parents=True)
    (tmp_path / ".config/pip/pip.conf").write_text(text)
    assert outcome(probed, environment(tmp_path)) == plain


def test_settings_for_reaching_packages_apply(probed: Path, tmp_path: Path) -> None:
    (tmp_path / ".config/pip").mkdir(parents=True)
    (tmp_path / ".config/pip/pip.conf").write_text(
        "[global]\nindex-url = https://file/simple\ncert = /file.pem\n[install]\nuser = true\n"
    )
    report = outcome(
        probed,
        environment(
            tmp_path, PIP_INDEX_URL="https://variable/simple", PIP_EXTRA_INDEX_URL="https://a https://b", GOPROXY="https://go"
        ),
    )
    assert {k: report["pip"][k] for k in ("index-url", "extra-index-url", "cert", "user")} == {
        "index-url": "https://variable/simple", "extra-index-url": "https://a https://b", "cert": "/file.pem", "user": "0",
    }  # fmt: skip
    assert report["variables"]["GOPROXY"] == "https://go"


LOCAL = ["127.0.0.1", "localhost", "::1"]


@pytest.mark.parametrize(
    "given",
    [
        {"HTTPS_PROXY": "http://127.0.0.1:9"}, {"https_proxy": "http://127.0.0.1:9"}, {"ALL_PROXY": "http://127.0.0.1:9"},
        {"HTTPS_PROXY": "http://127.0.0.1:9", "NO_PROXY": "localhost"},
        {"HTTPS_PROXY": "http://127.0.0.1:9", "no_proxy": "example.com", "NO_PROXY": "ignored"},
    ],
)  # fmt: skip
def test_this_machine_is_not_reached_through_a_proxy(given: dict[str, str], probed: Path, tmp_path: Path) -> None:
    report = outcome(probed, environment(tmp_path, **given))
    assert report["direct"] == LOCAL
    assert report["proxy"] == ("" if "ALL_PROXY" in given else "http://127.0.0.1:9"), "packages and other clusters are"


def test_the_gateway_of_a_cluster_of_this_machine_is_not_reached_through_a_proxy(probed: Path, tmp_path: Path) -> None:
    state = tmp_path / ".local/state/istio-lab/zz"
    state.mkdir(parents=True)
    (state / "gateway.json").write_text(
        json.dumps({"http": "http://10.89.0.200:80", "tcp": "10.89.0.200:31400", "by": "MetalLB"})
    )
    proxy = environment(tmp_path, HTTPS_PROXY="http://proxy:3128")
    assert outcome(probed, proxy)["direct"] == [*LOCAL, "10.89.0.200"]
    assert outcome(probed, proxy, "policy", "LAB=zz", "INVENTORY=existing")["direct"] == LOCAL, "the user decides"
    assert outcome(probed, {**proxy, "NO_PROXY": "*"})["direct"] == [*LOCAL, "10.89.0.200"]


def test_files_are_world_readable_regardless_of_the_umask(probed: Path, tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        assert outcome(probed, environment(tmp_path))["umask"] == 0o022
    finally:
        os.umask(before)


def test_a_playbook_gets_what_make_was_given_word_by_word(probed: Path, tmp_path: Path) -> None:
    given = ("load", "LAB=zz", "ENTRY=it's $(x)", "WORKERS=4", """ARGS=-e '{"a": [1, 2]}' -v""")
    arguments = outcome(probed, environment(tmp_path), *(word.replace("$", "$$") for word in given))["arguments"]
    assert arguments == [
        "--inventory", "inventories/kind", "--extra-vars", '{"lab_name": "zz"}', "-e", '{"a": [1, 2]}', "-v", "--extra-vars",
        '{"lab_entry": "it\'s $(x)", "lab_variant": "policy", "loadtest_where": "local", '
        '"loadtest_workers": "4"}',
        "playbooks/run_loadtest.yml",
    ]  # fmt: skip


def test_a_folder_is_handed_on_by_its_absolute_path(probed: Path, tmp_path: Path) -> None:
    (tmp_path / "deploy").mkdir()
    words = ("load", "ENTRY=mesh/canary", f"SAMPLE={tmp_path}/x/../deploy")
    given = json.loads(outcome(probed, environment(tmp_path), *words)["arguments"][-2])
    assert given["lab_entry"] == f"{probed}/mesh/canary"
    assert given["lab_own_sample"] == f"{tmp_path}/deploy"


@pytest.mark.parametrize("other", ["UI=1", "WHERE=cluster"])
def test_a_folder_is_refused_where_only_the_catalogue_is(probed: Path, tmp_path: Path, other: str) -> None:
    words = refusal(call(probed, environment(tmp_path), "load", "ENTRY=./mine", other))
    accepted = f"with {other}: an entry of the catalogue, by its name"
    assert words == f"ENTRY: '{probed}/mine' was given; accepted: {accepted}; nothing was changed"


def test_the_gate_has_a_token_of_its_own_and_judges_what_was_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def python(_: run.Call, *words: object) -> int:
        asked.extend(map(str, words))
        return 0

    monkeypatch.setattr(run.Call, "python", python)
    given = {**run.DEFAULTS, "LAB": "zz", "WHAT": "gate", "NAMESPACE": "shop", "SECONDS": "60", "HOST": "10.0.0.9"}
    call = run.Call("open", given, {"HOME": str(tmp_path)})
    call.state.mkdir(parents=True)
    call.kubeconfig.touch()
    token = call.state / "gate-token"
    for _ in range(2):
        assert run.open_page(call) == 0
        kept = token.read_text()
    assert (token.stat().st_mode & 0o777, len(kept.strip())) == (0o600, 32)
    assert kept == token.read_text(), "it stays"
    options, judging = asked[: asked.index("--")], asked[asked.index("--") + 1 : len(asked) // 2]
    assert options == [
        "-m", "loadtests.reports.gate", f"--state={call.state}", f"--token-file={token}", "--port=8089", "--namespace=shop",
        "--address=10.0.0.9",
    ]  # fmt: skip
    assert judging[2:] == [run.__file__, "judge", "LAB=zz", "NAMESPACE=shop", "SECONDS=60"]


def test_the_console_judges_with_an_account_that_ends_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    done: list[str] = []

    def python(call: run.Call, *words: object) -> int:
        done.append(" ".join(map(str, words[2:])))
        return 0

    def served(call: run.Call, *words: object, more: Mapping[str, object]) -> int:
        done.append(f"{words[0]} {more['NAMESPACE']}")
        (call.state / "judge-run-kubeconfig").touch()  # of a run that is killed with the console
        return 0

    monkeypatch.setattr(run.Call, "python", python)
    monkeypatch.setattr(run.Call, "run", served)
    call = run.Call("load", {**run.DEFAULTS, "LAB": "zz", "UI": "1", "NAMESPACE": "shop,pay"}, {"HOME": str(tmp_path)})
    call.state.mkdir(parents=True)
    call.kubeconfig.touch()
    assert run.console(call, {}) == 0
    account = f"--kubeconfig {call.kubeconfig}"
    assert done == [
        f"{account} --write {call.state}/console-kubeconfig --judged=shop,pay", "scripts/load-ui.sh shop,pay",
        f"{account} --end-judging",
    ]  # fmt: skip
    assert not list(call.state.glob("judge-*"))

    def interrupted(call: run.Call, *words: object, more: Mapping[str, object]) -> int:
        raise KeyboardInterrupt("SIGINT")

    monkeypatch.setattr(run.Call, "run", interrupted)
    done.clear()
    with pytest.raises(KeyboardInterrupt):
        run.console(call, {})
    assert done[-1] == f"{account} --end-judging"
    monkeypatch.setattr(run, "JUDGING_ENDS_SECONDS", 0.0)
    with locked(call.state.parent, "zz", "make judge"):
        run.end_judging(call)
    assert capsys.readouterr().err.startswith(
        "the account that judges for the console is left: LAB: zz is in use by make judge"
    )


def test_judging_for_the_console_is_make_judge_with_its_account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def python(call: run.Call, *words: object) -> int:
        asked.extend(map(str, words))
        return 0

    monkeypatch.setattr(run.Call, "python", python)
    monkeypatch.setattr(run, "install_packages", lambda call: 0)
    given = {**run.DEFAULTS, "LAB": "zz", "NAMESPACE": "shop", "ONLY": "VirtualService web: spec.http[0]", "JSON": "1"}
    for environment in ({}, {judging.VARIABLE: "/its/own"}):
        call = run.Call("judge", given, {"HOME": str(tmp_path), **environment})
        call.state.mkdir(parents=True, exist_ok=True)
        call.kubeconfig.touch()
        assert run.judge(call) == 0
        used = environment.get(judging.VARIABLE, call.kubeconfig)
        assert {f"--kubeconfig={used}", "--only=VirtualService web: spec.http[0]", "--json"} <= set(asked)
        asked.clear()


def refusal(done: subprocess.CompletedProcess[str]) -> str:
    """The single line of a refused command, without make's own output."""
    lines = [line for line in done.stderr.splitlines() if not line.startswith("make: ***")]
    assert done.returncode == 2, "make's own status"
    assert "] Error 1" in done.stderr, "the command's"
    assert len(lines) == 1, done.stderr
    return lines[0]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["lab", "LAB=a b"], "LAB: 'a b' was given; accepted: 1 to 32 lower-case letters, digits and inner hyphens;"),
        (["lab", "LAB=../x"], "LAB: '../x' was given"),
        (["lab", "LAB="], "LAB: '' was given"),
        (["load", "ENTY=mirror"], "ENTY: no such setting; did you mean ENTRY?; nothing was changed"),
        (["load", "INVENTORY=knd"], "INVENTORY: 'knd' was given; accepted: one of: ack, existing, kind; nothing was changed"),
        (["load", "ARGS=-e 'x"], "ARGS: \"-e 'x\" was given; accepted: options of ansible-playbook"),
        (["load", "ARGS=-e lab_name=x"], "ARGS: '-e lab_name=x' was given; accepted: lab_name is set by LAB="),
        (["load", "UI=1", "LAB=zz"], "LAB: lab zz does not exist; create it: make lab LAB=zz; nothing was changed"),
        (["open", "WHAT=zipkin", "LAB=zz"], "LAB: lab zz does not exist; create it: make lab LAB=zz"),
        (["explain", "POD=x", "LAB=zz"], "LAB: lab zz does not exist; create it: make lab LAB=zz"),
        (["latency", "LAB=zz"], "LAB: lab zz does not exist; create it: make lab LAB=zz"),
        (["judge"], "NAMESPACE: '' was given; accepted: a namespace in the mesh, as in NAMESPACE=shop; nothing was changed"),
        (["new"], "ENTRY: 'reviews-80-20' was given; accepted: a folder that does not exist yet, as in ENTRY=./mesh/my-"),
        (["new", "ENTRY=./mine", "LAB=zz"], "LAB: lab zz does not exist; create it: make lab LAB=zz; nothing was changed"),
        (["judge", "NAMESPACE=shop", "PLAN=1", "LAB=zz"], "LAB: lab zz does not exist; create it: make lab LAB=zz"),
    ],
)  # fmt: skip
def test_a_refusal_is_one_line_and_leaves_nothing(words: list[str], line: str, checkout: Path, tmp_path: Path) -> None:
    done = call(checkout, environment(tmp_path), *words)
    assert refusal(done).startswith(line)
    assert done.stdout == ""
    assert [path for path in tmp_path.rglob("*") if path.name not in (".local", "state")] == []


def test_lab_names_are_accepted_as_the_playbooks_accept_them() -> None:
    pattern, said = plugin("action", "check_inputs").SHARED["lab_name"]
    text = (PROJECT / "scripts/run.py").read_text()
    assert f'LAB_NAME = re.compile(r"{pattern}")' in text
    assert f'"{said}"' in text


# -- one command at a time -----------------------------------------------------------------------------------------------

WAITS = f"""#!{sys.executable}
import pathlib, sys, time
pathlib.Path("began").touch()
while not pathlib.Path("end").exists():
    time.sleep(0.02)
"""


def wait_for(path: Path) -> None:
    until = time.monotonic() + 20
    while not path.exists():
        assert time.monotonic() < until, path
        time.sleep(0.02)


def test_a_lab_runs_one_command_at_a_time(probed: Path, tmp_path: Path) -> None:
    (probed / ".venv/bin/ansible-playbook").write_text(WAITS)
    home, state = environment(tmp_path), tmp_path / ".local/state/istio-lab"
    command = ["make", "--no-print-directory", "verify", "LAB=zz"]
    with subprocess.Popen(
        command, cwd=probed, env=home, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as verify:
        try:
            wait_for(probed / "began")
            line = refusal(call(probed, home, "destroy", "LAB=zz"))
            assert line.startswith("LAB: zz is in use by make verify (process ")
            assert line.endswith("; accepted: another lab, or this one afterwards; nothing was changed")
            assert call(probed, home, "catalogue", "LAB=zz").returncode == 0, "it only reads"
            (probed / ".venv/bin/ansible-playbook").write_text(PROBE)
            outcome(probed, home, "destroy", "LAB=other")
        finally:
            (probed / "end").touch()
    assert verify.returncode == 0
    outcome(probed, home, "destroy", "LAB=zz")
    assert not state.exists(), "nothing is left of the lock"
    (probed / "began").unlink()
    (probed / "end").unlink()


def test_a_command_whose_launcher_was_killed_still_holds_the_lock(probed: Path, tmp_path: Path) -> None:
    (probed / ".venv/bin/ansible-playbook").write_text(WAITS)
    home = environment(tmp_path)
    launcher = subprocess.Popen([sys.executable, "-I", "scripts/run.py", "verify", "LAB=zz"], cwd=probed, env=home)
    try:
        wait_for(probed / "began")
        launcher.kill()
        launcher.wait()
        assert "in use by make verify" in refusal(call(probed, home, "destroy", "LAB=zz"))
    finally:
        (probed / "end").touch()
    with open(tmp_path / ".local/state/istio-lab/zz.lock") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # it ends with the command
    (probed / "began").unlink()
    (probed / "end").unlink()


@pytest.mark.parametrize(("sent", "to_group"), [(signal.SIGINT, True), (signal.SIGTERM, False), (signal.SIGHUP, False)])
def test_a_signal_ends_the_command_and_releases_the_lock(
    sent: signal.Signals, to_group: bool, probed: Path, tmp_path: Path
) -> None:
    (probed / ".venv/bin/ansible-playbook").write_text(WAITS)
    command = [sys.executable, "-I", "scripts/run.py", "verify", "LAB=zz"]
    quiet = subprocess.DEVNULL
    launcher = subprocess.Popen(
        command, cwd=probed, env=environment(tmp_path), start_new_session=True, stderr=quiet,
        preexec_fn=lambda: signal.signal(sent, signal.SIG_DFL),  # the tests themselves may run under nohup
    )  # fmt: skip
    wait_for(probed / "began")
    if to_group:
        os.killpg(launcher.pid, sent)
    else:
        launcher.send_signal(sent)
    assert launcher.wait(timeout=20) == 2
    assert not (tmp_path / ".local/state/istio-lab").exists()
    (probed / "began").unlink()


def test_what_ended_a_program_that_nobody_has_interrupted_is_named(
    task: Callable[[], psutil.Process | None], probed: Path, tmp_path: Path
) -> None:
    (probed / "how").write_text("heeds waits")
    command = [sys.executable, "-I", "scripts/run.py", "verify", "LAB=zz"]
    launcher = subprocess.Popen(command, cwd=probed, env=environment(tmp_path), stderr=subprocess.PIPE, text=True)
    wait_for(probed / "began")
    (ansible_,) = psutil.Process(launcher.pid).children()
    ansible_.kill()
    _, said = launcher.communicate(timeout=20)
    assert (launcher.returncode, said, task()) == (2, "ansible-playbook was ended by SIGKILL\n", None)


# A stand-in whose task goes on in a session of its own, as those of a playbook do. The file "how" says whether the task heeds
# signals or is one that is meant to go on, and how the stand-in itself ends.
STARTS = f"""#!{sys.executable}
import pathlib, shutil, subprocess, sys, time
how, status = pathlib.Path("how").read_text().split()
program = sys.executable
if how == "conmon":
    program = str(pathlib.Path("conmon").resolve())
    pathlib.Path(program).unlink(missing_ok=True)
    pathlib.Path(program).symlink_to(sys.executable)
deaf = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " if how == "deaf" else ""
forward = [str(pathlib.Path("scripts/forward.py").resolve()), "run"] if how == "forward" else []
code = deaf + "import pathlib, time; pathlib.Path('began').touch(); time.sleep(60)"
task = subprocess.Popen([program, "-c", code, *forward], start_new_session=True)
pathlib.Path("task").write_text(str(task.pid))
while status == "waits" or not pathlib.Path("began").exists():
    time.sleep(0.02)
sys.exit(int(status))
"""


@pytest.fixture
def task(probed: Path) -> Iterator[Callable[[], psutil.Process | None]]:
    """The task of the stand-in; None if it has ended."""
    (probed / ".venv/bin/ansible-playbook").write_text(STARTS)

    def running() -> psutil.Process | None:
        try:
            found = psutil.Process(int((probed / "task").read_text()))
            return found if found.cwd() == str(probed) and found.status() != psutil.STATUS_ZOMBIE else None
        except psutil.NoSuchProcess:
            return None

    yield running
    if left := running():
        left.kill()
    for name in ("how", "task", "began", "conmon"):
        (probed / name).unlink(missing_ok=True)


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("how", ["heeds", "deaf"])
def test_no_task_of_an_interrupted_command_goes_on_without_the_lock(
    how: str, sent: signal.Signals, task: Callable[[], psutil.Process | None], probed: Path, tmp_path: Path
) -> None:
    (probed / "how").write_text(f"{how} waits")
    launcher = subprocess.Popen(
        [sys.executable, "-I", "scripts/run.py", "verify", "LAB=zz"], cwd=probed, env=environment(tmp_path),
        start_new_session=True, stderr=subprocess.DEVNULL, preexec_fn=lambda: signal.signal(sent, signal.SIG_DFL),
    )  # fmt: skip
    wait_for(probed / "began")
    at = time.monotonic()
    os.killpg(launcher.pid, sent) if sent == signal.SIGINT else launcher.send_signal(sent)
    assert launcher.wait(timeout=20) == 2
    assert (task(), time.monotonic() - at < 2) == (None, True)


@pytest.mark.parametrize(
    ("how", "status", "goes_on"),
    [("heeds", 0, True), ("heeds", 1, False), ("heeds", 2, False), ("conmon", 2, True), ("forward", 2, True)],
)
def test_what_a_command_has_started_ends_with_it_unless_it_is_done_or_serves_the_lab(
    how: str, status: int, goes_on: bool, task: Callable[[], psutil.Process | None], probed: Path, tmp_path: Path
) -> None:
    (probed / "how").write_text(f"{how} {status}")
    command = [sys.executable, "-I", "scripts/run.py", "verify", "LAB=zz"]
    done = subprocess.run(command, cwd=probed, env=environment(tmp_path), timeout=20, check=False)
    assert (done.returncode, task() is not None) == (status, goes_on)


def test_an_interrupt_between_two_programs_is_one_line(probed: Path, tmp_path: Path) -> None:
    home = environment(tmp_path)
    project = os.open(probed, os.O_RDONLY)
    try:
        fcntl.flock(project, fcntl.LOCK_EX)  # as if another command were installing packages
        launcher = subprocess.Popen(
            [sys.executable, "-I", "scripts/run.py", "verify", "LAB=zz"], cwd=probed, env=home, text=True,
            stderr=subprocess.PIPE, start_new_session=True, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )  # fmt: skip
        wait_for(tmp_path / ".local/state/istio-lab/zz.lock")
        os.killpg(launcher.pid, signal.SIGINT)
        _, said = launcher.communicate(timeout=20)
    finally:
        os.close(project)
    assert (launcher.returncode, said) == (2, "interrupted by SIGINT; what was running has ended\n")
    assert not (tmp_path / ".local/state/istio-lab").exists()


def test_commands_of_different_labs_may_begin_and_end_at_the_same_time(tmp_path: Path) -> None:
    script = "import sys, pathlib; from scripts.run import locked\n"
    script += "for _ in range(150):\n    with locked(pathlib.Path(sys.argv[1]), sys.argv[2], 'make verify'): pass"
    command = [sys.executable, "-c", script, str(tmp_path / "labs")]
    running = [
        subprocess.Popen([*command, lab], cwd=PROJECT, stderr=subprocess.PIPE, text=True) for lab in ("one", "two", "three")
    ]
    assert [(one.communicate(timeout=60)[1], one.returncode) for one in running] == [("", 0)] * len(running)
    assert not (tmp_path / "labs").exists()


EARLIER_FACTS = {"started": "2026-11-25T00:00:00Z", "seconds": 7.5, "margin": 0.05}
EARLIER_RUN = {"outcome": "PASS", "n": 9, "reasons": [], "classes": [], "facts": EARLIER_FACTS}


def reported(results: Path, *folders: str) -> None:
    """Leave the reports of earlier runs."""
    for folder in folders:
        (results / folder).mkdir(parents=True)
        (results / folder / "verdict.html").touch()
        (results / folder / "verdict.json").write_text(json.dumps(EARLIER_RUN))


@pytest.mark.parametrize(
    ("words", "moved"),
    [
        (["load", "ENTRY=cors"], ["cors"]),
        (["load", "ENTRY=cors", "VARIANT=control"], ["control/cors"]),
        (["verify"], ["cors", "jwt", "control/cors", "catalogue.json"]),
        (["load", "ENTRY=control"], []),
        (["load", "ENTRY=../results/cors"], []),
        (["load", "ENTRY=./mine"], ["mine"]),
    ],
)
def test_no_verdict_of_an_earlier_run_is_left_when_a_command_begins(
    words: list[str], moved: list[str], probed: Path, tmp_path: Path
) -> None:
    (probed / ".venv/bin/ansible-playbook").write_text(WAITS)
    (probed / ".venv/lab.stamp").unlink()
    # What installs packages runs first: the command is ended in the middle of it.
    script = probed / "scripts/bootstrap.sh"
    kept = script.read_text()
    script.write_text(WAITS)
    results = tmp_path / ".local/state/istio-lab/zz/results"
    reported(results, "cors", "jwt", "control/cors", "mine")
    (results / "catalogue.json").write_text("[]")
    command = [sys.executable, "-I", "scripts/run.py", *words, "LAB=zz"]
    launcher = subprocess.Popen(command, cwd=probed, env=environment(tmp_path), start_new_session=True)
    try:
        wait_for(probed / "began")
    finally:
        os.killpg(launcher.pid, signal.SIGKILL)
        launcher.wait()
        script.write_text(kept)
        (probed / ".venv/lab.stamp").touch()
        (probed / "began").unlink()
    everything = {"cors", "jwt", "control/cors", "mine", "catalogue.json"}
    assert {name for name in everything if not (results / name).exists()} == set(moved)
    listed = call(probed, environment(tmp_path), "catalogue", "LAB=zz").stdout
    listed_as = "earlier PASS" if "cors" in moved else "PASS"
    assert re.search(rf"^cors +{listed_as} ", listed, re.MULTILINE), "the catalogue still lists the last one"
    assert likely_seconds(results, entry.load("cors")) == 7.5, "and the next run knows how long it takes"


def test_a_refused_command_leaves_the_verdicts_in_place(probed: Path, tmp_path: Path) -> None:
    results = tmp_path / ".local/state/istio-lab/zz/results"
    reported(results, "cors")
    refusal(call(probed, environment(tmp_path), "verify", "LAB=zz", "INVENTORY=knd"))
    with locked(tmp_path / ".local/state/istio-lab", "zz", "make load"):
        refusal(call(probed, environment(tmp_path), "verify", "LAB=zz"))
        refusal(call(probed, environment(tmp_path), "load", "LAB=zz", "ENTRY=cors"))
    assert (results / "cors/verdict.json").exists()


def test_no_latency_of_an_earlier_run_is_left_when_a_command_begins(probed: Path, tmp_path: Path) -> None:
    state = tmp_path / ".local/state/istio-lab/zz"
    (state / "results/latency").mkdir(parents=True)
    (state / "results/latency/latency.json").write_text("{}")
    (state / "kubeconfig").touch()
    assert call(probed, environment(tmp_path), "latency", "LAB=zz").returncode == 2, "there is no gateway"
    assert not (state / "results/latency/latency.json").exists()


# -- Ansible itself ------------------------------------------------------------------------------------------------------

EVERYTHING = {
    **{f"ANSIBLE_{name}": value for name, value in ANSIBLE.items()}, "LC_ALL": "zh_CN.UTF-8", "LANG": "de_DE.ISO-8859-1",
    "PYTHONPATH": "/usr/lib/python3/dist-packages", "PYTHONWARNINGS": "error", "GOFLAGS": "-x",
    "HTTPS_PROXY": "http://127.0.0.1:9",
}  # fmt: skip
REFUSED = "[ERROR]: lab_entry: nosuch was given; accepted: an entry of the catalogue, such as "


def test_a_playbook_still_refuses_bad_input_with_all_of_them_set(checkout: Path, tmp_path: Path) -> None:
    line = refusal(call(checkout, environment(tmp_path, **EVERYTHING), "policy", "ENTRY=nosuch", "LAB=zz"))
    assert line.startswith(REFUSED)
    assert not (tmp_path / ".local/state/istio-lab").exists()


def test_a_load_test_without_a_lab_is_one_line(checkout: Path, tmp_path: Path) -> None:
    line = refusal(call(checkout, environment(tmp_path), "load", "LAB=zz"))
    assert line == "[ERROR]: LAB: lab zz does not exist; create it: make lab LAB=zz; nothing was changed"
    assert not (tmp_path / ".local/state/istio-lab").exists()


def test_the_catalogue_is_listed_from_such_a_path(checkout: Path, tmp_path: Path) -> None:
    done = call(checkout, environment(tmp_path, LC_ALL="C"), "catalogue")
    assert done.returncode == 0, done.stderr
    assert "reviews-80-20" in done.stdout


def command_lines(tasks: Any) -> Iterator[str]:
    """Command lines that tasks pass to a shell, or that are split like in one."""
    for task in tasks if isinstance(tasks, list) else []:
        for key, value in task.items():
            if key in ("block", "rescue", "always", "tasks", "pre_tasks"):
                yield from command_lines(value)
            elif key in ("ansible.builtin.command", "ansible.builtin.shell"):
                yield value if isinstance(value, str) else value.get("cmd", "")


def test_paths_on_command_lines_are_quoted() -> None:
    unquoted = []
    files = [*PROJECT.glob("roles/*/tasks/*.yml"), *PROJECT.glob("playbooks/*.yml"), *PROJECT.glob("playbooks/tasks/*.yml")]
    for file in files:
        for line in command_lines(yaml.safe_load(file.read_text())):
            found = re.findall(r"\{\{(.*?)\}\}", line, re.DOTALL)
            unquoted += [
                (file.name, e) for e in found if re.search(r"_(dir|path|file|python|kubeconfig)\b", e) and "quote" not in e
            ]
    assert unquoted == []


def test_where_a_task_runs_kubectl_a_comment_says_why_no_module_does() -> None:
    unexplained = []
    for file in [
        *PROJECT.glob("roles/*/tasks/*.yml"),
        *PROJECT.glob("playbooks/*.yml"),
        *PROJECT.glob("playbooks/tasks/*.yml"),
    ]:
        text = file.read_text()
        runs = re.search(r"\bkubectl --|- kubectl\n|__loadtest_kubectl \}\}", text)
        if runs and not re.search(r"# .*\bkubectl\b", text):
            unexplained.append(str(file.relative_to(PROJECT)))
    assert unexplained == []


PLAYBOOKS = {
    "done": ("[{debug: {msg: fine}}]", 0, ""),
    "refused": ("[{assert: {that: false, fail_msg: 'X: 1; nothing was changed'}}]", 1, "X: 1; nothing was changed"),
    "failed": (
        "[{name: Ask the server, command: {argv: [sh, -c, 'echo denied the request: no such field >&2; exit 1']}}]", 2,
        "Ask the server: denied the request: no such field; log: {log}",
    ),
    "several": (
        "[{name: Ask, command: {argv: [sh, -c, 'echo no {{ item }} >&2; exit {{ item }}']}, loop: [0, 1, 2]}]", 2,
        "Ask: no 1; log: {log}",
    ),
    "explained": (
        "[{block: [{command: 'false'}], rescue: [{fail: {msg: 'because; nothing was made'}}]}]", 1, "because; nothing was made",
    ),
    "judged": ("[{assert: {that: false, fail_msg: 'mirror: FAIL after 9 requests; report: x'}}]", 1, "mirror: FAIL after"),
    "void": ("[{fail: {msg: 'mirror: VOID after 9 requests: FAIL was near; report: x'}}]", 2, "mirror: VOID after 9 requests"),
    "checked": ("[{assert: {that: false, fail_msg: 'still there: istiod'}}]", 2, "still there: istiod"),
    "rescued": ("[{block: [{assert: {that: false}}], rescue: [{debug: {msg: well}}]}]", 0, "Assertion failed"),
    "awaited": ("[{name: Look, command: {argv: ['true']}, until: false, retries: 1, delay: 1, failed_when: false}]", 0, ""),
    "secret": ("[{name: Hide, command: {argv: [sh, -c, 'echo hush >&2; exit 1']}, no_log: true}]", 2, "Hide: "),
}  # fmt: skip


@pytest.mark.parametrize("name", PLAYBOOKS)
def test_exit_status_and_message_of_a_playbook(name: str, tmp_path: Path) -> None:
    tasks, status, line = PLAYBOOKS[name]
    (tmp_path / "play.yml").write_text(f"[{{hosts: localhost, gather_facts: false, tasks: {tasks}}}]")
    log = tmp_path / "ansible.log"
    done = ansible(tmp_path / "play.yml", LAB_LOG=str(log))
    assert done.returncode == status, done.stdout + done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith("[ERROR]")]
    assert "hush" not in done.stdout + done.stderr
    if line:
        assert errors[-1].startswith(f"[ERROR]: {line.format(log=log)}"), errors
        assert "fatal:" not in done.stdout
        assert "Origin:" not in done.stderr
    else:
        assert errors == []
        assert "[ERROR]" not in done.stdout
    if name == "failed":
        assert "stderr: 'denied the request: no such field'" in log.read_text()
        assert log.stat().st_mode & 0o777 == 0o600
    if name == "secret":
        assert "hush" not in log.read_text()


@pytest.mark.parametrize("variables", [{"ANSIBLE_SKIP_TAGS": "all"}, {"ANSIBLE_RUN_TAGS": "foo"}])
def test_a_playbook_that_did_nothing_has_not_succeeded(variables: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "play.yml").write_text("[{name: Work, hosts: localhost, gather_facts: false, tasks: [{debug: {}}]}]")
    done = ansible(tmp_path / "play.yml", ANSIBLE_CALLBACKS_ENABLED="timer", **variables)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("[ERROR]: not done: Work; ")
    assert "ANSIBLE_SKIP_TAGS" in done.stderr


def ansible(playbook: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """The plain command, with this project's settings."""
    given = {**environment(playbook.parent), "ANSIBLE_CONFIG": str(PROJECT / "ansible.cfg"), "LC_ALL": "C.UTF-8", **variables}
    command = [str(Path(sys.prefix, "bin/ansible-playbook")), "-i", "localhost,", "-c", "local", str(playbook)]
    return subprocess.run(command, env=given, capture_output=True, text=True, check=False, timeout=60)


def test_a_task_that_goes_on_beside_others_is_found_in_another_home_and_from_a_path_with_blanks(
    checkout: Path, tmp_path: Path
) -> None:
    interpreters = set()
    for file in PROJECT.glob("roles/*/tasks/*.yml"):
        tasks = [task for task in yaml.safe_load(file.read_text()) or [] if "async" in task]
        interpreters |= {task.get("vars", {}).get("ansible_python_interpreter", f"{file}: none") for task in tasks}
    (interpreter,) = interpreters
    started = {
        "command": "echo well", "register": "begun", "async": 20, "poll": 0,
        "vars": {"ansible_python_interpreter": interpreter},
    }  # fmt: skip
    looked = {
        "async_status": {"jid": "{{ begun.ansible_job_id }}"}, "register": "ended", "until": "ended.finished", "retries": 20,
        "delay": 0.2,
    }  # fmt: skip
    tasks = [started, looked, {"debug": {"msg": "it went {{ ended.stdout }}"}}]
    (checkout / "playbooks/beside.yml").write_text(json.dumps([{"hosts": "all", "tasks": tasks}]))
    (tmp_path / "läb dir").symlink_to(sys.prefix)
    done = subprocess.run(
        [str(tmp_path / "läb dir/bin/python3"), "-m", "ansible", "playbook", "-i", "inventories/kind", "playbooks/beside.yml"],
        env=environment(tmp_path, ANSIBLE_CONFIG=str(checkout / "ansible.cfg"), LC_ALL="C.UTF-8"), cwd=checkout,
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    (checkout / "playbooks/beside.yml").unlink()
    assert "it went well" in done.stdout, done.stdout + done.stderr


def verifying(
    checkout: Path, home: Path, tasks: list[dict[str, Any]], shown: int = subprocess.DEVNULL, **variables: str
) -> Iterator[subprocess.Popen[str]]:
    """``make verify`` with other tasks, by Ansible itself."""
    file = checkout / "playbooks/verify_catalogue.yml"
    kept = file.read_text()
    file.write_text(json.dumps([{"hosts": "all", "gather_facts": False, "tasks": tasks}]))
    launcher = subprocess.Popen(
        [sys.executable, "-I", "scripts/run.py", "verify", "LAB=zz"], cwd=checkout, text=True,
        env=environment(home, **variables), start_new_session=True, stdout=shown, stderr=subprocess.PIPE,
        preexec_fn=lambda: [signal.signal(one, signal.SIG_DFL) for one in run.SIGNALS],
    )  # fmt: skip
    try:
        yield launcher
    finally:
        file.write_text(kept)
        launcher.kill()


def plain_playbook(checkout: Path, home: Path, tasks: list[dict[str, Any]], **variables: str) -> subprocess.Popen[str]:
    """``ansible-playbook`` without make, of a playbook of this project."""
    (checkout / "playbooks/plain.yml").write_text(json.dumps([{"hosts": "all", "gather_facts": False, "tasks": tasks}]))
    command = [str(Path(sys.prefix, "bin/ansible-playbook")), "-i", "inventories/kind", "-e", "lab_name=zz"]
    return subprocess.Popen(
        [*command, "playbooks/plain.yml"], cwd=checkout, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env=environment(home, ANSIBLE_CONFIG=str(checkout / "ansible.cfg"), LC_ALL="C.UTF-8", **variables),
        start_new_session=True, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip


@pytest.mark.parametrize("variables", [{}, {"LAB_LOCK": "0"}, {"LAB_LOCK": "x"}], ids=str)
def test_a_plain_playbook_is_refused_while_a_command_holds_the_lock(
    variables: dict[str, str], checkout: Path, tmp_path: Path
) -> None:
    done = tmp_path / "done"
    with locked(tmp_path / ".local/state/istio-lab", "zz", "make verify"):
        refused = plain_playbook(checkout, tmp_path, [{"command": f"touch {done}"}], **variables)
        said = refused.communicate(timeout=60)[1]
    assert (refused.returncode, done.exists(), len(said.splitlines())) == (1, False, 1)
    assert said.startswith(f"[ERROR]: LAB: zz is in use by make verify (process {os.getpid()}, since ")
    assert said.endswith("; accepted: another lab, or this one afterwards; nothing was changed\n")
    assert plain_playbook(checkout, tmp_path, [{"command": f"touch {done}"}], **variables).wait(timeout=60) == 0
    assert done.exists()
    assert not (tmp_path / ".local/state/istio-lab").exists(), "nothing is left of the lock"


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_plain_playbook_holds_the_lock_as_long_as_it_or_its_task_runs(
    sent: signal.Signals, checkout: Path, tmp_path: Path
) -> None:
    began, state = tmp_path / "began", tmp_path / ".local/state/istio-lab"
    task = {"command": {"argv": ["sh", "-c", f'echo $$ >"{began}.part"; mv "{began}.part" "{began}"; exec sleep 60']}}
    running = plain_playbook(checkout, tmp_path, [task])
    wait_for(began)
    held_by = f"LAB: zz is in use by ansible-playbook plain.yml (process {running.pid}, since "
    assert refusal(call(checkout, environment(tmp_path), "destroy", "LAB=zz")).startswith(held_by)
    os.killpg(running.pid, sent)
    running.communicate(timeout=20)
    if sent == signal.SIGKILL:  # nobody ends the task
        with pytest.raises(run.RefusedError, match=re.escape(held_by)), locked(state, "zz", "make lab"):
            pass
        psutil.Process(int(began.read_text())).kill()
    until = time.monotonic() + 5
    while not is_free(state, "zz"):
        assert time.monotonic() < until
        time.sleep(0.02)


def is_free(state: Path, lab: str) -> bool:
    try:
        with locked(state, lab, "a test"):
            return True
    except run.RefusedError:
        return False


@pytest.mark.parametrize("moment", [0.1, 0.3, 0.5, 0.7, 0.9, 1.2, 1.5, 1.8, 2.1, 2.4])
def test_an_interrupt_of_ansible_at_any_moment_is_one_line(moment: float, checkout: Path, tmp_path: Path) -> None:
    # Each starts processes: where Ansible does that, an exception that a signal raises is lost.
    for launcher in verifying(checkout, tmp_path, [{"command": "true"}] * 200):
        wait_for(tmp_path / ".local/state/istio-lab/zz.lock")
        time.sleep(moment)
        at = time.monotonic()
        os.killpg(launcher.pid, signal.SIGINT)
        _, said = launcher.communicate(timeout=60)
        assert (launcher.returncode, said) == (2, "interrupted by SIGINT; what was running has ended\n")
        assert time.monotonic() - at < 2
    assert not list(tmp_path.glob(".ansible/tmp/ansible-local-*"))


def test_an_interrupt_leaves_the_terminal_as_it_was(checkout: Path, tmp_path: Path) -> None:
    master, slave = os.openpty()
    began = tmp_path / "began"
    task = {"command": {"argv": ["sh", "-c", f"sleep 1.5; touch {began}; exec sleep 60"]}}
    for launcher in verifying(checkout, tmp_path, [task], slave, TERM="xterm"):
        os.close(slave)
        wait_for(began)
        os.killpg(launcher.pid, signal.SIGINT)
        launcher.communicate(timeout=20)
    text = os.read(master, 100_000).decode()
    os.close(master)
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l"), "the cursor is visible again"


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_neither_a_task_nor_one_beside_it_goes_on_after_an_interrupt(
    sent: signal.Signals, checkout: Path, tmp_path: Path
) -> None:
    began = [tmp_path / "beside", tmp_path / "task"]
    commands = [["sh", "-c", 'echo $$ >"$1"; exec sleep 60', "sh", str(file)] for file in began]
    beside = {"command": {"argv": commands[0]}, "async": 90, "poll": 0}
    for launcher in verifying(checkout, tmp_path, [beside, {"command": {"argv": commands[1]}}]):
        for one in began:
            wait_for(one)
        running = [psutil.Process(int(one.read_text())) for one in began]
        at = time.monotonic()
        os.killpg(launcher.pid, sent) if sent == signal.SIGINT else launcher.send_signal(sent)
        _, said = launcher.communicate(timeout=20)
        took, left = time.monotonic() - at, [one for one in running if one.is_running()]
        for one_left in left:
            one_left.kill()
        assert (launcher.returncode, left, took < 2) == (2, [], True), said
        assert said == f"interrupted by {sent.name}; what was running has ended\n"


@pytest.mark.parametrize(("inventory", "gateway"), [("kind", ["10.89.0.200"]), ("existing", [])])
def test_what_a_playbook_runs_reaches_this_machine_directly(
    inventory: str, gateway: list[str], checkout: Path, tmp_path: Path
) -> None:
    state = tmp_path / ".local/state/istio-lab/zz"
    state.mkdir(parents=True)
    (state / "gateway.json").write_text(json.dumps({"http": "http://10.89.0.200:80"}))
    tasks = "[{command: printenv NO_PROXY no_proxy, register: shown}, {debug: {msg: '{{ shown.stdout_lines | join(chr) }}'}}]"
    play = f"[{{hosts: all, environment: '{{{{ lab_environment }}}}', vars: {{chr: ' '}}, tasks: {tasks}}}]"
    (checkout / "playbooks/shown.yml").write_text(play)
    given = environment(
        tmp_path,
        HTTPS_PROXY="http://127.0.0.1:9",
        NO_PROXY="example.com",
        ANSIBLE_CONFIG=str(checkout / "ansible.cfg"),
        LC_ALL="C.UTF-8",
    )
    command = [str(Path(sys.prefix, "bin/ansible-playbook")), "-i", f"inventories/{inventory}", "-e", "lab_name=zz"]
    done = subprocess.run(
        [*command, "playbooks/shown.yml"], cwd=checkout, env=given, capture_output=True, text=True, check=False, timeout=60
    )
    names = ",".join(["example.com", "127.0.0.1", "::1", "localhost", *gateway])
    assert f"msg: {names} {names}" in " ".join(done.stdout.split()), done.stdout + done.stderr


@pytest.mark.parametrize("variables", [{"LC_ALL": "zh_CN.UTF-8"}, {"LC_ALL": "C", "LANG": "C"}])
def test_the_plain_command_works_in_any_locale_with_any_umask_and_in_a_world_writable_folder(
    variables: dict[str, str], checkout: Path, tmp_path: Path
) -> None:
    packages = tmp_path / "venv" / Path(sys.prefix, "lib").name / f"python3.{sys.version_info.minor}" / "site-packages"
    folder = tmp_path / "checkout"
    shutil.copytree(checkout, folder, symlinks=True, ignore=shutil.ignore_patterns("lib"))
    packages = folder / f".venv/lib/python3.{sys.version_info.minor}/site-packages"
    packages.mkdir(parents=True)
    (packages / "others.pth").write_text(f"{Path(sys.prefix, 'lib', packages.parent.name, 'site-packages')}\n")
    script = (PROJECT / "scripts/bootstrap.sh").read_text()
    (packages / "istio_lab.pth").write_text(script.split("<<'END'\n")[1].split("END\n")[0])
    folder.chmod(0o777)
    programs = [str(folder / ".venv/bin" / name) for name in ("python", "ansible-playbook")]
    command = [*programs, "-i", "inventories/kind", "-e", "kind_cluster_nodes=0"]
    given = environment(tmp_path, **variables)
    done = subprocess.run(
        [*command, "playbooks/site.yml"], cwd=folder, env=given, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert done.stderr.startswith("[ERROR]: kind_cluster_nodes: '0' was given"), done.stderr
    asked = f"{programs[0]} -c 'import os; print(os.umask(0))'"
    shown = subprocess.run(["sh", "-c", f"umask 077; {asked}"], env=given, capture_output=True, text=True, check=True).stdout
    assert int(shown) == 0o022, "what goes into images is world-readable"


@pytest.mark.parametrize(
    ("outcomes", "status"),
    [(["PASS", "PASS"], 0), (["PASS", "FAIL"], 1), (["VOID", "FAIL"], 1), (["PASS", "VOID"], 2), (["PASS"], 2)],
)
def test_the_catalogues_exit_status_follows_its_verdicts(outcomes: list[str], status: int, tmp_path: Path) -> None:
    names = ["cors", "jwt"]
    for name, outcome_of in zip(names, outcomes, strict=False):
        (tmp_path / name).mkdir()
        verdict = {"outcome": outcome_of, "n": 1, "reasons": [], "classes": [], "facts": EARLIER_FACTS}
        (tmp_path / name / "verdict.json").write_text(json.dumps(verdict))
    command = [
        sys.executable,
        "-m",
        "loadtests.reports.summary",
        "--since=0",
        f"--results={tmp_path}",
        f"--entries={','.join(names)}",
    ]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == status, done.stderr
    bad = [f"{name} {o}" for name, o in zip(names, [*outcomes, "not run"], strict=False) if o != "PASS"]
    words = f"not PASS: {', '.join(bad)}; " if bad else ""
    assert done.stdout.splitlines()[-1] == f"{words}report: {tmp_path}/catalogue.html"


def test_the_consoles_password_is_private_whatever_the_umask(checkout: Path, tmp_path: Path) -> None:
    state = tmp_path / ".local/state/istio-lab/zz"
    state.mkdir(parents=True)
    (state / "gateway.json").write_text("{}")
    script = ["bash", "-c", "umask 0; exec scripts/load-ui.sh"]
    given = environment(tmp_path, LAB="zz", WHERE="cluster")
    done = subprocess.run(script, cwd=checkout, env=given, capture_output=True, text=True, check=False, timeout=60)
    password = state / "ui-password"
    assert (password.stat().st_mode & 0o777, len(password.read_text().strip())) == (0o600, 24), done.stderr


# -- Locust --------------------------------------------------------------------------------------------------------------

READS = """
import sys
import loadtests.run.__main__
from locust import argument_parser
options = argument_parser.get_parser().parse_args(["--users", "3"])
print(options.num_users, options.headless, options.host)
"""


@pytest.mark.parametrize("text", ["users = 1\nheadless = true\nhost = http://elsewhere\n", "= = no\n[["])
def test_locust_takes_settings_only_from_its_command_line(text: str, tmp_path: Path) -> None:
    (tmp_path / ".locust.conf").write_text(text)
    given = environment(tmp_path, LOCUST_HOST="http://elsewhere", LOCUST_HEADLESS="1", LOCUST_USER_CLASSES="x")
    command = [sys.executable, "-c", READS]
    done = subprocess.run(command, cwd=PROJECT, env=given, capture_output=True, text=True, check=False, timeout=60)
    assert done.stdout.strip() == "3 False None", done.stderr


FORKED = """
import sys
from pathlib import Path
from loadtests.run import forked
options = ["--locustfile", "loadtests/run/locustfile.py", "--kubeconfig", "none", "--list"]
print(forked.run_locust(options, Path(sys.argv[1]), 60))
"""


def test_forked_locust_takes_no_other_settings(tmp_path: Path) -> None:
    (tmp_path / ".locust.conf").write_text("= = no\n[[")
    command = [sys.executable, "-c", FORKED, str(tmp_path / "output")]
    given = environment(tmp_path)
    done = subprocess.run(command, cwd=PROJECT, env=given, capture_output=True, text=True, check=False, timeout=60)
    assert done.stdout.strip() == "0", done.stderr
    assert "MeshUser" in (tmp_path / "output").read_text()


def test_help_names_every_verb_once_by_task(capsys: pytest.CaptureFixture[str]) -> None:
    assert run.main([]) == 0
    printed = capsys.readouterr().out.splitlines()
    verbs = [line.split()[1] for line in printed if line.startswith("  make ")]
    assert sorted(verbs) == sorted(set(run.VERBS) - {"help"})
    assert [line for line in printed if not line.startswith("  make ")] == [f"{task}:" for task in run.TASKS]
    assert max(map(len, printed)) <= 128
