"""Routes of the Gateway API beside VirtualServices: where one could apply to a call, the call's route is not known."""

from __future__ import annotations

from typing import Any

import pytest

from loadtests.rules.calls import Call, Caller
from loadtests.rules.expectations import NotModelledError
from loadtests.rules.gateway_api import GROUP, ROUTES
from loadtests.rules.routing import route_call
from loadtests.rules.view import not_modelled, viewed


def thing(kind: str, name: str, namespace: str = "shop", /, **spec: Any) -> dict[str, Any]:
    return {"kind": kind, "metadata": {"name": name, "namespace": namespace}, "spec": spec}


HTTP = {"name": "http", "port": 80, "targetPort": 8080}
DOOR = thing("Service", "door", "istio-system", ports=[HTTP, {"name": "tcp", "port": 31400}], selector={"istio": "gw"})
REVIEWS = thing("Service", "reviews", ports=[HTTP, {"name": "admin", "port": 90}])
LEAD = {"route": [{"destination": {"host": "reviews.shop.svc.cluster.local", "port": {"number": 80}}}]}
OBJECTS = [
    REVIEWS,
    DOOR,
    thing("ServiceEntry", "out", hosts=["*.out.example"], ports=[{"number": 80, "name": "http", "protocol": "HTTP"}]),
    thing(
        "Gateway", "front", selector={"istio": "gw"},
        servers=[{"port": {"number": 8080, "name": "http", "protocol": "HTTP"}, "hosts": ["*"]}],
    ),
    thing("VirtualService", "front", hosts=["a.example"], gateways=["front"], http=[LEAD]),
]  # fmt: skip
INSIDE = Call("reviews", 80, Caller("shop", {"app": "page"}))
ENTERING = Call("a.example", 8080, Caller("istio-system", {"istio": "gw"}, "shop/front"))


def left_open(call: Call, *objects: dict[str, Any]) -> bool:
    """Whether a call's route is not known."""
    seen = viewed([*OBJECTS, *objects])
    try:
        found = route_call(seen, call)
    except NotModelledError as reason:
        return str(reason).endswith(" r: spec.parentRefs")
    assert not_modelled(seen) == ()
    assert found.destinations
    return False


SERVICE = {"group": "", "kind": "Service", "name": "reviews"}


@pytest.mark.parametrize("kind", ROUTES)
@pytest.mark.parametrize(
    ("parent", "applies"),
    [
        (SERVICE, True),
        ({**SERVICE, "port": 80}, True),
        ({**SERVICE, "port": 90}, False),
        ({**SERVICE, "name": "details"}, False),
        ({**SERVICE, "namespace": "other"}, False),
        ({"group": "networking.istio.io", "kind": "ServiceEntry", "name": "out"}, False),
        ({"name": "reviews"}, False),
    ],
)
def test_routes_of_a_service_apply_to_calls_of_sidecars(kind: str, parent: dict[str, Any], applies: bool) -> None:
    assert left_open(INSIDE, thing(kind, "r", parentRefs=[parent], rules=[{}])) is applies
    assert not left_open(ENTERING, thing(kind, "r", parentRefs=[parent], rules=[{}])) or "kind" not in parent


@pytest.mark.parametrize(("name", "applies"), [("out", True), ("in", False)])
def test_routes_of_a_service_entry_apply_to_calls_of_its_hosts(name: str, applies: bool) -> None:
    parent = {"group": "networking.istio.io", "kind": "ServiceEntry", "name": name}
    call = Call("b.out.example", 80, INSIDE.caller)
    route = thing(
        "VirtualService", "v", hosts=["b.out.example"], http=[{"route": [{"destination": {"host": "*.out.example"}}]}]
    )
    assert left_open(call, route, thing("HTTPRoute", "r", parentRefs=[parent])) is applies


def kubernetes_gateway(
    address: str = "door.istio-system.svc.cluster.local", port: int = 80, hostname: str = ""
) -> dict[str, Any]:
    listener = {"name": "http", "port": port, "protocol": "HTTP"} | ({"hostname": hostname} if hostname else {})
    addresses = {"addresses": [{"type": "Hostname", "value": address}]} if address else {}
    return {**thing("Gateway", "ingress", listeners=[listener], **addresses), "apiVersion": f"{GROUP}/v1"}


OF_GATEWAY: Any = {"parentRefs": [{"name": "ingress"}]}


@pytest.mark.parametrize("kind", ROUTES)
@pytest.mark.parametrize(
    ("gateway", "hostnames", "applies"),
    [
        (kubernetes_gateway(), [], True),
        (kubernetes_gateway(), ["a.example"], True),
        (kubernetes_gateway(), ["*.example"], True),
        (kubernetes_gateway(), ["b.example"], False),
        (kubernetes_gateway(hostname="*.example"), [], True),
        (kubernetes_gateway(hostname="*.routes.example"), [], False),
        (kubernetes_gateway(port=31400), [], False),
        # A Gateway that asks for no address has pods of its own; of another address nothing is known.
        (kubernetes_gateway(address=""), [], False),
        (kubernetes_gateway(address="unknown"), [], True),
        (None, [], True),
        (None, ["b.example"], False),
    ],
)
def test_routes_of_a_gateway_with_the_same_pods_apply_to_calls_that_enter_there(
    kind: str, gateway: dict[str, Any] | None, hostnames: list[str], applies: bool
) -> None:
    route = thing(kind, "r", **OF_GATEWAY, hostnames=hostnames)
    assert left_open(ENTERING, route, *([gateway] if gateway else [])) is applies
    assert not left_open(INSIDE, route)


def test_a_gateway_of_the_gateway_api_is_none_of_istios_own_kind() -> None:
    assert not left_open(ENTERING, kubernetes_gateway())


def test_pods_that_istiod_deploys_for_a_gateway_are_its_own() -> None:
    call = Call("a.example", 8080, Caller("istio-system", {"istio": "gw", f"{GROUP}/gateway-name": "ingress"}, "shop/front"))
    assert left_open(call, kubernetes_gateway(address="", port=8080), thing("HTTPRoute", "r", **OF_GATEWAY))
