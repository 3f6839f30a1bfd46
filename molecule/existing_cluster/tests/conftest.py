"""One existing cluster for all tests in this scenario."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator

import pytest
import yaml

from tests import foreign as foreign_cluster
from tests import lab
from tests.registry import served


@pytest.fixture(scope="session")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Iterator[foreign_cluster.Foreign]:
    folder = tmp_path_factory.mktemp("foreign")
    settings = yaml.safe_load((lab.STATE / "kind.yaml").read_text())
    settings["nodes"] = [{"role": "control-plane"}]  # none of its ports are published on this machine
    settings["containerdConfigPatches"].append(foreign_cluster.REGISTRIES)
    (folder / "kind.yaml").write_text(yaml.safe_dump(settings))
    image = json.loads((lab.STATE / "cluster.json").read_text())["image"]
    there = foreign_cluster.Foreign(folder / "kubeconfig")
    where = ["--name", foreign_cluster.CLUSTER, "--kubeconfig", str(there.kubeconfig)]
    # An interrupted run may have left its lab's folder, for a cluster that no longer exists.
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
def registry(foreign: foreign_cluster.Foreign, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A registry that the cluster's node uses without a certificate."""
    with served(tmp_path_factory.mktemp("registry")) as address:
        place = f"/etc/containerd/certs.d/{address}"
        node = ["podman", "exec", f"{foreign_cluster.CLUSTER}-control-plane", "bash", "-c"]
        foreign_cluster.run(*node, f"mkdir -p '{place}' && echo 'server = \"http://{address}\"' >'{place}/hosts.toml'")
        yield address


@pytest.fixture(scope="session")
def here() -> None:
    """The report for the same entries on the lab's own cluster."""
    done = lab.playbook("verify_catalogue.yml", lab_verify_entries=foreign_cluster.ENTRIES)
    assert done.returncode == 0, done.stdout[-3000:]
