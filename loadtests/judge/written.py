"""The files of an entry, made of applied rules and of the plan for them: pure."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from loadtests.entries.policy import LABEL, manifest_of, owner
from loadtests.judge.asking import ACCOUNT, Asked
from loadtests.judge.checks import Check, Plan
from loadtests.judge.guards import KINDS as GUARDING
from loadtests.judge.guards import guest_of
from loadtests.judge.reach import AGENT, enters_by_own_pods
from loadtests.rules.workloads import GUEST
from loadtests.verdict import Outcome

HELPING = ("DestinationRule", "Gateway")
"""Kinds that are judged by the routes that lean on them."""
FIRST = ("ServiceEntry", "DestinationRule", "Gateway")
"""Kinds that come first in a file, for others lean on them."""
TEAPOTS = (418, 421)
"""Statuses that a broken proxy may answer, so that no rule's own one is taken for it."""


class NotWrittenError(Exception):
    """No entry can be made of the rules; the message is one line that names the fields."""


@dataclass(frozen=True)
class Written:
    """An entry that is not on disk yet.

    :param files: text by name
    :param left_out: parts of its rules that it does not ask about, and why
    :param by_hand: what has to be written by hand; '' if nothing
    :param others: rules of the namespace that are no part of it
    """

    files: Mapping[str, str]
    left_out: tuple[str, ...] = ()
    by_hand: str = ""
    others: tuple[str, ...] = ()


def entry_of(name: str, namespace: str, rules: Sequence[Mapping[str, Any]], plan: Plan) -> Written:
    """The entry for rules of a namespace: those of the applied entry, or all of them if there is none.

    :param plan: with calls that a pod under the namespace's own account makes
    :raises NotWrittenError: if there is nothing to ask, or rules that cannot pass
    """
    chosen = [rule for rule in rules if owner(rule)] or list(rules)
    if broken := sorted({owner(rule) for rule in chosen if owner(rule).endswith(".control")}):
        raise NotWrittenError(f"NAMESPACE: the rules applied in {namespace} are broken on purpose ({broken[0]})")
    titles = [f"{rule['kind']} {rule['metadata']['name']}" for rule in chosen]
    if failed := [f"{gap.where}: {gap.why}" for gap in plan.gaps if gap.outcome is Outcome.FAIL and _is_of(gap.where, titles)]:
        raise NotWrittenError(f"the applied rules cannot pass: {'; '.join(failed)}")
    calls, left_out = _calls(namespace, plan.checks, titles), list(_left_out(plan, chosen, titles))
    if not calls:
        raise NotWrittenError(
            f"nothing of the rules of {namespace} can be asked: {'; '.join(left_out) or 'they route nothing'}"
        )
    policy = [_manifest(rule) for rule in sorted(chosen, key=_place)]
    control = _control(name, [check for check in plan.checks if _is_asked(check, namespace, titles)], namespace)
    files = {"policy.yaml": _yaml(policy), "traffic.py": _traffic(namespace, calls)}
    by_hand = ""
    if control is None:
        by_hand = (
            f"control.yaml: {namespace} has no rule that changes what the gateway itself answers; write a copy that must FAIL"
        )
    else:
        files["control.yaml"] = f"# Broken on purpose: {control.does}.\n{_yaml([control.filter, *policy])}"
    others = tuple(f"{rule['kind']} {rule['metadata']['name']}" for rule in rules if rule not in chosen)
    files["README.md"] = _readme(name, calls, control, left_out)
    return Written(files, tuple(left_out), by_hand, others)


def _place(rule: Mapping[str, Any]) -> tuple[int, str, str]:
    kind = str(rule["kind"])
    return FIRST.index(kind) if kind in FIRST else len(FIRST), kind, str(rule["metadata"]["name"])


def _is_of(where: str, titles: Sequence[str]) -> bool:
    """Whether a check or gap is about one of some rules."""
    return where.partition(":")[0] in titles


