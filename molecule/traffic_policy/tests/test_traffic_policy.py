"""Applying one entry's rules, and replacing them with the next entry's."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import requests

from tests import lab

KINDS = "virtualservices.networking.istio.io,destinationrules.networking.istio.io,gateways.networking.istio.io"


def rules() -> set[str]:
    return {f"{o['kind']}/{o['metadata']['name']}" for o in lab.items(KINDS, "bookinfo")}


GATEWAY = {"Gateway/bookinfo-gateway", "VirtualService/bookinfo"}


def test_the_entrys_rules_are_applied() -> None:
    assert rules() == GATEWAY | {"VirtualService/reviews", "DestinationRule/reviews"}
    service = next(
        o for o in lab.items("virtualservices.networking.istio.io", "bookinfo") if o["metadata"]["name"] == "reviews"
    )
    assert [d["weight"] for d in service["spec"]["http"][0]["route"]] == [90, 10]


def test_applying_another_entry_removes_the_previous_one() -> None:
    done = lab.playbook("apply_policy.yml", lab_entry="ingress-reachability")
    assert done.returncode == 0, done.stdout[-2000:]
    assert rules() == GATEWAY | {"Gateway/ingress-reachability", "VirtualService/ingress-reachability"}


def test_an_unknown_entry_changes_nothing() -> None:
    before = rules()
    done = lab.playbook("apply_policy.yml", lab_entry="reviews-80-21")
    assert done.returncode == 1
    assert "lab_entry: reviews-80-21 was given; accepted: an entry of the catalogue, such as reviews-80-20" in lab.words(
        done.stdout
    )
    assert rules() == before


def entry_with(folder: Path, change: Callable[[str], str]) -> Path:
    """A catalogue with one entry, reviews-80-20 with a changed policy."""
    source = lab.PROJECT / "loadtests/catalogue/reviews-80-20"
    shutil.copytree(source, folder / "reviews-80-20")
    changed = change((source / "policy.yaml").read_text())
    assert changed != (source / "policy.yaml").read_text()
    (folder / "reviews-80-20/policy.yaml").write_text(changed)
    return folder


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda text: re.sub(r"weight: \d+", "weight: 0", text), "denied the request"),
        (lambda text: text.replace("  http:\n", "  http:\n    - redirect: {redirectCode: 99}\n"), "denied the request"),
        (
            lambda text: text.replace("subset: v3", "subset: v9"),
            'istioctl analyze: IST0101 Referenced host+subset in destinationrule not found: "reviews+v9"',
        ),
        (
            lambda text: text.replace("hosts: [reviews]", "hosts: [reviews]\n  gateways: [nowhere]"),
            'istioctl analyze: IST0101 Referenced gateway not found: "nowhere"',
        ),
        (lambda text: text.replace("spec:", "spec: ["), "ParserError"),
    ],
    ids=["weights", "a code that is none", "unknown subset", "no gateway", "not YAML"],
)
def test_invalid_rules_change_nothing(change: Callable[[str], str], words: str, tmp_path: Path) -> None:
    before = rules()
    catalogue = entry_with(tmp_path, change)
    done = lab.playbook("apply_policy.yml", lab_entry="reviews-80-20", traffic_policy_catalogue=str(catalogue))
    output = lab.words(done.stdout)
    assert done.returncode == 1
    assert "lab_entry: reviews-80-20 was given; " in output
    assert words in output
    assert f"correct {catalogue}/reviews-80-20/policy.yaml; nothing was changed" in output
    assert rules() == before


def test_a_subset_without_pods_is_applied_and_the_analyzers_warnings_are_shown(tmp_path: Path) -> None:
    def change(text: str) -> str:
        first = "    - route: [{destination: {host: reviews, subset: v1}}]\n"
        return text.replace("{version: v3}", "{version: v7}").replace("  http:\n", f"  http:\n{first}")

    done = lab.playbook(
        "apply_policy.yml", lab_entry="reviews-80-20", traffic_policy_catalogue=str(entry_with(tmp_path, change))
    )
    assert done.returncode == 0, done.stdout[-2000:]
    assert "istioctl analyze: IST0130 VirtualService rule #1 not used" in lab.words(done.stdout)
    lab.apply("reviews-80-20")


def test_public_host_names_resolve_if_requested() -> None:
    def found() -> list[str]:
        lines = Path("/etc/hosts").read_text().splitlines()
        return [line for line in lines if line.endswith(f"# istio-lab {lab.NAME} webfront")]

    def play(wanted: bool) -> str:
        done = lab.playbook("apply_policy.yml", lab_entry="webfront", samples_hosts_entry=wanted)
        assert done.returncode == 0, done.stdout[-2000:]
        return done.stdout

    play(False)
    assert found() == [], "off by default, but present"
    play(True)
    try:
        assert found() == [f"127.0.0.1 web.lab.internal # istio-lab {lab.NAME} webfront"]
        page = requests.get(f"http://web.lab.internal:{lab.gateway_url().rpartition(':')[2]}/page/", timeout=20)
        assert page.status_code == 200
        assert "changed=0" in play(True)
    finally:
        play(False)
    assert found() == []
