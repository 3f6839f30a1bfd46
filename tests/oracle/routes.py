"""Generated routes of the Gateway API, and calls that enter by their Gateway; objects are as the API server completes them."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from hypothesis import strategies as st

from loadtests.mesh.credentials import Authority
from loadtests.rules.calls import Call, Caller
from loadtests.rules.gateway_api import GROUP
from tests.oracle.worlds import (
    ENTRANCE,
    LISTENER,
    Object,
    Objects,
    Strategy,
    World,
    kubernetes_gateway,
    named,
    one_of,
    seldom,
    service,
    some,
    weighted,
)

VERSION = f"{GROUP}/v1"
NAMESPACE = "shop"
"""Of the routes, and of the services that are known by their names."""
GATEWAY = ("istio-system", "ingress")
ENTERING = Caller(GATEWAY[0], {"app": "istio-ingressgateway", "istio": "ingressgateway"}, "/".join(GATEWAY))
SERVICES = (
    service("echo", NAMESPACE, "10.96.1.1", http=8080, http_admin=9090),
    service("pool", NAMESPACE, "10.96.1.2", http=8080),
    service("depot", NAMESPACE, "10.96.1.7", http=8080),
    service("greeter", NAMESPACE, "10.96.1.3", grpc=50051),
    service("welcome", NAMESPACE, "10.96.1.6", grpc=50051),
    service("vault", "bank", "10.96.1.4", http=8080),
)
OTHER_ENTRANCE = service("other-gateway", GATEWAY[0], "10.96.1.5", http=80)
"""In front of other pods than the calls enter by."""
ANSWERS = ("echo", "pool", "depot", "greeter", "welcome", "bank/vault")
"""The services, as requests name them."""
TLS_PORT = 443
SET = "more"
"""Name of a ListenerSet."""
HOSTS = ("shop.example.com", "bank.example.com", "a.shop.example.com", "other.example.org")


def rather(usual: Strategy, odd: Strategy) -> Strategy:
    """Something odd once in four hundred, such as the reader leaves open; in the middle, for Hypothesis is fond of the ends."""
    return weighted((200, usual), (1, odd), (200, usual))


def rarely(field: str, values: Strategy) -> Strategy:
    """An object with the field once in four hundred."""
    return rather(st.just({}), values.map(lambda value: {field: value}))


def namespaces(*names: str) -> Objects:
    """Namespaces, which listeners choose routes by."""
    found = [named("Namespace", name, "", {}, "v1") for name in names]
    for one in found:
        one["metadata"]["labels"] = {"kubernetes.io/metadata.name": one["metadata"]["name"]}
    return found


def entrance(**ports: int) -> Object:
    """The Service in front of the gateway's pods, by other ports than ENTRANCE."""
    found = service(ENTRANCE["metadata"]["name"], GATEWAY[0], "10.96.1.9", **ports)
    found["spec"]["selector"] = ENTRANCE["spec"]["selector"]
    return found


def asked(call: Call, objects: Sequence[Object]) -> dict[str, Any]:
    """A call as the readers of these routes take it; where there is a ListenerSet, the call enters by its listener."""
    uri = call.uri + ("?" + "&".join(f"{name}={value}" for name, value in call.query.items()) if call.query else "")
    request = {"authority": call.host, "uri": uri, "method": call.method, "headers": call.headers, "port": call.port}
    servers = {name: name for name in ANSWERS}
    by_set = {"listener_set": (NAMESPACE, SET)} if any(one["kind"] == "ListenerSet" for one in objects) else {}
    return {
        **request,
        **by_set,
        "scheme": call.scheme,
        "gateway": GATEWAY,
        "namespace": NAMESPACE,
        "answers": ANSWERS,
        "servers": servers,
    }


# -- parts of routes -----------------------------------------------------------------------------------------------------


