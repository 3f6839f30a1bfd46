"""Ownership: the lab owns only what it marked on creation. Tested with engines that record their calls."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.kubeconfig import written
from tests.kubernetes_api import Api
from tests.unit.test_inputs import PROJECT, plugin

kind_cluster = plugin("modules", "kind_cluster")

# Lists and removes containers in $FOLDER/containers.json, and records every requested change.
ENGINE = r"""#!/usr/bin/env python3
import json, os, sys
folder, asked = os.environ["FOLDER"], sys.argv[1:]
file = os.path.join(folder, "containers.json")
containers = json.load(open(file))
if asked[0] == "ps":
    label = next((a.partition("=")[2] for a in asked if a.startswith("label=")), "")
    key, _, value = label.partition("=")
    for one in containers:
        if not label or one["Config"]["Labels"].get(key) == value:
            print(one["Id"])
elif asked[0] == "inspect":
    print(json.dumps([one for one in containers if one["Id"] in asked]))
elif asked[:2] == ["network", "inspect"]:
    if not os.path.exists(network := os.path.join(folder, "network")):
        sys.exit(1)
    print("made" if "--label=istio-lab.network=made" in open(network).read().split() else "")
else:
    print(*asked, file=open(os.path.join(folder, "asked"), "a"))
    if asked[0] == "rm":
        json.dump([one for one in containers if one["Name"] not in asked], open(file, "w"))
    if asked[:2] == ["network", "create"]:
        print(*asked, file=open(os.path.join(folder, "network"), "w"))
    if asked[:2] == ["network", "rm"]:
        os.unlink(os.path.join(folder, "network"))
"""
# Creates a node with the configured mounts; $FOLDER/killed ends it like a power cut, $FOLDER/slow is there until it may go on.
KIND = r"""#!/usr/bin/env python3
import json, os, sys, time, yaml
folder, asked = os.environ["FOLDER"], sys.argv[1:]
print("kind", *asked, file=open(os.path.join(folder, "asked"), "a"))
name = asked[asked.index("--name") + 1]
if asked[0] == "create":
    json.dump(dict(os.environ), open(os.path.join(folder, "environment"), "w"))
    while os.path.exists(os.path.join(folder, "slow")):
        time.sleep(0.02)
    mount = yaml.safe_load(sys.stdin)["nodes"][0]["extraMounts"][0]
    assert os.path.isdir(mount["hostPath"]), "the engine refuses a mount whose source does not exist"
    assert os.path.exists(os.path.join(folder, "network")), "kind would create a network without a mark"
    node = {"Id": "new", "Name": f"{name}-control-plane", "State": {"Status": "running"},
            "Config": {"Labels": {"io.x-k8s.kind.cluster": name}},
            "Mounts": [{"Type": "bind", "Source": mount["hostPath"], "Destination": mount["containerPath"]},
                       {"Type": "volume", "Name": "var", "Source": "/x", "Destination": "/var"}]}
    json.dump([node], open(os.path.join(folder, "containers.json"), "w"))
    if os.path.exists(os.path.join(folder, "killed")):
        sys.exit(9)
