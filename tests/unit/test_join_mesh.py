"""A container joins the mesh as a virtual machine, with an engine and a cluster that record what they are asked."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.unit.test_inputs import PROJECT

PROGRAMS = {
    "podman": r"""#!/bin/sh
case "$*" in
    inspect*Id*) echo "$MACHINE" ;;
    inspect*) echo 10.89.0.4 ;;
    ps*'name=^dev-machine-proxy$'*label=istio-lab.lab=dev*label=istio-lab.key=*)
        ! grep -qxF "${*##*key=}" "$FOLDER/key" 2>/dev/null || echo 1 ;;
    ps*label=*) ;;
    ps*'name=^dev-machine-proxy$') [ -z "$THEIRS" ] || echo 2 ;;
    logs*) echo "no certificate" ;;
    run*) echo "$1 $*" | tr '\n' ' ' | sed 's/$/\n/' >>"$FOLDER/asked"
        echo "$*" | sed -n 's/.*istio-lab.key=\([^ ]*\).*/\1/p' >"$FOLDER/key" ;;
esac
exit 0
""",
    "kubectl": r"""#!/bin/sh
case "$*" in
    *istio-ca-root-cert*) echo root ;;
    *"service istiod"*) echo 10.96.0.9 ;;
    *nodes*) printf '10.244.0.0/24 10.89.0.2\n10.244.1.0/24 10.89.0.3\n' ;;
    *workloadgroup*) echo "$SPEC" ;;
    *workloadentries*) echo "another-10.89.0.9 False"; echo "$STATE" ;;
esac
""",
    "istioctl": r"""#!/bin/sh
[ -z "$REFUSED" ] || { echo "Error: $REFUSED"; exit 1; }
while [ "$1" != --output ]; do shift; done
touch "$2/cluster.env" "$2/mesh.yaml" "$2/istio-token" "$2/root-cert.pem"
""",
    "sleep": "#!/bin/sh\n",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in PROGRAMS.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    return tmp_path


def join(folder: Path, **state: str) -> subprocess.CompletedProcess[str]:
    script = [
        str(PROJECT / "roles/samples/files/join_mesh.sh"),
        "podman",
        "dev",
        "dev-machine",
        "kubeconfig",
        "machine",
        "machine",
    ]
    given = {
        "MACHINE": "1",
        "SPEC": "{}",
        "STATE": "machine-10.89.0.4 True",
        "THEIRS": "",
        "REFUSED": "",
        "FOLDER": str(folder),
        **state,
    }
    environment = {**os.environ, **given, "PATH": f"{folder}:{os.environ['PATH']}"}
    command = [*script, str(folder / "machine"), "proxyv2:1"]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=60)


def asked(folder: Path) -> list[str]:
    file = folder / "asked"
    lines = file.read_text().splitlines() if file.exists() else []
    file.unlink(missing_ok=True)
    return lines


def test_its_proxy_starts_without_rights_after_the_network_is_set_up(folder: Path) -> None:
    done = join(folder)
    assert (done.returncode, done.stdout) == (0, "started: dev-machine-proxy\n"), done.stderr
    network, proxy = asked(folder)
    assert "--rm --user 0 --cap-add NET_ADMIN" in network
    assert "10.244.0.0/24 10.89.0.2 10.244.1.0/24 10.89.0.3" in network
    assert "ip route replace 10.96.0.9 via 10.89.0.2" in network
    assert "--name dev-machine-proxy --label istio-lab.lab=dev" in proxy
    assert "--user 1337:1337 --cap-drop all" in proxy
    assert "cap-add" not in proxy
    assert (folder / "machine").stat().st_mode & 0o777 == 0o700
    assert (folder / "machine/certs/root-cert.pem").exists()


def test_a_proxy_is_kept_as_long_as_machine_and_group_are_the_same(folder: Path) -> None:
    join(folder)
    assert len(asked(folder)) == 2
    again = join(folder)
    assert (again.returncode, again.stdout, asked(folder)) == (0, "", [])
    for change in ({"MACHINE": "2"}, {"SPEC": '{"probe":{}}'}):
        assert join(folder, **change).stdout == "started: dev-machine-proxy\n"
        assert len(asked(folder)) == 2


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ({"REFUSED": "workloadgroup machine not found"}, "Error: workloadgroup machine not found"),
        ({"THEIRS": "yes"}, "a container dev-machine-proxy exists in podman that this lab did not make"),
        (
            {"STATE": "machine-10.89.0.4 False"},
            "dev-machine has not joined the mesh as a member of WorkloadGroup machine within 90 s; its proxy says: no c",
        ),
        ({"STATE": "machine-10.89.0.4 2026-11-26T20:00:00ZTrue"}, "has not joined the mesh"),
        ({"STATE": "machine-10.89.0.3 True\nmachine-10.89.0.4 True"}, "has not joined the mesh"),
    ],
)
def test_it_says_why_a_machine_does_not_join(folder: Path, state: dict[str, str], words: str) -> None:
    done = join(folder, **state)
    assert done.returncode == 1
    assert words in done.stderr
