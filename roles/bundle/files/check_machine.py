"""Checks for which machine programs and images are: ``check_machine.py MACHINE --programs FOLDER... --images IMAGE...``.

``file`` tells what each program of the folders, and each of the images' own programs, is made for; those of the folders are
then asked for their versions. Those of another architecture are run by QEMU where the kernel knows of it. Ends with a line for
each that is for another machine, or does not run.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

# MACHINE, as the kernel has it -> how file(1) calls it, and how image configurations do.
CALLED = {"x86_64": ("x86-64", "amd64"), "aarch64": ("ARM aarch64", "arm64")}
ASKED = {
    "kubectl": ["version", "--client"], "kind": ["version"], "istioctl": ["version", "--remote=false"], "coredns": ["-version"],
    "containerd-shim-runc-v2": ["-v"], "kubeadm": ["version", "--output=short"], "pilot-agent": ["version", "--short"],
    "pilot-discovery": ["version", "--short"], "controller": ["-h"], "speaker": ["-h"],
}  # fmt: skip
OWN = "usr/local/bin"


def run(*command: str) -> str:
    """Standard output of a command that must not fail."""
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout


def made_for_others(files: Iterable[Path], machine: str) -> list[str]:
    """What of ``files`` is a program for another machine, as ``file`` tells it; what is no program is nothing to it."""
    names = sorted(str(file) for file in files)
    if not names:
        return []
    # A zero byte behind each name and each answer: names may have any other.
    output = run("file", "--no-pad", "--raw", "-00", *names).split("\0")
    pairs = zip(output[:-1:2], output[1::2], strict=True)
    return [f"{name}: {what}" for name, what in pairs if "ELF" in what and f", {CALLED[machine][0]}," not in what]


def programs(folder: Path) -> list[Path]:
    """Files that can be run, links aside."""
    return [file for file in folder.rglob("*") if file.is_file() and not file.is_symlink() and os.access(file, os.X_OK)]


def version(program: Path) -> str:
    """What a program says of itself, its first two lines in one; how it failed, if it did."""
    command = [str(program), *ASKED.get(program.name, ["--version"])]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    lines = (done.stdout.strip() or done.stderr.strip()).splitlines()
    return " ".join(lines[:2]) if lines and done.returncode == 0 else f"FAILED with {done.returncode}: {' | '.join(lines[-2:])}"


def in_image(name: str, machine: str) -> list[str]:
    """What is wrong with an image: what it says that it is for, or one of its programs."""
    about = json.loads(run("podman", "image", "inspect", name))[0]
    wrong = [] if about["Architecture"] == CALLED[machine][1] else [f"{name}: it says {about['Architecture']}"]
    root = Path(run("podman", "image", "mount", name).strip())
    try:
        files = [file for folder in ("usr/bin", OWN) for file in programs(root / folder)]
        return wrong + [f"{name}: {line.removeprefix(str(root))}" for line in made_for_others(files, machine)]
    finally:
        run("podman", "image", "unmount", name)


def runs_here(machine: str) -> bool:
    """Whether this kernel runs such programs."""
    return machine == platform.machine() or Path(f"/proc/sys/fs/binfmt_misc/qemu-{machine}").exists()


def main() -> None:
    """Print the versions."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("machine", choices=sorted(CALLED), help="as the kernel calls it")
    parser.add_argument("--programs", type=Path, nargs="+", required=True, help="folders")
    parser.add_argument("--images", nargs="*", default=[], help="full names, in podman's store")
    options = parser.parse_args()
    machine, found = options.machine, [file for folder in options.programs for file in programs(folder)]
    if not found:
        sys.exit(f"check_machine: {', '.join(map(str, options.programs))}: no program")
    wrong = made_for_others(found, machine) + [line for name in options.images for line in in_image(name, machine)]
    if not wrong and runs_here(machine):
        for program in sorted(found):
            reported = version(program)
            print(f"{program.name}: {reported}")
            wrong += [f"{program}: {reported}"] if reported.startswith("FAILED") else []
    if wrong:
        sys.exit("\n".join(f"not for {machine}: {line}" for line in wrong))


if __name__ == "__main__":
    main()