def _why_not(check: Check, namespace: str) -> str:
    """Why the entry may not send a check's calls; '' if it may.

    A pod with labels of others would be taken for one of theirs.
    """
    sender = guest_of(namespace, ACCOUNT).caller
    if any(enters_by_own_pods(call) for call in check.calls):
        return "it is for a Gateway with pods of its own"
    if others := [call.scheme for call in check.calls if call.scheme != "http"]:
        return f"an entry that was written sends no {others[0].upper()}"
    if any(call.caller.gateway is None and call.caller != sender for call in check.calls):
        return "it is for callers with labels of other pods"
    return ""


def _is_asked(check: Check, namespace: str, titles: Sequence[str]) -> bool:
    return _is_of(check.name, titles) and not check.guard and not _why_not(check, namespace)


def _calls(namespace: str, checks: Sequence[Check], titles: Sequence[str]) -> dict[str, Asked]:
    """The calls that the entry sends, by traffic class."""
    found = {}
    for check in checks:
        if not _is_asked(check, namespace, titles):
            continue
        kind = check.name.partition(" ")[0]
        for number, call in enumerate(check.calls, 1):
            name = check.name if len(check.calls) == 1 else f"{check.name}, request {number}"
            headers = {key: value for key, value in call.headers.items() if (key, value) != ("user-agent", AGENT)}
            gateway = call.caller.gateway or ""
            found[name] = Asked(kind, call.host, call.port, call.uri, call.method, gateway, headers, call.query)
    return found


def _left_out(plan: Plan, chosen: Sequence[Mapping[str, Any]], titles: Sequence[str]) -> Iterator[str]:
    """The parts of the rules that the entry does not ask about."""
    for check in plan.checks:
        if _is_of(check.name, titles) and not check.guard and (why := _why_not(check, plan.namespace)):
            yield f"{check.name}: {why}"
    for gap in plan.gaps:
        # Of rules for callers, all is left out.
        if _is_of(gap.where, titles) and not gap.where.startswith(GUARDING):
            yield f"{gap.where}: {gap.why}"
    yield from (one for one in plan.warnings if _is_of(one, titles))
    asked = {one.partition(":")[0] for one in (*(c.name for c in plan.checks), *(g.where for g in plan.gaps), *plan.warnings)}
    for rule, title in zip(chosen, titles, strict=True):
        if rule["kind"] in GUARDING:
            yield f"{title}: spec: who may call is asked by make judge"
        elif rule["kind"] not in HELPING and title not in asked:
            yield f"{title}: spec: no requests are planned for it"


def _manifest(rule: Mapping[str, Any]) -> dict[str, Any]:
    """A rule as a file has it: without its namespace, and without the label of the entry that it is of."""
    made = manifest_of(rule)
    metadata = {"name": made["metadata"]["name"]}
    for part in ("labels", "annotations"):
        if kept := {key: value for key, value in made["metadata"].get(part, {}).items() if key != LABEL}:
            metadata[part] = kept
    return {**made, "metadata": metadata}


def _yaml(objects: Sequence[Mapping[str, Any]]) -> str:
    return yaml.safe_dump_all(objects, sort_keys=False, allow_unicode=True, width=120)


@dataclass(frozen=True)
class _Control:
    """What breaks the rules.

    :param does: in words
    """

    does: str
    filter: dict[str, Any]


def _control(name: str, checks: Sequence[Check], namespace: str) -> _Control | None:
    """What makes the checks FAIL with the same rules; None if nothing in the namespace does."""
    patches, does = [], []
    if any(not check.by_gateway for check in checks):
        own = {outcome for check in checks for outcome in check.fate.shares}
        status = next(one for one in TEAPOTS if not any(outcome.startswith(f"HTTP {one}") for outcome in own))
        does.append(f"the proxy of the pod that sends answers every call itself, with HTTP {status}")
        patches.append((GUEST, _answering(status)))
    elif any(
        check.by_gateway and any(p.namespace == namespace and p.labels for p in check.fate.places.values()) for check in checks
    ):
        does.append("the proxies of the namespace's pods close every connection")
        patches.append(("", _closing()))
    if not patches:
        return None
    selected, patch = patches[0]
    spec = {**({"workloadSelector": {"labels": {"app": selected}}} if selected else {}), "configPatches": [patch]}
    metadata = {"name": f"{name}-broken"}
    made = {"apiVersion": "networking.istio.io/v1alpha3", "kind": "EnvoyFilter", "metadata": metadata, "spec": spec}
    return _Control(does[0], made)


