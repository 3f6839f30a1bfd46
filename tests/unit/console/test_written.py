"""Rules that are edited as YAML: what becomes of them, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from loadtests.console import changes, drafts, written
from loadtests.console.settings import RefusedError
from loadtests.entries.policy import LABEL
from loadtests.mesh.writes import Change

API = "networking.istio.io/v1"


def rule(name: str = "reviews", label: str | None = "reviews-80-20.policy", **spec: Any) -> dict[str, Any]:
    labels = {LABEL: label} if label else {"team": "shop"}
    metadata = {"name": name, "namespace": "bookinfo", "labels": labels, "resourceVersion": "7"}
    return {"apiVersion": API, "kind": "VirtualService", "metadata": metadata, "spec": {"hosts": ["reviews"], **spec}}


def text_of(*rules: dict[str, Any]) -> str:
    return str(yaml.safe_dump_all([drafts.shown(one) for one in rules]))


def changed(text: str, *there: dict[str, Any]) -> list[Change]:
    return written.changes(list(there), "bookinfo", changes.KINDS.values(), text)


def test_a_field_that_the_form_does_not_know_is_changed() -> None:
    now = rule(http=[{"corsPolicy": {"maxAge": "1h"}}])
    text = text_of(now).replace("1h", "2h")
    (change,) = changed(text, now, rule("other"))
    assert change.before is not None
    assert change.after is not None
    assert change.before["spec"] == now["spec"]
    assert change.after["spec"]["http"] == [{"corsPolicy": {"maxAge": "2h"}}]
    assert change.after["metadata"] == {"name": "reviews", "namespace": "bookinfo", "labels": {LABEL: drafts.MINE}}


def test_a_new_rule_is_the_labs_and_what_is_unchanged_is_not_written() -> None:
    now = rule()
    assert changed(text_of(now), now) == []
    new = {"apiVersion": API, "kind": "VirtualService", "metadata": {"name": "new"}, "spec": {"hosts": ["x"]}}
    (change,) = changed(yaml.safe_dump_all([drafts.shown(now), new]), now)
    assert change.before is None
    assert change.after is not None
    assert change.after["metadata"] == {"name": "new", "namespace": "bookinfo", "labels": {LABEL: drafts.MINE}}


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda one: {**one, "status": {}}, "document 1: status was given; accepted: apiVersion, kind, metadata, spec"),
        (lambda one: {**one, "spec": None}, "document 1: it is no rule; accepted: "),
        (lambda one: [one], "document 1: it is no rule; accepted: "),
        (lambda one: {**one, "kind": "Secret", "apiVersion": "v1"}, "document 1: v1/Secret was given; accepted: networking"),
        (lambda one: {**one, "apiVersion": "networking.istio.io/v1beta1"}, "document 1: networking.istio.io/v1beta1/Virtual"),
        (lambda one: {**one, "metadata": {"name": ""}}, "document 1: metadata.name: '' was given"),
        (
            lambda one: {**one, "metadata": {"name": "reviews", "namespace": "shop"}},
            "document 1: metadata.namespace: 'shop' was",
        ),
        (
            lambda one: {**one, "metadata": {**one["metadata"], "annotations": {"a": "b"}}},
            "document 1: metadata of VirtualService reviews was changed; accepted: changes of the spec",
        ),
        (
            lambda one: {**one, "metadata": {"name": "new", "labels": {"a": "b"}}},
            "document 1: metadata of VirtualService new was changed",
        ),
    ],
)
def test_what_would_be_ignored_or_lies_elsewhere_is_refused(edit: Any, words: str) -> None:
    now = rule()
    with pytest.raises(RefusedError) as refused:
        changed(yaml.safe_dump(edit(drafts.shown(now))), now)
    assert str(refused.value).startswith(words)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "YAML: nothing was given"),
        ("---\n---\n", "YAML: nothing was given"),
        ("a: [", "YAML: it cannot be read: "),
        ("!!python/object/apply:os.system [id]", "YAML: it cannot be read: "),
        ("x" * (written.LONGEST + 1), f"YAML: {written.LONGEST + 1} characters were given"),
        (text_of(rule(), rule()), "document 2: VirtualService reviews is there twice"),
    ],
)
def test_text_that_is_no_list_of_rules_is_refused(text: str, words: str) -> None:
    with pytest.raises(RefusedError) as refused:
        changed(text, rule())
    assert str(refused.value).startswith(words)
    assert "\n" not in str(refused.value)


def test_a_rule_of_somebody_else_is_not_overwritten() -> None:
    now = rule(label=None)
    assert changed(text_of(now), now) == [], "it may be among the others, as it is"
    with pytest.raises(RefusedError, match="VirtualService reviews belongs to unknown; the lab does not overwrite it"):
        changed(text_of(now).replace("- reviews", "- ratings"), now)
