"""Action ``lab_files``: the lab's own small files, folders and links on this host, in one step.

A module starts an interpreter for each task, half a second of it on two cores; a fresh lab needs a dozen of these files
before its cluster can start. This writes them in Ansible's own process.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase


def put_folder(path: Path, write: bool) -> bool:
    """A folder that only its owner reads; whether it was not there."""
    if path.is_dir():
        return False
    if write:
        path.mkdir(mode=0o700, parents=True)
    return True


def put_file(path: Path, content: str, write: bool) -> bool:
    """A file of mode 0600 with ``content``, replaced as a whole; whether it was not that before."""
    if path.is_file() and path.stat().st_mode & 0o777 == 0o600 and path.read_text() == content:
        return False
    if write:
        descriptor, new = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # mode 0600
        with os.fdopen(descriptor, "w") as file:
            file.write(content)
        os.replace(new, path)
    return True


def put_link(path: Path, to: Path, write: bool) -> bool:
    """A symbolic link to ``to``; whether it was not that before."""
    if path.is_symlink() and path.readlink() == to:
        return False
    if write:
        path.unlink(missing_ok=True)
        path.symlink_to(to)
    return True


class ActionModule(ActionBase):
    """Runs on the controller.

    Arguments: ``folders``: list of paths; ``files``: list of ``{path, content}``; ``links``: list of ``{path, to}``, made in
    this order.
    """

    TRANSFERS_FILES = False
    _supports_check_mode = True
    _VALID_ARGS = frozenset({"folders", "files", "links"})

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """:raises AnsibleActionFail: what could not be written, in the system's words"""
        result = super().run(tmp, task_vars)
        args, write = self._task.args, not self._task.check_mode
        try:
            put = [(path, put_folder(Path(path), write)) for path in args.get("folders", [])]
            put += [(file["path"], put_file(Path(file["path"]), file["content"], write)) for file in args.get("files", [])]
            put += [(link["path"], put_link(Path(link["path"]), Path(link["to"]), write)) for link in args.get("links", [])]
        except OSError as error:
            raise AnsibleActionFail(f"{error.filename}: {error.strerror}") from error
        written = [path for path, changed in put if changed]
        return {**result, "changed": bool(written), "written": written}
