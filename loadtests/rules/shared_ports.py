"""What else may take what enters by a port of the ingress gateway's pods, beside the routes of one Gateway of the Gateway API.

istiod merges all Gateways of one port, of either kind. They are looked at from outside, as plain data: what cannot apply has no
bearing, whatever it says.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from loadtests.rules import hosts
from loadtests.rules.calls import Call, Caller
from loadtests.rules.expectations import NotModelledError, Objects, namespace_of, views_of
from loadtests.rules.gateway_api import (
    PORT,
    Parent,
    is_of_gateway_api,
    may_take,
    parent_of,
    pod_ports,
    refuse_for_gateway,
    refuse_listening,
)
from loadtests.rules.ingress_classes import refuse_ingresses
from loadtests.rules.layers import MESH, gateway_name
from loadtests.rules.listeners import Listener
from loadtests.rules.registry import HTTP, PROTOCOLS
from loadtests.rules.view import View, title, viewed
from loadtests.rules.workloads import INGRESS_GATEWAY

PODS = Caller(INGRESS_GATEWAY.namespace, INGRESS_GATEWAY.labels[0], all_labels=False)
"""Those of the ingress gateway."""


def refuse_others(objects: Objects, listener: Listener, host: str, domain: str, own: Caller | None = None) -> None:
    """Make sure that no route of another Gateway or ListenerSet, no VirtualService, and no Ingress may take what is for a host.

    :param listener: one of those that the request enters by
    :param host: that is asked for; ``*`` where no host is
    :param domain: the host name of the route that takes it
    :param own: the pods that serve the Gateway, if they are not those of the ingress gateway: no Ingress is for them
    :raises NotModelledError: if another one may
    """
    if own is None:
        refuse_ingresses(viewed(objects), listener.port, host, domain)
    of_http = listener.protocol == "HTTP"
    _refuse(viewed(objects), listener.port, host, domain, of_http, parent_of(listener.holder), own or PODS)


def refuse_beside_ingress(objects: Objects, host: str, domain: str) -> None:
    """Make sure that no route of the Gateway API, and no VirtualService, may take what an Ingress is for.

    Parameters and errors are those of :func:`refuse_others`.
    """
    _refuse(viewed(objects), PORT, host, domain, of_http=True, holder=None, pods=PODS)


def _refuse(
    seen: Sequence[View], port: int, host: str, domain: str, of_http: bool, holder: Parent | None, pods: Caller
) -> None:  # fmt: skip
    """Make sure that no route of a Gateway or ListenerSet but ``holder``, and no VirtualService, may take what is for a host.

    :param of_http: whether the request is one
    """
    ports = pod_ports(seen, pods.namespace, pods.labels)
    call = Call(host, port, pods)
    refuse_for_gateway(seen, call, pods.labels, ports, besides=holder)
    if not of_http:
        refuse_listening(seen, call, pods.labels, ports, besides=holder)
    for gateway, server in _servers(seen, port, ports, pods):
        served = [str(text).lower().rpartition("/")[2] for text in server.get("hosts") or []]
        alike = PROTOCOLS.get(str(server["port"].get("protocol", "")).lower()) == HTTP and of_http
        if (not alike and any(hosts.overlap(name, host) for name in served)) or (
            (server.get("tls") or {}).get("httpsRedirect") and may_take(served, host, domain)
        ):
            raise NotModelledError(f"{title(gateway)}: spec.servers")
        for rule, names in _rules(seen, gateway, served):
            if may_take(names, host, domain):
                raise NotModelledError(f"{title(rule)}: spec.hosts")


def _servers(
    objects: Sequence[View], port: int, ports: Mapping[int, int], pods: Caller
) -> Iterator[tuple[View, Mapping[str, Any]]]:
    """The servers of Istio's own Gateways that may have the same port of the same pods."""
    for gateway in views_of(objects, "Gateway"):
        if is_of_gateway_api(gateway):
            continue
        if pods.has(gateway.data["spec"].get("selector") or {}) is False:
            continue
        for server in gateway.data["spec"].get("servers") or []:
            number = int(server["port"]["number"])
            if ports.get(number, number) == ports.get(port, port):
                yield gateway, server


def _rules(objects: Sequence[View], gateway: View, served: Sequence[str]) -> Iterator[tuple[View, list[str]]]:
    """The VirtualServices of a Gateway, with the host names that they and a server have in common."""
    wanted = f"{namespace_of(gateway)}/{gateway['metadata']['name']}"
    for rule in views_of(objects, "VirtualService"):
        spec = rule.data["spec"]
        if wanted in {gateway_name(str(name), namespace_of(rule)) for name in spec.get("gateways") or [MESH]}:
            names = [str(name).lower() for name in spec.get("hosts") or []]
            yield rule, [n if hosts.covers(s, n) else s for s in served for n in names if hosts.overlap(s, n)]
