"""A kubeconfig for tests that need no more of a cluster than its address."""

from __future__ import annotations

import json
from pathlib import Path


def written(folder: Path, port: int) -> str:
    """Path of ``folder``/kubeconfig, of a server at a port of 127.0.0.1 that asks nobody who they are."""
    there = {"cluster": {"server": f"http://127.0.0.1:{port}"}, "name": "it"}
    context = {"context": {"cluster": "it", "user": "me"}, "name": "it"}
    users = [{"name": "me", "user": {}}]
    file = folder / "kubeconfig"
    file.write_text(json.dumps({"clusters": [there], "contexts": [context], "users": users, "current-context": "it"}))
    return str(file)
