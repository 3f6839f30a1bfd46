"""The same lab on docker, if a docker daemon responds (Debian 12's own cannot run kind without CAP_SYS_RESOURCE)."""

from __future__ import annotations

import subprocess

import pytest
import requests

from tests import lab

NAME = f"{lab.NAME}-docker"
STATE = lab.STATE.parent / NAME


def docker(*arguments: str) -> str:
    try:
        done = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False, timeout=60)
    except FileNotFoundError:
        return ""
    return done.stdout if done.returncode == 0 else ""


@pytest.mark.skipif(not docker("version", "--format", "{{.Server.Version}}"), reason="no docker daemon answers here")
def test_a_lab_on_docker_is_created_kept_and_removed() -> None:
    listings = (["ps", "-aq"], ["network", "ls", "-q"], ["volume", "ls", "-q"])
    before = [docker(*command) for command in listings]
    try:
        done = lab.playbook("site.yml", lab_name=NAME, lab_engine="docker", image_source="build")
        assert done.returncode == 0, done.stdout[-3000:]
        url = f"http://127.0.0.1:{(STATE / 'gateway_port').read_text().strip()}"
        assert "<title>Simple Bookstore App</title>" in requests.get(f"{url}/productpage", timeout=10).text
        again = lab.playbook("site.yml", lab_name=NAME)
        assert "changed=0" in again.stdout, again.stdout[-2000:]
        other = lab.playbook("site.yml", lab_name=NAME, lab_engine="podman")
        assert other.returncode != 0
        assert "lab_engine: podman was given, but this lab was made with docker; accepted: docker" in lab.words(other.stdout)
    finally:
        removed = lab.playbook("destroy_lab.yml", lab_name=NAME)
    assert removed.returncode == 0, removed.stdout[-3000:]
    assert [docker(*command) for command in listings] == before
    assert not STATE.exists()
