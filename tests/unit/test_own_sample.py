"""A sample from outside the checkout is refused with one line, before anything of it is applied."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar

from tests.unit.test_inputs import PROJECT

KUBECTL = """#!/bin/sh
case "$*" in
    kustomize*) cat "$2/rendered" || { echo "error: no such resource" >&2; exit 1; } ;;
    *api-resources*) echo "namespaces  ns  v1  false  Namespace"; echo "nodes  no  v1  false  Node" ;;
    *) exit 9 ;;
esac
"""
SERVICE = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}}
HERE = {**SERVICE, "metadata": {"name": "here", "namespace": "shop"}}


def checked(place: Path, objects: list[Any] | None, provider: str = "kind") -> str:
    """What the tasks say about a sample; empty if nothing is refused.

    :param objects: None if the kustomization cannot be read
    """
    (place / "kubectl").write_text(KUBECTL)
    (place / "kubectl").chmod(0o755)
    if objects is not None:
        (place / "rendered").write_text(yaml.safe_dump_all(objects))
    playbook = place / "play.yml"
    task = {"name": "Check", "ansible.builtin.include_tasks": str(PROJECT / "playbooks/tasks/own_sample.yml")}
    playbook.write_text(json.dumps([{"hosts": "localhost", "gather_facts": False, "tasks": [task]}]))
    given = {
        "lab_own_sample": str(place), "lab_kubeconfig": "none", "lab_entry_namespace": "shop", "lab_provider": provider,
        "ansible_python_interpreter": sys.executable, "lab_entry": "/mesh/canary",
    }  # fmt: skip
    command = [sys.executable, "-m", "ansible", "playbook", "-i", "localhost,", "-c", "local", str(playbook)]
    environment = {**os.environ, "PATH": f"{place}:{os.environ['PATH']}", "HOME": str(place), "ANSIBLE_NOCOLOR": "1"}
    done = subprocess.run(
        [*command, "-e", json.dumps(given)], capture_output=True, text=True, check=False, env=environment, cwd=PROJECT
    )
    assert (done.returncode == 0) is ("fatal" not in done.stdout + done.stderr and "ERROR" not in done.stderr), done.stderr
    return "" if done.returncode == 0 else " ".join((done.stdout + done.stderr).split())


@pytest.mark.parametrize("objects", [[SERVICE, HERE], [SERVICE, None], []])
def test_objects_of_the_namespace_are_accepted(tmp_path: Path, objects: list[Any]) -> None:
    assert checked(tmp_path, objects) == ""


@pytest.mark.parametrize(("elsewhere", "name"), [
    ({**SERVICE, "metadata": {"name": "theirs", "namespace": "billing"}}, "Service theirs"),
    ({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}, "Namespace shop"),
])  # fmt: skip
def test_an_object_outside_it_is_named(tmp_path: Path, elsewhere: dict[str, Any], name: str) -> None:
    words = checked(tmp_path, [SERVICE, elsewhere])
    assert f"lab_own_sample: {tmp_path} has {name}; accepted: objects of namespace shop only" in words


def test_a_kustomization_that_cannot_be_read_is_refused_in_kubectls_words(tmp_path: Path) -> None:
    assert "error: no such resource; accepted: what `kubectl kustomize` reads; nothing was changed" in checked(tmp_path, None)


def test_archives_are_refused_where_they_cannot_be_loaded(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images/shop.tar").touch()
    words = checked(tmp_path, [SERVICE], "existing")
    assert f"lab_own_sample: {tmp_path} has archives of images, which go into the nodes of kind only" in words


@pytest.mark.parametrize(("images", "own", "folder"), [
    ({}, "", "/project/samples/shop"), ({"a": "b"}, "", "/state/samples/shop"),
    ({}, "/team/deploy", "/team/deploy"), ({"a": "b"}, "/team/deploy", "/team/deploy"),
])  # fmt: skip
def test_the_folder_that_is_applied(images: dict[str, str], own: str, folder: str) -> None:
    loader = DataLoader()
    variables = loader.load_from_file(str(PROJECT / "roles/samples/vars/main.yml"), trusted_as_template=True)
    given = {
        "samples_dir": "/project/samples", "samples_state_dir": "/state", "samples_name": "shop", "samples_images": images,
        "samples_kustomization": own,
    }  # fmt: skip
    assert Templar(loader=loader, variables=given).template(variables["__samples_kustomization"]) == folder
