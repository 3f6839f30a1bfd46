"""Which DestinationRules apply to a caller, and what they set together."""

from __future__ import annotations

from typing import Any

import pytest

from loadtests.rules.calls import Caller
from loadtests.rules.destinations import applied_rules, settings
from loadtests.rules.expectations import NotModelledError
from loadtests.rules.view import View, not_modelled, viewed

ECHO = "echo.echo.svc.cluster.local"
CLIENT = Caller("echo", {"app": "client"})


def rule(name: str, pool: int | None = None, *, of: str = "echo", made: str = "", **spec: Any) -> dict[str, Any]:
    policy = {} if pool is None else {"trafficPolicy": {"connectionPool": {"tcp": {"maxConnections": pool}}}}
    metadata = {"name": name, "namespace": of, "creationTimestamp": made}
    return {"kind": "DestinationRule", "metadata": metadata, "spec": {"host": "echo", **policy, **spec}}


def connections(rules: list[dict[str, Any]], caller: Caller = CLIENT, host: str = ECHO, subset: str = "") -> int | None:
    """The limit that applies; fails if any field was left unread."""
    seen = viewed(rules)
    found = settings(applied_rules(seen, host, caller), 8080, subset)
    limit = found["connectionPool"]["tcp"]["maxConnections"] if "connectionPool" in found else None
    for name, part in found.items():
        if name != "connectionPool":
            part.accept_all()
    assert not_modelled(seen) == ()
    return limit


SELECTED: Any = {"workloadSelector": {"matchLabels": {"app": "client"}}}
OTHERS: Any = {"workloadSelector": {"matchLabels": {"app": "auditor"}}}
OF_ROOT: Any = {"of": "istio-system", "host": "*.echo.svc.cluster.local"}
BY_PORT = {"portLevelSettings": [{"port": {"number": 8080}, "connectionPool": {"tcp": {"maxConnections": 7}}}]}
NOTHING_BY_PORT = {"portLevelSettings": [{"port": {"number": 8080}, "loadBalancer": {"simple": "RANDOM"}}]}


@pytest.mark.parametrize(
    ("rules", "limit"),
    [
        ([], None),
        ([rule("a", 1)], 1),
        # Of two, the older one sets the policy, regardless of name; of equally old ones, the first by name.
        ([rule("a", 1, made="2026-02-01"), rule("b", 2, made="2026-01-01")], 2),
        ([rule("b", 2), rule("a", 1)], 1),
        ([rule("a"), rule("b", 2)], 2),
        # An empty policy counts as a policy.
        ([rule("a", trafficPolicy={}), rule("b", 2)], None),
        ([rule("a", 1, host="*.echo.svc.cluster.local"), rule("b", 2)], 2),
        ([rule("a", 1, host="*"), rule("b", 2, host="*.svc.cluster.local")], 2),
        ([rule("a", 1, host="echo.echo.svc.cluster.local")], 1),
        ([rule("a", 1, host="echo.echo"), rule("b", 2, host="pool")], None),
        ([rule("a", 1), rule("b", 2, **SELECTED)], 2),
        ([rule("a", 1), rule("b", 2, **OTHERS)], 1),
        # If all its rules are for other callers, those of other namespaces have no effect either.
        ([rule("b", 2, **OTHERS), rule("c", 3, **OF_ROOT)], None),
        ([rule("c", 3, **OF_ROOT)], 3),
        ([rule("c", 3, **OF_ROOT, exportTo=["."])], None),
        ([rule("c", 3, **OF_ROOT, exportTo=["other", "echo"])], 3),
        ([rule("a", 1), rule("c", 3, of="other", host=ECHO)], 1),
        ([rule("c", 3, of="other", host=ECHO)], None),
        ([rule("a", 1, exportTo=["other"])], None),
        ([rule("a", trafficPolicy={"connectionPool": {"tcp": {"maxConnections": 1}}, **BY_PORT})], 7),
        # A port does not inherit what its settings omit.
        ([rule("a", trafficPolicy={"connectionPool": {"tcp": {"maxConnections": 1}}, **NOTHING_BY_PORT})], None),
    ],
)
def test_rules_of_the_nearest_namespace_and_the_most_specific_host_apply(
    rules: list[dict[str, Any]], limit: int | None
) -> None:
    assert connections(rules) == limit


