"""What an entry asks of the mesh: a split (which version answers) or a response check (what the answer is).

Both name the rules to read and the requests to send, never the numbers to expect. A run knows them by what they share.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Protocol

from loadtests.mesh import observed, propagation
from loadtests.mesh.cluster import Cluster, ClusterError, RefusedByServerError, path_of
from loadtests.mesh.requirements import Requirement
from loadtests.mesh.sources import ACCESS_LOGS, PROXIES, Source
from loadtests.rules import expectations, gateway_api, mesh_config, splits
from loadtests.rules.authorization import OUTSIDE, TRUST_DOMAIN
from loadtests.rules.calls import Call, Caller
from loadtests.rules.expectations import Objects, Rules
from loadtests.rules.hops import read_hops
from loadtests.rules.view import View
from loadtests.rules.workloads import BY_GATEWAY, INGRESS_PRINCIPAL, ROOT_NAMESPACE, is_guest
from loadtests.verdict import AT_SERVER, MARGIN, Expected

Counts = dict[str, dict[str, int]]
Expectation = Callable[[Sequence[View], Mapping[str, Any]], dict[str, float]]
ROUTES = tuple(f"{kind.lower()}s.{gateway_api.GROUP}" for kind in gateway_api.ROUTES)
"""Routes of the Gateway API."""
LISTENER_SETS = f"listenersets.{gateway_api.GROUP}"
"""What adds listeners to Gateways of the Gateway API."""
LEADING = (
    "virtualservices.networking.istio.io",
    "destinationrules.networking.istio.io",
    "serviceentries.networking.istio.io",
    "sidecars.networking.istio.io",
    *ROUTES,
    "gateways.networking.istio.io",
    f"gateways.{gateway_api.GROUP}",
    LISTENER_SETS,
    "ingresses.networking.k8s.io",
    "services",
)
"""Kinds that bear on which service a call goes to."""
GRANTS = f"referencegrants.{gateway_api.GROUP}"
ROUTING = (*LEADING, "pods")
"""Kinds that routes are read from."""
BY_ROUTES = (*ROUTING, GRANTS)
"""Kinds that routes of a Gateway of the Gateway API are read from."""
MACHINES = "workloadgroups.networking.istio.io"
"""The kind by which virtual machines join."""
WORKLOADS = ("deployments.apps", "statefulsets.apps", "pods", "configmaps", MACHINES)
"""Kinds that are no rules: only those of a question's own namespace matter."""
SECURITY = (*LEADING, "deployments.apps")
"""Kinds that say whom a call reaches, by their names."""
EXTENSIONS = ("wasmplugins.extensions.istio.io", "trafficextensions.extensions.istio.io")
"""What proxies run beside Istio's own filters."""
PROXY_SETTINGS = "proxyconfigs.networking.istio.io"
"""Settings of proxies."""
BACKENDS = f"backendtlspolicies.{gateway_api.GROUP}"
"""What istiod makes DestinationRules of."""
OF_PROXIES = (
    "peerauthentications.security.istio.io", "authorizationpolicies.security.istio.io",
    "requestauthentications.security.istio.io", "envoyfilters.networking.istio.io", *EXTENSIONS, PROXY_SETTINGS, BACKENDS,
)  # fmt: skip
"""Kinds that bear on every call: what proxies let in, and what else is said to them."""
SETTINGS = "istio"
"""The ConfigMap in the root namespace that has the settings of the mesh."""
GATEWAY = ("istio-system", "istio-ingressgateway")
PACE, STEADY, UNHURRIED = 10, 5, 2
"""Visits per second of each user: as a rule, where outcomes hang on how many there are, and where they tell a time."""


def enters(
    host: str, gateway: str, uri: str = "/", method: str = "GET", headers: Mapping[str, str] | None = None, port: int = 8080
) -> Call:
    """A call that enters by the ingress gateway.

    :param gateway: ``namespace/name`` of the Gateway
    :param port: of its server
    """
    pod = {"app": GATEWAY[1], "istio": "ingressgateway"}
    return Call(host, port, Caller(GATEWAY[0], pod, gateway, all_labels=False), uri, method, headers or {})


