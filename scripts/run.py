#!/usr/bin/env -S python3 -I
"""Runs one lab command in a clean environment: ``scripts/run.py load LAB=mine ENTRY=reviews-80-20``.

``make load`` does the same. Only the variables in PASSED are taken from the caller's environment. A command that changes or
measures a lab holds that lab's lock. The exit status is 0 for PASS or done, 1 for FAIL or refused, 2 for anything else; make
turns 1 into 2.

It uses only Python's standard library, because it also creates the virtual environment.
"""

from __future__ import annotations

import configparser
import contextlib
import ctypes
import difflib
import fcntl
import fnmatch
import json
import os
import re
import secrets
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from urllib.parse import urlsplit

PROJECT = Path(__file__).resolve().parent.parent
BIN = PROJECT / ".venv/bin"
DONE, REFUSED, FAILED = 0, 1, 2
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""They end a command, unless its caller ignores them."""

PASSED = {
    "where this user's files are": "HOME USER LOGNAME TMPDIR XDG_*",
    "where programs are": "PATH",
    "what the terminal shows": "TERM COLORTERM NO_COLOR COLUMNS LINES TZ",
    "how packages and remote clusters are reached": "HTTP_PROXY HTTPS_PROXY ALL_PROXY http_proxy https_proxy all_proxy",
    "whose certificates the host trusts": "SSL_CERT_FILE SSL_CERT_DIR REQUESTS_CA_BUNDLE CURL_CA_BUNDLE NODE_EXTRA_CA_CERTS",
    "how npm packages are reached": "NPM_CONFIG_REGISTRY NPM_CONFIG_USERCONFIG npm_config_registry npm_config_userconfig",
    "how Go modules are reached": "GOPROXY GONOPROXY GOPRIVATE GOSUMDB GONOSUMDB GOINSECURE GOAUTH NETRC",
    "how podman works on this host": "CONTAINERS_CONF CONTAINERS_*_CONF STORAGE_DRIVER REGISTRY_AUTH_FILE",
    "where docker's daemon is": "DOCKER_HOST DOCKER_CONTEXT DOCKER_CONFIG DOCKER_CERT_PATH DOCKER_TLS_VERIFY",
    "the cloud's credentials": "ALIBABA_CLOUD_*",
    "what the login command in an existing cluster's kubeconfig reads": "AWS_* AZURE_* GOOGLE_* CLOUDSDK_*",
    "for the lab and its tests": "LAB LAB_* UI_PORT BENCH_PAIRS MOLECULE_*",
}
"""Reason -> names (or patterns) of the caller's variables that a command receives. All others are dropped."""

PIP_PASSED = (
    "index-url", "extra-index-url", "find-links", "no-index", "trusted-host", "cert", "client-cert", "proxy", "timeout",
    "default-timeout", "retries", "cache-dir", "keyring-provider", "use-feature",
)  # fmt: skip
"""pip settings for how to reach packages. The others, what to install and where, are decided by the lab."""

SET = {
    "LC_ALL": "C.UTF-8",  # available on every supported host
    "ANSIBLE_CONFIG": str(PROJECT / "ansible.cfg"),  # set, because Ansible ignores the file in a world-writable folder
    "PYTHONNOUSERSITE": "1",
    "PIP_CONFIG_FILE": os.devnull,  # the relevant settings are passed as variables
    "PIP_USER": "0",
    "PIP_NO_INPUT": "1",
    "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    "DEBIAN_FRONTEND": "noninteractive",
}

DEFAULTS = {
    **dict.fromkeys(("ARGS", "UI", "BUNDLE", "ARCH", "FILE", "WHAT", "POD", "CACHE", "ONLY", "JSON", "VERBOSE"), ""),
    "SAMPLE": "",
    **dict.fromkeys(("RATE", "STEP", "P99", "HOST", "HOPS", "FIND", "USERS", "SEED"), ""),
    **dict.fromkeys(("NAMESPACE", "PLAN", "CONFIRM", "METHODS", "IDENTITIES", "TOTAL", "SECONDS"), ""),
    "LAB": "istio-lab",
    "INVENTORY": "kind",
    "ENTRY": "reviews-80-20",
    "VARIANT": "policy",
    "WHERE": "local",
    "WORKERS": "2",
    "UI_PORT": "8089",
    "URL": "/productpage",
}
"""Every setting that a command accepts."""
FROM_ENVIRONMENT = ("LAB", "UI_PORT")
"""Settings that may come from the environment. Other programs use the other names too, such as HOST and CACHE."""
JUDGING = ("CONFIRM", "METHODS", "IDENTITIES", "RATE", "TOTAL", "SECONDS")
"""Settings of a run that judges a namespace."""
ACCESS = ("-m", "loadtests.console.access", "--kubeconfig")
JUDGING_ENDS_SECONDS = 10.0
"""How long a run that the console has started may take to end with it."""
PATHS = ("ENTRY", "SAMPLE")
"""Settings that may be, or are, the path of a folder."""
LAB_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?")
LOCAL = ("127.0.0.1", "::1", "localhost")
SPARED = ("aardvark-dns", "apt-get", "catatonit", "conmon", "dpkg", "netavark")
"""Programs that go on after a command: engines serve containers through them, and packages are installed as a whole."""
FORWARD = str(PROJECT / "scripts/forward.py")
"""What forwards the gateway's ports goes on as well; `make destroy` ends it."""
END_SECONDS, TICK_SECONDS = 1.6, 0.02
"""How long what a command has left behind may take to end by itself: that is a little more than ending.PATIENCE_SECONDS."""
ADOPT_ORPHANS = 36
"""PR_SET_CHILD_SUBREAPER; see prctl(2)."""
EARLIER = "earlier"
"""Folder beside the reports of each last run that holds those of the run before it; see loadtests/reports/report.py."""


