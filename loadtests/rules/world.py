"""One call and all that may bear on it, and what became of the call."""

from __future__ import annotations

from dataclasses import dataclass

from loadtests.rules.calls import Call, Mesh, NoRoute, Redirect
from loadtests.rules.registry import Service
from loadtests.rules.view import View
from loadtests.rules.virtual import Branch, Rule


@dataclass(frozen=True)
class World:
    """A call, with everything that istiod knows.

    :param services: all hosts that may be called
    :param rules: all VirtualServices, the oldest first
    """

    objects: tuple[View, ...]
    call: Call
    mesh: Mesh
    services: tuple[Service, ...]
    rules: tuple[Rule, ...]


@dataclass(frozen=True)
class Taken:
    """What takes a call: the route of a rule, a service without a rule, the proxy itself, or nothing.

    :param reachable: the services that the caller's proxy knows; of several for one host, the first
    :param rules: the VirtualServices that the proxy is given
    :param one_port: whether a destination without a port means the only port of its service, if it has one
    """

    world: World
    reachable: tuple[Service, ...] = ()
    rules: tuple[Rule, ...] = ()
    branch: Branch | None = None
    service: Service | None = None
    redirect: Redirect | None = None
    no_route: NoRoute | None = None
    one_port: bool = False
