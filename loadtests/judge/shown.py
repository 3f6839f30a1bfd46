"""A plan in words, for the terminal."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from loadtests.judge.checks import SCHEME, Check, Plan
from loadtests.judge.reach import AGENT
from loadtests.judge.session import Bounds
from loadtests.judge.written import Written
from loadtests.reports.terminal import percent
from loadtests.rules.calls import Call


def lines_of(plan: Plan, bounds: Bounds) -> list[str]:
    """What would be asked, from where, how often, and what cannot be judged."""
    total = sum(check.requests for check in plan.checks)
    found = [
        f"Plan for namespace {plan.namespace}: {len(plan.checks)} checks, about {total} requests, "
        f"{total / bounds.rate:.0f} s at {bounds.rate:g} requests/s; at most {bounds.total} requests, {bounds.seconds} s"
    ]
    for check in plan.checks:
        found += ["", *_lines(check)]
    for title, entries in (
        ("Cannot be judged:", [f"{gap.where}: {gap.why} ({gap.outcome})" for gap in plan.gaps]),
        ("Warnings:", list(plan.warnings)),
        ("In effect, but not part of the verdict:", list(plan.unseen)),
    ):
        found += ["", title, *(f"  {entry}" for entry in entries)] if entries else []
    return found


def lines_of_entry(place: Path, made: Written) -> list[str]:
    """What was written, and what of the rules is no part of it."""
    found = [f"{place}: {', '.join(sorted(made.files))}"]
    found += [f"  to be written by hand: {made.by_hand}"] if made.by_hand else []
    found += [f"  not asked: {one}" for one in made.left_out]
    found += [f"  no part of it, for no entry has applied it: {one}" for one in made.others]
    return found


def values_of(plan: Plan, bounds: Bounds) -> dict[str, Any]:
    """The same as JSON values, for programs."""
    checks = [
        {"name": one.name, "calls": list(map(_words, one.calls)), "expected": dict(one.fate.shares), "requests": one.requests}
        for one in plan.checks
    ]
    gaps = [{"where": gap.where, "why": gap.why, "outcome": str(gap.outcome)} for gap in plan.gaps]
    return {
        "namespace": plan.namespace, "checks": checks, "gaps": gaps, "warnings": list(plan.warnings),
        "unseen": list(plan.unseen), "bounds": asdict(bounds),
    }  # fmt: skip


def _lines(check: Check) -> Iterator[str]:
    yield check.name
    for call in check.calls:
        yield f"  {_words(call)}"
    expected = ", ".join(f"{outcome} {percent(share)}" for outcome, share in check.fate.shares.items())
    changed = [f"as {check.fate.authority}"] if check.fate.authority is not None else []
    changed += [f"with {n}: {v}" if v is not None else f"without {n}" for n, v in check.fate.response.items()]
    yield f"  expected: {', '.join((expected, *changed))}; about {check.requests} requests"


def _words(call: Call) -> str:
    """``GET http://reviews.shop.svc.cluster.local:9080/, end-user: jason, from the mesh``."""
    query = f"?{urlencode(call.query)}" if call.query else ""
    headers = [f"{name}: {value}" for name, value in call.headers.items() if (name, value) != ("user-agent", AGENT)]
    labels = ", ".join(f"{name}={value}" for name, value in call.caller.labels.items() if "/" not in name)
    account = f" under ServiceAccount {call.caller.account}" if call.caller.account else ""
    inside = f"from a pod {labels} in namespace {call.caller.namespace}{account}"
    source = f"by Gateway {call.caller.gateway}" if call.caller.gateway else inside
    if call.scheme == SCHEME:
        return f"a connection to {call.host}:{call.port}, {source}"
    return ", ".join((f"{call.method} {call.scheme}://{call.host}{call.uri}{query}", *headers, source))
