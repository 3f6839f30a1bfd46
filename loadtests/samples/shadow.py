"""Marked traffic on a way of its own: which reviews answered, and out of which store its stars came.

An answer tells both, for each store holds other stars. The proxies of reviews and of ratings, and the stores themselves, count
the same requests once more.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from loadtests.entries.question import Contract, Counts
from loadtests.mesh import observed
from loadtests.mesh.cluster import Cluster
from loadtests.rules.declared import BrokenPromiseError, Objects, Rules, Shares, legs, of_kind, shares_of, weights
from loadtests.rules.promises import INERT, route
from loadtests.verdict import ERROR

FORWARDED = ("baggage",)
"""Of the headers that mark traffic, what services hand on to the next one."""
STORE = "MYSQL_DB_HOST"
"""Where a Deployment of ratings says which store it reads."""
SELECTS_PORT = 9104
"""Of a store's pod, where src/selects.js says how often the store was read."""


def way(reviews: str, store: str) -> str:
    """One outcome: the version's name when all of the way was its own."""
    return reviews if reviews == store else f"reviews {reviews}, store {store}"


MIXED = re.compile(r"reviews (.+), store (.+)")


def headers_after(headers: Mapping[str, str], change: Mapping[str, Any]) -> dict[str, str]:
    """Headers of a request once a route's ``headers.request`` has been applied (``set`` and ``remove``)."""
    removed, added = [name.lower() for name in change.get("remove", [])], dict(change.get("set", {}))
    kept = {name: value for name, value in headers.items() if name.lower() not in removed}
    return kept | {name.lower(): value for name, value in added.items()}


def store_of(objects: Objects, version: str) -> str:
    """The store that a version of ratings reads, by its version.

    :raises BrokenPromiseError: if there is no such Deployment, or it names no store
    """
    for deployment in of_kind(objects, "Deployment"):
        template = deployment["spec"]["template"]
        labels = template["metadata"].get("labels", {})
        if labels.get("app") == "ratings" and labels.get("version") == version:
            named = {e["name"]: e.get("value", "") for c in template["spec"]["containers"] for e in c.get("env", [])}
            if STORE in named:
                return str(named[STORE].partition("-")[2])
    raise BrokenPromiseError(f"no Deployment of ratings {version} names its store")


def linked(objects: Objects, request: Mapping[str, Any]) -> Shares:
    """The ways that one request takes, from the gateway over reviews and ratings to the store.

    :param request: ``authority``, ``uri``, ``method`` and ``headers`` as the client sends them, and the gateway's
        ``virtual_service``
    """
    entered = route(objects, request)
    legs(entered)
    entered.accept(*INERT)
    marked = headers_after(request.get("headers", {}), entered.get("headers", {}).get("request", {}))
    inside = {"headers": {name: value for name, value in marked.items() if name in FORWARDED}, "method": "GET"}
    shares: Shares = {}
    ratings = route(objects, {**inside, "virtual_service": "ratings", "uri": "/ratings/0"})
    reviews = route(objects, {**inside, "virtual_service": "reviews", "uri": "/reviews/0"})
    for taken_route in (ratings, reviews):
        taken_route.accept(*INERT)
    for version, share in shares_of(weights(reviews)).items():
        for subset, part in shares_of(weights(ratings)).items():
            taken = way(version, store_of(objects, subset))
            shares[taken] = shares.get(taken, 0.0) + share * part
    return {taken: share for taken, share in shares.items() if share > 0}


def stars(response: Any) -> str:
    """Which pod served the reviews, and how many stars they have: ``reviews-normal-abc 5,4``.

    :raises KeyError: where ratings gave no stars
    """
    told = response.json()
    return f"{told['podname']} {','.join(str(r['rating']['stars']) for r in told['reviews'])}"


@dataclass(frozen=True)
class FullLink(Contract):
    """The whole way of marked and of other traffic.

    :param stores: stars as ``stars`` words them -> version of the store that holds them
    """

    stores: Mapping[str, str] = field(default_factory=dict)

    def pods(self, cluster: Cluster) -> dict[str, str]:
        """Running pods of reviews, ratings and the stores -> version."""
        return {p: v for app in ("reviews", "ratings", "mysqldb") for p, v in observed.pods_of(cluster, app).items()}

    def label(self, counts: Counts, pods: Mapping[str, str], rules: Rules) -> Counts:
        """Pods with their stars as ways; a pod alone, as other sources count, as its version."""
        told: Counts = {}
        for name, line in counts.items():
            for outcome, n in line.items():
                pod, _, seen = outcome.partition(" ")
                version = pods.get(pod, f"unknown pod {pod}")
                store = self.stores.get(seen, f"unknown ({seen})") if seen else version
                taken = ERROR if outcome == ERROR else way(version, store)
                ways = told.setdefault(name, {})
                ways[taken] = ways.get(taken, 0) + n
        return told

    def counters(self, cluster: Cluster, pods: Mapping[str, str]) -> dict[str, dict[str, int]]:
        """Requests that arrived at each pod as the proxies of either service count them, and what was read from the stores."""
        with ThreadPoolExecutor(max_workers=2) as pool:
            stores = pool.submit(lambda: {pod: selects(cluster, pod) for pod in observed.of_app(pods, "mysqldb")})
            counted = observed.mesh_counts(cluster, observed.of_app(pods, "reviews") | observed.of_app(pods, "ratings"))
        proxies = {f"the proxies of {app}": observed.of_app(counted, app) for app in ("reviews", "ratings")}
        return proxies | {"the stores": stores.result()}

    def logged(self, cluster: Cluster, pods: Mapping[str, str], since: float) -> dict[str, int]:
        """Requests that arrived at each pod of reviews since then, as its proxy's access log has them."""
        return observed.logged_requests(cluster, observed.of_app(pods, "reviews"), since)

    def views(self, sent: Mapping[str, int]) -> dict[str, dict[str, int]]:
        """Reviews, with the access logs, sees the first part of a way, ratings and the stores the last."""
        first: dict[str, int] = {}
        last: dict[str, int] = {}
        for taken, n in sent.items():
            parts = MIXED.fullmatch(taken)
            reviews, store = parts.groups() if parts else (taken, taken)
            first[reviews] = first.get(reviews, 0) + n
            last[store] = last.get(store, 0) + n
        return {"the proxies of reviews": first, "the access logs": first, "the proxies of ratings": last, "the stores": last}


def selects(cluster: Cluster, pod: str) -> int:
    """How often a store has been read since it started: once for each request to ratings."""
    return int(cluster.ask(f"/api/v1/namespaces/{cluster.namespace}/pods/{pod}:{SELECTS_PORT}/proxy/")["selects"])