class RefusedError(Exception):
    """The command was refused before anything was changed; the message is one line."""


# -- environment ---------------------------------------------------------------------------------------------------------


def home(environment: Mapping[str, str]) -> Path:
    """The user's home folder."""
    return Path(environment.get("HOME") or Path.home())


def passes(name: str) -> bool:
    """Whether a command receives this variable from the caller."""
    return any(fnmatch.fnmatchcase(name, pattern) for names in PASSED.values() for pattern in names.split())


def pip_settings(environment: Mapping[str, str]) -> dict[str, str]:
    """How this host reaches packages: the settings in pip's files and variables, as variables."""
    config = Path(environment.get("XDG_CONFIG_HOME") or home(environment) / ".config")
    files = [Path("/etc/xdg/pip/pip.conf"), Path("/etc/pip.conf"), home(environment) / ".pip/pip.conf", config / "pip/pip.conf"]
    files += [Path(environment["PIP_CONFIG_FILE"])] if environment.get("PIP_CONFIG_FILE") else []
    read = configparser.RawConfigParser(strict=False)
    try:
        read.read(files, encoding="utf-8")
    except (configparser.Error, UnicodeError, OSError) as error:
        raise RefusedError(
            f"pip.conf: {' '.join(str(error).split())}; accepted: a file that pip can read; nothing was changed"
        ) from error
    settings: dict[str, str] = {}
    for section in ("global", "install", "download"):
        settings |= dict(read.items(section)) if read.has_section(section) else {}
    settings |= {name[4:].lower(): value for name, value in environment.items() if name.startswith("PIP_")}
    plain = {name.replace("_", "-"): " ".join(value.split()) for name, value in settings.items()}
    return {f"PIP_{name.replace('-', '_').upper()}": plain[name] for name in PIP_PASSED if plain.get(name)}


def without_proxy(environment: Mapping[str, str], addresses: Sequence[str]) -> dict[str, str]:
    """``no_proxy`` in both spellings: the caller's value plus this machine and ``addresses``."""
    given = environment.get("no_proxy") or environment.get("NO_PROXY") or ""
    if given.strip() == "*":
        return {"no_proxy": "*", "NO_PROXY": "*"}
    names = [*(name.strip() for name in given.split(",") if name.strip()), *LOCAL, *addresses]
    return dict.fromkeys(("no_proxy", "NO_PROXY"), ",".join(dict.fromkeys(names)))


def clean(environment: Mapping[str, str], addresses: Sequence[str] = ()) -> dict[str, str]:
    """The environment of a command.

    :param environment: the caller's
    :param addresses: hosts besides this machine that are never reached through a proxy
    """
    kept = {name: value for name, value in environment.items() if passes(name)}
    return {"HOME": str(home(environment)), **kept, **pip_settings(environment), **without_proxy(environment, addresses), **SET}


# -- the lab's state -----------------------------------------------------------------------------------------------------


def state_home(environment: Mapping[str, str]) -> Path:
    """The folder that holds one folder for each lab."""
    return Path(environment.get("XDG_STATE_HOME") or home(environment) / ".local/state") / "istio-lab"


def gateway_hosts(state: Path) -> list[str]:
    """Addresses of a lab's gateway."""
    try:
        addresses = json.loads((state / "gateway.json").read_text())
    except (OSError, ValueError):
        return []
    parts = (urlsplit(value if "//" in value else f"//{value}") for value in addresses.values() if isinstance(value, str))
    return sorted({part.hostname for part in parts if part.hostname})


@contextmanager
def locked(folder: Path, lab: str, command: str) -> Iterator[int]:
    """Lock a lab against other commands: the lock's file descriptor, inherited by the command and released when it ends.

    :raises RefusedError: if another command holds the lock; the message names it
    """
    path = folder / f"{lab}.lock"
    while (lock := take(path)) is None:
        pass
    os.ftruncate(lock, 0)
    os.write(lock, f"{command} (process {os.getpid()}, since {time.strftime('%Y-%m-%d %H:%M:%S')})\n".encode())
    try:
        yield lock
    finally:
        path.unlink(missing_ok=True)
        os.close(lock)
        with contextlib.suppress(OSError):  # not empty, or a command of another lab has just removed it
            folder.rmdir()