def _answering(status: int) -> dict[str, Any]:
    """A route before all those that istiod made of rules."""
    value = {"match": {"prefix": "/"}, "direct_response": {"status": status}}
    return {
        "applyTo": "HTTP_ROUTE", "match": {"context": "SIDECAR_OUTBOUND"},
        "patch": {"operation": "INSERT_FIRST", "value": value},
    }  # fmt: skip


def _closing() -> dict[str, Any]:
    """A filter before all others of what comes in."""
    everything = {"permissions": [{"any": True}], "principals": [{"any": True}]}
    value = {
        "name": "envoy.filters.network.rbac",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.network.rbac.v3.RBAC", "stat_prefix": "broken.",
            "rules": {"action": "DENY", "policies": {"everything": everything}},
        },
    }  # fmt: skip
    return {
        "applyTo": "NETWORK_FILTER", "match": {"context": "SIDECAR_INBOUND"},
        "patch": {"operation": "INSERT_FIRST", "value": value},
    }  # fmt: skip


def _traffic(namespace: str, calls: Mapping[str, Asked]) -> str:
    """The program: plain text, for people change it."""
    lines = [f"    {json.dumps(name, ensure_ascii=False)}: {_constructor(one)}," for name, one in calls.items()]
    return "\n".join(
        (
            '"""One call for each route of the rules; what is expected is read from the applied rules."""',
            "",
            "from loadtests.judge.asking import Asked, question_of, traffic_of",
            "",
            f"NAMESPACE = {json.dumps(namespace)}",
            "CALLS = {",
            *lines,
            "}",
            "QUESTION = question_of(NAMESPACE, CALLS)",
            "TRAFFIC = traffic_of(NAMESPACE, CALLS)",
            "",
        )
    )


def _constructor(one: Asked) -> str:
    """The call in Python, without what is as it is by default."""
    words = [json.dumps(one.kind), json.dumps(one.host), str(one.port)]
    given: dict[str, str | Mapping[str, str]] = {
        "uri": one.uri, "method": one.method, "gateway": one.gateway, "headers": one.headers, "query": one.query,
    }  # fmt: skip
    usual = Asked("", "", 0)
    words += [f"{key}={_literal(value)}" for key, value in given.items() if value != getattr(usual, key)]
    return f"Asked({', '.join(words)})"


def _literal(value: str | Mapping[str, str]) -> str:
    return json.dumps(value if isinstance(value, str) else dict(value), ensure_ascii=False)


def _readme(name: str, calls: Mapping[str, Asked], control: _Control | None, left_out: Sequence[str]) -> str:
    """What a reader needs to know, in the paragraphs that the catalogue's entries have."""
    routes = "\n".join(f"- {call}" for call in calls)
    broken = f"{control.does}, in `control.yaml`" if control else "write `control.yaml`: the same rules, broken on purpose"
    open_still = "\n".join(("", "**Not asked.**", "", *(f"- {one}" for one in left_out), "")) if left_out else ""
    return (
        textwrap.dedent(
            """\
        # {name}

        **Aim.** Each of these routes leads where the rules say:

        {routes}

        **Apply.** `make load ENTRY=./{name}`, by the path of this folder.

        **Expect.** PASS: the expected shares are read from the rules in the cluster.

        **Break it.** `make load ENTRY=./{name} VARIANT=control`: {broken}. The same check must then report FAIL.
        """
        ).format(name=name, routes=routes, broken=broken)
        + open_still
    )
