"""What a question needs beside the mesh: programs without which a run cannot be judged."""

from __future__ import annotations

from dataclasses import dataclass

from loadtests.mesh.cluster import Cluster, ClusterError, RefusedByServerError, path_of


@dataclass(frozen=True)
class Needed:
    """A Deployment that has to be available.

    :param remedy: what to do where it is not there
    """

    namespace: str
    name: str
    remedy: str


def require(cluster: Cluster, needed: Needed) -> None:
    """Make sure that a program is there.

    :raises ClusterError: if it is missing, or none of its pods is ready; it names the program
    """
    told = f"{needed.name} of namespace {needed.namespace}, which this entry needs,"
    try:
        found = cluster.ask(f"{path_of('deployments.apps', needed.namespace)}/{needed.name}")
    except RefusedByServerError as error:
        if error.code != 404:
            raise
        raise ClusterError(f"{told} is missing: {needed.remedy}") from error
    if not found.get("status", {}).get("availableReplicas"):
        raise ClusterError(f"{told} is not available")
