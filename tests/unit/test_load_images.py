"""Which images are loaded into which node with docker; scenario image_pull covers podman."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.unit.test_inputs import PROJECT

# A cluster with two nodes; an image imported into a node is stored in a file with the node's name.
ENGINE = r"""#!/bin/sh
case "$*" in
    ps*cluster=lab) echo one; echo two ;;
    "exec one ctr "*" images ls --quiet") echo held:1 ;;
    "exec two ctr "*" images ls --quiet") ;;
    "exec "*" images ls") cat "$FOLDER/$2" 2>/dev/null || echo empty ;;
    "exec --interactive "*" images import "*) cat >"$FOLDER/$3" ;;
    save*) echo "$*"; [ "$2" != none:1 ] ;;
    *) exit 9 ;;
esac
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "docker").write_text(ENGINE)
    (tmp_path / "docker").chmod(0o755)
    return tmp_path


def load(folder: Path, *images: str) -> subprocess.CompletedProcess[str]:
    script = PROJECT / "roles/kind_cluster/files/load_images.sh"
    environment = {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}", "FOLDER": str(folder), "TMPDIR": str(folder)}
    return subprocess.run([str(script), "docker", "lab", *images], env=environment, capture_output=True, text=True, check=False)


def test_every_node_gets_what_it_lacks_in_one_archive(folder: Path) -> None:
    done = load(folder, "held:1", "new:1", "newer:1")
    assert (done.returncode, done.stderr) == (0, "")
    assert (folder / "one").read_text() == "save new:1 newer:1\n"
    assert (folder / "two").read_text() == "save held:1 new:1 newer:1\n"
    assert done.stdout.splitlines() == [f"loaded: {image}" for image in ("new:1", "newer:1", "held:1", "new:1", "newer:1")]
    assert {p.name for p in folder.iterdir()} == {"docker", "one", "two"}, "its temporary folder is left behind"


def test_nodes_with_all_images_are_left_alone(folder: Path) -> None:
    (folder / "docker").write_text(ENGINE.replace('images ls --quiet") ;;', 'images ls --quiet") echo held:1 ;;'))
    done = load(folder, "held:1")
    assert (done.returncode, done.stdout) == (0, "")
    assert not (folder / "two").exists()


def test_an_archive_is_imported_as_it_is_and_reported_where_it_changes_something(folder: Path) -> None:
    (folder / "shop.tar").write_text("layers")
    done = load(folder, str(folder / "shop.tar"))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [f"loaded: {folder}/shop.tar"] * 2
    assert (folder / "one").read_text() == (folder / "two").read_text() == "layers"
    again = load(folder, str(folder / "shop.tar"))
    assert (again.returncode, again.stdout) == (0, "")


def test_an_archive_that_is_not_there_fails(folder: Path) -> None:
    assert load(folder, str(folder / "nosuch.tar")).returncode != 0


def test_an_image_that_cannot_be_saved_is_not_reported_as_loaded(folder: Path) -> None:
    done = load(folder, "none:1")
    assert done.returncode != 0
    assert "loaded" not in done.stdout
