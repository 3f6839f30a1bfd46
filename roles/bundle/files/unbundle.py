"""Puts what a bundle holds where the lab looks for it: ``unbundle.py FILE``, behind ``make lab BUNDLE=FILE``.

For a bare host: with Python's own library alone, and without any network. Nothing is installed before every byte has been
checked. What is there already stays as it is.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NoReturn

import bundle_format
from bundle_format import HEADER_BYTES, digest

NEEDED_GIB = 15
TOPS = ("roles", "samples", "loadtests/console/app")
"""Folders of which content keys are made."""
PROJECT = Path(__file__).resolve().parents[3]
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "istio-lab"
STARTED = time.monotonic()


def refuse(file: Path, why: str, changed: str = "nothing was changed") -> NoReturn:
    """End with one line."""
    sys.exit(f"BUNDLE: {file} was given, {why}; {changed}")


def say(words: str) -> None:
    """One line of progress."""
    print(f"[{time.monotonic() - STARTED:4.0f} s] {words}", flush=True)


def head(file: Path) -> dict[str, Any]:
    """What the first line tells, if the bundle is for this host."""
    try:
        with open(file, "rb") as opened:
            fields = bundle_format.fields_of(opened.read(HEADER_BYTES))
    except OSError as error:
        refuse(file, f"and it cannot be read: {error.strerror}; accepted: a file that make bundle has written")
    if fields is None:
        refuse(file, "which is no bundle of this lab; accepted: a file that make bundle has written")
    release = platform.freedesktop_os_release()
    here = {"architecture": platform.machine(), "release": f"{release.get('ID')} {release.get('VERSION_ID')}"}
    for key, value in here.items():
        if fields.get(key) != value:
            refuse(file, f"which is for {key} {fields.get(key)}; accepted on this host: one for {value}")
    if file.stat().st_size != HEADER_BYTES + int(fields["size"]):
        refuse(file, f"which has {file.stat().st_size} bytes instead of {HEADER_BYTES + int(fields['size'])}: copy it again")
    return fields


def check(file: Path, fields: dict[str, Any]) -> None:
    """Compare every byte with what the first line tells."""
    with open(file, "rb") as opened:
        opened.seek(HEADER_BYTES)
        if hashlib.file_digest(opened, "sha256").hexdigest() != fields["sha256"]:
            refuse(file, "whose digest is not the one that it names: it was changed or damaged; copy it again")


def differing(sums: dict[str, str], project: Path) -> list[str]:
    """Files that content keys are made of and that are others than the bundle's."""
    theirs = {name.removeprefix("project/"): sums[name] for name in sums if name.startswith("project/")}
    here = {str(f.relative_to(project)) for top in TOPS for f in (project / top).rglob("*") if f.is_file()}
    names = {n for n in here | theirs.keys() if bundle_format.KEYED.match(n) and "__pycache__" not in n}
    return sorted(n for n in names if digest(project / n) != theirs.get(n, ""))


def run(*command: str, **options: Any) -> str:
    """Standard output of a command that must not fail."""
    done: subprocess.CompletedProcess[str] = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    if done.returncode:
        output = (done.stderr.strip() or done.stdout.strip() or "no reason given").splitlines()
        why = f"{output[-1]}; run the same again, it goes on where it ended"
        print(f"unbundle: {' '.join(command)[:200]}: {why}", file=sys.stderr)
        sys.exit(2)  # 1 is a refusal's
    return done.stdout


