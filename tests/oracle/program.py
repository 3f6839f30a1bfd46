"""The oracle's program: compiled by the lab's own Go, in the lab's own module and cache, once for each state of its sources."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from plugins.filter.content_key import content_key
from plugins.filter.package_dir import package_dir

PROJECT = Path(__file__).resolve().parent.parent.parent
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "istio-lab"
BINARIES = PROJECT / "roles/binaries/files"
# The program is named after the first file.
SOURCES = sorted(Path(__file__).parent.glob("*.go"), key=lambda file: (file.stem != "oracle", file.stem))


class OracleError(Exception):
    """The oracle could not be built, or it failed."""


def built() -> Path:
    """The compiled program; it is made if it is not there.

    :raises OracleError: with the end of the compile's log
    """
    key = content_key([str(path) for path in (BINARIES, *SOURCES)])
    folder, log = CACHE / "oracle" / key, CACHE / "log/oracle.log"
    if not (folder / "oracle/oracle").exists():
        for old in folder.parent.glob("*"):
            shutil.rmtree(old)
        command = [str(BINARIES / "build.sh"), str(log), str(folder), str(BINARIES / "lab")]
        go = {
            "PATH": f"{package_dir('go')}/bin:{os.environ['PATH']}",
            "GOCACHE": str(CACHE / "go/build"), "GOMODCACHE": str(CACHE / "go/mod"),
        }  # fmt: skip
        stage = f"oracle={' '.join(str(file) for file in SOURCES)}"
        if subprocess.run([*command, stage], env={**os.environ, **go}, check=False).returncode:
            raise OracleError("\n".join(log.read_text().splitlines()[-20:]))
    return folder / "oracle/oracle"


class Oracle:
    """The running program; ends with the ``with`` block."""

    def __init__(self, program: Path) -> None:
        self._program = program

    def __enter__(self) -> Oracle:
        self._process = subprocess.Popen([self._program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self._process.communicate(timeout=10)

    def ask(
        self, objects: Sequence[Mapping[str, Any]], calls: Sequence[Mapping[str, Any]], mesh: Mapping[str, Any]
    ) -> list[dict[str, Any]] | None:
        """The answers, one for each call; None if Istio's validation refuses an object.

        :param mesh: fields of meshConfig
        :raises OracleError: if the oracle failed
        """
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps({"objects": objects, "calls": calls, "mesh": mesh}) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise OracleError(f"the oracle ended with {self._process.wait()}")
        reply = json.loads(line)
        if "error" in reply:
            raise OracleError(reply["error"])
        if "refused" in reply:
            return None
        answers: list[dict[str, Any]] = reply.get("answers", [])
        return answers
