"""Judges the rules that apply to a namespace: ``python -m loadtests.judge --kubeconfig FILE --namespace shop [--plan]``.

With ``--entry FOLDER``, it writes an entry of them, and sends nothing.

Exit status: 0 if every part of the rules that the plan names has passed, 1 for FAIL or if the command was refused, else 2.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from rich.console import Console

from loadtests import ending
from loadtests.entries import policy, question
from loadtests.judge import asking, folder, probes, rights, shown, written
from loadtests.judge.checks import Plan, narrowed
from loadtests.judge.guards import guest_of
from loadtests.judge.plan import plan_for
from loadtests.judge.reach import PROBES, SAFE, SYSTEM, Settings, address_of_gateway, enters_by_own_pods
from loadtests.judge.session import Bounds, Door, Glimpse, Session, World, sender_of, senders_of, with_gaps
from loadtests.judge.written import NotWrittenError
from loadtests.mesh import propagation, versions, writes
from loadtests.mesh.cluster import Cluster, ClusterError, RefusedByServerError
from loadtests.reports import report, terminal
from loadtests.rules import mesh_config
from loadtests.rules.calls import Caller, Mesh
from loadtests.rules.expectations import addresses_of, is_running, namespace_of, of_kind, placed, state
from loadtests.rules.registry import services_of
from loadtests.rules.view import viewed
from loadtests.rules.workloads import PART_OF, ROOT_NAMESPACE
from loadtests.verdict import MARGIN, Outcome, Verdict

WIDE = 160
"""Columns of the table where nobody says how wide the terminal is, as in CI: names of routes are long."""
MOST_RATE, MOST_REQUESTS, MOST_SECONDS = 200.0, 50_000, 1800


class RefusedError(Exception):
    """The command was refused; the message is one line. Nothing was sent or changed."""


def main() -> int:
    """The exit status."""
    options = _options()
    try:
        return _judge(options) if options.entry is None else _new(options)
    except (RefusedError, NotWrittenError) as error:
        print(f"{error}; nothing was {'sent' if options.entry is None else 'written'}", file=sys.stderr)
        return 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kubeconfig", required=True)
    parser.add_argument("--namespace", default="", help="for an entry, it may be left out if one entry's rules are applied")
    parser.add_argument("--entry", type=Path, help="write an entry to this folder")
    parser.add_argument("--plan", action="store_true", help="print the plan, and send nothing")
    parser.add_argument("--only", default="", help="name of the one check to judge, as the plan has it")
    parser.add_argument("--json", action="store_true", help="print the plan, or how far the run has come, as lines of JSON")
    parser.add_argument("--confirm", default="", help="the namespace once more, if the lab did not create it")
    parser.add_argument("--methods", default=",".join(SAFE), help="methods that may be sent, with commas between")
    parser.add_argument("--identities", default="", help="1: run probes under the ServiceAccounts that policies name")
    parser.add_argument("--rate", default="", help="requests per second")
    parser.add_argument("--total", default="", help="requests in all, at the most")
    parser.add_argument("--seconds", default="", help="seconds of sending, at the most")
    parser.add_argument("--gateway", default="", help="URL of the ingress gateway")
    parser.add_argument("--gateway-https", default="", help="HOST:PORT of its port for HTTPS")
    parser.add_argument("--results", type=Path, default=Path("results"), help="folder for reports")
    return parser.parse_args()


def _number(name: str, text: str, otherwise: float, most: float) -> float:
    """:raises RefusedError: if it is none, or too large."""
    try:
        number = float(text or otherwise)
    except ValueError:
        number = 0.0
    if not 0 < number <= most:
        raise RefusedError(f"{name}: {text!r} was given; accepted: a number above 0, at most {most:g}")
    return number


def _bounds(options: argparse.Namespace) -> Bounds:
    kept = Bounds()
    return Bounds(
        _number("RATE", options.rate, kept.rate, MOST_RATE),
        int(_number("TOTAL", options.total, kept.total, MOST_REQUESTS)),
        int(_number("SECONDS", options.seconds, kept.seconds, MOST_SECONDS)),
    )


def _methods(text: str) -> tuple[str, ...]:
    found = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    if not found or not all(re.fullmatch(r"[A-Z]+", name) for name in found):
        raise RefusedError(f"METHODS: {text!r} was given; accepted: methods in capitals with commas between, as in GET,POST")
    return found


def _namespace(cluster: Cluster, name: str) -> Mapping[str, Any]:
    """:raises RefusedError: if it cannot be judged."""
    if name in SYSTEM or not re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", name):
        raise RefusedError(f"NAMESPACE: {name!r} was given; accepted: a namespace of services, and none of the system")
    try:
        return cluster.ask(f"/api/v1/namespaces/{name}")
    except RefusedByServerError as error:
        if error.code == 403:
            _need(cluster, [rights.Right("get", "namespaces")])
        if error.code != 404:
            raise
        raise RefusedError(f"NAMESPACE: there is no namespace {name} in this cluster; accepted: one that exists") from error


def _need(cluster: Cluster, wanted: list[rights.Right]) -> None:
    """:raises RefusedError: naming the rights that this account lacks."""
    if lacking := rights.missing(cluster, wanted):
        raise RefusedError(f"this account may not {', nor '.join(map(str, lacking))}; accepted: an account that may")


def _objects(cluster: Cluster) -> list[dict[str, Any]]:
    """All that a plan looks at.

    :raises RefusedError: naming the rights that this account lacks
    """
    try:
        found = question.rules_in(cluster, rights.KINDS)
    except RefusedByServerError as error:
        if error.code != 403:
            raise
    else:
        if not found.remarks:
            return found.objects
    _need(cluster, rights.to_look(cluster.namespace))
    raise RefusedError("the cluster refuses to list rules, and does not say which; accepted: an account that may list them")


def _judge(options: argparse.Namespace) -> int:
    cluster = Cluster(options.kubeconfig, options.namespace)
    bounds, methods = _bounds(options), _methods(options.methods)
    if options.identities not in ("", "1"):
        raise RefusedError(f"IDENTITIES: {options.identities!r} was given; accepted: 1, or nothing")
    labels = _namespace(cluster, options.namespace)["metadata"].get("labels", {})
    objects = _objects(cluster)
    _need_sidecars(cluster, objects)
    door = _door(cluster, options.gateway)
    accounts = _accounts(cluster) if options.identities == "1" else None
    secure = _door(cluster, f"//{options.gateway_https}") if options.gateway_https else None
    entrance = _entrance() if door is not None else None
    settings = Settings(options.namespace, methods, entrance, accounts, secure=secure is not None)
    plan = _only(_plan_for(objects, settings), options.only)
    if options.plan:
        print(json.dumps(shown.values_of(plan, bounds)) if options.json else "\n".join(shown.lines_of(plan, bounds)))
        return 0
    if not PART_OF.items() <= labels.items() and options.confirm != options.namespace:
        given = f"{options.confirm!r} was given" if options.confirm else f"{options.namespace} is not the lab's"
        raise RefusedError(f"CONFIRM: {given}; accepted: CONFIRM={options.namespace}, once you have seen the plan (PLAN=1)")
    _ready_to_send(cluster, plan, door, objects)
    injecting = {name: str(labels[name]) for name in probes.INJECTING if name in labels}
    world = _world(cluster, settings, objects, injecting, options.only)
    doors = _doors(plan, objects)
    used = door if any(sender_of(call) is None for check in plan.checks for call in check.calls) else None
    waited_for = (*world.waited_for, *((question.GATEWAY,) if used is not None else ()))
    world = replace(world, door=used, secure=secure, doors=doors, waited_for=waited_for)
    tell = _tell_programs if options.json else _tell
    return _run(Session(world, plan, bounds, _state(objects, plan, options.namespace), tell), options)


def _world(
    cluster: Cluster, settings: Settings, objects: list[dict[str, Any]], injecting: Mapping[str, str], only: str
) -> World:
    """What a run needs to know of the cluster, but for gateways."""
    namespace = settings.namespace

    def look() -> Glimpse:
        now = _objects(cluster)
        pods = [p for p in of_kind(now, "Pod") if namespace_of(p, namespace) == namespace and is_running(p)]
        addresses = {address: pod["metadata"].get("labels", {}) for pod in pods for address in addresses_of(pod)}
        ready = {str(pod["metadata"]["name"]): _ready(pod) for pod in pods}
        return Glimpse(_state(now, narrowed(plan_for(now, settings), only), namespace), addresses, ready)

    hidden = frozenset(namespace_of(one) for one in of_kind(objects, "Sidecar"))
    near = hidden & {namespace, ROOT_NAMESPACE}
    return World(cluster, Mesh().domain, injecting, None, () if near else ((namespace, ""),), look, hidden)


def _need_sidecars(cluster: Cluster, objects: list[dict[str, Any]]) -> None:
    """:raises RefusedError: if no pod of the namespace is in the mesh."""
    if not any(propagation.has_proxy(pod) for pod in of_kind(objects, "Pod") if is_running(pod)):
        raise RefusedError(f"NAMESPACE: no running pod of {cluster.namespace} has a sidecar; accepted: a namespace in the mesh")


def _plan_for(objects: list[dict[str, Any]], settings: Settings) -> Plan:
    """:raises RefusedError: if there is nothing to plan for."""
    plan = plan_for(objects, settings)
    if not plan.checks and not plan.gaps:
        raise RefusedError(f"NAMESPACE: there are no rules for {settings.namespace}; accepted: a namespace with rules of Istio")
    return plan


def _new(options: argparse.Namespace) -> int:
    """Write an entry of the rules that are applied in a namespace."""
    if reason := folder.refusal(options.entry):
        raise RefusedError(f"ENTRY: {reason}")
    namespace = options.namespace or _in_force(Cluster(options.kubeconfig, ROOT_NAMESPACE))
    cluster = Cluster(options.kubeconfig, namespace)
    labels = _namespace(cluster, namespace)["metadata"].get("labels", {})
    objects = _objects(cluster)
    _need_sidecars(cluster, objects)
    sender = guest_of(namespace, asking.ACCOUNT).caller
    if taken := [one for one in of_kind(objects, "Service") if namespace_of(one) == namespace and _selects(one, sender)]:
        raise RefusedError(f"Service {taken[0]['metadata']['name']}: spec.selector would select the pod that sends requests")
    entrance = _entrance() if _door(cluster, options.gateway) is not None else None
    plan = _plan_for(objects, Settings(namespace, SAFE, entrance, frozenset((f"{namespace}/{asking.ACCOUNT}",)), sender))
    kinds = set(writes.KINDS.values())
    rules = [o for o in objects if f"{o.get('apiVersion')}/{o['kind']}" in kinds and namespace_of(o) == namespace]
    made = written.entry_of(options.entry.name, namespace, rules, plan)
    try:
        folder.write(options.entry, made.files)
    except OSError as error:
        raise RefusedError(f"ENTRY: {options.entry}: {error.strerror}; accepted: a folder that can be created") from error
    print("\n".join(shown.lines_of_entry(options.entry, made)))
    if not PART_OF.items() <= labels.items():
        label = "=".join(*PART_OF.items())
        print(f"  make load needs the lab's label on the namespace: kubectl label namespace {namespace} {label}")
    foreign = [" ".join(writes.key(rule)) for rule in rules if not policy.owner(rule)]
    if kept := [one for one in foreign if one not in made.others]:
        print(f"  make load does not replace what it did not apply: delete {', '.join(kept)} first")
    return 0


def _in_force(cluster: Cluster) -> str:
    """The namespace in which an entry's rules are applied.

    :raises RefusedError: if there is none, or several
    """
    found = sorted({namespace_of(rule) for rule in cluster.everywhere(*writes.KINDS) if policy.owner(rule)})
    if len(found) != 1:
        accepted = f"one of {', '.join(found)}" if found else "a namespace with rules of Istio"
        raise RefusedError(f"NAMESPACE: nothing was given; accepted: {accepted}")
    return found[0]


def _selects(service: Mapping[str, Any], caller: Caller) -> bool:
    """Whether a Service selects a pod."""
    selector = service["spec"].get("selector") or {}
    return bool(selector) and selector.items() <= caller.labels.items()


def _only(whole: Plan, only: str) -> Plan:
    """:raises RefusedError: if the plan has no check of the name ``only``."""
    plan = narrowed(whole, only)
    if only and not plan.checks:
        names = ", ".join(check.name for check in whole.checks) or "none, for nothing can be asked"
        raise RefusedError(f"ONLY: {only!r} was given; accepted: one of the plan's checks: {names}")
    return plan


def _tell(sent: int, verdict: Verdict) -> None:
    decided = sum(one.outcome is not Outcome.INCONCLUSIVE for one in verdict.classes)
    print(f"{sent} requests: {decided} of {len(verdict.classes)} checks are decided", flush=True)


def _tell_programs(sent: int, verdict: Verdict) -> None:
    print(json.dumps({"sent": sent, "verdict": report.jsonable(asdict(verdict))}), flush=True)


def _state(objects: list[dict[str, Any]], plan: Plan, namespace: str) -> str:
    """Changes when a rule does that bears on the plan."""
    # What is traced, measured and logged has no bearing on where requests go.
    return state(placed([o for o in objects if o["kind"] != "Telemetry"], namespace), namespace, plan.expected)


def _ready(pod: Mapping[str, Any]) -> str:
    """Whether a pod is ready, and since when."""
    found = [one for one in pod["status"].get("conditions", []) if one["type"] == "Ready"]
    return " ".join(f"{one['status']} {one.get('lastTransitionTime', '')}" for one in found)


def _accounts(cluster: Cluster) -> frozenset[str]:
    """All ServiceAccounts, as ``namespace/name``.

    :raises RefusedError: if this account may not list them
    """
    _need(cluster, [rights.Right("list", "serviceaccounts")])
    found = json.loads(cluster.kubectl("get", "serviceaccounts", "--all-namespaces", "--output", "json"))["items"]
    return frozenset(f"{namespace_of(one)}/{one['metadata']['name']}" for one in found)


def _entrance() -> Caller:
    """The pods of the lab's own gateway."""
    return Caller(question.GATEWAY[0], {"app": question.GATEWAY[1], "istio": "ingressgateway"}, all_labels=False)