def valued(names: Strategy, values: Strategy, most: int = 2) -> Strategy:
    """Matches of headers or parameters, each of another name."""
    kind = one_of("Exact", "RegularExpression")
    one = st.builds(lambda kind, name, value: {"type": kind, "name": name, "value": value}, kind, names, values)
    return st.lists(one, min_size=1, max_size=most, unique_by=lambda match: match["name"])


HEADERS = valued(rather(one_of("end-user", "End-User", "x-flag"), st.just("user-agent")), one_of("jason", "ja.*", "ja", "ja"))
PATH = st.one_of(
    st.builds(
        lambda kind, value: {"type": kind, "value": value},
        one_of("Exact", "PathPrefix"),
        one_of("/a", "/a", "/a/", "/a/b", "/ab", "/"),
    ),
    st.builds(lambda value: {"type": "RegularExpression", "value": value}, one_of("/a.*", "/a/(b|c)", ".*", "/ab?")),
)
EVERY_PATH = {"type": "PathPrefix", "value": "/"}
BESIDE = {
    "method": one_of("GET", "POST"), "headers": HEADERS, "queryParams": valued(one_of("q", "page"), one_of("1", "12", "1.*")),
}  # fmt: skip
HTTP_MATCH = st.builds(
    lambda path, more: {"path": path, **more},
    weighted((4, PATH), (1, st.just(EVERY_PATH))), weighted((1, st.just({})), (1, some(BESIDE, most=2))),
)  # fmt: skip
METHOD = weighted(
    (3, st.fixed_dictionaries({"type": st.just("Exact"), "service": one_of("lab.Greeter", "lab.Greeter", "lab.Greeter2")})),
    (3, st.fixed_dictionaries({"type": st.just("Exact"), "method": one_of("Hello", "Hello", "Bye", "Hel")})),
    (4, one_of("Hello", "Hello", "Bye").map(lambda name: {"type": "Exact", "service": "lab.Greeter", "method": name})),
    (2, one_of({"service": "lab.*"}, {"method": "H.*"}, {"service": "lab.G.*", "method": "(Hello|Bye)"}).map(
        lambda asked: {"type": "RegularExpression", **asked})
    ),
)  # fmt: skip
GRPC_MATCH = weighted(
    (3, METHOD.map(lambda method: {"method": method})), (1, some({"method": METHOD, "headers": HEADERS}, most=2))
)
CHANGES = one_of(
    {"set": [{"name": "x-set", "value": "1"}]}, {"add": [{"name": "x-added", "value": "1"}], "remove": ["x-gone"]},
    {"set": [{"name": "x-flag", "value": "ja"}]},
)  # fmt: skip
REDIRECT = st.fixed_dictionaries(
    {"statusCode": one_of(301, 302, 307)},
    optional={
        "hostname": st.just("moved.example.com"), "scheme": one_of("http", "https"), "port": one_of(80, 8443),
        "path": one_of(
            {"type": "ReplaceFullPath", "replaceFullPath": "/moved"},
            {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/to"},
        ),
    },
)  # fmt: skip
REWRITE = one_of({"hostname": "inner.example.com"}, {"path": {"type": "ReplaceFullPath", "replaceFullPath": "/new"}})


def backend(names: Strategy, ports: Strategy) -> Strategy:
    """A reference to a Service."""
    return st.builds(lambda name, port: {"group": "", "kind": "Service", "name": name, "port": port}, names, ports)


def backends(names: Strategy, ports: Strategy, alone: Sequence[int] = (0, 1, 1, 1, 5)) -> Strategy:
    """Where a rule leads.

    :param alone: weights of a single backend
    """
    near = st.builds(
        lambda to, where: {**to, **where},
        backend(rather(names, st.just("absent")), rather(ports, st.just(7))),
        one_of({}, {}, {"namespace": NAMESPACE}),
    )
    far = backend(st.just("vault"), st.just(8080)).map(lambda to: {**to, "namespace": "bank"})

    def one(weights: Sequence[int]) -> Strategy:
        return st.builds(lambda to, weight: {**to, "weight": weight}, weighted((20, near), (1, far)), st.sampled_from(weights))

    several = st.lists(one((0, 1, 1, 1, 2, 3, 8, 9, 99)), min_size=2, max_size=3)
    return weighted((2, one(alone).map(lambda to: [to])), (1, several))


def changed(kind: str) -> Strategy:
    """A filter that changes headers."""
    return CHANGES.map(lambda changes: {"type": kind, kind[0].lower() + kind[1:]: changes})


def mirrored(names: Strategy, ports: Strategy) -> Strategy:
    """A filter that sends copies."""
    return backend(names, ports).map(lambda to: {"type": "RequestMirror", "requestMirror": {"backendRef": to}})


HTTP_BACKENDS = (one_of("echo", "pool", "depot"), st.just(8080))
GRPC_BACKENDS = (one_of("greeter", "welcome"), st.just(50051))
INERT = st.one_of(changed("RequestHeaderModifier"), changed("ResponseHeaderModifier"), mirrored(*HTTP_BACKENDS))
FILTERS = rather(
    st.one_of(INERT, REDIRECT.map(lambda to: {"type": "RequestRedirect", "requestRedirect": to})),
    st.one_of(
        REWRITE.map(lambda to: {"type": "URLRewrite", "urlRewrite": to}),
        st.just({"type": "ExtensionRef", "extensionRef": {"group": "lab.internal", "kind": "Filter", "name": "any"}}),
    ),
)
TIMEOUTS = one_of({"request": "5s"}, {"request": "5s", "backendRequest": "1s"})


@st.composite
def http_rules(draw: st.DrawFn) -> Object:
    """A rule of an HTTPRoute."""
    matches = draw(weighted((3, st.lists(HTTP_MATCH, min_size=1, max_size=2)), (1, st.just([{"path": EVERY_PATH}]))))
    rule: Object = {"matches": matches, "backendRefs": draw(backends(*HTTP_BACKENDS)), **draw(rarely("timeouts", TIMEOUTS))}
    rule |= draw(seldom("filters", st.lists(FILTERS, min_size=1, max_size=2, unique_by=lambda one: one["type"])))
    if any(one["type"] == "RequestRedirect" for one in rule.get("filters", [])):
        # The API server refuses both together, and a prefix that is replaced without one that is matched.
        rule["filters"] = [one for one in rule["filters"] if one["type"] != "URLRewrite"]
        rule["backendRefs"] = []
        if draw(st.booleans()) or any(match["path"]["type"] != "PathPrefix" for match in matches):
            for one in rule["filters"]:
                one.get("requestRedirect", {}).pop("path", None)
    return rule


@st.composite
def grpc_rules(draw: st.DrawFn) -> Object:
    """A rule of a GRPCRoute."""
    rule: Object = {"backendRefs": draw(backends(*GRPC_BACKENDS, alone=(1, 1, 5)))}
    matches = st.lists(GRPC_MATCH, min_size=1, max_size=2).map(lambda found: {"matches": found})
    filters = st.one_of(changed("RequestHeaderModifier"), mirrored(one_of("greeter", "absent"), st.just(50051)))
    return {**rule, **draw(weighted((3, matches), (1, st.just({})))), **draw(rarely("filters", filters.map(lambda one: [one])))}


def parent(name: str, namespace: str, **more: Any) -> Object:
    """What a route is attached to."""
    return {"group": GROUP, "kind": "Gateway", "name": name, "namespace": namespace, **more}


OURS, OTHER = parent("ingress", GATEWAY[0]), parent("other", GATEWAY[0])
PARENTS = rather(
    one_of(
        *[[OURS]] * 24, [OTHER], [OTHER, OURS], [OURS, {"group": "", "kind": "Service", "name": "echo"}],
        [{**OURS, "sectionName": "http"}], [{**OURS, "sectionName": "shop"}], [{**OURS, "sectionName": "none"}],
        [{**OURS, "port": 80}], [{**OURS, "port": 81}], [{**OURS, "sectionName": "shop"}, {**OURS, "sectionName": "http"}],
    ),
    st.just([parent("ingress", NAMESPACE)]),
)  # fmt: skip
SELECTED = {"from": "Selector", "selector": {"matchLabels": {"kubernetes.io/metadata.name": NAMESPACE}}}
ALLOWED = one_of(
    *[{"namespaces": {"from": "All"}}] * 16, {"namespaces": {"from": "Same"}}, {"namespaces": SELECTED},
    *({"namespaces": {"from": "All"}, "kinds": [{"group": GROUP, "kind": kind}]} for kind in ("HTTPRoute", "GRPCRoute")),
)  # fmt: skip


def listener(name: str, names: Strategy) -> Strategy:
    """A listener for some host names."""
    return st.builds(lambda host, routes: {**LISTENER, "name": name, **host, "allowedRoutes": routes}, names, ALLOWED)


HTTP = listener("http", one_of({}, {}, {}, {}, {}, {}, {"hostname": "*.example.com"}))
SHOP = listener("shop", one_of({"hostname": "shop.example.com"}, {"hostname": "bank.example.com"}))
LISTENERS = weighted((12, HTTP.map(lambda one: [one])), (1, st.builds(lambda *some: list(some), HTTP, SHOP)))
CERTIFICATE = named("Secret", "certificate", GATEWAY[0], {}, "v1") | {
    "type": "kubernetes.io/tls",
    "data": {name: b64encode(pem).decode() for name, pem in Authority.new("oracle").issue("*.example.com", "server").items()},
}
SECURED = {
    "port": TLS_PORT, "protocol": "HTTPS",
    "tls": {"mode": "Terminate", "certificateRefs": [{"group": "", "kind": "Secret", "name": "certificate"}]},
}  # fmt: skip
SECURE_LISTENERS = weighted(
    (2, HTTP.map(lambda one: [one])), (1, st.builds(lambda *some: list(some), HTTP, SHOP))
).map(lambda found: [{**one, **SECURED} for one in found])  # fmt: skip
"""The same that end TLS."""
HOSTNAMES = one_of(
    {}, {}, {"hostnames": ["shop.example.com"]}, {"hostnames": ["shop.example.com"]}, {"hostnames": ["*.example.com"]},
    {"hostnames": ["bank.example.com", "shop.example.com"]}, {"hostnames": ["*.shop.example.com", "shop.example.com"]},
    {"hostnames": ["*.example.com", "shop.example.com"]},
)  # fmt: skip


@st.composite
def routes(draw: st.DrawFn, kind: str, number: int) -> Object:
    """One route; several of one age are distinguished by their names."""
    rules = {"HTTPRoute": http_rules(), "GRPCRoute": grpc_rules()}[kind]
    spec = {"parentRefs": draw(PARENTS), **draw(HOSTNAMES), "rules": draw(st.lists(rules, min_size=1, max_size=4))}
    namespace = draw(rather(st.just(NAMESPACE), st.just("bank")))
    name = ("route", "route-b", "another")[number]
    return named(kind, name, namespace, spec, VERSION, age=draw(one_of(0, 5, 5, 10, 90)))


@st.composite
def calls(draw: st.DrawFn, kind: str) -> Call:
    """A call that enters by the Gateway."""
    host = draw(weighted((4, one_of(HOSTS[0])), (1, one_of(*HOSTS))))
    headers = draw(
        one_of({}, *[{"end-user": "jason", "x-flag": "jason"}] * 2, {"end-user": "ja", "x-flag": "ja"}, {"x-flag": "jason"})
    )
    if kind == "GRPCRoute":
        uri = draw(
            one_of("/lab.Greeter/Hello", "/lab.Greeter/Hello", "/lab.Greeter/Bye", "/lab.Greeter2/Hello", "/lab.Greeter2/Other")
        )
        return Call(host, 80, ENTERING, uri, "POST", headers)
    query = draw(one_of({}, {}, {"q": "1"}, {"q": "12", "page": "1"}))
    return Call(
        host,
        80,
        ENTERING,
        draw(one_of("/a", "/a/b", "/a/b", "/ab", "/ab/c", "/a/")),
        draw(one_of("GET", "GET", "POST")),
        headers,
        query,
    )


def granted(draw: st.DrawFn, kind: str) -> Objects:
    """What lets routes lead to services of another namespace; it is seldom left out."""
    if not draw(one_of(True, True, True, True, True, False)):
        return []
    grant = {"from": [{"group": GROUP, "kind": kind, "namespace": NAMESPACE}], "to": [{"group": "", "kind": "Service"}]}
    return [named("ReferenceGrant", "routes", "bank", grant, f"{GROUP}/v1beta1")]


@st.composite
def worlds(draw: st.DrawFn, pairs: int) -> World:
    """Routes of one kind, now and then one of the other as well, and ``pairs`` calls that enter, in plain text or by TLS."""
    kind, is_secure = draw(one_of("HTTPRoute", "HTTPRoute", "GRPCRoute")), draw(one_of(False, False, True))
    objects: Objects = [
        *SERVICES, entrance(tls=TLS_PORT) if is_secure else ENTRANCE, OTHER_ENTRANCE, CERTIFICATE,
        *namespaces(NAMESPACE, "bank", GATEWAY[0]),
        kubernetes_gateway("ingress", draw(SECURE_LISTENERS if is_secure else LISTENERS)),
        kubernetes_gateway("other", by="other-gateway"),
    ]  # fmt: skip
    objects += [draw(routes(kind, number)) for number in range(draw(one_of(1, 1, 2, 2, 3)))]
    if draw(rather(st.just(False), st.just(True))):
        objects.append(draw(routes({"HTTPRoute": "GRPCRoute", "GRPCRoute": "HTTPRoute"}[kind], 2)))
    objects += granted(draw, kind)
    chosen = draw(st.lists(calls(kind), min_size=pairs, max_size=pairs, unique_by=repr))
    if is_secure:
        chosen = [replace(call, port=TLS_PORT, scheme="https") for call in chosen]
    return World(objects, chosen, {}, kind)


TLS_PARENT = rather(one_of(OURS, OURS, OURS, {**OURS, "sectionName": "tls"}, {**OURS, "sectionName": "none"}), st.just(OTHER))
TLS_NAMES = (
    one_of(*[["*.example.com"]] * 3, ["shop.example.com"], ["shop.example.com", "bank.example.com"]),
    one_of(
        ["other.example.org"], ["*.example.org"], ["a.shop.example.com", "*.org"], ["*.shop.example.com"], ["*.example.com"]
    ),
)
"""Of the first route, and of the second, which seldom has one of the first one's."""
TLS_LISTENERS = st.lists(
    listener("tls", one_of({}, {}, {"hostname": "*.example.com"}, {"hostname": "shop.example.com"})).map(
        lambda one: {**one, "port": TLS_PORT, "protocol": "TLS", "tls": {"mode": "Passthrough"}}
    ),
    min_size=1, max_size=1,
)  # fmt: skip


def added(gate: Object, allowed: str) -> Object:
    """A ListenerSet with the listeners of a Gateway, which keeps one for HTTP alone.

    :param allowed: namespaces from where it allows others to add listeners
    """
    spec = {"parentRef": OURS, "listeners": gate["spec"]["listeners"]}
    gate["spec"] |= {"listeners": [LISTENER], "allowedListeners": {"namespaces": {"from": allowed}}}
    return named("ListenerSet", SET, NAMESPACE, spec, VERSION)


@st.composite
def tls_worlds(draw: st.DrawFn, pairs: int) -> World:
    """TLSRoutes of a listener that passes TLS on, some of a ListenerSet's, and connections that enter.

    :param pairs: not more than there are hosts
    """
    gate = kubernetes_gateway("ingress", draw(TLS_LISTENERS))
    objects: Objects = [
        *SERVICES,
        entrance(tls=TLS_PORT),
        *namespaces(NAMESPACE, "bank", GATEWAY[0]),
        gate,
        *granted(draw, "TLSRoute"),
    ]
    by_set = draw(one_of("", "", "All", "All", "Same"))
    objects += [added(gate, by_set)] if by_set else []
    for number in range(draw(one_of(1, 1, 2))):
        names, parent = draw(TLS_NAMES[number]), draw(TLS_PARENT)
        spec = {
            "parentRefs": [{**parent, "kind": "ListenerSet", "namespace": NAMESPACE, "name": SET} if by_set else parent],
            "hostnames": names,
            "rules": [{"backendRefs": draw(backends(*HTTP_BACKENDS))}],
        }
        objects.append(named("TLSRoute", ("route", "route-b")[number], NAMESPACE, spec, VERSION, age=draw(one_of(0, 5))))
    hosts = st.builds(lambda host: Call(host, TLS_PORT, ENTERING, scheme="tls"), one_of(*HOSTS))
    return World(objects, draw(st.lists(hosts, min_size=pairs, max_size=pairs, unique_by=repr)), {}, "TLSRoute")


TCP_PORTS = {"tcp_a": 9000, "tcp_b": 9001, "tcp_c": 9002}
"""Names of the entrance's ports -> numbers."""
TCP_PARENTS = rather(
    one_of(
        *[[OURS]] * 6, [{**OURS, "sectionName": "tcp-a"}], [{**OURS, "sectionName": "tcp-b"}], [{**OURS, "port": 9000}],
        [{**OURS, "port": 9002}], [{**OURS, "sectionName": "tcp-a", "port": 9001}], [{**OURS, "sectionName": "none"}],
        [{**OURS, "sectionName": "tcp-a"}, {**OURS, "sectionName": "tcp-c"}], [OTHER], [OTHER, {**OURS, "port": 9001}],
    ),
    st.just([parent("ingress", NAMESPACE)]),
)  # fmt: skip
TCP_ALLOWED = one_of(
    *[{"namespaces": {"from": "All"}}] * 6, {"namespaces": {"from": "Same"}}, {"namespaces": SELECTED},
    {"namespaces": {"from": "All"}, "kinds": [{"group": GROUP, "kind": "TCPRoute"}]},
)  # fmt: skip


@st.composite
def tcp_worlds(draw: st.DrawFn, pairs: int) -> World:
    """TCPRoutes of several listeners, and connections that enter by each.

    :param pairs: not more than there are listeners
    """
    listeners = [
        {"name": name.replace("_", "-"), "port": port, "protocol": "TCP", "allowedRoutes": draw(TCP_ALLOWED)}
        for name, port in TCP_PORTS.items()
    ]
    gates = [kubernetes_gateway("ingress", listeners), kubernetes_gateway("other", by="other-gateway")]
    objects: Objects = [*SERVICES, entrance(**TCP_PORTS), OTHER_ENTRANCE, *namespaces(NAMESPACE, "bank", GATEWAY[0]), *gates]
    objects += granted(draw, "TCPRoute")
    for number in range(draw(one_of(1, 2, 2, 3, 4))):
        namespace, name = draw(one_of(NAMESPACE, NAMESPACE, NAMESPACE, "bank")), ("route", "route-b", "another", "last")[number]
        own = backend(st.just("vault"), st.just(8080)).map(lambda to: [to])
        spec = {"parentRefs": draw(TCP_PARENTS)}
        spec["rules"] = [{"backendRefs": draw(own if namespace == "bank" else backends(*HTTP_BACKENDS))}]
        objects.append(named("TCPRoute", name, namespace, spec, VERSION, age=draw(one_of(0, 5, 5, 10))))
    ports = list(TCP_PORTS.values())[:pairs]
    return World(objects, [Call("", port, ENTERING, scheme="tcp") for port in ports], {}, "TCPRoute")
