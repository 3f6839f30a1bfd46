"""Turns edited YAML into changes of rules, for what the form does not know. Pure: nothing here talks to a cluster."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import yaml

from loadtests.console import drafts
from loadtests.console.settings import RefusedError, is_ours, owner
from loadtests.entries.policy import LABEL
from loadtests.mesh.writes import Change, key
from loadtests.rules.expectations import Objects

LONGEST = 200_000
"""Characters."""
PARTS = {"apiVersion", "kind", "metadata", "spec"}


def changes(objects: Objects, namespace: str, kinds: Collection[str], text: str) -> list[Change]:
    """The changes that turn the rules named in ``text`` into what it says; the others stay as they are.

    :param objects: the rules in the namespace
    :param kinds: what may be written, as in ``networking.istio.io/v1/VirtualService``
    :param text: YAML documents, each a whole rule
    :raises RefusedError: if one cannot be written as it stands, or belongs to somebody else
    """
    there = {key(rule): rule for rule in objects}
    seen: set[tuple[str, str]] = set()
    found = []
    for number, document in enumerate(_documents(text)):
        where = f"document {number + 1}"
        rule = _rule(document, namespace, kinds, where)
        if key(rule) in seen:
            raise RefusedError(f"{where}: {' '.join(key(rule))} is there twice; accepted: each rule once")
        seen.add(key(rule))
        before = there.get(key(rule))
        _check_owned(rule, before, where)
        if before is not None and before["spec"] == rule["spec"]:
            continue
        after = drafts.plain(before) if before else drafts.made(*key(rule), rule["apiVersion"], namespace, {})
        after["spec"] = rule["spec"]
        after["metadata"].setdefault("labels", {})[LABEL] = drafts.MINE
        found.append(Change(drafts.plain(before) if before else None, after))
    return found


def _documents(text: str) -> list[Any]:
    """:raises RefusedError: if it is no YAML, or none is in it."""
    if len(text) > LONGEST:
        raise RefusedError(f"YAML: {len(text)} characters were given; accepted: at most {LONGEST}")
    try:
        found = [one for one in yaml.safe_load_all(text) if one is not None]
    except (yaml.YAMLError, RecursionError) as error:
        raise RefusedError(f"YAML: it cannot be read: {' '.join(str(error).split())}") from error
    if not found:
        raise RefusedError("YAML: nothing was given; accepted: at least one rule")
    return found


def _rule(document: Any, namespace: str, kinds: Collection[str], where: str) -> dict[str, Any]:
    """:raises RefusedError: if a document is no rule of this namespace."""
    if not isinstance(document, dict) or not all(isinstance(document.get(part), dict) for part in ("metadata", "spec")):
        raise RefusedError(f"{where}: it is no rule; accepted: apiVersion, kind, metadata, and spec")
    if others := sorted(map(str, document.keys() - PARTS)):
        raise RefusedError(f"{where}: {others[0]} was given; accepted: {', '.join(sorted(PARTS))}")
    api = f"{document.get('apiVersion')}/{document.get('kind')}"
    if api not in kinds:
        raise RefusedError(f"{where}: {api} was given; accepted: {', '.join(kinds)}")
    name, place = (document["metadata"].get(field) for field in ("name", "namespace"))
    if not isinstance(name, str) or not name:
        raise RefusedError(f"{where}: metadata.name: {name!r} was given; accepted: a rule's name")
    if place not in (None, namespace):
        raise RefusedError(f"{where}: metadata.namespace: {place!r} was given; accepted: {namespace}")
    return document


def _check_owned(rule: dict[str, Any], before: Any, where: str) -> None:
    """:raises RefusedError: if more than a spec would change, or the rule belongs to somebody else."""
    own = {field: value for field, value in rule["metadata"].items() if field not in ("name", "namespace")}
    known = drafts.shown(before)["metadata"] if before is not None else {}
    if own and own != {field: value for field, value in known.items() if field not in ("name", "namespace")}:
        raise RefusedError(f"{where}: metadata of {' '.join(key(rule))} was changed; accepted: changes of the spec")
    if before is not None and before["spec"] != rule["spec"] and not is_ours(before):
        raise RefusedError(f"{where}: {' '.join(key(rule))} belongs to {owner(before)}; the lab does not overwrite it")