def take(path: Path) -> int | None:
    """Lock a file, which is created: its descriptor, or None if it was removed meanwhile, with its folder perhaps.

    :raises RefusedError: if another command holds the lock; the message names it
    """
    try:
        with contextlib.suppress(FileExistsError):
            path.parent.mkdir(mode=0o700, parents=True)
        lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(lock).st_nlink:
            return lock
    except BlockingIOError as error:
        holder = os.read(lock, 1000).decode(errors="replace").strip() or "another command"
        words = f"LAB: {path.stem} is in use by {holder}; accepted: another lab, or this one afterwards; nothing was changed"
        os.close(lock)
        raise RefusedError(words) from error
    os.close(lock)  # its holder has just removed it
    return None


# -- processes -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Process:
    """A process that is running.

    :param name: of its program
    :param parent: the id of its parent
    :param words: its command line
    """

    name: str
    parent: int
    words: tuple[str, ...]

    @property
    def goes_on(self) -> bool:
        """Whether it is meant to outlive its command."""
        return self.name in SPARED or (FORWARD in self.words and "run" in self.words)


def processes() -> dict[int, Process]:
    """Every running process by its id, without zombies."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            name, _, rest = (folder / "stat").read_text(errors="replace").partition("(")[2].rpartition(")")
            words = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")
        except OSError:  # it has ended
            continue
        state, parent, *_ = rest.split()
        if state not in "ZX":
            found[int(folder.name)] = Process(name, int(parent), tuple(words))
    return found


def left_behind(running: Mapping[int, Process], ancestor: int) -> list[int]:
    """Descendants of a process, but for those that are meant to go on and what these have started."""
    children = [pid for pid, process in running.items() if process.parent == ancestor and not process.goes_on]
    return [*children, *(pid for child in children for pid in left_behind(running, child))]


def end_processes() -> None:
    """End what a command has left behind.

    The tasks of a playbook have sessions of their own, so neither a terminal's signal nor the end of Ansible ends them.
    """
    asked: set[int] = set()
    began = time.monotonic()
    while (left := left_behind(processes(), os.getpid())) and (waited := time.monotonic() - began) < 2 * END_SECONDS:
        late = waited > END_SECONDS
        for pid in left if late else {*left} - asked:
            send(pid, signal.SIGKILL if late else signal.SIGTERM)
        asked |= {*left}
        time.sleep(TICK_SECONDS)
        reap()


def send(pid: int, number: int) -> None:
    """Send a signal to a process that may have ended."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def reap() -> None:
    """Forget the children that have ended."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def status_of(child: int) -> int:
    """Wait for a child, and for others that end before it; its exit status, negative if it was a signal."""
    while True:
        ended, status = os.wait()
        if ended == child:
            return os.waitstatus_to_exitcode(status)


def tidy_up(environment: Mapping[str, str], ended: int) -> None:
    """Do what a playbook that was ended by a signal has not done: show the terminal's cursor, and remove Ansible's own folder.

    :param ended: the id of its process
    """
    if sys.stdout.isatty() and environment.get("TERM", "dumb") != "dumb":
        print("\r\x1b[2K\x1b[?25h", end="", flush=True)
    for folder in (home(environment) / ".ansible/tmp").glob(f"ansible-local-{ended}{'?' * 8}"):
        shutil.rmtree(folder, ignore_errors=True)


def adopt_orphans() -> None:
    """Make descendants whose parent has ended children of this process, not of the system's first."""
    ctypes.CDLL(None).prctl(ADOPT_ORPHANS, 1, 0, 0, 0)


class Signals:
    """Hands signals on to a program; those that the caller ignores, as under nohup, stay ignored.

    :param shielded: whether Ctrl-C, which by itself reaches the whole foreground process group, reaches the program as SIGTERM.
        With that Ansible ends; with SIGINT it raises an exception, which may be lost in what happens to run, and goes on.
    """

    def __init__(self, shielded: bool) -> None:
        self.shielded = shielded
        self.received: list[int] = []
        """By this process, in their order."""
        self.waiting: list[int] = []
        self.pid = 0

    def __enter__(self) -> Signals:
        """Receive them; a program that is started now is shielded, if that is asked for."""
        self.before = {number: signal.getsignal(number) for number in SIGNALS}
        for number in (number for number, handler in self.before.items() if handler != signal.SIG_IGN):
            signal.signal(number, self.receive)
        if self.shielded:
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        return self

    def __exit__(self, *_: object) -> None:
        """Leave them to whoever had them."""
        self.unblock()
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def unblock(self) -> None:
        """Receive what has been blocked."""
        if self.shielded:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})

    def receive(self, number: int, frame: FrameType | None) -> None:
        """Hand one on, as soon as there is a program."""
        self.received.append(number)
        if number != signal.SIGINT or self.shielded:
            self.waiting.append(signal.SIGTERM if number == signal.SIGINT else number)
        self.reach(self.pid)

    def reach(self, pid: int) -> None:
        """Hand on to this process from now on; 0 for none."""
        self.pid = pid
        self.unblock()
        while pid and self.waiting:
            send(pid, self.waiting.pop())


