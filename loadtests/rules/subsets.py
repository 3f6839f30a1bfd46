"""Which pods a destination's calls reach: those that the labels of its subset select, whatever the subset is called."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from loadtests.rules.calls import Destination
from loadtests.rules.expectations import NoExpectationError, NotModelledError, is_running, namespace_of, of_kind
from loadtests.rules.registry import Service
from loadtests.rules.routing import Sent
from loadtests.rules.view import View

PLACES = ("topology.kubernetes.io/", "topology.istio.io/", "kubernetes.io/hostname")
"""What labels begin with that istiod adds to those of a pod, by the place where it runs."""

Labels = Mapping[str, str]


def _path(service: Service, subset: View) -> str:
    return f"DestinationRule of {service.host}: {subset.path_of('labels')}"


def selected(objects: Sequence[View], service: Service, subset: View) -> list[Labels]:
    """Labels of each running pod of a service that a subset selects; empty if it selects none.

    :raises NotModelledError: if that is not known: the pods are not among the objects, or endpoints are not found by labels
    """
    table = subset.get("labels") or {}
    wanted = {name: table[name] for name in table}
    pods = [pod for pod in of_kind(objects, "Pod") if namespace_of(pod) == service.namespace]
    if not pods or not service.selector or any(name.startswith(PLACES) for name in wanted):
        raise NotModelledError(_path(service, subset))
    every = [dict(pod["metadata"].get("labels") or {}) for pod in pods if is_running(pod)]
    return [labels for labels in every if all(s.items() <= labels.items() for s in (service.selector, wanted))]


def reached(objects: Sequence[View], sent: Sent, to: Destination) -> set[str]:
    """The versions of the pods that a destination's calls reach, as their label ``version`` says; {''} for a whole service.

    :return: empty if its subset selects no pod
    :raises NotModelledError: if which pods those are is not known, or they have no such label
    """
    subset, service = sent.applied[to.host].subsets.get(to.subset), sent.services[to.host]
    if subset is None:
        return {""}
    versions = {str(labels.get("version", "")) for labels in selected(objects, service, subset)}
    if "" in versions:
        raise NotModelledError(_path(service, subset))
    return versions


def refuse_empty(objects: Sequence[View], sent: Sent) -> None:
    """Make sure that every destination with a share has pods.

    :raises NoExpectationError: if the subset of one selects none
    """
    for to in sent.destinations:
        subset, service = sent.applied[to.host].subsets.get(to.subset), sent.services[to.host]
        if to.share and subset is not None and not selected(objects, service, subset):
            raise NoExpectationError(f"subset {to.subset} of {to.host} selects no running pod, so calls to it get HTTP 503")


def shares_of(objects: Sequence[View], sent: Sent) -> dict[str, float]:
    """Share of each version that a route's calls reach; '' for all of a service.

    :raises NoExpectationError: if a subset selects no pod
    :raises NotModelledError: if a subset has pods of several versions, for which of them answers is up to the load balancer
    """
    refuse_empty(objects, sent)
    shares: dict[str, float] = {}
    for to in sent.destinations:
        versions = reached(objects, sent, to)
        if to.share and len(versions) > 1:
            raise NotModelledError(_path(sent.services[to.host], sent.applied[to.host].subsets[to.subset]))
        for version in versions:
            shares[version] = shares.get(version, 0.0) + to.share
    return shares
