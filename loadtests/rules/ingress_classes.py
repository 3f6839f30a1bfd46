"""Whose Ingresses istiod takes, and where they enter, for whoever reads other rules for the same port of the ingress gateway.

They are looked at from outside, as plain data: what cannot apply has no bearing, whatever it says.
"""

from __future__ import annotations

from collections.abc import Sequence

from loadtests.rules.expectations import NotModelledError
from loadtests.rules.gateway_api import PORT, may_take, pod_ports
from loadtests.rules.registry import of_kind
from loadtests.rules.view import View, title
from loadtests.rules.workloads import INGRESS_GATEWAY

CLASS, CLASS_ANNOTATION = "istio", "kubernetes.io/ingress.class"
TLS_PORT = 443
"""Of the Service in front of the ingress gateway."""


def is_of_istio(ingress: View) -> bool:
    """Whether istiod takes an Ingress: by the annotation if there is one, else by the class. Without one, it does not.

    :raises NotModelledError: if it has another class, for which another controller may stand or not
    """
    name = (ingress.data.get("spec") or {}).get("ingressClassName")
    annotations = ingress.data["metadata"].get("annotations") or {}
    if CLASS_ANNOTATION in annotations:
        return bool(annotations[CLASS_ANNOTATION] == CLASS)
    if name not in (None, CLASS):
        raise NotModelledError(f"{title(ingress)}: spec.ingressClassName")
    return name is not None


def is_classed(ingress: View) -> bool:
    """Whether an Ingress has a class."""
    annotations = ingress.data["metadata"].get("annotations") or {}
    return bool(annotations.get(CLASS_ANNOTATION) or (ingress.data.get("spec") or {}).get("ingressClassName"))


def refuse_ingresses(objects: Sequence[View], port: int, host: str, domain: str) -> None:
    """Make sure that no Ingress may take what enters by a port for a host.

    :param domain: the host name of the route that takes it
    :raises NotModelledError: if one may
    """
    ports = pod_ports(objects, INGRESS_GATEWAY.namespace, INGRESS_GATEWAY.labels[0])
    for ingress in of_kind(objects, "Ingress"):
        spec = ingress.data.get("spec") or {}
        names = {
            PORT: [rule.get("host") or "*" for rule in spec.get("rules") or [] if rule.get("http")],
            TLS_PORT: [name for one in spec.get("tls") or [] for name in one.get("hosts") or ["*"]],
        }
        found = [str(n).lower() for at, some in names.items() if ports.get(at, at) == ports.get(port, port) for n in some]
        if may_take(found, host, domain) and is_of_istio(ingress):
            raise NotModelledError(f"{title(ingress)}: spec.rules")