# -- commands ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Call:
    """One invocation of a command.

    :param verb: its name
    :param given: every setting, with defaults filled in
    :param environment: for the processes it starts
    """

    verb: str
    given: Mapping[str, str]
    environment: Mapping[str, str]

    @property
    def lab(self) -> str:
        """The lab's name."""
        return self.given["LAB"]

    @property
    def state(self) -> Path:
        """The lab's folder."""
        return state_home(self.environment) / self.lab

    @property
    def kubeconfig(self) -> Path:
        """The lab's kubeconfig."""
        return self.state / "kubeconfig"

    def lock(self) -> AbstractContextManager[int]:
        """The lab's lock."""
        return locked(state_home(self.environment), self.lab, f"make {self.verb}")

    def run(
        self,
        *command: str | Path,
        held: int | None = None,
        more: Mapping[str, str | Path] | None = None,
        shielded: bool = False,
    ) -> int:
        """Run a program to its end, regardless of signals, and return its exit status.

        Unless it is done, what it has started ends with it.

        :param held: the lock that the program inherits
        :param more: extra variables for its environment
        :param shielded: whether Ctrl-C reaches it as SIGTERM
        :raises KeyboardInterrupt: if it was ended by a signal that this process has received
        """
        environment = {**self.environment, **{name: str(value) for name, value in (more or {}).items()}}
        environment |= {"LAB_LOCK": str(held)} if held else {}  # for plugins/callback/lab_lock.py
        with Signals(shielded) as signals:
            process = subprocess.Popen(list(map(str, command)), cwd=PROJECT, env=environment, pass_fds=[held] if held else [])
            signals.reach(process.pid)
            status = process.returncode = status_of(process.pid)
            signals.reach(0)
            if status != DONE:
                end_processes()
        if status < 0:
            tidy_up(environment, process.pid)
            if signals.received:
                raise KeyboardInterrupt(signal.Signals(signals.received[0]).name)
            print(f"{Path(command[0]).name} was ended by {signal.Signals(-status).name}", file=sys.stderr)
        return status if status in (DONE, REFUSED) else FAILED

    def python(self, *arguments: str | Path) -> int:
        """Run a module or script with the lab's commands on PATH."""
        path = f"{self.state / 'bin'}:{self.environment.get('PATH', os.defpath)}"
        return self.run(BIN / "python", *arguments, more={"PATH": path})

    def play(self, playbook: str, held: int | None = None, **variables: str | bool | int) -> int:
        """Run a playbook."""
        command: list[str | Path] = [BIN / "ansible-playbook", "--inventory", f"inventories/{self.given['INVENTORY']}"]
        command += ["--extra-vars", json.dumps({"lab_name": self.lab}), *shlex.split(self.given["ARGS"])]
        command += ["--extra-vars", json.dumps(variables)] if variables else []
        more: dict[str, str | Path] = {"LAB_LOG": self.state / "log/ansible.log"}
        more |= {} if self.given["VERBOSE"] else {"LAB_OUTPUT": "brief"}
        return self.run(*command, f"playbooks/{playbook}", held=held, shielded=True, more=more)

    def set_aside(self, reports: Iterable[Path]) -> None:
        """Move what an earlier run reported to ``earlier``, so that it is not taken for this run's, however this one ends.

        :param reports: files, or folders of files
        """
        for path in list(reports):
            earlier = path.parent / EARLIER / path.name
            earlier.parent.mkdir(exist_ok=True)
            shutil.rmtree(earlier, ignore_errors=True)
            path.rename(earlier)

    def need_lab(self) -> None:
        """:raises RefusedError: if the lab does not exist."""
        if not self.kubeconfig.is_file():
            raise RefusedError(f"LAB: lab {self.lab} does not exist; create it: make lab LAB={self.lab}; nothing was changed")


def accept(name: str, given: str, accepted: str) -> str:
    """The error line for a value that is not accepted."""
    return f"{name}: {given!r} was given; accepted: {accepted}; nothing was changed"


