"""One run: requests in rounds until each route has a verdict, or what the run may spend is spent."""

from __future__ import annotations

import re
import time
import uuid
from collections import Counter
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from urllib.parse import urlencode

from loadtests.judge import probes
from loadtests.judge.checks import SCHEME, Check, Gap, Plan
from loadtests.judge.guards import OUTSIDE, WITHOUT
from loadtests.judge.lines import ANSWERED, Answer, Ground, Line, destination_of, lines_by_mark, lines_by_peer, outcome_of
from loadtests.judge.probe import CONNECTION
from loadtests.judge.probes import Request, Sender
from loadtests.judge.reach import PROBES, enters_by_own_pods
from loadtests.mesh import observed, propagation
from loadtests.mesh.cluster import Cluster, ClusterError
from loadtests.rules.calls import Call, Caller, Mesh
from loadtests.rules.expectations import differences
from loadtests.rules.workloads import GUEST
from loadtests.verdict import ERROR, ClassVerdict, Observed, Outcome, Verdict, judge

ROUND = 400
"""Requests of one route in one round, at the most."""
PROPAGATION_SECONDS = 30.0
SKEW_SECONDS = 60.0
LATE_SECONDS = 10.0
"""A line that is not in the log by then does not come."""
NOWHERE = "192.0.2.1"
"""An address that nobody has (RFC 5737)."""
UNSTEADY = "requests got no valid response while pods started, ended, or were not ready"
EDITED = "edited during the run"
COUNTERS = "the probe's counters"
COUNTED = re.compile(
    r'^envoy_cluster_upstream_rq_(total|retry)\{[^}]*cluster_name="(outbound\|[^"]+)"[^}]*\}\s+(\d+)', re.MULTILINE
)


@dataclass(frozen=True)
class Bounds:
    """What a run may spend.

    :param rate: requests per second
    :param total: requests
    :param seconds: for all of them
    """

    rate: float = 50.0
    total: int = 10_000
    seconds: int = 300


@dataclass(frozen=True)
class Door:
    """A gateway's address as it is reached by whoever sends, and its pods, whose logs tell what became of requests.

    :param port: 0 for that of the call
    :param pods: names
    """

    address: str
    port: int
    namespace: str = ""
    pods: tuple[str, ...] = ()


@dataclass
class Tally:
    """What came of the requests so far."""

    counts: dict[str, Counter[str]] = field(default_factory=dict)
    errors: dict[str, Counter[str]] = field(default_factory=dict)
    """Check -> why requests are errors."""
    statuses: dict[str, Counter[int]] = field(default_factory=dict)
    """Check -> statuses that clients got from destinations."""
    reached: Counter[str] = field(default_factory=Counter)
    """Requests from the mesh by destination, by the log."""

    def add(self, check: Check, answer: Answer, line: Line | None, ground: Ground) -> None:
        """Add one request."""
        outcome, why = outcome_of(check, answer, line, ground)
        self.counts.setdefault(check.name, Counter())[outcome] += 1
        if why:
            self.errors.setdefault(check.name, Counter())[why] += 1
        if line is None or not (outcome != ERROR if check.connects else line.details.partition("{")[0] in ANSWERED):
            return
        if not (check.guard or check.connects):
            self.statuses.setdefault(check.name, Counter())[line.status] += 1
        if not check.by_gateway:
            self.reached[destination_of(line.cluster, ground.domain)] += 1

    @property
    def remarks(self) -> tuple[str, ...]:
        """What was answered, and what went wrong, by check."""
        found = []
        for name in self.counts:
            answers = [f"HTTP {status}: {n}" for status, n in sorted(self.statuses.get(name, {}).items()) if status >= 400]
            answers += [f"{why}: {n}" for why, n in self.errors.get(name, Counter()).most_common(3)]
            found += [f"{name} was answered {', '.join(answers)}"] if answers else []
        return tuple(found)


def request_of(call: Call, mark: str, door: Door | None) -> Request:
    """A call as it is sent, with its mark."""
    if call.scheme == SCHEME:
        return call.name, call.port, CONNECTION, "", {}, ""
    path = f"{call.uri}?{urlencode(call.query)}" if call.query else call.uri
    if door is None:
        # Whatever the address, the proxy goes by the host; those outside need not have one.
        address = call.name if call.name.endswith(f".svc.{Mesh().domain}") else NOWHERE
        return address, call.port, call.method, path, {"Host": call.host, **call.headers, "x-request-id": mark}, ""
    headers = {"Host": call.host, **call.headers, "user-agent": mark}
    return door.address, door.port or call.port, call.method, path, headers, call.name if call.scheme == "https" else ""


