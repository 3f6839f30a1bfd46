"""Generated Ingresses, and calls that enter by them; objects are as the API server completes them."""

from __future__ import annotations

from hypothesis import strategies as st

from loadtests.rules.calls import Call
from loadtests.rules.ingress_classes import CLASS_ANNOTATION
from tests.oracle.routes import ENTERING, NAMESPACE, SERVICES, namespaces, rather
from tests.oracle.worlds import (
    ENTRANCE,
    INGRESS_CLASS,
    INGRESSES,
    Object,
    Objects,
    World,
    ingress,
    named,
    one_of,
    seldom,
    weighted,
)

KIND = "Ingress"
HOSTS = ("shop.example.com", "bank.example.com", "a.shop.example.com", "other.example.org")
PATHS = ("/", "/", "/a", "/a", "/a/", "/a/b", "/ab")
EXACT_OR_PREFIX = st.builds(
    lambda kind, path: {"pathType": kind, "path": path}, one_of("Exact", "Prefix", "Prefix", "Prefix"), one_of(*PATHS)
)
OF_NO_KIND = one_of({}, *({"path": path} for path in ("/*", "/a", "/a/*", "/a/b*", "/a.*", "/.*", "/ab", "/b/.*", "/")))
PATH = weighted((3, EXACT_OR_PREFIX), (2, OF_NO_KIND.map(lambda path: {"pathType": "ImplementationSpecific", **path})))


def service(name: str, port: int | str) -> Object:
    """A backend, with its port by number or by name."""
    return {"service": {"name": name, "port": {"number" if isinstance(port, int) else "name": port}}}


BACKEND = rather(
    weighted(
        (9, one_of(*(service(name, 8080) for name in ("echo", "pool", "depot")), service("echo", 9090))),
        (3, one_of(service("echo", "http"), service("pool", "http"), service("echo", "http-admin"))),
        (1, one_of(service("pool", "http-admin"), service("absent", "http"))),
        (1, st.just({"resource": {"apiGroup": "lab.internal", "kind": "Bucket", "name": "any"}})),
    ),
    one_of(service("absent", 8080), service("pool", 7)),
)  # fmt: skip
OF_BANK = rather(st.just(service("vault", 8080)), st.just(service("echo", 8080)))
"""Backends of Ingresses of another namespace."""
HOST = one_of({}, {"host": HOSTS[0]}, {"host": HOSTS[0]}, {"host": HOSTS[0]}, {"host": "*.example.com"}, {"host": HOSTS[1]},
              {"host": "*.shop.example.com"})  # fmt: skip
OF_CLASS = rather(
    one_of(
        *[({}, {"ingressClassName": "istio"})] * 6, ({CLASS_ANNOTATION: "istio"}, {}), ({CLASS_ANNOTATION: "nginx"}, {}),
        ({}, {}),
    ),
    st.just(({}, {"ingressClassName": "nginx"})),
)  # fmt: skip
"""Annotations, and fields of the spec."""
TLS = st.builds(
    lambda hosts: [{"hosts": hosts, "secretName": "certificate"}], one_of(["shop.example.com"], ["*.example.com"], [])
)


@st.composite
def ingresses(draw: st.DrawFn, number: int) -> Object:
    """One Ingress; several of one age are distinguished by their names."""
    namespace = draw(weighted((7, st.just(NAMESPACE)), (1, st.just("bank"))))
    backends = BACKEND if namespace == NAMESPACE else OF_BANK
    path = st.builds(lambda path, backend: {**path, "backend": backend}, PATH, backends)
    paths = st.lists(path, min_size=1, max_size=4)
    rules = st.builds(lambda host, paths: {**host, "http": {"paths": paths}}, HOST, paths)
    annotations, of_class = draw(OF_CLASS)
    spec = {**of_class, "rules": draw(st.lists(rules, min_size=1, max_size=3))}
    spec |= draw(seldom("defaultBackend", backends)) | draw(seldom("tls", TLS))
    name = ("paths", "paths-b", "another", "last")[number]
    found = named(KIND, name, namespace, spec, INGRESSES, age=draw(one_of(0, 5, 5, 10, 90)))
    found["metadata"]["annotations"] = annotations
    return found


@st.composite
def beside(draw: st.DrawFn) -> Objects:
    """A Gateway of Istio's own kind for the same port, and its rule, which is seldom for a host that is asked for."""
    servers = [{"port": {"number": 80, "name": "http", "protocol": "HTTP"}, "hosts": ["*"]}]
    gateway = named("Gateway", "public", NAMESPACE, {"selector": {"istio": "ingressgateway"}, "servers": servers})
    hosts = draw(rather(one_of(["*.org"], ["x.example.com"], ["*"], ["*.com"]), one_of([HOSTS[0]], ["*.example.com"])))
    route = {"route": [{"destination": {"host": "depot", "port": {"number": 8080}}}]}
    return [gateway, named("VirtualService", "public", NAMESPACE, {"hosts": hosts, "gateways": ["public"], "http": [route]})]


@st.composite
def worlds(draw: st.DrawFn, pairs: int) -> World:
    """Ingresses, and ``pairs`` calls that enter."""
    elsewhere = ingress("nobody.example.org", "echo", 8080)  # so that the gateway listens
    objects: Objects = [*SERVICES, ENTRANCE, INGRESS_CLASS, elsewhere, *namespaces(NAMESPACE, "bank", ENTERING.namespace)]
    objects += [draw(ingresses(number)) for number in range(draw(one_of(1, 1, 2, 2, 3, 4)))]
    objects += draw(weighted((9, st.just([])), (1, beside())))
    calls = st.builds(
        lambda host, path, query: Call(host, 80, ENTERING, path, query=query),
        weighted((4, one_of(HOSTS[0])), (1, one_of(*HOSTS))), one_of("/", "/a", "/a", "/a/", "/a/b", "/ab", "/a/bc", "/c"),
        one_of({}, {}, {"q": "1"}),
    )  # fmt: skip
    return World(objects, draw(st.lists(calls, min_size=pairs, max_size=pairs, unique_by=repr)), {}, KIND)
