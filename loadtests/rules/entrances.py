"""Which route of a gateway takes a call that enters by it: Gateways of one port are merged, and so are rules for one host."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from loadtests.rules import hosts
from loadtests.rules.calls import NoRoute, Redirect
from loadtests.rules.conditions import takes_all
from loadtests.rules.expectations import NoExpectationError, NotModelledError, namespace_of
from loadtests.rules.gateway_api import is_of_gateway_api, pod_ports, refuse_for_gateway
from loadtests.rules.ingress_classes import refuse_ingresses
from loadtests.rules.level4 import passed_branch, tcp_branch
from loadtests.rules.registry import HTTP, PROTOCOLS, TCP, TLS, is_given, of_kind, one_for_each_host
from loadtests.rules.view import View, title
from loadtests.rules.virtual import Branch, Rule, branches_for, first_taken, given_to
from loadtests.rules.world import Taken, World


@dataclass(frozen=True)
class Server:
    """One server of a Gateway.

    :param listens: the port of the pod
    """

    gateway: View
    view: View
    number: int
    listens: int

    @property
    def name(self) -> str:
        """``namespace/name`` of the Gateway."""
        return f"{namespace_of(self.gateway)}/{self.gateway['metadata']['name']}"

    @property
    def title(self) -> str:
        """How messages name it."""
        return f"{title(self.gateway)}: {self.view.path_of('port')}"

    @property
    def protocol(self) -> str:
        """As the Gateway writes it, in lower case."""
        return str(self.view["port"]["protocol"]).lower()

    @property
    def redirects(self) -> bool:
        """Whether plain HTTP is redirected to HTTPS."""
        return bool(self.view.get("tls", {}).get("httpsRedirect"))

    def names_for(self, namespace: str) -> list[str]:
        """The hosts that it serves for rules of a namespace."""
        found = []
        for text in self.view.get("hosts", []):
            owner, slash, name = str(text).lower().rpartition("/")
            owner = namespace_of(self.gateway) if owner == "." else owner
            if not slash or owner in ("*", namespace):
                found.append(name)
        return found


def taken(world: World) -> Taken:
    """What takes the call.

    :raises NoExpectationError: if the Gateway is not applied, or has no server for the port
    :raises NotModelledError: if its port speaks several protocols, or if several of its servers may take a TLS connection
    """
    servers = _servers(world)
    ours = _ours(world, servers)
    beside = [s for s in servers if s.listens == ours[0].listens]
    namespace = world.call.caller.namespace
    visible = [s for s in world.services if is_given(s.export, s.namespace, namespace)]
    answer = _by_protocol(world, ours, beside)
    _accept_servers(world, beside if not isinstance(answer, NoRoute) else [])
    found = Taken(world, tuple(one_for_each_host(visible, "")), one_port=True)
    if isinstance(answer, Branch):
        own = tuple(s for s in visible if s.namespace == answer.rule.namespace)
        return replace(found, reachable=(*own, *found.reachable), branch=answer)
    return replace(found, redirect=answer) if isinstance(answer, Redirect) else replace(found, no_route=answer)


def _ours(world: World, servers: Sequence[Server]) -> list[Server]:
    """The servers by which the call enters: of the Gateway that it names, or of any for the port if that is not applied.

    For HTTP, istiod merges them anyway.

    :raises NoExpectationError: if there is none
    """
    gateway, port = world.call.caller.gateway, world.call.port
    in_force = any(f"{namespace_of(g)}/{g['metadata']['name']}" == gateway for g in _gateways(world))
    ours = [s for s in servers if s.number == port and (s.name == gateway or not in_force)]
    if not in_force and not (ours and all(PROTOCOLS.get(s.protocol) == HTTP for s in ours)):
        raise NoExpectationError(f"no Gateway {gateway} is applied")
    if not ours:
        raise NoExpectationError(f"Gateway {gateway} has no server for port {port}")
    return ours


def _by_protocol(world: World, ours: Sequence[Server], beside: Sequence[Server]) -> Branch | Redirect | NoRoute:
    spoken = {PROTOCOLS.get(s.protocol, s.protocol) for s in beside}
    if len(spoken) > 1:
        raise NotModelledError(f"{ours[0].title}.protocol")
    if spoken == {HTTP}:
        return _http(world, beside)
    if spoken == {TCP} and not any("tls" in s.view for s in ours):
        return _tcp(world, ours[0])
    if spoken == {TLS}:
        fitting = {name: s for s in reversed(ours) for name in _all_names(s)}
        name = hosts.chosen_domain(fitting, world.call.name)
        if name is None:
            raise NoExpectationError(f"Gateway {ours[0].name} serves no {world.call.name}")
        server = fitting[name]
        mode = server.view.get("tls", {}).get("mode")
        if mode == "PASSTHROUGH":
            return _passed(world, server, beside)
        if server.protocol == "https" and mode != "AUTO_PASSTHROUGH":
            _refuse_better(world, server, name, beside)
            return _http(world, [server])
    raise NotModelledError(f"{ours[0].title}.protocol")


def _passed(world: World, server: Server, beside: Sequence[Server]) -> Branch | NoRoute:
    """The TLS route for a server that does not end TLS.

    :raises NotModelledError: if another server of the port may take the connection
    """
    for other in beside:
        if other.view is not server.view and any(hosts.covers(name, world.call.name) for name in _all_names(other)):
            raise NotModelledError(f"{title(other.gateway)}: {other.view.path_of('hosts')}")
    refuse_ingresses(world.objects, world.call.port, world.call.name, "*")
    return passed_branch(_for_hosts_of(server, world), world, server.name) or NoRoute.CLOSED


def _refuse_better(world: World, server: Server, name: str, beside: Sequence[Server]) -> None:
    """Make sure that no other server of a port has the server name that is asked for by a host as specific as ``name``.

    :raises NotModelledError: if one has
    """
    for other in beside:
        if other.view is server.view:
            continue
        names = _all_names(other)
        if name in names or hosts.chosen_domain([*names, name], world.call.name) != name:
            raise NotModelledError(f"{title(other.gateway)}: {other.view.path_of('hosts')}")


def _all_names(server: Server) -> list[str]:
    return [str(text).lower().rpartition("/")[2] for text in server.view.get("hosts", [])]


def _gateways(world: World) -> list[View]:
    return [g for g in of_kind(world.objects, "Gateway") if not is_of_gateway_api(g)]


def _servers(world: World) -> list[Server]:
    """The servers of all Gateways that select the pod by which the call enters, the oldest Gateway first.

    :raises NotModelledError: if a route of the Gateway API could apply there
    """
    every = _gateways(world)
    ours = next((g for g in every if f"{namespace_of(g)}/{g['metadata']['name']}" == world.call.caller.gateway), None)
    pod = world.call.caller
    if ours is None and not pod.labels:
        raise NoExpectationError(f"no Gateway {pod.gateway} is applied")
    if ours is not None and not pod.labels:
        pod = replace(pod, labels=dict(ours["spec"].get("selector", {})))
    selecting = [g for g in every if pod.has(g["spec"].get("selector", {})) is not False]
    if ours is not None and not any(g is ours for g in selecting):
        raise NoExpectationError(f"Gateway {world.call.caller.gateway} does not select the pod by which the call enters")
    ports = pod_ports(world.objects, world.call.caller.namespace, pod.labels)
    refuse_for_gateway(world.objects, world.call, pod.labels, ports)
    found = []
    for gateway in selecting:
        for view in gateway["spec"].get("servers", []):
            number = int(view["port"]["number"])
            view["port"].accept("name", "targetPort")
            found.append(Server(gateway, view, number, ports.get(number, number)))
    for gateway in every:
        if not any(gateway is one for one in selecting):
            gateway["spec"].accept_all()
    return found


def _accept_servers(world: World, beside: Sequence[Server]) -> None:
    """Of servers that bear on the call, how TLS is ended has no bearing on where it goes; of the others, nothing has."""
    for gateway in _gateways(world):
        for view in gateway["spec"].get("servers", []):
            if any(s.gateway is gateway and s.view.path_of("") == view.path_of("") for s in beside):
                view.accept("name")
                if "tls" in view:
                    view["tls"].get("httpsRedirect")
                    view["tls"].accept(
                        "mode", "credentialName", "credentialNames", "serverCertificate", "privateKey", "caCertificates"
                    )
            else:
                view.accept_all()


def _served(server: Server, rule: Rule) -> Iterable[str]:
    """The hosts that a server and a rule have in common, the narrower of each two."""
    for served in server.names_for(rule.namespace):
        for name in rule.names:
            if hosts.covers(name, served):
                yield served
            elif hosts.covers(served, name):
                yield name


def _http(world: World, servers: Sequence[Server]) -> Branch | Redirect | NoRoute:
    """The route of merged servers: all rules for the host that is the most specific one, routes for everything last."""
    routes: dict[str, list[Branch]] = {}
    secure: set[str] = set()
    for server in servers:
        call = replace(world.call, port=server.number)
        server.view.get("hosts", [])  # as long as no rule is given to a server, its hosts lead nowhere
        for rule in given_to(world.rules, server.name, world.call.caller.namespace):
            names = list(dict.fromkeys(_served(server, rule)))
            branches = branches_for(rule, world.rules, call, server.name) if names else []
            for name in names if branches else []:
                routes.setdefault(name, []).extend(branches)
                secure |= {name} if server.redirects else set()
        if server.redirects:
            # As the Gateway writes them: with a namespace in front, istiod makes domains of them that no request asks for.
            secure |= {str(text).lower() for text in server.view.get("hosts", [])}
    domain = hosts.chosen_domain({*routes, *secure}, world.call.name)
    refuse_ingresses(world.objects, world.call.port, world.call.name, domain or "*")
    if domain is None:
        return NoRoute.NOT_FOUND
    if domain in secure and world.call.scheme == "http":
        return Redirect(301, scheme="https")
    ordered = sorted(routes.get(domain, []), key=lambda b: takes_all(b.condition))
    return first_taken(ordered, world.call) or NoRoute.NOT_FOUND


def _tcp(world: World, server: Server) -> Branch | NoRoute:
    """The first TCP route of a rule for any host of the server."""
    return tcp_branch(_for_hosts_of(server, world), world, server.name) or NoRoute.NOT_FOUND


def _for_hosts_of(server: Server, world: World) -> list[Rule]:
    """The rules for any host of a server."""
    return [
        r
        for r in given_to(world.rules, server.name, world.call.caller.namespace)
        if any(hosts.overlap(served, name) for served in server.names_for(r.namespace) for name in r.names)
    ]
