"""The archive of `make diagnose`: what is in it, and above all what is not."""

from __future__ import annotations

import base64
import json
import tarfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from loadtests.mesh.cluster import Cluster, ClusterError
from scripts import diagnose, run
from scripts.diagnose import Diagnosis, Item, Secrets
from scripts.doctor import Lab

PASSWORD, TOKEN = "s3cr3t-of-mysql", "kubelet-bootstrap-0123456789"
KEY = "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcw\nggSjAgEAAoIBAQC7\n-----END PRIVATE KEY-----\n"
JWT = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJqYXNvbiJ9.c2lnbmF0dXJlLW9mLXRoaXM"


@pytest.mark.parametrize(
    ("text", "left"),
    [
        (f"dsn=root:{PASSWORD}@tcp(mysql)", "dsn=root:(removed)@tcp(mysql)"),
        (f'{{"env": "{PASSWORD}"}}', '{"env": "(removed)"}'),
        (base64.b64encode(PASSWORD.encode()).decode(), "(removed)"),
        (base64.b64encode(f"{PASSWORD}\n".encode()).decode(), "(removed)"),
        ("a line of a key: ggSjAgEAAoIBAQC7!", "a line of a key: (removed)!"),
        ("before\n-----BEGIN RSA PRIVATE KEY-----\nunknown\n-----END RSA PRIVATE KEY-----\nafter", "before\n(removed)\nafter"),
        ("cut off -----BEGIN EC PRIVATE KEY-----\nunknown", "cut off (removed)"),
        (f"token {JWT} was refused", "token (removed) was refused"),
        ("Authorization: Bearer abc.def", "Authorization: Bearer (removed)"),
        ('"authorization": "Basic b3BlcmF0b3I6eA=="', '"authorization": "Basic (removed)'),
        ("password=hunter22 user=me", "password=(removed) user=me"),
        ('"access_key": "AKID1234"', '"access_key": "(removed)"'),
        ("https://me:hunter22@registry.example/v2", "https://me:(removed)@registry.example/v2"),
        (
            "reviews-v1 answered 200; the secret of the split is 80/20",
            "reviews-v1 answered 200; the secret of the split is 80/20",
        ),
        ("http://127.0.0.1:8080/productpage?a=b@c", "http://127.0.0.1:8080/productpage?a=b@c"),
    ],
)
def test_what_is_removed_from_a_text(text: str, left: str) -> None:
    assert Secrets.of([PASSWORD, KEY, "v1"]).without(text) == left


def test_which_values_of_a_secret_are_secret() -> None:
    def encoded(value: bytes) -> str:
        return base64.b64encode(value).decode()

    data = {
        "password": encoded(b"hunter22"),
        "username": encoded(b"operator"),
        "tls.crt": encoded(b"public"),
        "x": encoded(b"\xff\xfe"),
    }
    assert list(diagnose.values_of_secret({"data": data})) == ["hunter22"]
    assert list(diagnose.values_of_secret({"type": "empty"})) == []


def kubeconfig() -> str:
    users = [{"name": "admin", "user": {"client-key-data": base64.b64encode(KEY.encode()).decode(), "token": TOKEN}}]
    return yaml.safe_dump({"users": users, "clusters": [{"cluster": {"certificate-authority-data": "cHVibGlj"}}]})


def test_which_values_of_a_kubeconfig_are_secret() -> None:
    assert set(diagnose.values_of_kubeconfig(kubeconfig())) == {base64.b64encode(KEY.encode()).decode(), KEY, TOKEN}


@dataclass(frozen=True)
class Played(Cluster):
    """A cluster in which everything that can be asked tells a secret."""

    down: bool = False
    asked: list[str] = field(default_factory=list)

    def answer(self, what: str) -> str:
        self.asked.append(what)
        if self.down:
            raise ClusterError("GET /version: connection refused")
        return f"{what}: {PASSWORD} {TOKEN} {JWT}\n{KEY}"

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        return self.answer(f"kubectl {arguments[0]}")

    def istioctl(self, *arguments: str, stdin: str | None = None) -> str:
        return self.answer(f"istioctl {arguments[0]}")

    def proxy_dump(self, pod: str, namespace: str = "", **query: str) -> dict[str, Any]:
        return {"configs": [self.answer("dump")]}

    def read(self, path: str, **query: str) -> bytes:
        return self.answer(path).encode()

    def everywhere(self, *kinds: str) -> list[dict[str, Any]]:
        variables = self.answer(" ".join(kinds))
        if kinds == ("secrets",):
            return [{"data": {"password": base64.b64encode(PASSWORD.encode()).decode()}}]
        metadata = {"name": "cart-1", "namespace": "shop"}
        parts = [{"name": "app", "env": variables}, {"name": "istio-proxy"}]
        return [
            {
                "metadata": metadata,
                "spec": {"containers": parts},
                "status": {"phase": "Running", "containerStatuses": [{"ready": False}]},
            }
        ]