def through(
    gateway: str, host: str, app: str, uri: str, method: str = "GET", port: int = 8080, proxied: bool = True, **more: Any
) -> dict[str, Any]:
    """How a request that makes a pod call others gets there by the ingress gateway: a part of the request about that call.

    :param gateway: ``namespace/name`` of the Gateway
    :param host: that the client asks for; '' for the gateway's own address
    :param app: name of the service that is requested, of the Gateway's namespace, and label ``app`` of its pods
    :param port: of that service
    :param proxied: whether its pods have sidecars
    :param more: of the request, as :data:`loadtests.rules.hops.Hop` has it: ``headers``, ``varied``
    """
    seen = {"principal": INGRESS_PRINCIPAL, "client": OUTSIDE, "uri": uri, "method": method, **more}
    seen |= {"authority": host} if host else {}
    called = {"namespace": gateway.partition("/")[0], "app": app, "port": port, "proxied": proxied}
    return {"through": ({**BY_GATEWAY, **seen, **called, "gateway": gateway},)}


def between(namespace: str, caller: str, account: str, app: str, uri: str, port: int, **more: Any) -> dict[str, Any]:
    """A hop from pods with sidecars to others of their namespace, which is one more of ``through``.

    :param caller: label ``app`` of the pods that call
    :param account: their ServiceAccount
    :param app: name of the service that is called, and label ``app`` of its pods
    :param port: of that service
    :param more: as in :func:`through`; ``version``: label of the pods that have to answer
    """
    seen = {"principal": f"{TRUST_DOMAIN}/ns/{namespace}/sa/{account}", "authority": f"{app}:{port}", "method": "GET"}
    return {**seen, "caller": {"app": caller}, "namespace": namespace, "app": app, "uri": uri, "port": port, **more}


def kinds_for(kinds: Sequence[str], classes: Mapping[str, Mapping[str, Any]]) -> tuple[str, ...]:
    """``kinds``, and those that bear on the hops of requests, if any have some."""
    hops = any("through" in request for request in classes.values())
    return tuple(dict.fromkeys((*kinds, *(("deployments.apps", "pods") if hops else ()))))


@dataclass(frozen=True)
class Found:
    """What was read in the cluster.

    :param remarks: what could not be read
    """

    objects: list[dict[str, Any]]
    remarks: tuple[str, ...] = ()


def _shared(cluster: Cluster, kinds: Sequence[str]) -> Found:
    """Objects of all namespaces, for most rules may be given to others; an account may be limited to some of them."""
    try:
        return Found(cluster.everywhere(*kinds))
    except RefusedByServerError as error:
        if error.code != 403:
            raise
        read = f"{cluster.namespace} and {ROOT_NAMESPACE}"
        return Found(
            cluster.items(*kinds) + cluster.items(*kinds, namespace=ROOT_NAMESPACE),
            (f"rules of other namespaces than {read} were not read and may apply as well: {error}",),
        )


def rules_in(cluster: Cluster, kinds: Iterable[str]) -> Found:
    """Workloads of the namespace, rules of all namespaces, and the settings of the mesh and its proxies.

    What tells whether proxies have the rules is left out, and so are pods that send on behalf of the lab.

    :raises ClusterError: if the cluster does not answer, or refuses to list what is in the namespace or the root namespace
    """
    wanted = dict.fromkeys((*kinds, *OF_PROXIES))
    own, shared = [kind for kind in wanted if kind in WORKLOADS], [kind for kind in wanted if kind not in WORKLOADS]
    found = _shared(cluster, shared)
    objects = [*found.objects, *(cluster.items(*own) if own else [])]
    rules = [o for o in objects if not (o["metadata"]["name"].startswith(propagation.NAME) or is_guest(o))]
    settings = cluster.ask(f"{path_of('configmaps', ROOT_NAMESPACE)}/{SETTINGS}")
    try:
        return replace(found, objects=[*rules, mesh_config.as_object(settings)])
    except ValueError as error:
        raise ClusterError(str(error)) from error