def install_packages(call: Call, packages: str = "lab") -> int:
    """Create or update the virtual environment."""
    project = os.open(PROJECT, os.O_RDONLY)
    try:
        fcntl.flock(project, fcntl.LOCK_EX)  # another lab's command may be installing too
        for name, lock in [
            ("lab", "requirements.txt"),
            *([] if packages == "lab" else [(packages, f"requirements-{packages}.txt")]),
        ]:
            stamp = PROJECT / f".venv/{name}.stamp"
            sources = (PROJECT / lock, PROJECT / "scripts/bootstrap.sh")
            if stamp.exists() and stamp.stat().st_mtime >= max(file.stat().st_mtime for file in sources):
                continue
            # A first lab is compiled in the background.
            beside = ["compile"] if name == "lab" and call.verb in ("lab", "test", "test-full") else []
            if status := call.run("scripts/bootstrap.sh", lock, *beside):
                return status
            stamp.touch()
    finally:
        os.close(project)
    return DONE


def make_lab(call: Call) -> int:
    """Images, cluster, mesh, Bookinfo."""
    with call.lock() as held:
        if call.given["BUNDLE"]:
            # With a bundle nothing is compiled, so less disk space is needed.
            return unbundle(call) or call.play("site.yml", held, lab_min_disk_gib=5)
        return install_packages(call) or call.play("site.yml", held)


def unbundle(call: Call) -> int:
    """Unpack a bundle."""
    return call.run(sys.executable, "roles/bundle/files/unbundle.py", call.given["BUNDLE"])


def make_bundle(call: Call) -> int:
    """Write the lab into one file."""
    variables = {
        "lab_architecture": call.given["ARCH"],
        "bundle_file": os.path.abspath(call.given["FILE"]) if call.given["FILE"] else "",
    }
    with call.lock() as held:
        return call.play("make_bundle.yml", held, **{name: value for name, value in variables.items() if value})


def load(call: Call) -> int:
    """Judge an entry, or open the console."""
    given = call.given
    sender: dict[str, str | bool | int] = {"loadtest_where": given["WHERE"], "loadtest_workers": given["WORKERS"]}
    if os.sep in given["ENTRY"] and (given["UI"] or given["WHERE"] != "local"):
        where = "UI=1" if given["UI"] else f"WHERE={given['WHERE']}"
        raise RefusedError(accept("ENTRY", given["ENTRY"], f"with {where}: an entry of the catalogue, by its name"))
    if given["UI"]:
        return install_packages(call) or console(call, sender)
    begun, results = time.time(), call.state / "results" / ("control" if given["VARIANT"] == "control" else "")
    with call.lock() as held:
        call.set_aside(folder for folder in judged(results) if folder.name == entry_name(given["ENTRY"]))
        if status := install_packages(call):
            return status
        status = call.play("run_loadtest.yml", held, **chosen(given), **sender)
        words = ("--results", results, "--entry", entry_name(given["ENTRY"]), "--since", str(begun))
        call.python("-m", "loadtests.reports.terminal", *words)
    return status


def entry_name(entry: str) -> str:
    """The name that an entry's reports have; '' for a folder that has one of the catalogue's, which is refused."""
    folder, name = os.path.split(entry)
    return "" if folder and (PROJECT / "loadtests/catalogue" / name).exists() else name


def chosen(given: Mapping[str, str]) -> dict[str, str]:
    """The entry, and its sample where that is no one of the lab's, as playbooks know them."""
    own = {"lab_own_sample": given["SAMPLE"]} if given["SAMPLE"] else {}
    return {"lab_entry": given["ENTRY"], "lab_variant": given["VARIANT"], **own}


def judged(results: Path) -> set[Path]:
    """The folders of entries that have a verdict."""
    return {file.parent for file in results.glob("*/verdict.*")}


def verify(call: Call) -> int:
    """Judge the catalogue."""
    results = call.state / "results"
    with call.lock() as held:
        for folder in (results, results / "control"):  # ARGS may ask for either
            # Entries of the user's own are not judged here, and keep theirs.
            entries = (one for one in judged(folder) if (PROJECT / "loadtests/catalogue" / one.name).is_dir())
            call.set_aside([*entries, *folder.glob("catalogue.*")])
        return install_packages(call) or call.play("verify_catalogue.yml", held)


def console(call: Call, sender: Mapping[str, str | bool | int]) -> int:
    """Locust's page until Ctrl-C. Holds the lab's lock only during preparation: rules may be applied while it is open."""
    call.need_lab()
    with call.lock() as held:
        if call.given["WHERE"] != "local":
            status = call.play("run_console.yml", held, **sender)
        else:
            # The console has a separate account, and its process sees no other kubeconfig.
            account = call.state / "console-kubeconfig"
            status = call.python(*ACCESS, call.kubeconfig, "--write", account, f"--judged={call.given['NAMESPACE']}")
    variables = {name: call.given[name] for name in ("LAB", "WHERE", "ENTRY", "UI_PORT", "NAMESPACE")}
    try:
        return status or call.run("scripts/load-ui.sh", more=variables)
    finally:  # also after Ctrl-C
        if call.given["WHERE"] == "local":
            end_judging(call)


