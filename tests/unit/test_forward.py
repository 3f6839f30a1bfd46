"""The way to a gateway without an address: who is taken for the forward, and which ports it gets."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from roles.istio.files import forward


def test_a_forward_is_known_by_what_it_is_not_by_its_id(tmp_path: Path) -> None:
    assert forward.running(tmp_path) == 0
    (tmp_path / "forward.pid").write_text(f"{os.getpid()}\n")  # after a reboot the id is another's
    assert forward.running(tmp_path) == 0
    (tmp_path / "forward.pid").write_text("none\n")
    assert forward.running(tmp_path) == 0
    script = "import time; time.sleep(60)"
    (tmp_path / "it.py").write_text(script)
    with subprocess.Popen([sys.executable, str(tmp_path / "it.py"), "run", str(tmp_path)], start_new_session=True) as process:
        (tmp_path / "forward.pid").write_text(f"{process.pid}\n")
        assert forward.running(tmp_path) == process.pid
        assert forward.running(tmp_path.parent) == 0
        forward.stop(tmp_path)
        assert process.wait(timeout=10) != 0
    assert not (tmp_path / "forward.pid").exists()
    assert forward.stop(tmp_path) == 0, "what does not run is not stopped twice"


def test_a_forward_that_does_not_end_when_asked_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forward, "SECONDS_TO_STOP", 0.3)
    script = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(60)"
    (tmp_path / "it.py").write_text(script)
    command = [sys.executable, str(tmp_path / "it.py"), "run", str(tmp_path)]
    with subprocess.Popen(command, start_new_session=True, stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()  # from here on it does not mind
        (tmp_path / "forward.pid").write_text(f"{process.pid}\n")
        forward.stop(tmp_path)
        assert process.wait(timeout=10) == -signal.SIGKILL


def test_ports_are_kept_unless_somebody_has_taken_one() -> None:
    kept = forward.chosen([])
    assert len(set(kept)) == len(forward.PORTS)
    assert forward.chosen(kept) == kept
    with socket.create_server(("127.0.0.1", kept[1])):
        assert kept[1] not in forward.chosen(kept)


def test_a_forward_that_does_not_come_about_tells_why_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(forward, "SECONDS_TO_START", 1.5)
    (tmp_path / "bin").mkdir()
    kubectl = tmp_path / "bin/kubectl"
    kubectl.write_text("#!/bin/sh\necho 'no such Service' >&2\nexit 1\n")
    kubectl.chmod(0o755)
    monkeypatch.setenv("PATH", f"{kubectl.parent}:{os.environ['PATH']}")
    (tmp_path / "kubeconfig").touch()
    assert forward.start(tmp_path, str(tmp_path / "kubeconfig")) == 1
    assert "the gateway's ports are not forwarded: no such Service" in capsys.readouterr().err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bin", "kubeconfig", "log"]
