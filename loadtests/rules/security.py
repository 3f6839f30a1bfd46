"""What security rules declare for one call, outcome by outcome: pure functions for ``question.ResponseCheck``.

Each takes all objects that may bear on the called workload, of its namespace and of the root namespace. A request names that
workload (``namespace``, ``app``, ``port``) and its caller.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from loadtests.rules.admission import is_taken, mtls_modes, pod_port, refuse_tokens
from loadtests.rules.asked import read_apart
from loadtests.rules.authorization import OK, TRUST_DOMAIN, decided
from loadtests.rules.calls import Call, Caller, Mesh
from loadtests.rules.destinations import applied_rules, settings
from loadtests.rules.expectations import NoExpectationError, NotModelledError, Objects, Shares, age, namespace_of, views_of
from loadtests.rules.gateway_api import is_of_gateway_api
from loadtests.rules.hosts import long_name, most_specific
from loadtests.rules.mesh_config import is_mtls_automatic, mesh_of, providers_of
from loadtests.rules.registry import refuse_inbound
from loadtests.rules.responses import CLOSED, Request, named
from loadtests.rules.routing import accept_inert
from loadtests.rules.straight import Straight, refuse_detours, straight_to
from loadtests.rules.tokens import checked
from loadtests.rules.view import View, not_modelled, title
from loadtests.rules.workloads import (
    BY_GATEWAY,
    INGRESS_GATEWAY,
    INGRESS_PRINCIPAL,
    ROOT_NAMESPACE,
    addresses_of_caller,
    applying,
    called_workload,
    selected,
    spec_of,
)

REFUSED = "refused"
"""No answer: the connection was closed."""
NOT_SENT = "HTTP 503"
"""What a sidecar tells its application when the called proxy closes the connection."""
ANSWERED = f"HTTP {OK}"
TLS_SERVERS = ("HTTPS", "TLS")


def _is_encrypted(objects: Objects, request: Request, modes: tuple[str, str]) -> bool:
    """Whether the caller's proxy makes mutual TLS of a call: as a DestinationRule says, or else wherever the callee takes it.

    :raises NotModelledError: if it makes another TLS of it
    """
    if not request.get("sidecar", request.get("principal", "")):
        for rule in views_of(objects, "DestinationRule"):
            rule["spec"].accept_all()
        return False
    namespace = str(request.get("namespace", ""))
    caller = Caller(request.get("caller_namespace", namespace), request.get("caller", {}))
    applied = applied_rules(objects, long_name(request["app"], namespace, Mesh().domain), caller)
    found = settings(applied, request.get("port"), request.get("subset", ""))
    if "loadBalancer" in found:
        found["loadBalancer"].accept_all()
    if "tls" not in found:
        return is_mtls_automatic(objects) and "DISABLE" not in modes
    mode = found["tls"].get("mode", "DISABLE")
    if mode not in ("DISABLE", "ISTIO_MUTUAL"):
        raise NotModelledError(f"{applied.rule}: {found['tls'].path_of('mode')}")
    return bool(mode == "ISTIO_MUTUAL")


def _connected(objects: Objects, request: Request) -> tuple[bool, bool]:
    """Whether the called proxy takes the connection, and whether the call is encrypted on it."""
    modes = mtls_modes(objects, called_workload(objects, request), _pod_port(objects, request))
    encrypted_call = _is_encrypted(objects, request, modes)
    return is_taken(encrypted_call, modes[1]), encrypted_call


def _pod_port(objects: Objects, request: Request) -> int | None:
    return pod_port(objects, str(request.get("namespace", "")), str(request["app"]), request.get("port"))


def _refused(request: Request) -> str:
    return NOT_SENT if request.get("sidecar", request.get("principal", "")) else REFUSED


def identified(objects: Objects, request: Request) -> Shares:
    """The SPIFFE name of a Deployment's pods, which a callee sees where mTLS is strict.

    :raises NoExpectationError: if nobody asks callers for certificates, or the caller shows none
    :raises NotModelledError: if rules may lead the call elsewhere
    """
    refuse_detours(objects, {**request, "sidecar": True})
    account = named(objects, "Deployment", request["deployment"])["template"]["spec"].get("serviceAccountName", "default")
    return shown(objects, request, account)


def shown(objects: Objects, request: Request, account: str) -> Shares:
    """The SPIFFE name of a service account, which a callee sees where mTLS is strict.

    :raises NoExpectationError: if nobody asks callers for certificates, or the caller shows none
    """
    _, mode = mtls_modes(objects, called_workload(objects, request), _pod_port(objects, request))
    if mode != "STRICT":
        raise NoExpectationError(f"mutual TLS of {request['app']}: {mode} asks nobody for a certificate")
    if not _is_encrypted(objects, {**request, "sidecar": True}, (mode, mode)):
        raise NoExpectationError(f"a DestinationRule of {request['app']} has callers send plain text")
    return {f"spiffe://{TRUST_DOMAIN}/ns/{request['namespace']}/sa/{account}": 1.0}


def check_entry(objects: Objects, kind: str, request: Request) -> None:
    """Make sure that rules of the ingress gateway let all requests in as they are.

    Those are rules of the root namespace, and most are for the called workload as well: they are read here apart.

    :raises NotModelledError: if one may not
    """
    apart = [one.afresh() for one in views_of(objects, kind) if namespace_of(one) == ROOT_NAMESPACE]
    rules = applying(apart, kind, INGRESS_GATEWAY)
    unknown = f"{title(rules[0])}: it applies to the ingress gateway as well" if rules else ""
    if kind == "RequestAuthentication":
        if rules and request.get("claims") is not None:
            raise NotModelledError(unknown)
        return
    outside = {"principal": "", "method": request["method"], "namespace": ROOT_NAMESPACE}
    if decided(rules, outside) != OK or not_modelled(rules):
        raise NotModelledError(unknown)


def permitted(objects: Objects, request: Request) -> Shares:
    """What all rules together say of a call: 200, the called proxy's 403, an authorizer's status, or no answer.

    There is none where mutual TLS is asked for.

    :param request: ``principal`` of the caller's certificate, '' for a caller without a sidecar; ``method``, ``uri`` ...: see
        :func:`loadtests.rules.authorization.rule_holds`
    :raises NotModelledError: if a CUSTOM action takes the call, and ``authorizers`` does not tell how its provider decides, or
        if rules may lead the call elsewhere
    """
    refuse_detours(objects, request)
    check_entry(objects, "AuthorizationPolicy", request)
    return {outcome_of_call(objects, request): 1.0}


def outcome_of_call(objects: Objects, request: Request) -> str:
    """As :func:`permitted`, the outcome of a call that is known to come to the called proxy as it was made.

    :param request: ``subset``: by which it is sent; '' for the whole service; ``claims``, if it has been seen to that it has a
        token that is accepted, or none
    :raises NotModelledError: if it may have a token
    """
    workload = called_workload(objects, request)
    for labels in workload.labels:
        refuse_inbound(objects, workload.namespace, labels, Mesh())
    welcome, encrypted_call = _connected(objects, request)
    policies = applying(objects, "AuthorizationPolicy", workload)
    if not welcome:
        for policy in policies:
            spec_of(policy).accept_all()
        return _refused(request)
    if "claims" not in request:
        carried = {name.lower() for name in (*request.get("headers", {}), *request.get("varied", ()))}
        refuse_tokens(applying(objects, "RequestAuthentication", workload), frozenset(carried))
    providers, addresses = providers_of(objects), addresses_of_caller(objects, request)
    # A provider that the mesh does not know decides nothing.
    authorizers = {n: status for n, status in request.get("authorizers", {}).items() if providers is None or n in providers}
    principal = request["principal"] if encrypted_call else ""
    seen = {
        **request, "principal": principal, "port": _pod_port(objects, request), "addresses": addresses,
        "authorizers": authorizers,
    }  # fmt: skip
    # What may be refused for a reason that is not modelled stays unread, and the verdict is UNKNOWN.
    return f"HTTP {decided(policies, seen) or OK}"


def _settle(objects: Sequence[View], request: Request) -> Straight:
    """Read how all of a call comes to the service that it is for; by which of its pods has no bearing.

    Parameters and errors are those of :func:`loadtests.rules.straight.straight_to`.
    """
    mesh_of(objects)
    led = straight_to(objects, request)
    accept_inert(led.taken)
    if "loadBalancer" in led.settings:
        led.settings["loadBalancer"].accept_all()
    return led


def token_accepted(objects: Objects, request: Request) -> Shares:
    """RequestAuthentications, and then AuthorizationPolicies, for a request with or without a token by the gateway.

    :raises NotModelledError: if rules may lead the request elsewhere
    """
    check_entry(objects, "RequestAuthentication", request)
    by_gateway = {
        **request, **BY_GATEWAY, "principal": INGRESS_PRINCIPAL, "method": "GET", "uri": "/", "varied": ("authorization",),
    }  # fmt: skip
    refuse_detours(objects, by_gateway)
    workload = called_workload(objects, request)
    found = checked(applying(objects, "RequestAuthentication", workload), request)
    if found.status == 200:
        return permitted(objects, {**by_gateway, "claims": found.claims})
    for kind in ("AuthorizationPolicy", "PeerAuthentication", "DestinationRule"):
        for rule in views_of(objects, kind):
            spec_of(rule).accept_all()
    return {f"HTTP {found.status}": 1.0}


def _servers(objects: Objects, request: Request) -> list[tuple[View, View]]:
    """The gateway's servers for a port that terminate TLS, with their Gateway, in istiod's order.

    A server with a host that an older one has on that port does not count.
    """
    found: list[tuple[View, View]] = []
    taken: set[str] = set()
    for gateway in sorted(views_of(objects, "Gateway"), key=age):
        spec = spec_of(gateway)
        if is_of_gateway_api(gateway) or not selected(
            dict(spec.get("selector") or {}), INGRESS_GATEWAY, f"{title(gateway)}: spec.selector"
        ):
            spec.accept_all()
            continue
        for server in spec.get("servers") or []:
            port, hosts = server["port"], {h.rpartition("/")[2] for h in server["hosts"]}
            port.accept("name", "targetPort")
            if port["number"] != request["port"] or port["protocol"] not in TLS_SERVERS or hosts & taken:
                server.accept_all()
                continue
            taken |= hosts
            found.append((gateway, server))
    return found


def _most_specific(servers: Sequence[tuple[View, View]], host: str) -> tuple[View, View] | None:
    """The server that takes a server name: the one with the longest host that covers it, an exact one first."""

    def rank(server: View) -> tuple[bool, int]:
        best = most_specific((h.rpartition("/")[2] for h in server["hosts"]), host) or ""
        return best == host, len(best)

    best = max(servers, key=lambda one: rank(one[1]), default=None)
    for one in servers:
        if best is None or one[1] is not best[1]:
            one[1].accept_all()
    return best if best is not None and rank(best[1])[1] else None


def handshaken(objects: Objects, request: Request) -> Shares:
    """The gateway's TLS for a host and port, for a client with or without a ``certificate``: an answer, or a refusal.

    :param request: ``to``: the service that answers the client's requests with 200: ``app``, ``namespace``, ``port``
    :raises NoExpectationError: if no Gateway serves the host, or has no route for it
    :raises NotModelledError: if TLS ends elsewhere, or rules may do more with requests than to send them to that service
    """
    found = _most_specific(_servers(objects, request), request["host"])
    if found is None:
        raise NoExpectationError(f"no Gateway serves {request['host']} with TLS on port {request['port']}")
    gateway, server = found
    server.accept("name")
    tls: Any = server.get("tls") or View({})
    tls.accept("credentialName")
    mode = tls.get("mode", "PASSTHROUGH")
    if mode not in ("SIMPLE", "MUTUAL", "OPTIONAL_MUTUAL"):
        raise NotModelledError(f"{title(gateway)}: {server.path_of('tls')}.mode")
    if mode == "MUTUAL" and not request["certificate"]:
        return {CLOSED: 1.0}
    caller = Caller(ROOT_NAMESPACE, INGRESS_GATEWAY.labels[0], f"{namespace_of(gateway)}/{gateway['metadata']['name']}", False)
    call = Call(request["host"], request["port"], caller, scheme="https")

    read_apart(objects, lambda seen: _settle(seen, {**request["to"], "call": call}))
    return {"HTTP 200": 1.0}