open(asked[asked.index("--kubeconfig") + 1], "w").write("of the cluster")
"""


class Host:
    """A host with one engine that may have clusters, and the labs' state folder."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.home = folder / "host", folder / "state home"
        self.folder.mkdir()
        self.state = self.home / "istio-lab/dev"
        (self.folder / "containers.json").write_text("[]")
        for name, text in {"podman": ENGINE, "kind": KIND, "kubectl": "#!/bin/sh\n"}.items():
            (self.folder / name).write_text(text)
            (self.folder / name).chmod(0o755)
        self.environment = {
            **os.environ, "PATH": f"{self.folder}:{Path(sys.executable).parent}:{os.environ['PATH']}",
            "FOLDER": str(self.folder), "XDG_STATE_HOME": str(self.home), "XDG_CACHE_HOME": str(folder / "cache"),
            "ANSIBLE_CONFIG": str(PROJECT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1", "COLUMNS": "2000",
        }  # fmt: skip

    def found(self, name: str, claim: str = "", container: str = "theirs") -> None:
        """Add a node of an existing cluster."""
        mounts = [{"Type": "bind", "Source": claim, "Destination": "/etc/istio-lab"}] if claim else []
        node = {
            "Id": container, "Name": f"{name}-control-plane", "State": {"Status": "running"}, "Mounts": mounts,
            "Config": {"Labels": {"io.x-k8s.kind.cluster": name}},
        }  # fmt: skip
        (self.folder / "containers.json").write_text(json.dumps([node]))

    @property
    def containers(self) -> list[str]:
        return [one["Id"] for one in json.loads((self.folder / "containers.json").read_text())]

    @property
    def asked(self) -> list[str]:
        """All recorded calls that change something."""
        file = self.folder / "asked"
        return file.read_text().splitlines() if file.exists() else []

    def module(self, state: str = "present", **variables: str) -> dict[str, Any]:
        """The module's result, as Ansible gets it."""
        config = {"nodes": [{"extraMounts": [{"hostPath": str(self.state / "claim"), "containerPath": "/etc/istio-lab"}]}]}
        given = {
            "name": "dev", "state": state, "config": json.dumps(config), "image": "node:1", "timeout": 2,
            "kubeconfig": str(self.state / "kubeconfig"), "record": str(self.state / "cluster.json"),
            "claim": str(self.state / "claim"), "log": str(self.state / "log/kind.log"),
        }  # fmt: skip
        if state == "present":
            (self.state / "log").mkdir(parents=True, exist_ok=True)
        done = subprocess.run(
            [sys.executable, str(PROJECT / "plugins/modules/kind_cluster.py")], env=self.environment | variables,
            input=json.dumps({"ANSIBLE_MODULE_ARGS": given}), capture_output=True, text=True, check=False,
        )  # fmt: skip
        result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return result

    def play(self, playbook: str, **variables: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "ansible", "playbook", "-i", "inventories/kind", f"playbooks/{playbook}"]
        given = ["-e", json.dumps({"lab_name": "dev", "lab_min_disk_gib": 0, "lab_min_memory_gib": 0, **variables})]
        return subprocess.run(
            [*command, *given], capture_output=True, text=True, check=False, env=self.environment, cwd=PROJECT, timeout=60
        )


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


@pytest.mark.parametrize("state", ["present", "absent"])
@pytest.mark.parametrize("recorded", [False, True])
def test_another_owners_cluster_is_refused_regardless_of_the_labs_folder(host: Host, state: str, recorded: bool) -> None:
    host.found("dev")
    if recorded:  # the lab's cluster was deleted by hand, and somebody created another with its name
        (host.state / "claim").mkdir(parents=True)
        (host.state / "cluster.json").write_text('{"made_of": "x"}')
    result = host.module(state)
    assert result["failed"] is True
    assert result["msg"].startswith("lab_name: dev was given, but a kind cluster dev exists in podman (dev-control-plane)")
    assert "kind delete cluster --name dev" in result["msg"]
    assert (host.containers, host.asked) == (["theirs"], [])


@pytest.mark.parametrize("playbook", ["create_cluster.yml", "destroy_lab.yml"])
def test_every_playbook_refuses_it_and_leaves_no_folder(host: Host, playbook: str) -> None:
    host.found("dev")
    done = host.play(playbook)
    assert done.returncode != 0
    assert "a kind cluster dev exists in podman (dev-control-plane) that was not made by this lab" in done.stderr
    assert (host.containers, host.asked) == (["theirs"], [])
    assert not (host.home / "istio-lab").exists()


def test_a_lab_of_another_state_folder_is_named(host: Host) -> None:
    host.found("dev", claim="/home/ann/.local/state/istio-lab/dev/claim")
    assert "that belongs to the lab in /home/ann/.local/state/istio-lab/dev;" in host.module()["msg"]
    assert (host.containers, host.asked) == (["theirs"], [])


def test_an_interrupted_creation_is_replaced(host: Host) -> None:
    (host.folder / "killed").touch()
    assert host.module()["failed"] is True
    assert host.containers == ["new"]
    (host.folder / "killed").unlink()
    result = host.module()
    assert (result["action"], result["reason"]) == ("replace", "an interrupted creation left half a cluster behind")
    assert "rm --force --volumes dev-control-plane" in host.asked
    assert (host.module()["action"], host.containers) == ("keep", ["new"])


def test_the_labs_cluster_is_known_after_its_folder_was_deleted(host: Host) -> None:
    host.found("dev", claim=str(host.state / "claim"), container="ours")
    result = host.module()
    assert (result["action"], result["reason"]) == ("replace", "the lab's folder was removed while its cluster was left")
    assert host.containers == ["new"]


def test_destroy_removes_it_after_its_folder_was_deleted(host: Host) -> None:
    host.found("dev", claim=str(host.state / "claim"), container="ours")
    done = host.play("destroy_lab.yml")
    assert done.returncode == 0, done.stderr
    assert (host.containers, (host.home / "istio-lab").exists()) == ([], False)


def test_volumes_of_its_own_nodes_go_and_no_others(host: Host) -> None:
    """kind deletes volumes by a label with the node's name, regardless of the node's owner."""
    host.module()
    assert host.module("absent")["changed"] is True
    assert [line for line in host.asked if line.startswith("volume")] == ["volume rm var"]
    assert not [line for line in host.asked if line.startswith("kind delete")]


def test_the_network_is_marked_before_the_cluster_is_made(host: Host) -> None:
    host.module()
    network = next(line for line in host.asked if line.startswith("network create"))
    assert "--label=istio-lab.network=made" in network
    (host.folder / "asked").unlink()
    host.module("absent")
    host.module()
    assert not [line for line in host.asked if line.startswith("network create")], "an existing network is used as it is"


def test_the_network_stays_for_a_lab_that_is_being_made(host: Host) -> None:
    host.module()
    host.module("absent")
    assert (host.folder / "network").exists(), "left by the lab that was interrupted before its network was removed"
    (host.folder / "slow").touch()
    with ThreadPoolExecutor() as pool:
        made = pool.submit(host.module)
        until = time.monotonic() + 20
        while not any(line.startswith("kind create") for line in host.asked[-1:]) and time.monotonic() < until:
            time.sleep(0.02)
        try:
            other = host.play("destroy_lab.yml", lab_name="other")
        finally:
            (host.folder / "slow").unlink()
    assert (other.returncode, made.result().get("action"), host.containers) == (0, "create", ["new"]), made.result()
    assert "network rm kind" not in host.asked
    assert host.play("destroy_lab.yml").returncode == 0
    assert host.asked[-1] == "network rm kind"


def test_a_network_that_no_lab_has_made_stays(host: Host) -> None:
    (host.folder / "network").write_text("network create kind\n")
    host.module()
    assert host.play("destroy_lab.yml").returncode == 0
    assert (host.containers, (host.folder / "network").exists()) == ([], True)


@pytest.mark.parametrize(
    ("given", "handed_on"),
    [("http://proxy:3128", True), ("http://10.0.0.8:3128", True), ("http://127.0.0.1:9", False), ("localhost:3128", False),
     ("http://user:word@[::1]:3128/", False)],
)  # fmt: skip
def test_nodes_receive_a_proxy_that_they_can_reach(host: Host, given: str, handed_on: bool) -> None:
    names = ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy")
    host.module(**dict.fromkeys(names, given), NO_PROXY="127.0.0.1")
    received = json.loads((host.folder / "environment").read_text())
    assert [received.get(name) for name in names] == [given if handed_on else None] * len(names)
    assert received["NO_PROXY"] == "127.0.0.1", "kind adds the cluster's networks and names"


def test_a_lost_kubeconfig_is_written_again(host: Host) -> None:
    host.module()
    (host.state / "kubeconfig").unlink()
    result = host.module()
    assert (result["action"], result["reason"], host.containers) == ("repair", "its kubeconfig was gone", ["new"])
    assert (host.state / "kubeconfig").read_text() == "of the cluster"
    assert (host.state / "kubeconfig").stat().st_mode & 0o777 == 0o600


# -- namespaces -------------------------------------------------------------------------------------------------------

# Has the namespaces in $FOLDER/namespaces.json, name -> labels, and records all other calls.
KUBECTL = r"""#!/usr/bin/env python3
import json, os, sys
folder, asked = os.environ["FOLDER"], [a for a in sys.argv[1:] if not a.startswith("--kubeconfig=")]
there = json.load(open(os.path.join(folder, "namespaces.json")))
if asked[:2] == ["get", "namespace"]:
    if asked[2] in there:
        print(json.dumps({"metadata": {"name": asked[2], "labels": there[asked[2]]}}))
else:
    said = sys.stdin.read() if asked[-1] == "--filename=-" else ""
    print(*asked, said, file=open(os.path.join(folder, "asked"), "a"))
"""
LABELS = {"app.kubernetes.io/part-of": "istio-lab", "istio-injection": "enabled"}


def make_namespace(host: Host, there: dict[str, dict[str, str]]) -> subprocess.CompletedProcess[str]:
    (host.folder / "kubectl").write_text(KUBECTL)
    (host.folder / "namespaces.json").write_text(json.dumps(there))
    given = json.dumps({"name": "echo", "kubeconfig": "k", "labels": {"istio-injection": "enabled"}})
    command = [sys.executable, "-m", "ansible", "adhoc", "localhost", "-i", "localhost,", "-c", "local", "-m", "lab_namespace"]
    return subprocess.run(
        [*command, "-a", given], capture_output=True, text=True, check=False, env=host.environment, cwd=PROJECT
    )


def test_another_owners_namespace_is_refused_by_name(host: Host) -> None:
    done = make_namespace(host, {"echo": {"team": "shop"}})
    assert done.returncode != 0
    assert "namespace echo: it exists in this cluster without the lab's label" in done.stdout + done.stderr
    assert "kubectl label namespace echo app.kubernetes.io/part-of=istio-lab" in done.stdout + done.stderr
    assert host.asked == []


def test_a_namespace_is_created_with_its_labels(host: Host) -> None:
    done = make_namespace(host, {})
    assert "CHANGED" in done.stdout, done.stdout + done.stderr
    [line] = host.asked
    command, _, made = line.partition(" --filename=- ")
    assert (command.split()[0], json.loads(made)["metadata"]) == ("create", {"name": "echo", "labels": LABELS})


def test_the_labs_namespace_is_kept_and_gets_missing_labels(host: Host) -> None:
    assert "SUCCESS" in make_namespace(host, {"echo": LABELS | {"more": "x"}}).stdout
    assert host.asked == []
    assert "CHANGED" in make_namespace(host, {"echo": {"app.kubernetes.io/part-of": "istio-lab"}}).stdout
    assert [line.strip() for line in host.asked] == ["label namespace echo --overwrite istio-injection=enabled"]


# -- external containers and this machine's host names ----------------------------------------------------------------


@pytest.mark.parametrize(("lab", "accepted"), [("dev", True), ("another", False)])
def test_an_external_container_replaces_only_the_labs_own(host: Host, lab: str, accepted: bool) -> None:
    (host.folder / "podman").write_text(r"""#!/bin/sh
case "$*" in
    "ps "*'name=^dev-msgd-proxy$'*"label=istio-lab.lab=$THEIRS") echo 5678 ;;
    "ps "*"label=istio-lab.lab=$THEIRS") echo 1234 ;;
    "ps "*label=*) ;;
    "ps "*'name=^dev-msgd$'*) echo 1234 ;;
    *) echo "$*" >>"$FOLDER/asked" ;;
esac
""")
    script = [
        "sh",
        str(PROJECT / "roles/samples/files/run_outside.sh"),
        "podman",
        "dev",
        "dev-msgd",
        "--network",
        "kind",
        "image",
    ]
    environment = host.environment | {"THEIRS": lab}
    done = subprocess.run(script, capture_output=True, text=True, check=False, env=environment)
    run = "run --detach --name dev-msgd --label istio-lab.lab=dev --env NO_PROXY=* --env no_proxy=* --network kind image"
    # The engine keeps a container whose network another one shares.
    assert (done.returncode == 0, host.asked) == (accepted, ["rm --force 5678", "rm --force 1234", run] if accepted else [])
    assert accepted or "a container dev-msgd exists in podman that this lab did not make" in done.stderr


@pytest.mark.parametrize(
    ("line", "accepted"),
    [
        ("10.0.0.5 shop web.lab.internal # from the wiki", False),
        ("127.0.0.1 web.lab.internal # istio-lab another webfront", True),
        ("# 10.0.0.5 web.lab.internal", True),
        ("10.0.0.5 web.lab.internal.example web-lab.internal", True),
    ],
)
def test_a_name_that_the_hosts_file_has_is_refused(host: Host, line: str, accepted: bool) -> None:
    hosts, playbook = host.folder / "hosts", host.folder / "play.yml"
    hosts.write_text(f"127.0.0.1 localhost\n{line}\n")
    role = {"name": str(PROJECT / "roles/samples"), "tasks_from": "hosts"}
    task = {"name": "Hosts", "ansible.builtin.include_role": role}
    playbook.write_text(json.dumps([{"hosts": "localhost", "gather_facts": False, "tasks": [task]}]))
    given = {
        "samples_name": "webfront", "samples_dir": str(PROJECT / "samples"), "samples_lab": "dev", "samples_hosts_entry": True,
        "samples_kubeconfig": "k", "samples_state_dir": "s", "samples_image": "i", "__samples_hosts_file": str(hosts),
        "ansible_python_interpreter": sys.executable,
    }  # fmt: skip
    command = [sys.executable, "-m", "ansible", "playbook", "-i", "localhost,", "-c", "local", str(playbook)]
    done = subprocess.run(
        [*command, "-e", json.dumps(given)], capture_output=True, text=True, check=False, env=host.environment, cwd=PROJECT
    )
    own = "127.0.0.1 web.lab.internal # istio-lab dev webfront"
    assert (done.returncode == 0) is accepted, done.stderr
    assert hosts.read_text().splitlines()[1:] == [line, *([own] if accepted else [])]
    assert accepted or f"has `{line}`, which is not the lab's" in done.stderr


# -- labs whose folder is gone ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("namespaces", [["bookinfo", "istio-system"], []])
def test_a_lab_on_a_cluster_that_stays_is_not_forgotten_with_its_folder(host: Host, namespaces: list[str]) -> None:
    host.environment |= {"NO_PROXY": "127.0.0.1", "TMPDIR": str(host.folder)}
    api = Api()
    api.add("v1", "Namespace", *namespaces, labels=LABELS)
    with api.served():
        kubeconfig = written(host.folder, api.port)
        command = [sys.executable, "-m", "ansible", "playbook", "-i", "inventories/existing", "playbooks/destroy_lab.yml"]
        given = {"lab_name": "dev", "existing_cluster_kubeconfig": kubeconfig, "ansible_python_interpreter": sys.executable}
        done = subprocess.run(
            [*command, "-e", json.dumps(given)], capture_output=True, text=True, check=False, env=host.environment, cwd=PROJECT
        )
    assert (done.returncode == 0) is (not namespaces), done.stderr
    if namespaces:
        assert "whose cluster holds a lab (bookinfo, istio-system), but the kubeconfig of lab dev is gone" in done.stderr
        assert "make lab INVENTORY=existing LAB=dev" in done.stderr


# -- what is taken off a cluster that stays ---------------------------------------------------------------------------

LEFTOVERS = """#!/bin/sh
case "$*" in *"namespace istio-system"*) [ -e "$FOLDER/looked" ] || echo namespace/istio-system; touch "$FOLDER/looked" ;; esac
"""


def played(host: Host, role: str, tasks_from: str, **given: object) -> subprocess.CompletedProcess[str]:
    """Run a part of a role."""
    playbook = host.folder / "play.yml"
    task = {"name": "It", "ansible.builtin.include_role": {"name": str(PROJECT / "roles" / role), "tasks_from": tasks_from}}
    playbook.write_text(json.dumps([{"hosts": "localhost", "gather_facts": False, "tasks": [task]}]))
    environment = host.environment | {"NO_PROXY": "127.0.0.1", "TMPDIR": str(host.folder)}
    given |= {f"{role}_timeout": 4, "ansible_python_interpreter": sys.executable}
    command = [sys.executable, "-m", "ansible", "playbook", "-i", "localhost,", "-c", "local", str(playbook)]
    return subprocess.run(
        [*command, "-e", json.dumps(given)], capture_output=True, text=True, check=False, env=environment, cwd=PROJECT
    )


def test_only_what_carries_the_labs_label_is_removed(host: Host) -> None:
    api, roles = Api(), "rbac.authorization.k8s.io/v1"
    api.add("v1", "Namespace", "shop", "istio-system")
    api.objects["/api/v1/namespaces/istio-system"]["metadata"]["labels"] = LABELS | {
        "kubernetes.io/metadata.name": "istio-system"
    }
    api.add(roles, "ClusterRole", "admin")
    kept = api.names
    api.add("v1", "Namespace", "bookinfo", "telemetry", labels=LABELS)
    api.add(roles, "ClusterRole", "locust", labels=LABELS)
    api.add(roles, "ClusterRoleBinding", "locust", labels=LABELS)
    with api.served():
        own = {"existing_cluster_own_kubeconfig": written(host.folder, api.port), "existing_cluster_record": "r"}
        of_others = {"existing_cluster_kubeconfig": "k", "existing_cluster_oldest": "1", "existing_cluster_newest": "2"}
        given = {**own, **of_others, "existing_cluster_namespaces": []}
        changes = []
        for _ in range(2):
            done = played(host, "existing_cluster", "remove", **given)
            assert done.returncode == 0, done.stderr
            changes.append("changed=1" in done.stdout)
    assert api.names == kept
    assert changes == [True, False]


def test_only_what_is_istios_is_uninstalled(host: Host) -> None:
    api, crds = Api(), "apiextensions.k8s.io/v1"
    (host.folder / "kubectl").write_text(LEFTOVERS)
    (host.folder / "istioctl").symlink_to(host.folder / "kubectl")
    api.add("v1", "Namespace", "shop", labels={"istio-injection": "enabled", "team": "a"})
    api.add("v1", "ConfigMap", "kube-root-ca.crt", namespace="shop")
    api.add(crds, "CustomResourceDefinition", "foos.example.com", "istio.io.example.com")
    api.add("networking.k8s.io/v1", "IngressClass", "nginx")
    kept = api.names
    api.add("v1", "Namespace", "istio-system")
    api.add("v1", "ConfigMap", "istio-ca-root-cert", "istio-ca-crl", namespace="shop")
    api.add(crds, "CustomResourceDefinition", "gateways.networking.istio.io", "telemetries.telemetry.istio.io")
    api.add(crds, "CustomResourceDefinition", "httproutes.gateway.networking.k8s.io", labels={"istio-lab/part": "gateway-api"})
    api.add("networking.k8s.io/v1", "IngressClass", "istio")
    with api.served():
        given = dict.fromkeys(("version", "hub", "state_dir", "forwarder", "gateway_api_dir"), "x")
        named = {f"istio_{name}": value for name, value in given.items()}
        done = played(host, "istio", "uninstall", istio_kubeconfig=written(host.folder, api.port), **named)
    assert done.returncode == 0, done.stderr
    assert api.names == kept
    assert api.objects["/api/v1/namespaces/shop"]["metadata"]["labels"] == {"team": "a"}


def test_built_images_in_use_by_a_container_are_kept(host: Host) -> None:
    (host.folder / "podman").write_text(r"""#!/bin/sh
case "$*" in
    "image ls "*key*) cat "$FOLDER/images" ;;
    "image ls "*) ;;
    "rmi busy:1") exit 2 ;;
    rmi*) echo "$*" >>"$FOLDER/asked"; sed -i "\|^$2 |d; \|^<none>.* $2\$|d" "$FOLDER/images"; echo "Untagged: $2" ;;
    *) exit 9 ;;
esac
""")
    (host.folder / "images").write_text("busy:1 aa\nfree:1 bb\nfree:2 bb\n<none>:<none> cc\n")
    script = [str(PROJECT / "playbooks/files/remove_images.sh"), "podman"]
    done = subprocess.run(script, capture_output=True, text=True, check=False, env=host.environment)
    assert (done.returncode, done.stderr) == (0, "kept, for a container uses it: busy:1\n")
    assert host.asked == ["rmi cc", "rmi free:1", "rmi free:2"]
    assert (host.folder / "images").read_text() == "busy:1 aa\n"


@pytest.mark.parametrize("other", ["made", "being made", "gone"])
def test_artifacts_in_use_by_another_lab_are_kept(host: Host, other: str) -> None:
    labs = host.home / "istio-lab"
    for name in ("dev", "staging") if other == "made" else ("dev",):
        (labs / name).mkdir(parents=True)
        (labs / name / "cluster.json").write_text('{"engine": "podman"}')
    with open(labs / "staging.lock", "w") as lock:  # the playbook itself holds that of dev
        if other == "being made":
            fcntl.flock(lock, fcntl.LOCK_EX)
        done = host.play("destroy_lab.yml", lab_destroy_cache=True)
    words = "lab_destroy_cache: true was given (CACHE=1), but other labs run on the same artefacts: staging;"
    assert (done.returncode != 0, words in done.stderr) == (other != "gone",) * 2, done.stderr
    assert host.state.exists() is (other != "gone")
    assert (host.asked == []) is (other != "gone")
