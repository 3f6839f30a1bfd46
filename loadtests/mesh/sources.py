"""The other sources of a verdict: whoever counts the same requests as the clients do."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from loadtests.mesh import observed
from loadtests.mesh.cluster import Cluster

Pods = Mapping[str, str]
"""Pod -> version."""
Counted = Mapping[str, int]
"""Requests by pod, or by version."""
Counting = Callable[[Cluster, Pods, float], Counted]


@dataclass(frozen=True)
class Source:
    """One of them.

    :param name: as reports have it
    :param count: requests that arrived at each pod since a moment (seconds of the epoch); empty if the source does not
        reach back that far
    :param from_start: whether it counts since it started instead, so that its count at that moment is to be subtracted
    :param view: what clients counted by outcome in this source's terms, where those are others
    """

    name: str
    count: Counting
    from_start: bool = False
    view: Callable[[Counted], Counted] = dict


def count_all(sources: Sequence[Source], cluster: Cluster, pods: Pods, since: float) -> dict[str, Counted]:
    """What each source has counted, by its name; all at once, because traffic continues meanwhile.

    :raises ClusterError: if one of them does not answer
    """
    with ThreadPoolExecutor(max_workers=8) as pool:
        counted = pool.map(lambda source: source.count(cluster, pods, since), sources)
        return {source.name: count for source, count in zip(sources, counted, strict=True)}


PROXIES = Source("the proxies", lambda cluster, pods, since: observed.mesh_counts(cluster, pods), from_start=True)
ACCESS_LOGS = Source("the access logs", observed.logged_requests)
