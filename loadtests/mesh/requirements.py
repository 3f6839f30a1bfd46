"""What a question requires beside rules and pods: without it, a run cannot be judged."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from loadtests.mesh.cluster import Cluster, ClusterError, RefusedByServerError, path_of

Requirement = Callable[[Cluster], None]
"""Makes sure of one thing; raises ClusterError, which names it, if it is missing."""


@dataclass(frozen=True)
class Program:
    """A requirement: a Deployment that has to be available.

    :param remedy: what to do where it is not there
    """

    namespace: str
    name: str
    remedy: str

    def __call__(self, cluster: Cluster) -> None:
        """Make sure that the program is there.

        :raises ClusterError: if it is missing, or none of its pods is ready; it names the program
        """
        needed = f"{self.name} of namespace {self.namespace}, which this entry needs,"
        try:
            found = cluster.ask(f"{path_of('deployments.apps', self.namespace)}/{self.name}")
        except RefusedByServerError as error:
            if error.code != 404:
                raise
            raise ClusterError(f"{needed} is missing: {self.remedy}") from error
        if not found.get("status", {}).get("availableReplicas"):
            raise ClusterError(f"{needed} is not available")
