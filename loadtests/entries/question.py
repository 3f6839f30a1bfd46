"""What an entry asks of the mesh: a split (which version answers) or a contract (what the answer is).

Both name the rules to read and the requests to send, never the numbers to expect. ``hooks.MeshRun`` knows them by the
methods that they share.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from loadtests.mesh import observed, propagation
from loadtests.mesh.cluster import Cluster
from loadtests.rules import declared
from loadtests.rules.declared import Objects, Rules
from loadtests.rules.view import View
from loadtests.rules.workloads import ROOT_NAMESPACE
from loadtests.verdict import ERROR, MARGIN, Declared

Counts = dict[str, dict[str, int]]
Promise = Callable[[Sequence[View], Mapping[str, Any]], dict[str, float]]
OUTBOUND = (
    "virtualservices.networking.istio.io",
    "destinationrules.networking.istio.io",
    "serviceentries.networking.istio.io",
    "sidecars.networking.istio.io",
)
"""Kinds that bear on calls to hosts outside."""
WORKLOADS = ("deployments.apps", "statefulsets.apps")
"""Kinds that are no rules: only those of a question's own namespace matter."""
SECURITY = (
    "peerauthentications.security.istio.io",
    "authorizationpolicies.security.istio.io",
    "destinationrules.networking.istio.io",
    "deployments.apps",
)
"""Kinds that bear on whether a call is encrypted, and on who may make it."""
GATEWAY = ("istio-system", "istio-ingressgateway")
PACE, UNHURRIED = 5, 2
"""Visits per second of each user."""


class Question(Protocol):
    """What ``hooks.MeshRun`` needs of either kind."""

    @property
    def namespace(self) -> str:
        """Namespace of the rules."""

    @property
    def classes(self) -> Mapping[str, Mapping[str, Any]]:
        """Traffic class -> the request as the rules see it."""

    @property
    def alone(self) -> bool:
        """Whether it has to be judged with no other entry beside it."""

    @property
    def about_rate(self) -> bool:
        """Whether outcomes hang on how many requests are in flight at once, or come in a short time."""

    @property
    def pace(self) -> int:
        """Visits per second of each user, at the most."""

    def read(self, cluster: Cluster) -> Rules:
        """The promise of the rules that are in the cluster now."""

    def promised(self, objects: Objects) -> Rules:
        """The promise that ``objects`` make."""

    def pods(self, cluster: Cluster) -> dict[str, str]:
        """Pods that answer -> version; empty where answers carry their own label."""

    def label(self, counts: Counts, pods: Mapping[str, str], rules: Rules) -> Counts:
        """Counts of what clients saw, as counts of what the rules speak of."""

    def wait_in_step(self, cluster: Cluster, rules: Rules, seconds: float) -> list[str]:
        """Wait until the proxies hold the rules; in words, which still do not when the time is up."""

    def counters(self, cluster: Cluster, pods: Mapping[str, str]) -> dict[str, dict[str, int]]:
        """What others count, name of the source -> pod -> requests so far; empty where there is no such second source."""

    def logged(self, cluster: Cluster, pods: Mapping[str, str], since: float) -> dict[str, int]:
        """Requests that arrived at each pod since then, by the access logs; empty where there is no such third source."""

    def views(self, sent: Mapping[str, int]) -> dict[str, dict[str, int]]:
        """What clients counted by outcome in the words of each source whose words are others; empty where all have the same."""

    def server_count(self, cluster: Cluster) -> int | None:
        """What the far end has counted so far, for questions about it; else None."""


@dataclass(frozen=True)
class Split:
    """Which version answers, as one VirtualService's weights and matches say.

    :param virtual_service: name of the VirtualService that is judged
    :param app: label ``app`` of the pods that answer
    :param classes: traffic class -> the request as the rules see it: ``headers`` by name, ``uri``, ``host``
    :param callers: label ``app`` of the pods whose proxies apply the rule; 'istio-ingressgateway' is the gateway
    """

    virtual_service: str
    app: str
    classes: Mapping[str, Mapping[str, Any]]
    callers: str
    margin: float = MARGIN
    namespace: str = "bookinfo"

    @property
    def alone(self) -> bool:
        """No: which version answers does not hang on how fast it does."""
        return False

    @property
    def about_rate(self) -> bool:
        """No, likewise."""
        return False

    @property
    def pace(self) -> int:
        """As fast as the lab bears well."""
        return PACE

    def read(self, cluster: Cluster) -> Rules:
        """The promise of the VirtualService and DestinationRules that are in the cluster now."""
        return self.promised(cluster.items("virtualservices.networking.istio.io", "destinationrules.networking.istio.io"))

    def promised(self, objects: Objects) -> Rules:
        """The promise that ``objects`` make."""
        return declared.promise(self, declared.placed(objects, self.namespace))

    def pods(self, cluster: Cluster) -> dict[str, str]:
        """Running pods of the app -> version."""
        return observed.pods_of(cluster, self.app)

    def label(self, counts: Counts, pods: Mapping[str, str], rules: Rules) -> Counts:
        """Counts by pod as counts by version."""
        return observed.by_version(counts, pods, rules.whole_service)

    def wait_in_step(self, cluster: Cluster, rules: Rules, seconds: float) -> list[str]:
        """Wait until every caller's proxy has the rules."""
        callers = GATEWAY if self.callers == GATEWAY[1] else (self.namespace, self.callers)
        return propagation.wait(cluster, rules.generation, (callers,), seconds)

    def counters(self, cluster: Cluster, pods: Mapping[str, str]) -> dict[str, dict[str, int]]:
        """Requests that arrived at each pod, as its own proxy counts them."""
        return {"the proxies": observed.mesh_counts(cluster, pods)}

    def logged(self, cluster: Cluster, pods: Mapping[str, str], since: float) -> dict[str, int]:
        """Requests that arrived at each pod since then, as its proxy's access log has them."""
        return observed.logged_requests(cluster, pods, since)

    def views(self, sent: Mapping[str, int]) -> dict[str, dict[str, int]]:
        """None: all speak of versions."""
        return {}

    def server_count(self, cluster: Cluster) -> int | None:
        """Splits have their other sources in ``counters`` and ``logged``."""
        return None


