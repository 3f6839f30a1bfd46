"""One entry's rules in force; the next one's replace them."""

from __future__ import annotations

from tests import lab

KINDS = "virtualservices.networking.istio.io,destinationrules.networking.istio.io,gateways.networking.istio.io"


def rules() -> set[str]:
    return {f"{o['kind']}/{o['metadata']['name']}" for o in lab.items(KINDS, "bookinfo")}


GATEWAY = {"Gateway/bookinfo-gateway", "VirtualService/bookinfo"}


def test_the_entrys_rules_are_in_force() -> None:
    assert rules() == GATEWAY | {"VirtualService/reviews", "DestinationRule/reviews"}
    service = next(
        o for o in lab.items("virtualservices.networking.istio.io", "bookinfo") if o["metadata"]["name"] == "reviews"
    )
    assert [d["weight"] for d in service["spec"]["http"][0]["route"]] == [90, 10]


def test_applying_another_entry_removes_the_one_before() -> None:
    done = lab.playbook("apply_policy.yml", traffic_policy_entry="ingress-reachability")
    assert done.returncode == 0, done.stdout[-2000:]
    assert rules() == GATEWAY | {"Gateway/ingress-reachability", "VirtualService/ingress-reachability"}


def test_an_unknown_entry_changes_nothing() -> None:
    before = rules()
    done = lab.playbook("apply_policy.yml", traffic_policy_entry="reviews-80-21")
    assert done.returncode != 0
    assert "traffic_policy_entry: reviews-80-21 was given; accepted: " in lab.words(done.stdout)
    assert rules() == before
