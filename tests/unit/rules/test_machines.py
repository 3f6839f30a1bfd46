"""What is expected of a virtual machine in the mesh: under which identity it is called and calls, and when it gets calls."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from loadtests.entries import entry
from loadtests.rules.expectations import NoExpectationError, NotModelledError, Shares
from loadtests.rules.machines import RESTORED, joined, restored
from loadtests.rules.view import not_modelled, viewed
from tests.unit.entries.test_expected import rules, sample

Objects = list[dict[str, Any]]
CALLS, HEALTH = (entry.load(name).question.classes for name in ("virtual-machine", "virtual-machine-health"))
GROUP = "WorkloadGroup machine: "


def there(change: Callable[[dict[str, Any]], Any] = lambda group: None, *more: dict[str, Any]) -> Objects:
    """The sample with the rules of the entry, its WorkloadGroup changed."""
    objects = [*sample("machine"), *rules("virtual-machine", "policy"), *more]
    for one in objects:
        one["metadata"].setdefault("namespace", "machine")
    change(next(o for o in objects if o["kind"] == "WorkloadGroup")["spec"])
    return objects


def expected(expectation: Any, request: Any, objects: Objects) -> tuple[Shares, tuple[str, ...]]:
    """The expectation, and what is left unread."""
    seen = viewed(objects)
    return expectation(seen, {"namespace": "machine", **request}), not_modelled(seen)


def calls(objects: Objects) -> dict[str, str]:
    """The one outcome of every call; nothing is left unread."""
    found = {}
    for name, request in CALLS.items():
        shares, unread = expected(joined, request, objects)
        assert unread == ()
        (found[name],) = shares
    return found


def test_identities_of_both_sides_are_read_from_group_and_deployment() -> None:
    found = calls(there(lambda group: group["template"].update(serviceAccount="other")))
    assert found == {
        "called by a pod": "spiffe://cluster.local/ns/machine/sa/pod",
        "calls a pod": "spiffe://cluster.local/ns/machine/sa/other",
        "called without a sidecar": "refused",
    }


def policy(**spec: Any) -> dict[str, Any]:
    metadata = {"name": "p", "namespace": "machine", "creationTimestamp": "1"}
    return {"apiVersion": "security.istio.io/v1", "kind": "AuthorizationPolicy", "metadata": metadata, "spec": spec}


def test_a_policy_decides_by_the_identity_of_the_machine() -> None:
    one = {"from": [{"source": {"principals": ["cluster.local/ns/machine/sa/machine"]}}]}
    found = calls(there(lambda group: None, policy(action="DENY", rules=[one])))
    assert found["calls a pod"] == "HTTP 403"
    assert found["called by a pod"] == "spiffe://cluster.local/ns/machine/sa/pod"


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (lambda group: group["metadata"]["labels"].update(app="x"), NoExpectationError, "no Service machine selects"),
        (lambda group: group.pop("metadata"), NoExpectationError, "no Service machine selects"),
        (lambda group: group["template"].pop("serviceAccount"), NotModelledError, r"spec\.template\.serviceAccount and labels"),
        (
            lambda group: group["metadata"]["labels"].update({"security.istio.io/tlsMode": "disabled"}),
            NotModelledError, r"spec\.template\.serviceAccount and labels",
        ),
    ],
)  # fmt: skip
def test_no_promise_without_members_or_their_account(change: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        expected(joined, CALLS["called by a pod"], there(change))


def test_a_group_that_is_gone_promises_nothing() -> None:
    objects = [o for o in there() if o["kind"] != "WorkloadGroup"]
    with pytest.raises(NoExpectationError, match="no WorkloadGroup machine is applied"):
        expected(joined, CALLS["calls a pod"], objects)


def test_plain_text_is_answered_and_identifies_nobody_where_it_is_permitted() -> None:
    objects = [o for o in there() if o["kind"] != "PeerAuthentication"]
    assert expected(joined, CALLS["called without a sidecar"], objects)[0] == {"HTTP 200": 1.0}
    with pytest.raises(NoExpectationError, match="PERMISSIVE asks nobody for a certificate"):
        expected(joined, CALLS["called by a pod"], objects)


def test_what_is_not_modelled_of_a_group_is_named() -> None:
    objects = there(lambda group: group["template"].update(network="elsewhere", locality="a/b"))
    for expectation, request in ((joined, CALLS["called by a pod"]), (restored, HEALTH["falls ill"])):
        assert sorted(expected(expectation, request, objects)[1]) == [
            f"{GROUP}spec.template.locality", f"{GROUP}spec.template.network",
        ]  # fmt: skip


def health(
    change: Callable[[dict[str, Any]], Any] = lambda group: None, *more: dict[str, Any]
) -> tuple[Shares, tuple[str, ...]]:
    return expected(restored, HEALTH["falls ill"], there(change, *more))


def test_a_machine_that_is_ill_gets_no_calls_where_its_group_has_it_probed() -> None:
    assert health() == ({RESTORED: 1.0}, ())
    assert health(lambda group: group["probe"].update(initialDelaySeconds=5, successThreshold=1)) == ({RESTORED: 1.0}, ())
    assert health(lambda group: group["probe"].update(exec={"command": ["x"]}))[1] == (f"{GROUP}spec.probe.exec.command[0]",)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (lambda group: group.pop("probe"), NoExpectationError, "has no probe"),
        (lambda group: group["probe"].pop("httpGet"), NotModelledError, "httpGet"),
        (lambda group: group["probe"]["httpGet"].update(path="/"), NotModelledError, "httpGet"),
        (lambda group: group["probe"]["httpGet"].update(port=8081), NotModelledError, "httpGet"),
        (lambda group: group["probe"]["httpGet"].update(scheme="HTTPS"), NotModelledError, "httpGet"),
        (lambda group: group["probe"].pop("periodSeconds"), NotModelledError, "periodSeconds"),
        (lambda group: group["probe"].update(failureThreshold=5), NotModelledError, "periodSeconds"),
        (lambda group: group["probe"].update(timeoutSeconds=5), NotModelledError, "periodSeconds"),
    ],
)
def test_another_check_or_a_slow_one_is_no_promise(change: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        health(change)


def test_a_machine_that_may_not_be_called_is_not_restored() -> None:
    with pytest.raises(NoExpectationError, match="calls to machine are refused while it is well"):
        health(lambda group: None, policy())
