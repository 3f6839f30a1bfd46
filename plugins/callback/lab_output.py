"""Callback ``lab_output``: Ansible's default output with one line for a failure, or in brief: messages and failures only."""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible import constants as C  # noqa: N812 - as all of Ansible has it
from ansible.plugins.callback.default import CallbackModule as Default

DOCUMENTATION = """
name: lab_output
type: stdout
short_description: Ansible's default output, with one line for a failure and none for a play that does nothing
description:
  - A play is named once a task of it runs.
  - A failed task is reported as one line that says why. What else Ansible knows about it goes to the file that LAB_LOG names,
    when its folder is there, and to the terminal with -v.
  - With LAB_OUTPUT=brief, everything goes to that file, and to the terminal only what a task says (debug, and what an assertion
    says when it holds) and why one failed. Callback lab_progress shows the phases.
author: istio-lab developers
extends_documentation_fragment:
  - default_callback
  - result_format_callback
"""
BRIEF = os.environ.get("LAB_OUTPUT") == "brief"
HELD = "All assertions passed"
"""What an assertion says that has nothing to say."""
LOG_BYTES = 5 * 1024**2
"""A log that has grown beyond it is rotated: the previous one is kept."""
COLOURS = re.compile(r"\x1b\[[0-9;]*m")
BARE = ("non-zero return code", "One or more items failed")
"""Messages that do not say why."""
RAW = "kubernetes.core."
"""Collection whose modules report what the API server or the Python client said."""


def concise(message: str) -> str:
    """A message of kubernetes.core with the API server's own message in place of its response, and without a traceback."""
    message = message.removeprefix("Task failed: ").removeprefix("Module failed: ").partition(" Original traceback:")[0]
    message = re.sub(r" HTTP response headers: .*?\}\)( HTTP response body)?", "", message)
    before, found, after = message.partition('{"kind":"Status",')
    if not found:
        return message
    status, _ = json.JSONDecoder().raw_decode(found + after)
    return before + status.get("message", status.get("reason", "no reason given"))


def reason(result: Mapping[str, Any]) -> str:
    """Why a task failed, in one line: its message, or the last line that its command printed where the message does not say."""
    failed = next((item for item in result.get("results", ()) if isinstance(item, Mapping) and item.get("failed")), None)
    if failed is not None:
        return reason(failed)
    message = " ".join(str(result.get("msg", "")).split())
    if message and not message.startswith(BARE):
        return message
    printed = [line for name in ("stderr", "stdout") for line in str(result.get(name, "")).splitlines()[::-1] if line.strip()]
    return " ".join(printed[0].split()) if printed else message or "no reason given"


def kept(text: str) -> str:
    """Append to the lab's log, if the lab has a folder for it; its path, or ''."""
    path = Path(os.environ.get("LAB_LOG", ""))
    if not path.name or not path.parent.is_dir():
        return ""
    if path.exists() and path.stat().st_size > LOG_BYTES:
        path.replace(path.with_name(f"{path.name}.1"))
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "a") as log:
        log.write(text)
    return str(path)


def said(action: str, result: Mapping[str, Any]) -> list[str]:
    """What a task tells whoever runs the playbook, line by line."""
    message = result.get("msg")
    if action not in ("ansible.builtin.debug", "ansible.builtin.assert") or not message or message == HELD:
        return []
    return [str(line) for line in message] if isinstance(message, list) else str(message).splitlines()


class Log:
    """Ansible's display, as far as its default output uses it, with the lab's log in place of the terminal."""

    def __init__(self, display: Any) -> None:
        self._display = display
        self._waiting = [f"\n{time.strftime('%Y-%m-%d %H:%M:%S')}  {Path(sys.argv[-1]).name}\n"]
        """What has been said before the lab had a folder: a command that is refused leaves none."""

    def __getattr__(self, name: str) -> Any:
        """What else there is of it."""
        return getattr(self._display, name)

    def display(self, msg: str, *_: Any, newline: bool = True, log_only: bool = False, **__: Any) -> None:
        """A line, without colour; what Ansible says twice, once for its own log, is kept once."""
        if log_only:
            return
        self._waiting.append(f"{plain(msg)}\n" if newline else plain(msg))
        if kept("".join(self._waiting)):
            self._waiting.clear()

    def banner(self, msg: str, *_: Any, **__: Any) -> None:
        """A heading."""
        self.display(f"\n{msg} {'*' * max(3, 79 - len(msg))}")

    def warning(self, msg: str, *_: Any, **__: Any) -> None:
        """A warning."""
        self.display(f"[WARNING]: {msg}")

    def deprecated(self, msg: str, *_: Any, **__: Any) -> None:
        """What Ansible will take no longer."""
        self.display(f"[DEPRECATED]: {msg}")


def plain(text: str) -> str:
    """A text without the terminal's colours."""
    return COLOURS.sub("", text)


class CallbackModule(Default):
    """One line for each failure."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "lab_output"

    def __init__(self) -> None:
        super().__init__()
        self._terminal: Any = self._display
        if BRIEF and not self._terminal.verbosity:
            self._display: Any = Log(self._terminal)
        self._unnamed: Any = None
        """The current play, until a task of it runs."""

    def v2_playbook_on_play_start(self, play: Any) -> None:
        """Nothing yet: each playbook of a run begins with a preflight, and only the first of them has something to check."""
        self._play = self._unnamed = play

    def v2_runner_on_start(self, host: Any, task: Any) -> None:
        """The play, before its first task."""
        if self._unnamed is not None:
            super().v2_playbook_on_play_start(self._unnamed)
            self._unnamed = None
        super().v2_runner_on_start(host, task)

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        """The line, and the log's part."""
        if self._display.verbosity:
            super().v2_runner_on_failed(result, ignore_errors)
            return
        why, name = reason(result.result), result.task.get_name()
        log = kept(f"{name}: {why}\n{self._dump_results(dict(result.result))}\n")
        # A message of the project's own is complete; a command's or kubernetes.core's needs the task's name, and the log.
        raw = result.task.action.startswith(RAW)
        if raw or why.startswith(BARE) or why != " ".join(str(result.result.get("msg", "")).split()):
            why = f"{name}: {concise(why) if raw else why}" + (f"; log: {log}" if log else "")
        self._terminal.display(f"[ERROR]: {why}", color=C.COLOR_ERROR, stderr=True)
        if ignore_errors:
            self._display.display("...ignoring", color=C.COLOR_SKIP)

    def v2_runner_item_on_failed(self, result: Any) -> None:
        """Nothing: the line comes with the task's result, which has those of its items."""
        if self._display.verbosity:
            super().v2_runner_item_on_failed(result)

    def _handle_exception(self, result: Any, use_stderr: bool = False) -> None:
        """Nothing: a failure has its line, and a task that may fail (failed_when: false) is followed by one that says why."""
        if self._display.verbosity:
            super()._handle_exception(result, use_stderr)

    def v2_runner_on_ok(self, result: Any) -> None:
        """As Ansible has it; in brief, what the task says."""
        super().v2_runner_on_ok(result)
        if self._display is not self._terminal:
            for line in said(result.task.resolved_action, result.result):
                self._terminal.display(line)