def next_round(plan: Plan, verdict: Verdict, counts: Mapping[str, Mapping[str, int]], left: int) -> list[tuple[Check, Call]]:
    """The requests of the next round: those of routes without a verdict, by turns.

    :param left: how many may still be sent
    """
    found: list[list[tuple[Check, Call]]] = []
    still = {one.name: one.still_needed for one in verdict.classes if one.outcome is Outcome.INCONCLUSIVE}
    for check in plan.checks:
        if check.name in still:
            sent = sum(counts.get(check.name, {}).values())
            wanted = min(ROUND, max(still[check.name], len(check.calls)) if sent else check.requests)
            found.append([(check, check.calls[(sent + number) % len(check.calls)]) for number in range(wanted)])
    turns = [one[number] for number in range(ROUND) for one in found if number < len(one)]
    return turns[: max(left, 0)]


def logged_by(
    cluster: Cluster,
    pods: Sequence[tuple[str, str]],
    prefix: str,
    wanted: Set[str],
    since: float,
    peers: Mapping[str, str] | None = None,
) -> dict[str, Line]:
    """The lines of requests in the access logs of some pods' proxies, by mark, once all of them are there or late.

    :param pods: namespace and name
    :param prefix: what marks begin with
    :param wanted: marks
    :param since: when the first one was sent, in seconds of the epoch
    :param peers: addresses from which connections were made -> marks, for connections carry none
    :raises ClusterError: if the cluster does not answer, or refuses
    """
    # The nodes' clocks may differ from this machine's.
    begin = datetime.fromtimestamp(since - SKEW_SECONDS, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    until, found = time.monotonic() + LATE_SECONDS, dict[str, Line]()
    while not wanted <= found.keys() and time.monotonic() < until:
        time.sleep(observed.LOG_FLUSH_SECONDS)
        for namespace, pod in pods:
            log = probes.log_of(cluster, namespace, pod, begin)
            found |= {**lines_by_mark(log, prefix), **(lines_by_peer(log, peers) if peers else {})}
    return found


@dataclass(frozen=True)
class Glimpse:
    """What is in the namespace at one moment.

    :param state: changes when a rule does that bears on the plan
    :param pods: labels of the running pods, by address
    :param ready: since when each of them has been ready, or has not, by name
    """

    state: str
    pods: Mapping[str, Mapping[str, str]]
    ready: Mapping[str, str]


def senders_of(plan: Plan) -> list[Caller]:
    """The pods that send the calls of a plan."""
    found = [sender_of(call) for check in plan.checks for call in check.calls]
    return [one for one in found if one is not None]


@dataclass(frozen=True)
class World:
    """What a run needs to know of the cluster.

    :param injecting: labels by which pods of the namespace get a sidecar
    :param door: of the lab's gateway; None if no request enters by it
    :param secure: the same for HTTPS
    :param doors: of Gateways with pods of their own, by ``namespace/name``, as pods in the cluster reach them
    :param waited_for: (namespace, label ``app``) of the pods besides the probes whose proxies must have the rules
    :param look: what is there now
    :param hidden: namespaces with a Sidecar, which hides from proxies what says whether they have the rules
    """

    cluster: Cluster
    domain: str
    injecting: Mapping[str, str]
    door: Door | None
    waited_for: tuple[tuple[str, str], ...]
    look: Callable[[], Glimpse]
    hidden: frozenset[str] = frozenset()
    doors: Mapping[str, Door] = field(default_factory=dict)
    secure: Door | None = None

    def door_of(self, call: Call) -> Door | None:
        """By what a call enters; None for one from the mesh."""
        gateway = call.caller.gateway
        if gateway is None or enters_by_own_pods(call):
            return self.doors[gateway] if gateway is not None else None
        return self.secure if call.scheme == "https" else self.door


def sender_of(call: Call) -> Caller | None:
    """The pod that sends a call; None for this machine."""
    if call.caller.gateway is None:
        return call.caller
    return OUTSIDE.caller if enters_by_own_pods(call) else None


Tell = Callable[[int, Verdict], None]
"""Receives how far a run has come: requests sent, and the verdict at this moment."""


class Session:
    """A run for one plan."""

    def __init__(self, world: World, plan: Plan, bounds: Bounds, state: str, tell: Tell) -> None:
        """Nothing is started or sent.

        :param state: of what the plan was made of
        :param tell: receives the requests sent so far, and what has come of them, after each round
        """
        self.world, self.plan, self.bounds, self.state, self._tell = world, plan, bounds, state, tell
        self.tally, self.void, self.stale, self.sent, self.started = Tally(), list[str](), tuple[str, ...](), 0, 0.0
        self._pods: dict[str, Mapping[str, str]] = {}
        self._ready: Mapping[str, str] | None = None
        self._unsteady: set[str] = set()
        self._peers: set[str] = set()
        self._run = f"lab-{uuid.uuid4().hex[:12]}"
        self._callers = probes.callers_of(senders_of(plan))
        self._senders: dict[str, Sender] = {}

    @property
    def _proxied(self) -> list[str]:
        """The pods that have a sidecar."""
        return [name for name, caller in self._callers.items() if not WITHOUT.items() <= caller.labels.items()]

    def _inside(self, namespace: str = PROBES) -> Cluster:
        return replace(self.world.cluster, namespace=namespace)

    def judge(self, compared: Mapping[str, Mapping[str, int]] | None = None) -> Verdict:
        """The verdict at this moment, but for the gaps.

        :param compared: what other sources have counted
        """
        counts = {name: dict(line) for name, line in self.tally.counts.items()}
        views = dict.fromkeys(compared or {}, self._comparable(self.tally.reached))
        seen = Observed(counts, sources=compared or {}, views=views, stale=self.stale, void=tuple(self.void))
        return judge(self.plan.expected, seen)

    def conduct(self) -> Verdict:
        """Start the probes, send, and say what came of it; the probes are left to :meth:`clean`.

        :raises ClusterError: if the cluster does not answer, or refuses
        """
        self._start()
        before, self.started = self._counters(), time.time()
        self._look()
        verdict = self.judge()
        while (batch := next_round(self.plan, verdict, self.tally.counts, self._left())) and not self.void:
            self._send(batch)
            verdict = self.judge()
            self._tell(self.sent, verdict)
            self._look()
        counted = {name: n - before.get(name, 0) for name, n in self._counters().items() if n > before.get(name, 0)}
        verdict = self.judge({COUNTERS: self._comparable(counted)} if self._proxied else None)
        failed = [one for one in verdict.classes if one.outcome is Outcome.FAIL]
        if failed and self._unsteady and all(one.errors for one in failed):
            names = ", ".join(sorted(self._unsteady))
            return replace(verdict, outcome=Outcome.VOID, reasons=(f"{UNSTEADY}: {names}", *verdict.reasons))
        return verdict

    def clean(self) -> None:
        """End all that sends, and delete the probes.

        :raises ClusterError: if the cluster does not answer
        """
        for sender in self._senders.values():
            sender.stop()
        probes.remove(self.world.cluster, probes.hosts_of(self._callers))

    def _look(self) -> None:
        """Note the pods that are there, which of them have changed, and whether a rule was edited."""
        seen = self.world.look()
        before, self._ready = self._ready or seen.ready, seen.ready
        self._pods |= seen.pods
        self._unsteady |= {name for name, _ in before.items() ^ seen.ready.items()}
        if seen.state != self.state:
            self.void.append(f"{EDITED}: {differences(self.state, seen.state)}")

    def _left(self) -> int:
        """How many requests may still be sent, by their number and by the time."""
        seconds = self.bounds.seconds - (time.time() - self.started)
        return min(self.bounds.total - self.sent, int(seconds * self.bounds.rate))

    def _start(self) -> None:
        probes.start(self.world.cluster, self._callers, self.world.injecting)
        guests = [(namespace, GUEST) for namespace in probes.hosts_of(self._callers) if namespace not in self.world.hidden]
        waited_for = ((PROBES, ""), *guests, *self.world.waited_for)
        late = propagation.wait(self._inside(), self.state, waited_for, PROPAGATION_SECONDS)
        if ours := [one for one in late if f" in {PROBES} " in one or probes.PREFIX in one]:
            raise ClusterError("; ".join(ours))
        self.stale = tuple(late)
        self._senders = {name: Sender(self.world.cluster, name, caller.namespace) for name, caller in self._callers.items()}
        if self.world.door is not None:
            self._senders[""] = Sender(None)

    def _sender_of(self, call: Call) -> str:
        """Name of the pod that sends a call; '' for this machine."""
        sender = sender_of(call)
        return next(name for name, caller in self._callers.items() if caller == sender) if sender is not None else ""

    def _send(self, batch: Sequence[tuple[Check, Call]]) -> None:
        """Send a round, and count what came of it."""
        marked = [(f"{self._run}-{self.sent + number}", check, call) for number, (check, call) in enumerate(batch)]
        self.sent += len(batch)
        answers: dict[str, Answer] = {}
        for name, sender in self._senders.items():
            ours = [(mark, call) for mark, _, call in marked if self._sender_of(call) == name]
            requests = [request_of(call, mark, self.world.door_of(call)) for mark, call in ours]
            if requests:
                answers |= zip((mark for mark, _ in ours), sender.send(requests, self.bounds.rate), strict=True)
        proxied = {"", *self._proxied}
        logged = {mark for mark, _, call in marked if call.caller.gateway is not None or self._sender_of(call) in proxied}
        peers = {answers[mark].text: mark for mark, check, _ in marked if check.connects and answers[mark].status}
        if self._peers & peers.keys():
            self.void.append("two connections were made from one port, so the log does not tell them apart")
        self._peers |= peers.keys()
        lines = self._lines({mark for mark, answer in answers.items() if answer.status and mark in logged}, peers)
        ground = Ground(self.plan.namespace, self.world.domain, self._pods)
        for mark, check, _ in marked:
            self.tally.add(check, answers[mark], lines.get(mark), ground)
        if unlogged := [mark for mark in logged if answers[mark].status and mark not in lines]:
            self.void.append(f"the proxies have logged nothing of {len(unlogged)} requests that were answered")

    def _lines(self, wanted: set[str], peers: Mapping[str, str]) -> dict[str, Line]:
        """The lines of a round's requests, once all of them are there or late."""
        doors = [*([self.world.door] if self.world.door is not None else []), *self.world.doors.values()]
        pods = [(self._callers[name].namespace, name) for name in self._proxied]
        pods += [(door.namespace, pod) for door in doors for pod in door.pods]
        return logged_by(self.world.cluster, pods, self._run, wanted, self.started, peers)

    def _counters(self) -> dict[str, int]:
        """First tries of requests to each destination, as the probes' proxies count them."""
        counted: Counter[str] = Counter()
        for pod in self._proxied:
            for kind, cluster, n in COUNTED.findall(self._inside(self._callers[pod].namespace).proxy_metrics(pod)):
                if name := destination_of(cluster, self.world.domain):
                    counted[name] += int(n) if kind == "total" else -int(n)
        return dict(counted)

    def _comparable(self, counted: Mapping[str, int]) -> dict[str, int]:
        """Counts of destinations that get no copies: those are counted likewise."""
        copied = {name for check in self.plan.checks for name in check.fate.copied}
        return {name: n for name, n in counted.items() if n and name not in copied}


def with_gaps(verdict: Verdict, gaps: Sequence[Gap]) -> Verdict:
    """A verdict with the parts of the rules that were not asked, each as a class of its own: the worst outcome counts."""
    missing = tuple(ClassVerdict(gap.where, gap.outcome, 0, 0, 0.0, 0, (), f"{gap.where}: {gap.why}") for gap in gaps)
    reasons = tuple(one.reason for one in missing)
    order = (Outcome.VOID, Outcome.FAIL, Outcome.INCONCLUSIVE, Outcome.UNKNOWN, Outcome.PASS)
    asked = [verdict.outcome] if verdict.classes or verdict.outcome is Outcome.VOID else []
    outcome = min((*asked, *(gap.outcome for gap in gaps)), key=order.index)
    of_verdict = verdict.reasons if asked else ()
    failed = tuple(one.reason for one in missing if one.outcome is Outcome.FAIL)
    first = failed if outcome is Outcome.FAIL else ()
    rest = tuple(reason for reason in reasons if reason not in first)
    return replace(verdict, outcome=outcome, reasons=(*first, *of_verdict, *rest), classes=(*verdict.classes, *missing))