def read_by(expect: Callable[[Objects], Rules], cluster: Cluster, kinds: Iterable[str], before: Rules | None) -> Rules:
    """The expectation that follows from the objects in the cluster now, with remarks on what could not be read.

    :param before: what was read before; returned where the objects are still the same, for a run asks again and again
    """
    found = rules_in(cluster, kinds)
    if before is not None and found.objects == before.objects:
        return before
    return replace(expect(found.objects), remarks=found.remarks, objects=found.objects)


class Question(Protocol):
    """What a run needs of either kind."""

    @property
    def namespace(self) -> str:
        """Namespace of the rules."""

    @property
    def classes(self) -> Mapping[str, Mapping[str, Any]]:
        """Traffic class -> the request as the rules see it."""

    @property
    def exclusive(self) -> bool:
        """Whether it has to be judged with no other entry beside it."""

    @property
    def about_rate(self) -> bool:
        """Whether outcomes hang on how many requests are in flight at once, or come in a short time."""

    @property
    def pace(self) -> int:
        """Visits per second of each user, at the most."""

    @property
    def applied_by(self) -> tuple[tuple[str, str], ...]:
        """(namespace, label ``app``) of the pods whose proxies apply the rules; an app of '' means all of the namespace."""

    @property
    def sources(self) -> tuple[Source, ...]:
        """Who counts the same requests besides the clients."""

    @property
    def server(self) -> Callable[[Cluster], int] | None:
        """Counts what has arrived at the far end so far, in questions about it."""

    @property
    def requires(self) -> tuple[Requirement, ...]:
        """What has to be there beside rules and pods when a run begins and when it ends; without it, the run is void."""

    def read(self, cluster: Cluster, before: Rules | None = None) -> Rules:
        """The expectation that follows from the rules in the cluster now: ``before``, if they have not changed since."""

    def expect(self, objects: Objects) -> Rules:
        """The expectation that follows from ``objects``."""

    def pods(self, cluster: Cluster) -> dict[str, str]:
        """Pods that answer -> version; empty where answers carry their own label."""

    def label(self, counts: Counts, pods: Mapping[str, str], rules: Rules) -> Counts:
        """Counts of what clients saw, as counts of what the rules speak of."""


@dataclass(frozen=True)
class Split:
    """Which version of a service answers, as the rules for calls to it say.

    :param app: name of the service, and label ``app`` of the pods that answer
    :param classes: traffic class -> parts of the call: ``headers`` by name, ``uri``, ``port``, ``host`` (else ``app``) ...;
        its other hops, as :class:`ResponseCheck` has them
    :param callers: label ``app`` of the pods whose proxies apply the rules; 'istio-ingressgateway' is the gateway
    """

    app: str
    classes: Mapping[str, Mapping[str, Any]]
    callers: str
    margin: float = MARGIN
    namespace: str = "bookinfo"
    exclusive: ClassVar[bool] = False
    """Which version answers does not depend on how fast it does, nor on how many requests are in flight."""
    about_rate: ClassVar[bool] = False
    sources: ClassVar[tuple[Source, ...]] = (PROXIES, ACCESS_LOGS)
    server: ClassVar[None] = None
    requires: ClassVar[tuple[Requirement, ...]] = ()

    @property
    def pace(self) -> int:
        """As fast as the lab bears well."""
        return PACE

    @property
    def applied_by(self) -> tuple[tuple[str, str], ...]:
        """The callers' proxies."""
        return (GATEWAY if self.callers == GATEWAY[1] else (self.namespace, self.callers),)

    def read(self, cluster: Cluster, before: Rules | None = None) -> Rules:
        """The expectation that follows from the rules in the cluster now."""
        return read_by(self.expect, cluster, kinds_for(ROUTING, self.classes), before)

    def expect(self, objects: Objects) -> Rules:
        """The expectation that follows from ``objects``."""
        placed = expectations.placed(objects, self.namespace)
        return splits.expect(placed, self.classes, self.app, self.callers, self.namespace, self.margin)

    def pods(self, cluster: Cluster) -> dict[str, str]:
        """Running pods of the app -> version."""
        return observed.pods_of(cluster, self.app)

    def label(self, counts: Counts, pods: Mapping[str, str], rules: Rules) -> Counts:
        """Counts by pod as counts by version."""
        return observed.by_version(counts, pods, rules.whole_service)


