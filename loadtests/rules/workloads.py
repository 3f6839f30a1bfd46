"""Which security rules apply to a workload: by namespace, root namespace and selector, as istiod attaches them to a proxy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from loadtests.rules.expectations import (
    OF_CONTROLLERS,
    NotModelledError,
    Objects,
    addresses_of,
    age,
    is_running,
    namespace_of,
    of_kind,
    views_of,
)
from loadtests.rules.view import View, title

ROOT_NAMESPACE = "istio-system"
"""Whose rules are for the whole mesh."""
SYSTEM_NAMESPACES = ("kube-system", "kube-public", "kube-node-lease", ROOT_NAMESPACE)
"""Namespaces of the cluster's and the mesh's own parts: no entry replaces their rules, and none of them is judged."""
PART_OF = {"app.kubernetes.io/part-of": "istio-lab"}
"""The lab's label."""
ENTRY = "istio-lab/policy"
"""The label of entries' rules: name and variant of the entry."""
GUEST = "istio-lab-guest"
"""Label ``app`` of pods that send requests in a namespace of services, and name of what makes their proxies log."""


def is_guest(item: Mapping[str, Any]) -> bool:
    """Whether an object is such a pod, or what makes it log: no rule is for it, and it is there for one run only."""
    labels = {"app": GUEST, **PART_OF} if item["kind"] == "Pod" else PART_OF
    named = item["kind"] == "Pod" or (item["kind"], item["metadata"]["name"]) == ("Telemetry", GUEST)
    return named and labels.items() <= item["metadata"].get("labels", {}).items()


@dataclass(frozen=True)
class Workload:
    """Pods of one name.

    :param labels: of each kind of pod; several Deployments may share a name
    :param known: whether those are all labels that matter; other labels may or may not be there otherwise
    """

    namespace: str
    labels: tuple[Mapping[str, str], ...]
    known: bool = False


INGRESS_GATEWAY = Workload(ROOT_NAMESPACE, ({"app": "istio-ingressgateway", "istio": "ingressgateway"},))
"""By which all requests of the load tests enter."""
BY_GATEWAY = {"caller_namespace": ROOT_NAMESPACE, "caller": INGRESS_GATEWAY.labels[0]}
"""The caller of requests that the ingress gateway sends on."""
INGRESS_PRINCIPAL = "cluster.local/ns/istio-system/sa/istio-ingressgateway-service-account"
SELECTORS = {"EnvoyFilter": ("workloadSelector", "labels"), "Sidecar": ("workloadSelector", "labels")}
"""Where kinds say which pods they are for; others in ``selector.matchLabels``."""


def called_workload(objects: Objects, request: Mapping[str, Any]) -> Workload:
    """The workload that a request is for.

    :param request: ``app``: label of the pods that answer; ``namespace``
    :return: with the labels that the pod templates of its Deployments and StatefulSets say, if they are among the objects
    """
    app, namespace = str(request["app"]), str(request.get("namespace", ""))
    templates = [
        dict(o["spec"]["template"].get("metadata", {}).get("labels", {}))
        for kind in ("Deployment", "StatefulSet")
        for o in of_kind(objects, kind)
        if namespace_of(o, namespace) == namespace
    ]
    found = tuple(labels for labels in templates if labels.get("app") == app)
    return Workload(namespace, found or ({"app": app},), known=bool(found))


def addresses_of_caller(objects: Objects, request: Mapping[str, Any]) -> tuple[str, ...]:
    """The addresses of all running pods that may make a request; none if the pods are not among the objects.

    :param request: ``caller``: labels of the pods; ``caller_namespace``, or else ``namespace``
    """
    namespace, wanted = request.get("caller_namespace", request.get("namespace", "")), request.get("caller") or {}
    calling = [
        pod
        for pod in of_kind(objects, "Pod")
        if wanted and is_running(pod) and namespace_of(pod) == namespace
        if all(pod["metadata"].get("labels", {}).get(name) == value for name, value in wanted.items())
    ]
    return tuple(address for pod in calling for address in addresses_of(pod))


def may_have(workload: Workload, label: str) -> bool:
    """Whether pods of a workload may have a label that is not among those that are known."""
    # A template does not name those of controllers and of Istio, which are of domains under istio.io.
    return not workload.known or label.startswith(OF_CONTROLLERS) or "istio.io/" in label


def selected(wanted: Mapping[str, str], workload: Workload, path: str) -> bool:
    """Whether labels select the pods of a workload.

    :param path: how messages name the labels
    :raises NotModelledError: if they select some of the pods, or it is not known whether the pods have them
    """
    found = set()
    for labels in workload.labels:
        if any(name in labels and labels[name] != value for name, value in wanted.items()):
            found.add(False)
            continue
        missing = [name for name in wanted if name not in labels]
        if unsure := [name for name in missing if may_have(workload, name)]:
            raise NotModelledError(f"{path}.{unsure[0]}")
        found.add(not missing)
    if len(found) > 1:
        raise NotModelledError(path)
    return found == {True}


def spec_of(rule: View) -> View:
    """The spec of a rule; an empty one if there is none."""
    spec = rule.get("spec")
    return spec if isinstance(spec, View) else View({})


def selector_of(rule: View) -> dict[str, str]:
    """The labels by which a rule selects pods; none for all pods."""
    selector, field = SELECTORS.get(rule["kind"], ("selector", "matchLabels"))
    return dict((spec_of(rule).get(selector) or {}).get(field) or {})


def path_of_selector(rule: Mapping[str, Any]) -> str:
    """How messages name the labels by which a rule selects pods."""
    return f"{title(rule)}: spec.{'.'.join(SELECTORS.get(rule['kind'], ('selector', 'matchLabels')))}"


def applying(objects: Objects, kind: str, workload: Workload) -> list[View]:
    """The rules of a kind that are attached to the proxies of a workload, the oldest first; others have no bearing.

    What is attached to a Gateway or a waypoint (``targetRefs``) has no effect on sidecars.

    :raises NotModelledError: if it is not known whether one applies
    """
    found = []
    for rule in sorted(views_of(objects, kind), key=age):
        spec = spec_of(rule)
        there = namespace_of(rule, workload.namespace) in (workload.namespace, ROOT_NAMESPACE)
        elsewhere = not there or spec.get("targetRefs") or spec.get("targetRef")
        if elsewhere or not selected(selector_of(rule), workload, path_of_selector(rule)):
            spec.accept_all()
        else:
            found.append(rule)
    return found
