"""What reaches into proxies beside the rules that are read: EnvoyFilters, and plugins that proxies run.

They may do anything with a call. So those that may be for the proxies on its path leave the expectation open, but for patches
that a question reads itself (:mod:`loadtests.rules.patches`), and those that are known to change no outcome.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from loadtests.rules.expectations import Objects, is_running, namespace_of, of_kind, views_of
from loadtests.rules.gateway_api import GATEWAY_LABEL
from loadtests.rules.view import EXTENSIONS, View, leaves
from loadtests.rules.workloads import ENTRY, ROOT_NAMESPACE, SELECTORS, Workload, may_have, spec_of

LABS = ("istio-lab-alpn", "istio-lab-request-metrics")
"""The lab's own EnvoyFilters, which stand in for filters of Istio's proxy that upstream's Envoy lacks."""
BROKEN = ".control"
"""What the label of an entry ends with on rules that break the mesh on purpose."""
TIMES = (("common_lb_config", "update_merge_window"), ("outlier_detection", "max_ejection_time"))
"""Settings of clusters that say how soon something happens, not what."""
TARGETS = ("targetRef", "targetRefs")


def is_the_labs(item: Mapping[str, Any]) -> bool:
    """Whether an EnvoyFilter is one of the lab's own, which change no outcome."""
    return item["kind"] == "EnvoyFilter" and namespace_of(item) == ROOT_NAMESPACE and item["metadata"]["name"] in LABS


def breaks_on_purpose(item: Mapping[str, Any]) -> bool:
    """Whether an EnvoyFilter is of the control of an entry: it is the mesh that is broken then, and no rule."""
    label = str((item["metadata"].get("labels") or {}).get(ENTRY, ""))
    return item["kind"] == "EnvoyFilter" and label.endswith(BROKEN)


def extensions_of(objects: Objects, workload: Workload) -> Iterator[View]:
    """What may be for the proxies of a workload; what nobody reads of it leaves the expectation open."""
    for kind in EXTENSIONS:
        for rule in views_of(objects, kind):
            if not _may_select(rule, workload):
                continue
            spec = spec_of(rule)
            spec.accept(*TARGETS, "selector", "workloadSelector", "priority")
            if is_the_labs(rule) or breaks_on_purpose(rule):
                spec.accept_all()
            for patch in spec.get("configPatches") or []:
                if _is_about_times(patch.data):
                    patch.accept_all()
            yield rule


def workload_of(objects: Objects, namespace: str, labels: Mapping[str, str]) -> Workload:
    """The running pods that have some labels, with all of theirs; if none are among the objects, only those are known."""
    found = [
        dict(pod["metadata"].get("labels") or {})
        for pod in of_kind(objects, "Pod")
        if namespace_of(pod) == namespace and is_running(pod)
    ]
    every = tuple(one for one in found if labels.items() <= one.items()) if labels else ()
    return Workload(namespace, every or (dict(labels),), known=bool(every))


def note_extensions(objects: Objects, *workloads: Workload) -> None:
    """Say that the proxies of workloads are on the path of a call."""
    for workload in workloads:
        list(extensions_of(objects, workload))


def _may_select(rule: View, workload: Workload) -> bool:
    """Whether a rule may be for some pods of a workload, looked at from outside: what is for others stays untouched."""
    spec: Mapping[str, Any] = rule.data.get("spec") or {}
    if namespace_of(rule, workload.namespace) not in (workload.namespace, ROOT_NAMESPACE):
        return False
    if any(spec.get(name) for name in TARGETS):
        return any(_is_gateway(labels) for labels in workload.labels)
    selector, field = SELECTORS.get(rule["kind"], ("selector", "matchLabels"))
    wanted: Mapping[str, str] = (spec.get(selector) or {}).get(field) or {}
    return any(
        all(labels[name] == value if name in labels else may_have(workload, name) for name, value in wanted.items())
        for labels in workload.labels
    )


def _is_gateway(labels: Mapping[str, str]) -> bool:
    return GATEWAY_LABEL in labels or labels.get("istio", "").endswith("gateway")


def _is_about_times(patch: Mapping[str, Any]) -> bool:
    said = patch.get("patch") or {}
    value = said.get("value") or {}
    merged = (patch.get("applyTo"), said.get("operation")) == ("CLUSTER", "MERGE")
    return merged and bool(value) and all(path in TIMES for path in leaves(value))