def end_judging(call: Call) -> None:
    """Remove what the console judged namespaces with; a run that it has started may have been killed with it."""
    for file in call.state.glob("judge-*-kubeconfig*"):
        file.unlink()
    until = time.monotonic() + JUDGING_ENDS_SECONDS
    while True:
        try:
            with call.lock():
                call.python(*ACCESS, call.kubeconfig, "--end-judging")
            return
        except RefusedError as refused:
            if time.monotonic() > until:
                print(f"the account that judges for the console is left: {refused}", file=sys.stderr)
                return
        time.sleep(0.5)


def reaching(call: Call) -> list[str]:
    """Options by which the lab is reached."""
    try:
        gateway = dict(json.loads((call.state / "gateway.json").read_text()))
    except (OSError, ValueError):
        gateway = {}
    # The console judges with an account of its own.
    account = call.environment.get("LAB_JUDGE_KUBECONFIG") or call.kubeconfig
    found = [f"--kubeconfig={account}", f"--gateway={gateway.get('http', '')}"]
    return [*found, f"--gateway-https={gateway.get('https', '')}"]


def judge(call: Call) -> int:
    """Judge the rules of a namespace, or print what would be asked."""
    given = call.given
    if not given["NAMESPACE"]:
        raise RefusedError(accept("NAMESPACE", "", "a namespace in the mesh, as in NAMESPACE=shop"))
    call.need_lab()
    options = {name: given[name] for name in ("NAMESPACE", *JUDGING) if given[name]}
    words = [f"--{name.lower()}={value}" for name, value in options.items()]
    words += ["--plan"] if given["PLAN"] else []
    words += [f"--only={given['ONLY']}"] if given["ONLY"] else []
    words += ["--json"] if given["JSON"] else []
    words += [*reaching(call), f"--results={call.state / 'judged'}"]
    if given["PLAN"]:
        return install_packages(call) or call.python("-m", "loadtests.judge", *words)
    with call.lock():
        call.set_aside(folder for folder in judged(call.state / "judged") if folder.name == given["NAMESPACE"])
        return install_packages(call) or call.python("-m", "loadtests.judge", *words)


def write_entry(call: Call) -> int:
    """Write an entry of the rules that are applied in a namespace."""
    given = call.given
    if os.sep not in given["ENTRY"]:
        raise RefusedError(accept("ENTRY", given["ENTRY"], "a folder that does not exist yet, as in ENTRY=./mesh/my-canary"))
    call.need_lab()
    words = [f"--entry={given['ENTRY']}", f"--namespace={given['NAMESPACE']}", *reaching(call)]
    return install_packages(call) or call.python("-m", "loadtests.judge", *words)


def apply_policy(call: Call) -> int:
    """Apply an entry's rules."""
    with call.lock() as held:
        return call.play("apply_policy.yml", held, **chosen(call.given))


def measure_latency(call: Call) -> int:
    """Measure the latency of a path."""
    call.need_lab()
    options = {name: call.given[name] for name in ("RATE", "STEP", "P99", "HOST", "HOPS", "USERS", "SEED") if call.given[name]}
    words = [word for name, value in options.items() for word in (f"--{name.lower()}", value)]
    with call.lock() as held:
        call.set_aside((call.state / "results/latency").glob("latency.*"))
        return install_packages(call) or call.run(
            "scripts/latency.sh",
            *words,
            *(["--find"] if call.given["FIND"] else []),
            "--",
            call.given["URL"],
            held=held,
            more={"LAB": call.lab},
        )


def destroy(call: Call) -> int:
    """Remove the lab."""
    with call.lock() as held:
        return call.play("destroy_lab.yml", held, lab_destroy_cache=bool(call.given["CACHE"]))


def play(playbook: str) -> Callable[[Call], int]:
    """A command that only runs a playbook."""

    def command(call: Call) -> int:
        with call.lock() as held:
            return call.play(playbook, held)

    return command


def list_catalogue(call: Call) -> int:
    """List the entries with their last verdict."""
    return call.python("-m", "loadtests.reports.summary", "--results", call.state / "results")


def open_page(call: Call) -> int:
    """Open a page of the lab."""
    call.need_lab()
    if call.given["WHAT"] == "gate":
        return serve_gate(call)
    return call.python("scripts/open.py", "--kubeconfig", call.kubeconfig, call.given["WHAT"])


