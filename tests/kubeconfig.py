"""A kubeconfig for tests that need only a cluster's address."""

from __future__ import annotations

import json
from pathlib import Path


def written(folder: Path, port: int) -> str:
    """Write ``folder``/kubeconfig for a server on 127.0.0.1 without authentication, and return its path."""
    there = {"cluster": {"server": f"http://127.0.0.1:{port}"}, "name": "it"}
    context = {"context": {"cluster": "it", "user": "me"}, "name": "it"}
    users = [{"name": "me", "user": {}}]
    file = folder / "kubeconfig"
    file.write_text(json.dumps({"clusters": [there], "contexts": [context], "users": users, "current-context": "it"}))
    return str(file)