def _door(cluster: Cluster, url: str) -> Door | None:
    """The lab's own gateway; None where it has none."""
    parts = urlsplit(url)
    if not parts.hostname:
        return None
    namespace, app = question.GATEWAY
    pods = [pod for spot, pod in propagation.proxies_of(cluster, [(namespace, app)]) if spot == namespace]
    return Door(parts.hostname, parts.port or 80, namespace, tuple(pods)) if pods else None


def _doors(plan: Plan, objects: list[dict[str, Any]]) -> dict[str, Door]:
    """Gateways with pods of their own, by name."""
    callers = {str(c.caller.gateway): c.caller for check in plan.checks for c in check.calls if enters_by_own_pods(c)}
    services = list(services_of(viewed(placed(objects, plan.namespace)), Mesh().domain))
    found = {}
    for name, caller in callers.items():
        pods = [p for p in of_kind(objects, "Pod") if is_running(p) and namespace_of(p, plan.namespace) == caller.namespace]
        named = [str(p["metadata"]["name"]) for p in pods if p["metadata"].get("labels") == caller.labels]
        found[name] = Door(address_of_gateway(caller, services), 0, caller.namespace, tuple(named))
    return found


def _ready_to_send(cluster: Cluster, plan: Plan, door: Door | None, objects: list[dict[str, Any]]) -> None:
    """:raises RefusedError: if a run cannot be made or observed."""
    if setting := mesh_config.log_setting_of(viewed(objects)):
        raise RefusedError(f"meshConfig.{setting} is set, and requests are found in access logs of Istio's default format only")
    if not plan.checks:
        return
    hosts = probes.hosts_of(probes.callers_of(senders_of(plan)))
    doors = {one.namespace for one in (*([door] if door is not None else []), *_doors(plan, objects).values())}
    _need(cluster, rights.to_send(plan.namespace, sorted(doors), hosts, kept=probes.is_kept(cluster)))
    if probes.is_ours(cluster) is False:
        label = "=".join(*PART_OF.items())
        raise RefusedError(f"namespace {PROBES}: it exists without the lab's label {label}; accepted: no such namespace")


