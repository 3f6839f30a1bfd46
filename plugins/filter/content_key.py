"""Filter ``content_key``: names an artefact after everything it is made of."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any


def content_key(paths: list[str], *ingredients: Any) -> str:
    """Digest of the files below ``paths`` and of ``ingredients``.

    :param paths: files or folders; a folder counts with its relative names, modes and contents
    :param ingredients: anything JSON can hold: versions, keys of the artefacts this one is built on
    :return: 16 hexadecimal digits (64 bits), fit for an image tag and a folder name
    :raises FileNotFoundError: if a path is absent, so that a typo cannot yield a stable key
    """
    digest = hashlib.sha256()
    for root in sorted(Path(p) for p in paths):
        if not root.exists():
            raise FileNotFoundError(f"content_key: no such file or folder: {root}")
        files = [root] if root.is_file() else sorted(f for f in root.rglob("*") if f.is_file())
        for file in files:
            if "__pycache__" in file.parts:
                continue
            executable = bool(file.stat().st_mode & 0o100)
            name = file.name if file == root else str(file.relative_to(root))
            digest.update(json.dumps([name, executable]).encode())
            digest.update(hashlib.sha256(file.read_bytes()).digest())
    digest.update(json.dumps(ingredients, sort_keys=True, default=str).encode())
    return digest.hexdigest()[:16]


class FilterModule:
    """Registers the filter with Ansible."""

    def filters(self) -> dict[str, Any]:
        """Name -> function, as Ansible's loader expects it."""
        return {"content_key": content_key}
