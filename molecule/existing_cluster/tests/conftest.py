"""One foreign cluster for all tests of this scenario."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator

import pytest
import yaml

from tests import foreign as foreign_cluster
from tests import lab


@pytest.fixture(scope="session")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Iterator[foreign_cluster.Foreign]:
    folder = tmp_path_factory.mktemp("foreign")
    settings = yaml.safe_load((lab.STATE / "kind.yaml").read_text())
    settings["nodes"] = [{"role": "control-plane"}]  # no port of it is published on this machine
    (folder / "kind.yaml").write_text(yaml.safe_dump(settings))
    image = json.loads((lab.STATE / "cluster.json").read_text())["image"]
    there = foreign_cluster.Foreign(folder / "kubeconfig")
    where = ["--name", foreign_cluster.CLUSTER, "--kubeconfig", str(there.kubeconfig)]
    # An ended run may have left its lab's folder, of a cluster that is gone.
    shutil.rmtree(foreign_cluster.STATE, ignore_errors=True)
    before = lab.traces()
    try:
        foreign_cluster.run(
            "kind", "create", "cluster", *where, "--image", image, "--config", str(folder / "kind.yaml"), "--wait", "180s"
        )
        there.kubectl(
            "apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": foreign_cluster.of_others()})
        )
        there.kubectl("-n", "shop", "rollout", "status", "deployment/till", "--timeout=120s")
        there.kubectl("-n", "kube-system", "rollout", "status", "deployment/coredns", "--timeout=120s")
        yield there
    finally:
        foreign_cluster.run("kind", "delete", "cluster", *where)
    assert lab.traces() == before, "the lab left something on this machine"


@pytest.fixture(scope="session")
def here() -> None:
    """The report of the same entries on the lab's own cluster."""
    done = lab.playbook("verify_catalogue.yml", lab_verify_entries=foreign_cluster.ENTRIES)
    assert done.returncode == 0, done.stdout[-3000:]