def test_a_host_precedes_a_wildcard_of_the_same_length() -> None:
    rules = [rule("a", 1, host="*.echo.svc.cluster.local"), rule("b", 2, host="e")]
    assert connections(rules, host="e.echo.svc.cluster.local") == 2


def test_a_caller_in_another_namespace_follows_its_own_rules_then_the_services_then_the_roots() -> None:
    theirs, ours, root = rule("a", 1), rule("b", 2, of="other", host=ECHO), rule("c", 3, **OF_ROOT)
    caller = Caller("other")
    assert connections([theirs, ours, root], caller) == 2
    assert connections([theirs, root], caller) == 1
    assert connections([{**theirs, "spec": {**theirs["spec"], "exportTo": ["."]}}, root], caller) == 3


def test_a_gateway_in_the_root_namespace_does_not_put_rules_for_the_whole_mesh_first() -> None:
    gateway = Caller("istio-system", {"app": "istio-ingressgateway"})
    assert connections([rule("a", 1), rule("c", 3, **OF_ROOT)], gateway) == 1
    assert connections([rule("a", 1), rule("c", 3, **OF_ROOT, exportTo=["."])], gateway) == 3


def subset(name: str, **policy: Any) -> dict[str, Any]:
    return {"name": name, "labels": {"version": name}, **({"trafficPolicy": policy} if policy else {})}


@pytest.mark.parametrize(
    ("own", "limit"),
    [
        ({}, 1),
        ({"loadBalancer": {"simple": "RANDOM"}}, 1),
        ({"connectionPool": {"tcp": {"maxConnections": 5}}}, 5),
        (BY_PORT, 7),
        (NOTHING_BY_PORT, None),
    ],
)
def test_a_subset_overrides_single_settings_and_a_port_all_of_them(own: dict[str, Any], limit: int | None) -> None:
    one = rule("a", 1, subsets=[subset("v2", connectionPool={"tcp": {"maxConnections": 9}}), subset("v1", **own)])
    seen = viewed([one])
    found = settings(applied_rules(seen, ECHO, CLIENT), 8080, "v1")
    assert (found["connectionPool"]["tcp"]["maxConnections"] if "connectionPool" in found else None) == limit
    for part in ("loadBalancer",):
        if part in found:
            found[part].accept_all()
    assert [path for path in not_modelled(seen) if "labels" not in path] == []


def test_subsets_of_several_rules_are_merged_and_the_first_of_each_name_applies() -> None:
    older = rule("a", 1, subsets=[subset("v1")], made="2026-01-01")
    newer = rule("b", 2, subsets=[subset("v1", loadBalancer={"simple": "RANDOM"}), subset("v2")], made="2026-02-01")
    found = applied_rules(viewed([newer, older]), ECHO, CLIENT)
    assert (list(found.subsets), "trafficPolicy" in found.subsets["v1"], found.rule) == (
        ["v1", "v2"],
        False,
        "DestinationRule a",
    )


def test_fields_that_apply_but_were_not_read_stay_unread() -> None:
    seen: list[View] = viewed([rule("a", trafficPolicy={"connectionPool": {"tcp": {"maxConnections": 1}}, **BY_PORT})])
    settings(applied_rules(seen, ECHO, CLIENT), 8080)
    assert not_modelled(seen) == (
        "DestinationRule a: spec.trafficPolicy.portLevelSettings[0].connectionPool.tcp.maxConnections",
    )


def test_merges_that_depend_on_exports_and_settings_of_an_unknown_port_are_not_modelled() -> None:
    for rules in (
        [rule("a", 1, exportTo=["*"]), rule("b", 2, exportTo=["echo"])],
        [rule("a", 1, exportTo=["."]), rule("b", 2, **SELECTED)],
    ):
        with pytest.raises(NotModelledError, match=r"DestinationRule a: spec\.exportTo"):
            applied_rules(viewed(rules), ECHO, CLIENT)
    with pytest.raises(NotModelledError, match="portLevelSettings"):
        settings(applied_rules(viewed([rule("a", trafficPolicy=BY_PORT)]), ECHO, CLIENT), None)