_cleaning: list[Callable[[], None]] = []
"""What removes all that this process has made."""


def _run(session: Session, options: argparse.Namespace) -> int:
    reports, plan = options.results / options.namespace, session.plan
    report.write_void(reports, options.namespace, report.UNFINISHED)
    total = sum(check.requests for check in plan.checks)
    if not options.json:
        print(f"{len(plan.checks)} checks, about {total} requests at {session.bounds.rate:g}/s", flush=True)
    _cleaning.append(session.clean)
    running: Mapping[str, str] = {}
    try:
        verdict = session.conduct() if plan.checks else session.judge()
        running = versions.running(session.world.cluster, [(options.namespace, "")])
    except ClusterError as error:
        verdict = Verdict(Outcome.VOID, (str(error),), n=session.sent)
    try:
        session.clean()
    except ClusterError as error:
        reasons = (*verdict.reasons, f"namespace {PROBES} is left: {error}")
        verdict = replace(verdict, outcome=Outcome.VOID, reasons=reasons)
    _cleaning.clear()
    verdict = with_gaps(verdict, plan.gaps)
    unseen = [f"not part of the verdict: {', '.join(plan.unseen)}"] if plan.unseen else []
    unseen += [f"only {options.only} was judged: the verdict is about no other rule"] if options.only else []
    facts = report.facts_of(
        options.namespace,
        session.started or time.time(),
        0,
        MARGIN,
        session.state,
        running,
        (*plan.warnings, *session.tally.remarks, *unseen),
    )
    report.write(reports, verdict, facts)
    if options.json:
        print(json.dumps({"sent": session.sent, "verdict": report.plain(verdict, facts)}), flush=True)
    else:
        _show(verdict, facts.remarks, reports)
    return verdict.outcome.exit_code


def _show(verdict: Verdict, remarks: Sequence[str], reports: Path) -> None:
    """The verdict on the terminal."""
    console = Console(highlight=False, width=None if sys.stdout.isatty() else WIDE)
    terminal.show(console, json.loads((reports / "verdict.json").read_text()), reports / "verdict.html")
    passed = {one.reason for one in verdict.classes if one.outcome is Outcome.PASS}
    for reason in (*(reason for reason in verdict.reasons if reason not in passed), *remarks):
        print(f"  {reason}")


def _clean() -> None:
    for one in _cleaning:
        one()


if __name__ == "__main__":
    sys.exit(ending.guarded(main, clean=_clean))
