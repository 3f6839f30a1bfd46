"""Addresses in a network that the lab's load balancer may assign."""

from __future__ import annotations

import ipaddress
import json
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest

from roles.metallb.files import free_addresses


def addresses(*given: str) -> list[ipaddress.IPv4Address]:
    return [ipaddress.IPv4Address(address) for address in given]


def test_an_address_is_taken_if_it_has_a_hardware_address(monkeypatch: pytest.MonkeyPatch) -> None:
    neighbours = [{"dst": "127.0.9.1", "lladdr": "0a:00:00:00:00:01"}, {"dst": "127.0.9.2", "state": ["FAILED"]}]
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: SimpleNamespace(stdout=json.dumps(neighbours)))
    assert free_addresses.taken(addresses("127.0.9.1", "127.0.9.2", "127.0.9.3")) == set(addresses("127.0.9.1"))


@pytest.mark.parametrize(
    ("taken", "status", "expected"),
    [
        ([], 0, "10.89.0.247-10.89.0.254"),
        (["10.89.0.250"], 0, "10.89.0.239-10.89.0.246"),
        ([f"10.89.0.{n}" for n in range(2, 255, 8)], 1, "10.89.0.0/24: no 8 addresses in a row are free"),
    ],
)
def test_the_upper_end_of_the_network_comes_first(
    taken: list[str], status: int, expected: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(free_addresses, "taken", lambda wanted: set(wanted) & set(addresses(*taken)))
    monkeypatch.setattr(sys, "argv", ["free_addresses.py", "10.89.0.0/24", "8"])
    assert free_addresses.main() == status
    assert expected in "".join(capsys.readouterr())
