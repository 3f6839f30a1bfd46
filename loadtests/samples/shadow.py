"""Marked traffic on a separate path: which reviews answered, and which store supplied the stars.

A response shows both, because the stores hold different stars. The proxies of reviews and ratings, and the stores themselves,
count the same requests as well.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from loadtests.entries.question import Counts, ResponseCheck, between
from loadtests.mesh import observed
from loadtests.mesh.cluster import Cluster
from loadtests.mesh.sources import Counted, Counting, Pods, Source
from loadtests.rules.asked import destinations_of, read_apart, route_of, versions_of
from loadtests.rules.calls import Call, Caller
from loadtests.rules.expectations import NoExpectationError, Objects, Rules, Shares, of_kind
from loadtests.rules.hops import pass_on
from loadtests.rules.responses import only
from loadtests.rules.routing import accept_inert
from loadtests.rules.view import View
from loadtests.verdict import ERROR

NAMESPACE = "shadow"
FORWARDED = ("baggage",)
"""The marking headers that services forward to the next hop."""
STORE = "MYSQL_DB_HOST"
"""The variable in a ratings Deployment that names its store."""
SELECTS_PORT = 9104
"""Port of a store's pod on which src/selects.js reports how often the store was read."""


def path_label(reviews: str, store: str) -> str:
    """One outcome: a single version name if reviews and store match."""
    return reviews if reviews == store else f"reviews {reviews}, store {store}"


MIXED = re.compile(r"reviews (.+), store (.+)")


def headers_after(headers: Mapping[str, str], change: Mapping[str, Any]) -> dict[str, str]:
    """Request headers after applying a route's ``headers.request`` (``set`` and ``remove``)."""
    removed, added = [name.lower() for name in change.get("remove", [])], dict(change.get("set", {}))
    kept = {name: value for name, value in headers.items() if name.lower() not in removed}
    return kept | {name.lower(): value for name, value in added.items()}


def store_of(objects: Objects, version: str) -> str:
    """The version of the store that a version of ratings reads.

    :raises NoExpectationError: if the Deployment does not exist or names no store
    """
    for deployment in of_kind(objects, "Deployment"):
        template = deployment["spec"]["template"]
        labels = template["metadata"].get("labels", {})
        if labels.get("app") == "ratings" and labels.get("version") == version:
            named = {e["name"]: e.get("value", "") for c in template["spec"]["containers"] for e in c.get("env", [])}
            if STORE in named:
                return str(named[STORE].partition("-")[2])
    raise NoExpectationError(f"no Deployment of ratings {version} names its store")


def linked(objects: Sequence[View], request: Mapping[str, Any]) -> Shares:
    """The paths that one request takes, from the gateway through reviews and ratings to the store.

    :param request: ``call``: as it enters
    """
    call: Call = request["call"]
    entered = route_of(objects, call)
    accept_inert(entered.taken)
    destinations_of(entered)
    marked = headers_after(call.headers, entered.route.get("headers", {}).get("request", {}))
    forwarded = {name: value for name, value in marked.items() if name in FORWARDED}

    def versions(caller: str, service: str) -> Shares:
        """Version of a service -> share of the calls."""
        uri = f"/{service}/0"
        inside = Call(f"{service}:9080", 9080, Caller(NAMESPACE, {"app": caller}, all_labels=False), uri, headers=forwarded)
        pass_on(objects, between(NAMESPACE, caller, "default", service, uri, 9080, headers=forwarded))

        def read(seen: Sequence[View]) -> Shares:
            asked = route_of(seen, inside)
            accept_inert(asked.taken)
            return versions_of(asked)

        return read_apart(objects, read)

    shares: Shares = {}
    for version, share in versions("productpage", "reviews").items():
        for subset, part in versions("reviews", "ratings").items():
            taken = path_label(version, store_of(objects, subset))
            shares[taken] = shares.get(taken, 0.0) + share * part
    return only(shares)


def stars(response: Any) -> str:
    """Which pod served the reviews, and how many stars they have: ``reviews-normal-abc 5,4``.

    :raises KeyError: if ratings returned no stars
    """
    body = response.json()
    return f"{body['podname']} {','.join(str(r['rating']['stars']) for r in body['reviews'])}"


def selects(cluster: Cluster, pod: str) -> int:
    """How often a store has been read since it started: once per request to ratings."""
    return int(cluster.ask(f"/api/v1/namespaces/{cluster.namespace}/pods/{pod}:{SELECTS_PORT}/proxy/")["selects"])


def _first_part(sent: Counted) -> Counted:
    """The versions of reviews in paths."""
    return _parts(sent, 0)


def _last_part(sent: Counted) -> Counted:
    """The versions of ratings and stores in paths."""
    return _parts(sent, 1)


def _parts(sent: Counted, place: int) -> Counted:
    found: dict[str, int] = {}
    for path, n in sent.items():
        mixed = MIXED.fullmatch(path)
        version = mixed.groups()[place] if mixed else path
        found[version] = found.get(version, 0) + n
    return found


def _proxies_of(app: str) -> Counting:
    return lambda cluster, pods, since: observed.mesh_counts(cluster, observed.of_app(pods, app))


def _logged(cluster: Cluster, pods: Pods, since: float) -> Counted:
    return observed.logged_requests(cluster, observed.of_app(pods, "reviews"), since)


def _selected(cluster: Cluster, pods: Pods, since: float) -> Counted:
    return {pod: selects(cluster, pod) for pod in observed.of_app(pods, "mysqldb")}


SOURCES = (
    Source("the proxies of reviews", _proxies_of("reviews"), from_start=True, view=_first_part),
    Source("the proxies of ratings", _proxies_of("ratings"), from_start=True, view=_last_part),
    Source("the stores", _selected, from_start=True, view=_last_part),
    Source("the access logs", _logged, view=_first_part),
)


@dataclass(frozen=True)
class FullLink(ResponseCheck):
    """The whole path of marked traffic and of other traffic.

    :param stores: stars as formatted by ``stars`` -> version of the store that holds them
    """

    stores: Mapping[str, str] = field(default_factory=dict)
    sources: tuple[Source, ...] = SOURCES

    def pods(self, cluster: Cluster) -> dict[str, str]:
        """Running pods of reviews, ratings and the stores -> version."""
        return {p: v for app in ("reviews", "ratings", "mysqldb") for p, v in observed.pods_of(cluster, app).items()}

    def label(self, counts: Counts, pods: Mapping[str, str], rules: Rules) -> Counts:
        """Turn pods with stars into paths, and single pods, as counted by other sources, into their version."""
        labelled: Counts = {}
        for name, line in counts.items():
            for outcome, n in line.items():
                pod, _, seen = outcome.partition(" ")
                version = pods.get(pod, f"unknown pod {pod}")
                store = self.stores.get(seen, f"unknown ({seen})") if seen else version
                taken = ERROR if outcome == ERROR else path_label(version, store)
                paths = labelled.setdefault(name, {})
                paths[taken] = paths.get(taken, 0) + n
        return labelled
