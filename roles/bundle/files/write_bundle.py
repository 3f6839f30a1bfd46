"""Writes a folder as one bundle: ``write_bundle.py FOLDER FILE``.

``bundle_format.py`` has its form, and ``unbundle.py`` reads it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import tarfile
import time
from pathlib import Path
from typing import IO, Any

import bundle_format


class Hashed:
    """A file that is written to, with the digest of what was written."""

    def __init__(self, to: IO[bytes]) -> None:
        """Write to ``to``."""
        self.to, self.digest, self.size = to, hashlib.sha256(), 0

    def write(self, data: bytes) -> int:
        """Write, as files do."""
        self.digest.update(data)
        self.size += len(data)
        return self.to.write(data)


def plain(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """The same member, as of nobody: two bundles of the same parts are the same."""
    member.uid = member.gid = 0
    member.uname = member.gname = "root"
    member.mtime = 0
    return member


def write(folder: Path, file: Path, about: dict[str, Any]) -> dict[str, Any]:
    """Write the bundle beside its place first: a half-written one is never there.

    :return: what its first line tells
    """
    (folder / bundle_format.ABOUT).write_text(json.dumps(about))
    (folder / bundle_format.SUMS).write_text(bundle_format.sums(folder))
    file.parent.mkdir(parents=True, exist_ok=True)
    new = file.with_name(f"{file.name}.partial")
    with open(new, "wb") as opened:
        opened.write(b" " * bundle_format.HEADER_BYTES)
        hashed = Hashed(opened)
        # A stream is only written to; the types want a whole file.
        with tarfile.open(fileobj=hashed, mode="w|", format=tarfile.PAX_FORMAT) as tar:  # type: ignore[call-overload]
            for name in sorted(os.listdir(folder)):
                tar.add(folder / name, name, filter=plain)
        fields = {key: about[key] for key in ("architecture", "release", "made")} | {
            "sha256": hashed.digest.hexdigest(), "size": hashed.size,
        }  # fmt: skip
        opened.seek(0)
        opened.write(bundle_format.header(fields))
    new.replace(file)
    return fields


def main() -> None:
    """Print a line about what was written."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("file", type=Path)
    parser.add_argument("--machine", required=True, help="the kernel's name of the architecture")
    parser.add_argument("--images", type=json.loads, required=True)
    parser.add_argument("--programs", type=json.loads, required=True, help="folders of programs")
    parser.add_argument("--packages", type=json.loads, required=True)
    options = parser.parse_args()
    release = platform.freedesktop_os_release()
    about = {
        "architecture": options.machine, "release": f"{release['ID']} {release['VERSION_ID']}",
        "python": ".".join(platform.python_version_tuple()[:2]), "made": time.strftime("%Y-%m-%d"),
        "images": options.images, "programs": options.programs, "packages": options.packages,
    }  # fmt: skip
    fields = write(options.folder, options.file, about)
    size = fields["size"] / 2**30
    print(f"{options.file}: {size:.2f} GiB, for {fields['release']} on {fields['architecture']}, sha256 {fields['sha256']}")


if __name__ == "__main__":
    main()