AT_SERVER = "at the server"


def within(outcome: str, bound: str) -> bool:
    """Whether ``2 of 20 failed`` is within ``at most 3 of 20 failed``."""
    limit = re.fullmatch(r"at most (\d+)( .*)", bound)
    number = re.match(r"\d+", outcome)
    return bool(limit and number and outcome[number.end() :] == limit[2] and int(number[0]) <= int(limit[1]))


@dataclass(frozen=True)
class Contract:
    """What the answer is: a status, a header, a time, or whether anything arrived at the far end.

    :param kinds: resources that bear on it, as kubectl names them; of rules, those of the root namespace are read as well
    :param promise: from those objects and one class's request to the share of each outcome (pure; see ``promises``)
    :param server: counts what arrived at the far end so far; judged as a class of its own, ``at the server``, whose request
        is the one of ``at_server``
    :param proxies: (namespace, app) of the proxies that must hold the rules; app '' is every injected pod there; left empty,
        those of the question's namespace and the ingress gateway
    """

    kinds: tuple[str, ...]
    promise: Promise
    classes: Mapping[str, Mapping[str, Any]]
    margin: float = MARGIN
    namespace: str = "bookinfo"
    proxies: tuple[tuple[str, str], ...] = ()
    about_time: bool = False
    """Whether outcomes tell a time; one that comes at another time is then an error, of which a few may be (1 %)."""
    about_rate: bool = False
    """Whether outcomes hang on how many requests are under way at once, or come in a short time; of these, likewise."""
    server: Callable[[Cluster], int] | None = None
    at_server: Mapping[str, Any] | None = None

    @property
    def alone(self) -> bool:
        """Other traffic makes answers late, and rows of requests long."""
        return self.about_time or self.about_rate

    @property
    def pace(self) -> int:
        """Slower where time is judged, so that the quick answers of one class are not late by their own number."""
        return UNHURRIED if self.about_time else PACE

    def read(self, cluster: Cluster) -> Rules:
        """The promise of the objects that are in the cluster now."""
        rules = [kind for kind in self.kinds if kind not in WORKLOADS]
        objects = cluster.items(*self.kinds) + cluster.items(*rules, namespace=ROOT_NAMESPACE)
        return self.promised([o for o in objects if not o["metadata"]["name"].startswith(propagation.NAME)])

    def promised(self, objects: Objects) -> Rules:
        """The promise that ``objects`` make."""
        objects = declared.placed(objects, self.namespace)
        asked = dict(self.classes) | ({AT_SERVER: self.at_server} if self.at_server is not None else {})
        shares, unknown, without = declared.expectations(objects, asked, self.promise)
        broken = [c for v in declared.of_kind(objects, "VirtualService") for c in declared.weightless(v)]
        broken += [f"{name}: {reason}" for name, reason in without.items()]
        expected = Declared(shares, self.margin, broken=tuple(broken), unknown=unknown)
        return Rules(expected, (), declared.generation(objects))

    def pods(self, cluster: Cluster) -> dict[str, str]:
        """None: answers carry their own label."""
        return {}

    def label(self, counts: Counts, pods: Mapping[str, str], rules: Rules) -> Counts:
        """As they are, or as the ``at most`` of the promise that they are within.

        In questions about time or rate, an outcome that the promise does not name is an error: other work on the machine may
        have been in the way of a few.
        """
        told: Counts = {}
        for name, line in counts.items():
            known = rules.declared.shares.get(name, {})
            for outcome, n in line.items():
                key = next((k for k in known if within(outcome, k)), outcome)
                key = ERROR if self.alone and key not in known else key
                told.setdefault(name, {}).setdefault(key, 0)
                told[name][key] += n
        return told

    def wait_in_step(self, cluster: Cluster, rules: Rules, seconds: float) -> list[str]:
        """Wait until every proxy has the rules."""
        return propagation.wait(cluster, rules.generation, self.proxies or ((self.namespace, ""), GATEWAY), seconds)

    def counters(self, cluster: Cluster, pods: Mapping[str, str]) -> dict[str, dict[str, int]]:
        """None: where the far end is asked, that is ``server_count``."""
        return {}

    def logged(self, cluster: Cluster, pods: Mapping[str, str], since: float) -> dict[str, int]:
        """None, likewise."""
        return {}

    def views(self, sent: Mapping[str, int]) -> dict[str, dict[str, int]]:
        """None: there are no other sources, or all have the same words."""
        return {}

    def server_count(self, cluster: Cluster) -> int | None:
        """What the far end has counted so far."""
        return self.server(cluster) if self.server else None