def there(*command: str) -> bool:
    """Whether a command says yes."""
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def extract(file: Path, folder: Path) -> None:
    """Everything but the first line, to ``folder``."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, mode=0o700)
    with open(file, "rb") as opened:
        opened.seek(HEADER_BYTES)
        # Through the descriptor, which stands behind the first line.
        run("tar", "--extract", "--no-same-owner", "--directory", str(folder), stdin=opened)


def install(packages: list[str], debs: Path) -> None:
    """Install Debian packages from the bundle alone; those that are there stay as they are."""
    if all(there("dpkg-query", "--show", name) for name in packages):
        return
    if os.geteuid() != 0:
        sys.exit(f"unbundle: {', '.join(packages)} are needed and not all installed; run as root; nothing was installed")
    say("installing Debian packages")
    with tempfile.TemporaryDirectory() as work:
        listed = Path(work) / "list"
        listed.write_text(f"deb [trusted=yes] file:{debs} ./\n")
        (Path(work) / "lists/partial").mkdir(parents=True)
        apt = [
            "apt-get", "-q", "-o", f"Dir::Etc::SourceList={listed}", "-o", "Dir::Etc::SourceParts=/dev/null",
            "-o", f"Dir::State::Lists={work}/lists", "-o", "APT::Sandbox::User=root",
        ]  # fmt: skip
        quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        run(*apt, "update", env=quiet)
        run(*apt, "--yes", "--no-install-recommends", "install", *packages, env=quiet)


def load(about: dict[str, Any], folder: Path) -> None:
    """Programs to the cache, images to podman's store."""
    programs = CACHE / "binaries"
    absent = [name for name in about["programs"] if not (programs / name).is_dir()]
    lacking = [names for names in about["images"] if not all(there("podman", "image", "exists", name) for name in names)]
    if not absent and not lacking:
        return
    say(f"unpacking programs and {len(about['images'])} images")
    unpacked = folder / "unpacked"
    shutil.rmtree(unpacked, ignore_errors=True)
    unpacked.mkdir()
    decompress = ["zstd", "--decompress", "--stdout", "--quiet", "--long=31", str(folder / "lab.tar.zst")]
    with subprocess.Popen(decompress, stdout=subprocess.PIPE) as stream:
        run("tar", "--extract", "--no-same-owner", "--directory", str(unpacked), stdin=stream.stdout)
    programs.mkdir(parents=True, exist_ok=True)
    for name in absent:
        (unpacked / name).rename(programs / name)
    for number, names in enumerate(lacking, 1):
        say(f"image {number} of {len(lacking)}: {names[0]}")
        identity = run("podman", "pull", "--quiet", f"oci:images:{names[0]}", cwd=unpacked).strip()
        run("podman", "tag", identity, *names)
        # The name that podman has given it is the folder's.
        run("podman", "untag", identity, "localhost/images:latest")
    shutil.rmtree(unpacked)


def bootstrap(wheels: Path) -> None:
    """What make does before the first playbook, without a registry."""
    stamp = PROJECT / ".venv/lab.stamp"
    if stamp.is_file() and stamp.stat().st_mtime >= (PROJECT / "requirements.txt").stat().st_mtime:
        return
    say("installing Python packages meanwhile")
    offline = {**os.environ, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheels)}
    run(str(PROJECT / "scripts/bootstrap.sh"), "requirements.txt", env=offline)
    stamp.touch()


def main() -> None:
    """Check, then put in place."""
    if len(sys.argv) != 2 or not sys.argv[1]:
        sys.exit("usage: make lab BUNDLE=FILE")
    file = Path(sys.argv[1])
    fields = head(file)
    folder = CACHE / "bundle"
    kept = folder / "bundle.sha256"
    if not (kept.is_file() and kept.read_text() == fields["sha256"]):
        CACHE.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(CACHE).free / 2**30
        if free < NEEDED_GIB:
            refuse(file, f"and {CACHE} has {free:.0f} GiB free; accepted: {NEEDED_GIB} or more")
        say(f"checking {fields['size'] / 2**30:.2f} GiB")
        check(file, fields)
        say("unpacking")
        extract(file, folder)
        if others := differing(bundle_format.digests((folder / bundle_format.SUMS).read_text()), PROJECT):
            shutil.rmtree(folder)
            refuse(
                file,
                f"which was made by another state of this project ({len(others)} files differ, such as {others[0]}); "
                f"accepted: its own, which is in it: tail -c +{HEADER_BYTES + 1} {file} | tar -x project",
            )
        kept.write_text(fields["sha256"])
    about = json.loads((folder / bundle_format.ABOUT).read_text())
    install(about["packages"], folder / "debs")
    with ThreadPoolExecutor() as beside:
        packages = beside.submit(bootstrap, folder / "wheels")
        load(about, folder)
        packages.result()
    say("the bundle is in place")


if __name__ == "__main__":
    main()
