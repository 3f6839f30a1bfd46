"""Entries outside the checkout: found by the path of their folder, and refused with one line that says why."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from loadtests.entries import entry, policy
from tests.unit.entries.test_policy import verbs
from tests.unit.mesh.rules_api import kept
from tests.unit.test_inputs import PROJECT

RULES = """apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: checkout}
spec: {hosts: [checkout], http: [{route: [{destination: {host: checkout}}]}]}
"""
TRAFFIC = """from loadtests.clients.http import Fetch
from loadtests.entries.question import ROUTING, ResponseCheck
from loadtests.rules.responses import answered

QUESTION = ResponseCheck(namespace="shop", kinds=ROUTING, expectation=answered, classes={"anyone": {}})
TRAFFIC = {"anyone": Fetch("/")}
"""


def own(place: Path, name: str = "checkout-canary", **files: str | None) -> Path:
    """An entry's folder; None leaves a file out.

    :param files: contents by the file's name without its ending
    """
    folder = place / name
    folder.mkdir()
    for file, text in {"policy": RULES, "control": RULES, "traffic": TRAFFIC, **files}.items():
        if text is not None:
            (folder / f"{file}{'.py' if file == 'traffic' else '.yaml'}").write_text(text)
    return folder


def refusal(name: str | Path) -> str:
    with pytest.raises(KeyError) as refused:
        entry.load(str(name))
    words = str(refused.value.args[0])
    assert "\n" not in words
    return words


def test_a_folder_is_an_entry_by_its_path(tmp_path: Path) -> None:
    found = entry.load(str(own(tmp_path)))
    assert (found.name, found.question.namespace, list(found.traffic)) == ("checkout-canary", "shop", ["anyone"])
    assert str(tmp_path / "checkout-canary") in entry.Accepted(entry.names())
    assert "checkout-canary" not in entry.Accepted(entry.names()), "a name alone is one of the catalogue's"


@pytest.mark.parametrize("name", entry.names())
def test_entries_of_the_catalogue_are_such_folders_too(name: str) -> None:
    assert entry._wrong_with(entry.load(name)) == ""


def test_the_path_of_no_folder_is_refused(tmp_path: Path) -> None:
    assert "no such folder; accepted: a folder with policy.yaml, control.yaml, traffic.py" in refusal(tmp_path / "nosuch")


def test_missing_files_are_named(tmp_path: Path) -> None:
    assert "which lacks control.yaml, traffic.py; accepted: " in refusal(own(tmp_path, control=None, traffic=None))


def test_a_name_of_the_catalogue_is_refused(tmp_path: Path) -> None:
    words = refusal(own(tmp_path, "reviews-80-20"))
    assert "the catalogue has an entry reviews-80-20; accepted: a folder with another name" in words


@pytest.mark.parametrize("name", ["Checkout", "a_b", "x" * 51, "a."])
def test_a_name_that_is_no_label_is_refused(tmp_path: Path, name: str) -> None:
    assert "accepted: a folder whose name has up to 50 lower-case letters" in refusal(own(tmp_path, name))


@pytest.mark.parametrize(("traffic", "words"), [
    ("import json\n\nraise ValueError('no\\nshop')\n", "traffic.py:3: ValueError: no shop"),
    ("import json\njson.loads('x')\n", "traffic.py:2: JSONDecodeError: Expecting value"),
    ("import sys\nsys.exit('early')\n", "traffic.py:2: SystemExit: early"),
    ("QUESTION = (\n", "traffic.py:1: SyntaxError: '(' was never closed"),
    ("import nosuch\n", "traffic.py:1: ModuleNotFoundError: No module named 'nosuch'"),
    ("TRAFFIC = {}\n", "has no attribute 'QUESTION'"),
    ("QUESTION, TRAFFIC = 1, {}\n", "QUESTION is a int; accepted: a Split or a ResponseCheck"),
    (TRAFFIC.replace('"shop"', '"istio-system"'), "about namespace istio-system; accepted: a namespace of services"),
    (TRAFFIC.replace('{"anyone": Fetch', '{"someone": Fetch'), "a dict with a client for each (anyone)"),
    (TRAFFIC.replace('Fetch("/")', '"/"'), "no client for anyone; accepted: an object with start and visit"),
])  # fmt: skip
def test_a_file_that_cannot_be_used_is_named_with_its_line(tmp_path: Path, traffic: str, words: str) -> None:
    assert words in refusal(own(tmp_path, traffic=traffic))


def test_the_command_prints_the_line_and_ends_with_1(tmp_path: Path) -> None:
    for folder, status in ((own(tmp_path), 0), (own(tmp_path, "bad", traffic="1 / 0\n"), 1)):
        done = subprocess.run(
            [sys.executable, "-m", "loadtests.entries.entry", str(folder)],
            cwd=PROJECT, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == status, done.stderr
        if status:
            assert done.stderr == f"{folder}/traffic.py:1: ZeroDivisionError: division by zero\n"
        else:
            assert json.loads(done.stdout) == {"name": "checkout-canary", "namespace": "shop"}


def test_its_rules_are_applied_under_its_name(tmp_path: Path) -> None:
    cluster = kept()
    assert policy.put(cluster, str(own(tmp_path)), "policy", entry.CATALOGUE) == ["virtualservice/checkout created"]
    (rule,) = cluster.rules.values()
    assert rule["metadata"]["labels"] == {policy.LABEL: "checkout-canary.policy"}


def test_rules_of_several_namespaces_are_refused(tmp_path: Path) -> None:
    cluster = kept()
    elsewhere = RULES.replace("{name: checkout}", "{name: theirs, namespace: billing}")
    folder = own(tmp_path, policy=f"{RULES}---\n{elsewhere}")
    with pytest.raises(policy.RefusedError) as refused:
        policy.put(cluster, str(folder), "policy", entry.CATALOGUE)
    words = "VirtualService theirs of billing: an entry's rules belong to the namespace of its question, "
    assert str(refused.value).startswith(words)
    assert verbs(cluster) == []