@dataclass(frozen=True)
class PlayedLab(Lab):
    """A lab with that cluster."""

    played: Played = field(default_factory=lambda: Played("kubeconfig", ""))

    @property
    def cluster(self) -> Cluster:
        return self.played


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PlayedLab:
    state = tmp_path / "mine"
    (state / "log").mkdir(parents=True)
    (state / "results/reviews-80-20").mkdir(parents=True)
    (state / "kubeconfig").write_text(kubeconfig())
    (state / "ui-password").write_text("of-the-web-page\n")
    (state / "cluster.json").write_text(json.dumps({"engine": "podman", "image": "node:1"}))
    (state / "log/ansible.log").write_text(f"of-the-web-page {PASSWORD}\n{KEY}{TOKEN}")
    (state / "results/reviews-80-20/verdict.json").write_text('{"outcome": "PASS"}')
    monkeypatch.setattr(diagnose, "run", lambda *command: f"{command[0]} {PASSWORD}")
    return PlayedLab(state, tmp_path)


def archived(lab: PlayedLab, target: Path) -> tuple[int, dict[str, str]]:
    diagnosis = Diagnosis(lab)
    missing = diagnose.write(target, diagnosis.items(), diagnosis.secrets(), lambda _: None)
    with tarfile.open(target) as archive:
        files = {m.name.partition("/")[2]: archive.extractfile(m) for m in archive.getmembers()}
        return missing, {name: file.read().decode() for name, file in files.items() if file}


def test_everything_is_in_it_and_no_secret(lab: PlayedLab, tmp_path: Path) -> None:
    missing, files = archived(lab, tmp_path / "found.tar.gz")
    assert missing == 0
    for name in (
        "doctor.json", "host/system.txt", "host/containers.txt", "lab/log/ansible.log", "lab/cluster.json",
        "cluster/events.txt", "cluster/pods.txt", "cluster/shop/cart-1.txt", "cluster/shop/cart-1.log", "mesh/proxy-status.txt",
        "mesh/rules/virtualservices.networking.istio.io.yaml", "mesh/proxies/shop/cart-1.json", "runs/reviews-80-20.json",
    ):  # fmt: skip
        assert name in files
    assert "kubectl logs" in files["cluster/shop/cart-1.log"], "its text is there"
    for secret in (PASSWORD, TOKEN, JWT, "of-the-web-page", *KEY.splitlines()[1:3]):
        assert [name for name, text in files.items() if secret in text] == []
    assert "of-the-web-page" in (lab.state / "log/ansible.log").read_text(), "nothing of the lab is changed"
    assert (tmp_path / "found.tar.gz").stat().st_mode & 0o777 == 0o600


def test_a_cluster_that_is_down_is_diagnosed_as_well(
    lab: PlayedLab, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    down = PlayedLab(lab.state, lab.cache, Played("kubeconfig", "", down=True))
    missing, files = archived(down, tmp_path / "found.tar.gz")
    assert missing >= 5
    assert files["cluster/events.txt.missing"] == "GET /version: connection refused"
    assert "only what looks like one is removed" in capsys.readouterr().err
    assert "host/system.txt" in files
    assert TOKEN not in files["lab/log/ansible.log"], "the lab's own files are known without the cluster"


def test_an_archive_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def stop() -> str:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        diagnose.write(tmp_path / "x.tar.gz", [Item("a", lambda: "a"), Item("b", stop)], Secrets(()), lambda _: None)
    assert list(tmp_path.iterdir()) == []


def test_a_lab_that_is_not_there_is_said_in_one_line(tmp_path: Path) -> None:
    call = run.Call("diagnose", {**run.DEFAULTS, "LAB": "nowhere"}, {"XDG_STATE_HOME": str(tmp_path)})
    with pytest.raises(
        run.RefusedError, match=r"^LAB: lab nowhere does not exist; create it: make lab LAB=nowhere; nothing was"
    ):
        run.diagnose(call)
