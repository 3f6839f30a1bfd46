"""Whether this account may do what a plan or a run needs, as the API server says before anything is done."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from loadtests.entries import question
from loadtests.judge.reach import PROBES
from loadtests.mesh import propagation, writes
from loadtests.mesh.cluster import Cluster
from loadtests.rules.workloads import ROOT_NAMESPACE

KINDS = tuple(dict.fromkeys((*question.SECURITY, "pods", *writes.KINDS, *question.OF_PROXIES)))
"""All kinds that a plan looks at."""
TELEMETRIES = "telemetries.telemetry.istio.io"
CARRIERS = tuple(propagation.KINDS.values())
"""Kinds of the objects that tell whether proxies have the rules."""
REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"


@dataclass(frozen=True)
class Right:
    """One of them.

    :param resource: as kubectl names it, with a subresource behind a slash: ``pods/log``
    :param namespace: '' for all of them
    :param name: of the one object that it is about; '' for all of them
    """

    verb: str
    resource: str
    namespace: str = ""
    name: str = ""

    def __str__(self) -> str:
        """In words."""
        place = f"namespace {self.namespace}" if self.namespace else "all namespaces"
        return f"{self.verb} {self.resource}{f' {self.name}' if self.name else ''} in {place}"


def to_look(namespace: str) -> list[Right]:
    """What a plan needs: its namespace, the rules of all namespaces, and the settings of the mesh."""
    listed = [Right("list", kind, namespace if kind in question.WORKLOADS else "") for kind in KINDS]
    own = Right("get", "namespaces", name=namespace)
    return [own, *listed, Right("get", "configmaps", ROOT_NAMESPACE, question.SETTINGS)]


def to_send(namespace: str, doors: Iterable[str], hosts: Iterable[str] = (), *, kept: bool = False) -> list[Right]:
    """What a run needs besides reading rules.

    :param namespace: that is judged
    :param doors: namespaces of gateways by which requests enter
    :param hosts: namespaces in which probes run under other ServiceAccounts
    :param kept: whether the probes' namespace is there, and outlives the run
    """
    inside = [
        Right("create", "pods", PROBES), Right("create", "pods/exec", PROBES), Right("get", "pods/log", PROBES),
        Right("get", "pods/proxy", PROBES), Right("create", "pods/portforward", PROBES),
        Right("create", TELEMETRIES, PROBES), Right("create", "serviceaccounts", PROBES),
        *(Right("patch", one, PROBES, propagation.NAME) for one in CARRIERS),
    ]  # fmt: skip
    guests = [
        Right(verb, resource, host) for host in hosts for resource in ("pods", TELEMETRIES) for verb in ("create", "delete")
    ]
    guests += [Right("create", one, host) for host in hosts for one in ("pods/exec", "pods/portforward")]
    guests += [Right("get", one, host) for host in hosts for one in ("pods/log", "pods/proxy")]
    both = [Right("create", "namespaces"), Right("delete", "namespaces")]
    if kept:
        both = [Right("delete", one, PROBES) for one in ("pods", TELEMETRIES, "serviceaccounts")]
        both += [Right("delete", one, PROBES, propagation.NAME) for one in CARRIERS]
    outside = [Right("get", "pods/log", door) for door in doors]
    return both + inside + guests + outside + [Right("create", "pods/portforward", one) for one in (namespace, *doors)]


def missing(cluster: Cluster, wanted: Iterable[Right]) -> list[Right]:
    """The rights that this account does not have.

    :raises ClusterError: if the cluster does not answer
    """
    return [right for right in wanted if not _has(cluster, right)]


def _has(cluster: Cluster, right: Right) -> bool:
    name, _, subresource = right.resource.partition("/")
    plural, _, group = name.partition(".")
    attributes = {
        "verb": right.verb, "resource": plural, "group": group, "subresource": subresource, "namespace": right.namespace,
        "name": right.name,
    }  # fmt: skip
    body = {
        "apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": attributes},
    }  # fmt: skip
    return bool(cluster.write("POST", REVIEWS, body)["status"]["allowed"])
