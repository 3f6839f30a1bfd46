"""Which entries make verify judges: all, but for those that cannot run on the cluster."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from loadtests.entries import choice, entry
from tests.unit.test_inputs import PROJECT

ENTRIES = {"a": "bookinfo", "b": "billing", "c": "greeter", "d": "greeter"}


def test_all_are_judged_where_nothing_is_missing() -> None:
    assert choice.choose(ENTRIES, [], [""], {}) == choice.Choice(ENTRIES, {})


def test_what_cannot_run_is_skipped_with_its_reason() -> None:
    chosen = choice.choose({**ENTRIES, "e": "bookinfo"}, ["billing"], ["greeter"], {"e": "why", "another": "why"})
    assert chosen.judged == {"a": "bookinfo"}
    assert chosen.skipped == {"why": ["e"], choice.UNREACHABLE: ["b"], choice.NO_IMAGE: ["c", "d"]}


def asked(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "loadtests.entries.choice", "--samples", str(PROJECT / "samples"), *arguments]
    return subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize(
    ("arguments", "judged", "skipped"),
    [
        ([], entry.names(), []),
        (["--entries=mirror,egress-blocked"], ["egress-blocked", "mirror"], []),
        (
            ["--entries=mirror,egress-blocked", "--no-external-services"],
            ["mirror"],
            [f"not judged, because {choice.UNREACHABLE}: egress-blocked"],
        ),
        (
            ["--entries=mirror,tcproute-weights,gateway-api", "--gateway-api=Gateway,HTTPRoute"],
            ["gateway-api", "mirror"],
            [f"not judged, because {choice.NO_KIND}: tcproute-weights"],
        ),
        (
            ["--entries=mirror,gateway-api", "--gateway-api="],
            ["mirror"],
            [f"not judged, because {choice.NO_KIND}: gateway-api"],
        ),
        (["--entries=mirror,tracing", "--no-telemetry"], ["mirror"], [f"not judged, because {choice.NO_TELEMETRY}: tracing"]),
    ],
)
def test_the_choice_is_printed_as_json(arguments: list[str], judged: list[str], skipped: list[str]) -> None:
    printed: dict[str, Any] = json.loads(asked(*arguments).stdout)
    assert (list(printed["namespaces"]), printed["skipped"]) == (judged, skipped)


def test_a_name_that_is_no_entrys_is_refused() -> None:
    done = asked("--entries=mirror,mirorr")
    assert done.returncode == 1
    assert done.stderr == "mirorr was given; accepted: names that make catalogue lists\n"
