"""What rules about hosts outside declare for one payment, outcome by outcome: pure functions for ``question.ResponseCheck``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from loadtests.rules.calls import Call, NoRoute
from loadtests.rules.destinations import settings
from loadtests.rules.expectations import NotModelledError, Shares
from loadtests.rules.hosts import covers
from loadtests.rules.responses import Request
from loadtests.rules.routing import accept_inert, find_route, send
from loadtests.rules.security import REFUSED
from loadtests.rules.view import View

EGRESS = ("istio-system", "istio-egressgateway")


@dataclass(frozen=True)
class Way:
    """How a call leaves for a host outside.

    :param tls: settings by which the caller's proxy makes TLS of it; None if it makes none
    :param entries: the ServiceEntries of the host that it is sent to; none where the proxy forwards to the address asked for
    """

    tls: View | None = None
    entries: tuple[View, ...] = ()


def _way(objects: Sequence[View], call: Call) -> Way | None:
    """How a call leaves for the host that it names; None if the caller's proxy blocks it.

    :raises NotModelledError: if a rule leads it to another host, or does more with it
    """
    taken = find_route(objects, call)
    if taken.no_route is not None:
        send(taken)
        return Way() if taken.no_route == NoRoute.PASSTHROUGH else None
    sent = send(taken)
    accept_inert(taken)  # of retries, all attempts fail, or the first one does not
    elsewhere = [d for d in sent.destinations if not covers(d.host, call.host) or d.port != call.port]
    if elsewhere or len(sent.destinations) != 1 or sent.mirrors or taken.redirect is not None:
        raise NotModelledError(f"what becomes of calls to {call.host} that rules lead elsewhere")
    (to,) = sent.destinations
    found = settings(sent.applied[to.host], to.port, to.subset)
    for setting in ("loadBalancer", "outlierDetection"):
        if setting in found:
            found[setting].accept_all()
    tls = found.get("tls")
    made = tls is not None and tls.get("mode", "DISABLE") != "DISABLE"
    return Way(tls if made else None, sent.services[to.host].entries)


def _end(entry: View, port: int) -> tuple[str, int]:
    """Address and port to which a ServiceEntry leads a port; '' for the host that is asked for.

    :raises NotModelledError: if there are several, or their choice is not modelled
    """
    target = next((one.get("targetPort") or port for one in entry["ports"] if one["number"] == port), port)
    endpoints = entry.get("endpoints") or []
    if len(endpoints) > 1 or entry.get("workloadSelector") or (not endpoints and entry.get("resolution") == "STATIC"):
        raise NotModelledError(f"ServiceEntry: {entry.path_of('endpoints')}")
    if not endpoints:
        return "", target
    endpoint = endpoints[0]
    if set(endpoint) - {"address"}:
        raise NotModelledError(f"ServiceEntry: {endpoint.path_of('ports')}")
    return endpoint["address"], target


def _refuse_other_ends(way: Way, call: Call, address: str, port: int) -> None:
    """Make sure that a call ends at one server.

    :raises NotModelledError: if it may be led to another one
    """
    if not way.entries or any(_end(entry, call.port) != (address, port) for entry in way.entries):
        raise NotModelledError(f"what answers calls to {call.host} that do not end at {address}:{port}")


def reached(objects: Sequence[View], request: Request) -> Shares:
    """Whether a call leaves for a host outside: registered and given to the caller's proxy, or allowed without that.

    :param request: ``call``: as the caller makes it, in plain text
    :raises NotModelledError: if it is led to another address, or is made TLS of
    """
    call: Call = request["call"]
    way = _way(objects, call)
    if way is not None and way.tls is not None:
        raise NotModelledError(f"DestinationRule: {way.tls.path_of('mode')}")
    for entry in way.entries if way is not None else ():
        if _end(entry, call.port) != ("", call.port):
            raise NotModelledError(f"ServiceEntry: {entry.path_of('endpoints')}")
    if request.get("at_server"):
        return {"did not arrive" if way is None else "arrived": 1.0}
    return {f"HTTP 500 at http://{call.host}:{call.port}/send" if way is None else "HTTP 200": 1.0}


def encrypted_by_caller(objects: Sequence[View], request: Request) -> Shares:
    """Whether a call that the caller has encrypted leaves for a host outside; a proxy sees its server name only.

    :param request: ``call``; ``address`` and ``port`` of the server that has the host's certificate
    :raises NotModelledError: if it is led to another address, or is encrypted once more
    """
    call: Call = request["call"]
    way = _way(objects, call)
    if way is None:
        return {REFUSED: 1.0}
    if way.tls is not None:
        raise NotModelledError(f"DestinationRule: {way.tls.path_of('mode')}")
    _refuse_other_ends(way, call, request["address"], request["port"])
    return {"HTTP 200": 1.0}


def book_fetched(objects: Sequence[View], request: Request) -> Shares:
    """Whether the books API may be asked, and whether the caller's proxy makes TLS of the plain call.

    :param request: ``call``; ``address`` of the API, and the ports that it takes ``plain`` text and ``secure`` calls on
    :raises NotModelledError: if it is led to another address, or to a port that expects other bytes
    """
    call: Call = request["call"]
    way = _way(objects, call)
    if way is None:
        return {"HTTP 500": 1.0}
    if way.tls is not None:
        way.tls.accept("credentialName", "caCertificates", "sni")
        if way.tls["mode"] != "SIMPLE" or call.host not in (way.tls.get("subjectAltNames") or [call.host]):
            raise NotModelledError(f"DestinationRule: {way.tls.path_of('mode')}")
    _refuse_other_ends(way, call, request["address"], request["plain" if way.tls is None else "secure"])
    return {f"HTTP 200 over {'http' if way.tls is None else 'https'}": 1.0}
