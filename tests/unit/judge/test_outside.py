"""Which requests are planned for what leaves the mesh."""

from __future__ import annotations

from typing import Any

import pytest

from loadtests.judge.checks import Plan
from loadtests.judge.guards import guest_of
from loadtests.judge.plan import plan_for
from loadtests.judge.reach import ANY_HOST, PROBES, Settings
from loadtests.judge.session import NOWHERE, request_of
from loadtests.verdict import Outcome
from tests.unit.judge.rules import AROUND, to, virtual_service

HOST = "api.example.com"
PLAIN = {"number": 80, "name": "http", "protocol": "HTTP"}


def entry(**spec: Any) -> dict[str, Any]:
    metadata = {"name": "api", "namespace": "shop", "uid": "api", "generation": 1}
    given = {"hosts": [HOST], "ports": [PLAIN], "resolution": "DNS", "location": "MESH_EXTERNAL", **spec}
    return {"kind": "ServiceEntry", "metadata": metadata, "spec": given}


def sidecar(**spec: Any) -> dict[str, Any]:
    return {"kind": "Sidecar", "metadata": {"name": "all", "namespace": "shop", "uid": "all", "generation": 1}, "spec": spec}


ONLY = sidecar(outboundTrafficPolicy={"mode": "REGISTRY_ONLY"})


def planned(*rules: dict[str, Any], accounts: set[str] | None = None) -> Plan:
    given = None if accounts is None else frozenset(accounts)
    return plan_for([*rules, *AROUND], Settings("shop", accounts=given))


def test_a_host_outside_is_asked_by_its_name_whatever_the_address() -> None:
    plan = planned(entry())
    (check,) = plan.checks
    assert (check.name, check.fate.shares) == ("ServiceEntry api: spec.hosts[0]", {f"{HOST}:80": 1.0})
    assert check.calls[0].caller.namespace == PROBES
    assert request_of(check.calls[0], "mark", None)[:2] == (NOWHERE, 80)
    assert request_of(check.calls[0], "mark", None)[4]["Host"] == HOST
    assert plan.gaps == ()


@pytest.mark.parametrize(
    ("rules", "where", "why"),
    [
        ([entry(hosts=["*.example.com"])], "ServiceEntry api: spec.hosts[0]", "it is for many hosts"),
        ([entry(ports=[{**PLAIN, "number": 443, "protocol": "TLS"}])], "ServiceEntry api: spec.ports[0]", "no connections are"),
        ([entry(resolution="NONE")], "ServiceEntry api: spec.hosts[0]", "not modelled: calls to api.example.com go to"),
        ([entry(exportTo=["."])], "ServiceEntry api: spec.exportTo", "the host is given to namespace . alone, where no"),
        ([entry(), virtual_service("api", to(host="reviews"), hosts=[HOST])], "ServiceEntry api: spec.hosts[0]",
         "not modelled: VirtualService api: spec.http"),
        ([ONLY], "Sidecar all: spec.outboundTrafficPolicy", "it is for callers of namespace shop, where no pods are started"),
        ([sidecar(egress=[{"hosts": ["./*"]}])], "Sidecar all: spec.egress", "no requests are planned for this field yet"),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else "",
)  # fmt: skip
def test_what_no_request_is_planned_for_is_named(rules: list[dict[str, Any]], where: str, why: str) -> None:
    found = {gap.where: (gap.why, gap.outcome) for gap in planned(*rules).gaps}
    assert where in found, found
    assert found[where][0].startswith(why), found
    assert found[where][1] is Outcome.UNKNOWN


def test_with_identities_a_probe_in_the_namespace_asks_for_what_is_given_to_it_alone() -> None:
    plan = planned(entry(exportTo=["."]), accounts={"shop/default"})
    (check,) = plan.checks
    assert check.calls[0].caller == guest_of("shop", "default").caller
    assert check.fate.shares == {f"{HOST}:80": 1.0}


def test_a_host_that_nobody_has_registered_is_blocked() -> None:
    plan = planned(ONLY, entry(), accounts={"shop/default"})
    _, check = plan.checks
    assert (check.calls[0].name, check.calls[0].port) == (ANY_HOST, 9080)
    assert check.fate.shares == {"HTTP 502 by the proxy": 1.0}
    assert plan.gaps == ()


def test_a_mode_that_blocks_nothing_is_left_open() -> None:
    plan = planned(sidecar(outboundTrafficPolicy={"mode": "ALLOW_ANY"}), accounts={"shop/default"})
    assert [gap.outcome for gap in plan.gaps] == [Outcome.UNKNOWN]
