"""The form of a bundle, for its writer and its reader: a line of JSON, filled up to 512 bytes, and a tar.

The line says which host the bundle is for, and has the size and the digest of the tar. In the tar, ``SHA256SUMS`` has the
digest of every file. Only Python's own library is used: the reader runs on a bare host.
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

NAME = "istio-lab"
FORMAT = 1
HEADER_BYTES = 512
SUMS = "SHA256SUMS"
ABOUT = "about.json"
# What content keys are made of: with other files here, the lab would look for other images than those in the bundle.
KEYED = re.compile(
    r"roles/(?!bundle/)[^/]+/files/|roles/images/vars/main/samples\.yml$|samples/|playbooks/group_vars/all/versions\.yml$|requirements\.txt$"
    r"|loadtests/console/app/|scripts/console\.py$|requirements-node\.txt$"
)


def header(fields: dict[str, Any]) -> bytes:
    """The first 512 bytes.

    :raises ValueError: if it does not fit
    """
    line = json.dumps({**fields, "name": NAME, "format": FORMAT}, sort_keys=True).encode()
    if len(line) >= HEADER_BYTES:
        raise ValueError(f"the header has {len(line)} bytes")
    return line.ljust(HEADER_BYTES - 1) + b"\n"


def fields_of(head: bytes) -> dict[str, Any] | None:
    """What ``header`` was given, from the first 512 bytes; None if they are not a bundle's in this form."""
    try:
        fields = json.loads(head)
    except ValueError:
        return None
    ours = isinstance(fields, dict) and (fields.pop("name", None), fields.pop("format", None)) == (NAME, FORMAT)
    return fields if ours else None


def digest(file: Path) -> str:
    """SHA-256 of one file, in hex; empty when it is not there."""
    if not file.is_file():
        return ""
    with open(file, "rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def sums(folder: Path) -> str:
    """The digests of all files, as ``sha256sum`` writes them, sorted by name."""
    files = sorted(f for f in folder.rglob("*") if f.is_file() and not f.is_symlink() and f != folder / SUMS)
    return "".join(f"{digest(f)}  {f.relative_to(folder)}\n" for f in files)


def digests(listed: str) -> dict[str, str]:
    """Name -> digest, of what ``sums`` has written."""
    return {name: found for found, _, name in (line.partition("  ") for line in listed.splitlines())}
