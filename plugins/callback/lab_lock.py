"""Callback ``lab_lock``: one command at a time per lab, also where a playbook is started without scripts/run.py."""

from __future__ import annotations

import atexit
import importlib.util
import os
import sys
from contextlib import ExitStack
from pathlib import Path
from types import ModuleType
from typing import Any

from ansible import constants as C  # noqa: N812 - as all of Ansible has it
from ansible.plugins.callback import CallbackBase
from ansible.template import Templar

DOCUMENTATION = """
name: lab_lock
type: aggregate
short_description: Locks the lab that a playbook is about, unless the command that started it has
description:
  - The lock is taken before the first task, and released when ansible-playbook and its workers have ended, however they end.
  - While another command holds it, the playbook is refused with one line that names the holder, and status 1.
author: istio-lab developers
"""
REFUSED = 1
"""Exit status, as scripts/run.py has it."""


def load_commands() -> ModuleType:
    """scripts/run.py, by its path: what Ansible loads as a plugin cannot import the project.

    :raises ImportError: if it cannot be read as a module
    """
    path = Path(__file__).resolve().parents[2] / "scripts/run.py"
    spec = importlib.util.spec_from_file_location("lab_commands", path)
    if spec is None or spec.loader is None:
        raise ImportError(path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look up their module
    spec.loader.exec_module(module)
    return module


def is_inherited(path: Path) -> bool:
    """Whether the command that started this process holds a lab's lock; LAB_LOCK is the lock's file descriptor."""
    try:
        return os.path.samestat(os.fstat(int(os.environ.get("LAB_LOCK", ""))), path.stat())
    except (ValueError, OSError):
        return False


class CallbackModule(CallbackBase):
    """A callback, because it runs in Ansible's main process: an action's process ends with its task, and so would its lock."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "lab_lock"
    CALLBACK_NEEDS_ENABLED = False  # who else may be enabled is the user's to say

    def __init__(self) -> None:
        super().__init__()
        self._held = ExitStack()
        atexit.register(self._held.close)  # workers end without it
        self._looked = False
        self._playbook = ""

    def v2_playbook_on_start(self, playbook: Any) -> None:
        """The name by which the holder is known."""
        self._playbook = Path(playbook._file_name).name

    def v2_playbook_on_play_start(self, play: Any) -> None:
        """Lock the lab of the first play that is about one.

        :raises SystemExit: if another command holds the lock
        """
        if self._looked or (lab := self._find_lab(play)) is None:
            return
        self._looked = True
        folder, name = lab
        commands = load_commands()
        if not commands.LAB_NAME.fullmatch(name) or is_inherited(folder / f"{name}.lock"):
            return  # a name that is not valid is refused by the first task
        try:
            self._held.enter_context(commands.locked(folder, name, f"ansible-playbook {self._playbook}"))
        except (commands.RefusedError, OSError) as error:
            self._display.display(f"[ERROR]: {error}", color=C.COLOR_ERROR, stderr=True)
            raise SystemExit(REFUSED) from error

    @staticmethod
    def _find_lab(play: Any) -> tuple[Path, str] | None:
        """The folder that holds one folder for each lab, and the lab's name; None for a play that is about no lab."""
        manager = play.get_variable_manager()
        for host in manager._inventory.get_hosts(play.hosts):
            variables = manager.get_vars(play=play, host=host)
            if {"lab_state_home", "lab_name"} <= set(variables):
                templar = Templar(loader=play.get_loader(), variables=variables)
                return Path(templar.template(variables["lab_state_home"])), str(templar.template(variables["lab_name"]))
        return None
