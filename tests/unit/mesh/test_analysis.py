"""What the analyzer is given, and what is reported of its findings."""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass, field
from typing import Any

import yaml

from loadtests.mesh.analysis import Findings, analyze
from loadtests.mesh.cluster import Cluster, RefusedByServerError


def made(kind: str, name: str, namespace: str = "shop") -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": kind, "metadata": {"name": name, "namespace": namespace}, "spec": {}}


@dataclass(frozen=True)
class Shop(Cluster):
    """A cluster with an analyzer that prints ``printed``."""

    objects: tuple[dict[str, Any], ...] = ()
    limited: bool = False
    printed: str = "[]"
    given: list[str] = field(default_factory=list)

    def items(self, *kinds: str, namespace: str = "") -> list[dict[str, Any]]:
        return [copy.deepcopy(o) for o in self.objects if o["metadata"]["namespace"] == self.namespace]

    def everywhere(self, *kinds: str) -> list[dict[str, Any]]:
        if self.limited:
            raise RefusedByServerError("GET: HTTP 403", 403)
        return [copy.deepcopy(o) for o in self.objects]

    def istioctl(self, *arguments: str, stdin: str | None = None) -> str:
        self.given.append(stdin or "")
        return self.printed


def names(cluster: Shop) -> list[str]:
    return [f"{o['metadata'].get('namespace')}/{o['metadata']['name']}" for o in yaml.safe_load_all(cluster.given[-1])]


RULE = {"apiVersion": "v1", "kind": "VirtualService", "metadata": {"name": "cart"}, "spec": {}}


def finding(message: str, level: str = "Error", origin: str = "VirtualService shop/cart") -> dict[str, str]:
    return {"code": "IST0101", "level": level, "origin": origin, "message": message}


def test_it_is_given_what_rules_refer_to_and_neither_what_they_replace_nor_themselves_twice() -> None:
    there = (
        made("Service", "cart"), made("Service", "cart", "other"), made("Gateway", "old"), made("DestinationRule", "cart"),
    )  # fmt: skip
    cluster = Shop("kubeconfig", "shop", objects=there)
    new = {**made("DestinationRule", "cart"), "spec": {"host": "new"}}
    assert analyze(cluster, [RULE, new], replaced=[made("Gateway", "old")]) == Findings()
    assert names(cluster) == ["None/cart", "shop/cart", "shop/cart", "other/cart"]
    assert [o["spec"] for o in yaml.safe_load_all(cluster.given[-1]) if o["kind"] == "DestinationRule"] == [{"host": "new"}]


def test_nothing_is_asked_about_no_rules() -> None:
    cluster = Shop("kubeconfig", "shop", printed="not JSON")
    assert analyze(cluster, []) == Findings()


def test_findings_about_other_rules_are_not_reported() -> None:
    found = [
        finding("mine"), finding("a part", origin="VirtualService shop/cart (shop.yaml:3)"), finding("careful", "Warning"),
        finding("a name that begins alike", origin="VirtualService shop/cart-2"), finding("a hint", "Info"),
    ]  # fmt: skip
    cluster = Shop("kubeconfig", "shop", printed=json.dumps(found))
    assert analyze(cluster, [RULE]) == Findings(("IST0101 mine", "IST0101 a part"), ("IST0101 careful",))


def test_errors_are_a_refusal_and_warnings_are_not() -> None:
    assert Findings(("IST0101 a", "IST0130 b"), ("IST0134 x",)).refusal == "istioctl analyze: IST0101 a; IST0130 b"
    assert Findings(warnings=("IST0134 x",)).refusal == ""


def test_what_may_be_in_another_namespace_is_not_missing_for_an_account_that_sees_its_own_only() -> None:
    here, elsewhere = (
        finding('Referenced gateway not found: "door"'),
        finding('Referenced gateway not found: "istio-system/door"'),
    )
    subset = finding('Referenced host+subset in destinationrule not found: "cart.other.svc.cluster.local+v1"')
    printed = json.dumps([here, elsewhere, subset])
    cluster = Shop("kubeconfig", "shop", objects=(made("Service", "cart", "other"),), printed=printed)
    assert len(analyze(cluster, [RULE]).errors) == 3
    limited = Shop("kubeconfig", "shop", objects=cluster.objects, limited=True, printed=printed)
    assert analyze(limited, [RULE]).errors == ('IST0101 Referenced gateway not found: "door"',)
    assert names(limited) == ["None/cart"]