def within(outcome: str, bound: str) -> bool:
    """Whether ``2 of 20 failed`` is within ``at most 3 of 20 failed``."""
    limit = re.fullmatch(r"at most (\d+)( .*)", bound)
    number = re.match(r"\d+", outcome)
    return bool(limit and number and outcome[number.end() :] == limit[2] and int(number[0]) <= int(limit[1]))


@dataclass(frozen=True)
class ResponseCheck:
    """What the answer is: a status, a header, a time, or whether anything arrived at the far end.

    :param kinds: resources that bear on it, as kubectl names them; rules are those of all namespaces
    :param expectation: from those objects and one class's request to the share of each outcome (pure; see ``rules``)
    :param classes: traffic class -> its request; its other hops beside the call in question are ``through`` and ``onward``
    :param server: counts what arrived at the far end so far; judged as a class of its own, ``at the server``, whose request
        is the one of ``at_server``
    :param proxies: ``applied_by``; left empty, the proxies of the question's namespace and the ingress gateway
    :param requires: what has to be there beside rules and pods
    """

    kinds: tuple[str, ...]
    expectation: Expectation
    classes: Mapping[str, Mapping[str, Any]]
    margin: float = MARGIN
    namespace: str = "bookinfo"
    proxies: tuple[tuple[str, str], ...] = ()
    about_time: bool = False
    """Whether outcomes tell a time; one that comes at another time is then an error, of which a few may be (1 %)."""
    about_rate: bool = False
    """Whether outcomes hang on how many requests are in flight at once, or come in a short time; of these, likewise."""
    sources: tuple[Source, ...] = ()
    server: Callable[[Cluster], int] | None = None
    at_server: Mapping[str, Any] | None = None
    requires: tuple[Requirement, ...] = ()

    @property
    def exclusive(self) -> bool:
        """Other traffic makes answers late, and rows of requests long."""
        return self.about_time or self.about_rate

    @property
    def pace(self) -> int:
        """Slower where time is judged, so that the quick answers of one class are not late by their own number."""
        return UNHURRIED if self.about_time else STEADY if self.about_rate else PACE

    @property
    def applied_by(self) -> tuple[tuple[str, str], ...]:
        """As it is stated, or every proxy that may take part."""
        return self.proxies or ((self.namespace, ""), GATEWAY)

    def read(self, cluster: Cluster, before: Rules | None = None) -> Rules:
        """The expectation that follows from the objects in the cluster now."""
        return read_by(self.expect, cluster, kinds_for(self.kinds, self.classes), before)

    def expect(self, objects: Objects) -> Rules:
        """The expectation that follows from ``objects``."""
        objects = expectations.placed(objects, self.namespace)
        classes = dict(self.classes) | ({AT_SERVER: self.at_server} if self.at_server is not None else {})
        asked = {name: {"namespace": self.namespace, **request} for name, request in classes.items()}
        shares, unknown, without = expectations.work_out_shares(objects, asked, self._expect, self.namespace)
        broken = tuple(f"{name}: {reason}" for name, reason in without.items())
        lenient = frozenset(self.classes if self.exclusive else ())
        expected = Expected(shares, self.margin, broken=broken, unknown=unknown, lenient=lenient)
        return Rules(expected, expectations.state(objects, self.namespace, expected))

    def _expect(self, objects: Sequence[View], request: Mapping[str, Any]) -> dict[str, float]:
        """The share of each outcome, if the other hops of a request leave it to the call that is asked about."""
        read_hops(objects, request)
        return self.expectation(objects, request)

    def pods(self, cluster: Cluster) -> dict[str, str]:
        """None: answers carry their own label."""
        return {}

    def label(self, counts: Counts, pods: Mapping[str, str], rules: Rules) -> Counts:
        """As they are, or as the ``at most`` of the expectation that they are within."""
        labelled: Counts = {}
        for name, line in counts.items():
            known = rules.expected.shares.get(name, {})
            for outcome, n in line.items():
                key = next((k for k in known if within(outcome, k)), outcome)
                labelled.setdefault(name, {}).setdefault(key, 0)
                labelled[name][key] += n
        return labelled