def serve_gate(call: Call) -> int:
    """Serve verdicts to delivery tools, and judge the namespace that is given for them."""
    given, token = call.given, call.state / "gate-token"
    if not token.exists():
        with open(os.open(token, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(f"{secrets.token_urlsafe(24)}\n")
    judging = [f"{name}={given[name]}" for name in ("LAB", "NAMESPACE", *JUDGING) if given[name]]
    words = [
        f"--state={call.state}",
        f"--token-file={token}",
        f"--port={given['UI_PORT']}",
        f"--namespace={given['NAMESPACE']}",
    ]
    words += [f"--address={given['HOST']}"] if given["HOST"] else []
    return call.python("-m", "loadtests.reports.gate", *words, "--", sys.executable, "-I", __file__, "judge", *judging)


def doctor(call: Call) -> int:
    """Check the lab and its host."""
    return call.python("-m", "scripts.doctor", "--state", call.state, *(["--json"] if call.given["JSON"] else []))


def diagnose(call: Call) -> int:
    """Collect what is needed to find a fault."""
    if not call.state.is_dir():
        raise RefusedError(f"LAB: lab {call.lab} does not exist; create it: make lab LAB={call.lab}; nothing was written")
    file = ["--file", os.path.abspath(call.given["FILE"])] if call.given["FILE"] else []
    return call.python("-m", "scripts.diagnose", "--state", call.state, *file)


def explain(call: Call) -> int:
    """Explain a pod's sidecar."""
    call.need_lab()
    return call.python("-m", "loadtests.mesh.explain", "--kubeconfig", call.kubeconfig, call.given["POD"])


def write_docs(call: Call) -> int:
    """Build the documentation site, after its pictures were taken if there is a lab for that."""
    if not call.given["UI"]:
        return install_packages(call, "docs") or call.python("-m", "scripts.docs", "build/site")
    call.need_lab()
    pictures = ("-m", "scripts.pictures", "--lab", call.lab, "--state", call.state)
    return install_packages(call, "dev") or call.python(*pictures) or call.python("-m", "scripts.docs", "build/site")


def test(tier: str) -> Callable[[Call], int]:
    """A command that runs a tier of the regression gate."""

    def command(call: Call) -> int:
        return call.run(BIN / "python", "-m", "scripts.gate", tier, more={"ONLY": call.given["ONLY"]})

    return command


def program(*words: str) -> Callable[[Call], int]:
    """A command that only runs a program."""

    def command(call: Call) -> int:
        return call.run(*words, more={"LAB": call.lab})

    return command


def show_help(call: Call) -> int:
    """Print every verb with its description, by task."""
    for task, verbs in TASKS.items():
        print(f"{task}:")
        for name, verb in verbs.items():
            print(f"  make {name:<10} {verb.does}")
    return DONE


@dataclass(frozen=True)
class Verb:
    """One verb of the command line.

    :param does: what it does, in one line
    :param packages: what is installed for it: "lab", "dev", "docs", or "" for nothing, or where it does that itself
    """

    does: str
    run: Callable[[Call], int]
    packages: str = "lab"


TASKS = {
    "Build a lab, and remove it": {
        "lab": Verb("Build or update the lab: images, cluster, mesh, Bookinfo (BUNDLE=file: without a network)", make_lab, ""),
        "telemetry": Verb("Add Prometheus and Zipkin to the lab", play("install_telemetry.yml")),
        "destroy": Verb("Remove the lab (CACHE=1: and its built artifacts)", destroy),
        "bundle": Verb(
            "Write the lab into one file, for hosts without a network (FILE=build/istio-lab.bundle, ARCH=arm64)", make_bundle
        ),
        "unbundle": Verb("Unpack a bundle (BUNDLE=file)", unbundle, ""),
    },
    "Judge the mesh": {
        "load": Verb(
            "Judge an entry (ENTRY=name or ./folder, SAMPLE=./folder); UI=1: in the browser; WHERE=cluster: from inside it",
            load,
            "",
        ),
        "verify": Verb("Judge every entry and write one report", verify, ""),
        "judge": Verb(
            "Judge the rules of any namespace (NAMESPACE=shop, PLAN=1: show the plan; ONLY=check IDENTITIES=1 CONFIRM=)",
            judge,
            "",
        ),
        "new": Verb("Write an entry of applied rules (ENTRY=./folder NAMESPACE=shop)", write_entry, ""),
        "policy": Verb("Apply an entry's rules (ENTRY=name, VARIANT=policy|control)", apply_policy),
        "catalogue": Verb("List the entries with their last verdict", list_catalogue),
        "latency": Verb(
            "Measure latency at a given rate (URL=/productpage RATE=20 STEP=30 P99=ms FIND=1)", measure_latency, ""
        ),
    },
    "Look into a lab": {
        "open": Verb(
            "Open a page of the lab on 127.0.0.1 (WHAT=prometheus|zipkin|grafana|kiali|console|gate), until Ctrl-C", open_page
        ),
        "explain": Verb("Explain a pod's sidecar (POD=[namespace/]name)", explain),
        "doctor": Verb("Check the lab and its host, and say how to fix what is broken (JSON=1: for programs)", doctor),
        "diagnose": Verb(
            "Collect versions, events, logs, rules and proxies into one archive, without secrets (FILE=)", diagnose
        ),
        "env": Verb(
            'Print shell commands that put the lab\'s tools on PATH: eval "$(make env)"', program("scripts/env.sh"), ""
        ),
    },
    "Work on the project": {
        "test": Verb(
            "Lint, unit tests, and every capability once on one lab (ONLY=scenario: just that one)", test("core"), "dev"
        ),
        "test-full": Verb(
            "The same for everything: every entry, other clusters, pulled images, the bundle", test("full"), "dev"
        ),
        "lint": Verb("Run ansible-lint, yamllint, ruff, mypy", program("scripts/lint.sh"), "dev"),
        "unit": Verb("Run the unit tests only", program(".venv/bin/pytest", "-q", "tests/unit"), "dev"),
        "docs": Verb(
            "Build the documentation site, which needs no server: build/site/index.html (UI=1: with new pictures of a lab)",
            write_docs,
            "",
        ),
        "bench": Verb("Time the lab against the same steps by hand", program(".venv/bin/python", "scripts/bench.py"), "dev"),
        "lock": Verb("Update the requirements lock files", program("scripts/lock.sh"), "dev"),
    },
}
"""Every verb but help, by what it is for."""
VERBS = {
    "help": Verb("Show the verbs", show_help, ""),
    **{name: verb for verbs in TASKS.values() for name, verb in verbs.items()},
}


def read_settings(words: Sequence[str], environment: Mapping[str, str]) -> dict[str, str]:
    """Every setting, from words such as ``ENTRY=mirror``; a bare name has its value in the environment, where make puts it.

    :raises RefusedError: if a setting does not exist or what a playbook takes from it is not valid
    """
    given = {name: environment[name] for name in FROM_ENVIRONMENT if environment.get(name)}
    for word in words:
        name, equals, value = word.partition("=")
        if name not in DEFAULTS:
            near = difflib.get_close_matches(name.upper(), DEFAULTS, n=1)
            raise RefusedError(f"{name}: no such setting{f'; did you mean {near[0]}?' if near else ''}; nothing was changed")
        given[name] = value if equals else environment.get(name, "")
    settings = {**DEFAULTS, **{name: value for name, value in given.items() if value or name == "LAB"}}
    for name in PATHS:
        # A playbook has another working folder. A bare name is one of the catalogue's.
        if settings[name] and (os.sep in settings[name] or name == "SAMPLE"):
            settings[name] = os.path.abspath(os.path.expanduser(settings[name]))
    if not LAB_NAME.fullmatch(settings["LAB"]):
        raise RefusedError(accept("LAB", settings["LAB"], "1 to 32 lower-case letters, digits and inner hyphens"))
    inventories = sorted(folder.name for folder in (PROJECT / "inventories").iterdir())
    if settings["INVENTORY"] not in inventories:
        raise RefusedError(accept("INVENTORY", settings["INVENTORY"], f"one of: {', '.join(inventories)}"))
    try:
        shlex.split(settings["ARGS"])
    except ValueError as error:
        raise RefusedError(
            accept("ARGS", settings["ARGS"], f"options of ansible-playbook, quoted as in a shell ({error})")
        ) from error
    if "lab_name" in settings["ARGS"]:
        raise RefusedError(accept("ARGS", settings["ARGS"], "lab_name is set by LAB="))
    return settings


def interrupted(number: int, frame: FrameType | None) -> None:
    """:raises KeyboardInterrupt: where no program is running that receives the signal."""
    raise KeyboardInterrupt(signal.Signals(number).name)


def set_up() -> None:
    """Make this process one that ends in an orderly way on any signal, and finds what its programs have started."""
    adopt_orphans()
    for number in SIGNALS:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, interrupted)


def main(arguments: Sequence[str]) -> int:
    """The exit status of the command."""
    os.umask(0o022)  # image files must be world-readable; secrets are written with an explicit mode
    name, *words = arguments or ["help"]
    try:
        if name not in VERBS:
            near = difflib.get_close_matches(name, VERBS, n=1)
            raise RefusedError(f"{name}: no such command{f'; did you mean {near[0]}?' if near else ''}; make help lists them")
        settings = read_settings(words, os.environ)
        # A cluster on this machine is reached directly; for other clusters the user decides.
        addresses = gateway_hosts(state_home(os.environ) / settings["LAB"]) if settings["INVENTORY"] == "kind" else []
        call = Call(name, settings, clean(os.environ, addresses))
        verb = VERBS[name]
        return (install_packages(call, verb.packages) if verb.packages else DONE) or verb.run(call)
    except RefusedError as refused:
        print(refused, file=sys.stderr)
        return REFUSED
    except KeyboardInterrupt as signalled:
        print(f"interrupted by {signalled}; what was running has ended", file=sys.stderr)
        return FAILED


if __name__ == "__main__":
    set_up()
    sys.exit(main(sys.argv[1:]))
