"""What expectations are made of, and how they are worked out from the objects that are applied now.

Nothing here knows a scenario's numbers: edit a rule with kubectl, and the expectation follows.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from loadtests.rules.calls import Mesh
from loadtests.rules.mesh_config import mesh_of, read_proxies
from loadtests.rules.view import View, not_modelled, viewed
from loadtests.verdict import Expected

Objects = Sequence[Mapping[str, Any]]
"""Kubernetes objects as the API gives them."""
Shares = dict[str, float]
"""Share of each outcome, fractions of 1."""


OF_CONTROLLERS = ("pod-template-hash", "controller-revision-hash", "apps.kubernetes.io/", "statefulset.kubernetes.io/")
"""What labels begin with that controllers add to those of a pod template."""
POD = "Pod"


class NoExpectationError(Exception):
    """The rules lead to no expectation for a request; the message says why."""


class NotModelledError(Exception):
    """What the rules say goes beyond what the lab models; the message names the field."""


@dataclass(frozen=True)
class Rules:
    """The applied rules for one question."""

    expected: Expected
    generation: str
    """Changes whenever a rule's spec does that bears on it; metadata and status do not count."""
    whole_service: bool = True
    """Whether the rules name no subsets, so that every answer counts for the service."""
    remarks: tuple[str, ...] = ()
    """What may bear on it and could not be read."""
    objects: Objects = field(default=(), repr=False, compare=False)
    """What they were read from, as the cluster had it."""


def of_kind(objects: Objects, kind: str) -> list[Mapping[str, Any]]:
    """The objects of one kind."""
    return [o for o in objects if o["kind"] == kind]


def views_of(objects: Objects, kind: str) -> list[View]:
    """The objects of one kind, as views; an object that is one keeps its notes."""
    return [o if isinstance(o, View) else View(o) for o in of_kind(objects, kind)]


def placed(objects: Objects, namespace: str) -> list[Mapping[str, Any]]:
    """The same objects, each with a spec; those of a file that do not say belong to ``namespace``."""
    return [{**o, "metadata": {"namespace": namespace, **o["metadata"]}, "spec": o.get("spec") or {}} for o in objects]


def namespace_of(rule: Mapping[str, Any], otherwise: str = "") -> str:
    """Namespace of an object; ``otherwise`` where it does not say (a file that has not been applied)."""
    return str(rule["metadata"].get("namespace", otherwise))


def age(rule: Mapping[str, Any]) -> tuple[str, str, str]:
    """The order in which istiod takes objects: by creation, name, namespace."""
    metadata = rule["metadata"]
    return str(metadata.get("creationTimestamp") or ""), str(metadata["name"]), namespace_of(rule)


def is_running(pod: Mapping[str, Any]) -> bool:
    """Whether a pod runs, and is not about to end."""
    return pod.get("status", {}).get("phase") == "Running" and not pod["metadata"].get("deletionTimestamp")


def addresses_of(pod: Mapping[str, Any]) -> list[str]:
    """The addresses of a pod."""
    return [str(one["ip"]) for one in pod.get("status", {}).get("podIPs") or []]


def generation(objects: Objects) -> str:
    """Changes whenever the spec of one of ``objects`` does, or one comes or goes; of pods, what labels there are counts.

    Where policies are read as well, which may name networks, the addresses of pods count, too.
    """
    networks = any(of_kind(objects, "AuthorizationPolicy"))

    def version(metadata: Mapping[str, Any]) -> str:
        # Services have no generation.
        return str(metadata.get("generation") or metadata.get("resourceVersion", ""))

    def labels(pod: Mapping[str, Any]) -> str:
        # A pod that takes the place of another one, of the same Deployment or StatefulSet, changes no expectation.
        given = pod["metadata"].get("labels", {}).items()
        return " ".join(sorted(f"{name}={value}" for name, value in given if not name.startswith(OF_CONTROLLERS)))

    def pod(one: Mapping[str, Any]) -> str:
        return f"{POD} {labels(one)} {' '.join(addresses_of(one)) if networks else ''}".rstrip()

    pods = {pod(one) for one in of_kind(objects, POD) if is_running(one)}

    def rule(one: Mapping[str, Any]) -> str:
        metadata = one["metadata"]
        return f"{one['kind']} {namespace_of(one)}/{metadata['name']} {metadata['uid']} {version(metadata)}"

    return ",".join(sorted((*(rule(o) for o in objects if o["kind"] != POD), *pods)))


def differences(before: str, after: str) -> str:
    """What differs between two generations or states, in words; empty if nothing does."""
    changed = {*before.split(",")} ^ {*after.split(",")}
    rules = {f"{kind} {name}" for kind, name, *_ in (part.split() for part in changed if " " in part) if kind != POD}
    pods = {"the labels or addresses of pods" for part in changed if part.startswith(POD)}
    # Where nothing else differs, only the last part does, which stands for the expectation.
    return ", ".join(sorted(rules | pods)) or ("what is expected, by rules of other namespaces" if changed else "")


def state(objects: Objects, namespace: str, expected: Expected) -> str:
    """Changes whenever :func:`generation` does for the namespace and the root namespace, or the expectation for any reason.

    So a rule of another namespace counts for as much as it bears on what is expected: others test their own rules there.
    """
    near = [o for o in objects if namespace_of(o, namespace) in (namespace, Mesh().root_namespace)]
    text = json.dumps([expected.shares, expected.broken, expected.unknown], sort_keys=True)
    return f"{generation(near)},{sha256(text.encode()).hexdigest()[:16]}"


def work_out_shares(
    objects: Objects,
    requests: Mapping[str, Mapping[str, Any]],
    expect: Callable[[Sequence[View], Mapping[str, Any]], Shares],
    namespace: str,
) -> tuple[dict[str, Shares], dict[str, tuple[str, ...]], dict[str, str]]:
    """What ``expect`` makes of each request, read by views of its own.

    :param namespace: whose pods call and are called
    :return: by name of the request: shares; fields that are not modelled; why the rules lead to no expectation
    """
    shares: dict[str, Shares] = {}
    unknown: dict[str, tuple[str, ...]] = {}
    broken: dict[str, str] = {}
    for name, request in requests.items():
        seen = viewed(objects)
        # Whatever is asked: settings of the mesh and of its proxies that are not modelled leave it open.
        mesh_of(seen)
        read_proxies(seen, namespace)
        try:
            found = expect(seen, request)
        except NotModelledError as reason:
            unknown[name] = (str(reason),)
        except NoExpectationError as reason:
            broken[name] = str(reason)
        else:
            if paths := not_modelled(seen):
                unknown[name] = paths
            else:
                shares[name] = found
    return shares, unknown, broken
