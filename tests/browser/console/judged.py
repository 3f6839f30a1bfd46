"""Stands in for ``make judge``, on rules of one service: ``python -m tests.browser.console.judged NAMESPACE=shop PLAN=1``."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from loadtests.judge.checks import Gap, Plan, narrowed
from loadtests.judge.plan import plan_for
from loadtests.judge.reach import Settings
from loadtests.judge.session import Bounds, with_gaps
from loadtests.judge.shown import values_of
from loadtests.reports import report
from loadtests.verdict import MARGIN, Observed, Verdict, judge
from tests.unit.judge.rules import AROUND, JASON, to, virtual_service

RULE = virtual_service("reviews", {**JASON, **to(("v2", 1))}, {"timeout": "5s", **to(("v1", 80), ("v3", 20))})
TRUE = {0.8: 0.72, 0.2: 0.28}
"""Declared share -> true share."""
ROUND_SECONDS = 1.0
VARIABLE = "LAB_JUDGE_KUBECONFIG"
"""What names its kubeconfig, as judging.py has it."""
DELETED = "deleted"
"""File beside its kubeconfig that is there when the namespace is not."""
ROUNDS = ((40, 40), (130, 400), (130, 1600))
"""Requests of the checks after each round."""


def the_plan(namespace: str, only: str) -> Plan:
    """The plan, with one rule that cannot be judged."""
    plan = plan_for([RULE, *AROUND], Settings("shop"))
    gap = Gap("TCPRoute shop: spec", "no requests are planned for this kind yet")
    return narrowed(Plan(namespace, plan.checks, (gap,), plan.unseen, ("Service reviews: spec.selector is wide",)), only)


def verdict_after(plan: Plan, numbers: Sequence[int]) -> Verdict:
    """The verdict on so many requests of the checks."""
    counts = {
        check.name: {key: round(number * TRUE.get(share, share)) for key, share in check.fate.shares.items()}
        for check, number in zip(plan.checks, numbers, strict=False)
    }
    return judge(plan.expected, Observed(counts))


def main() -> int:
    """The exit status of ``make judge``."""
    given = dict(word.split("=", 1) for word in sys.argv[1:])
    namespace = given["NAMESPACE"]
    if namespace == "books":
        print(
            "NAMESPACE: there are no rules for books; accepted: a namespace with rules of Istio; nothing was sent",
            file=sys.stderr,
        )
        return 1
    if Path(os.environ[VARIABLE]).with_name(DELETED).exists():
        print(f"NAMESPACE: there is no namespace {namespace} in this cluster; nothing was sent", file=sys.stderr)
        return 1
    plan = the_plan(namespace, given.get("ONLY", ""))
    if given.get("PLAN"):
        print(json.dumps(values_of(plan, Bounds())))
        return 0
    if namespace == "shop" and given.get("CONFIRM") != "shop":
        print("CONFIRM: shop is not the lab's; nothing was sent", file=sys.stderr)
        return 1
    for numbers in ROUNDS:
        time.sleep(ROUND_SECONDS)
        verdict = verdict_after(plan, numbers)
        print(json.dumps({"sent": verdict.n, "verdict": report.jsonable(asdict(verdict))}), flush=True)
    verdict = with_gaps(verdict, plan.gaps)
    facts = report.facts_of(namespace, time.time() - 3, 0, MARGIN, "rules", {}, ("a remark",))
    print(json.dumps({"sent": verdict.n, "verdict": report.plain(verdict, facts)}), flush=True)
    return 1


if __name__ == "__main__":
    sys.exit(main())
