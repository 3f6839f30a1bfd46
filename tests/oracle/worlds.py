"""Generated rules and calls: fields of the API in any combination, over few hosts, paths and callers, so that they meet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from loadtests.rules.calls import Call, Caller

Object = dict[str, Any]
Objects = list[Object]
Strategy = st.SearchStrategy[Any]

DOMAIN = "svc.cluster.local"
REVIEWS, RATINGS, MIXED = (f"{name}.shop.{DOMAIN}" for name in ("reviews", "ratings", "mixed"))
OTHERS, LEDGER = f"reviews.bank.{DOMAIN}", f"ledger.bank.{DOMAIN}"
GATEWAY = "istio-system/public"
ROUTES = "gateway.networking.k8s.io"
CALLERS = (
    Caller("shop", {"app": "web", "version": "v1"}),
    Caller("shop", {"app": "cart", "version": "v2"}),
    Caller("bank", {"app": "teller"}),
    Caller("yard", {"app": "web"}),
)
INGRESS = Caller("istio-system", {"istio": "ingressgateway"}, GATEWAY)
PATHS = ("/", "/a", "/A", "/a/", "/a/b", "/ab", "/b", "/a/b/c", "/b/1")
SECONDS = ("5s", "0.5s", "1.250s", "1m")
PERCENT = (0, 0.01, 12.5, 50, 100)


@dataclass(frozen=True)
class Target:
    """What a call is for.

    :param asked: the host as the client writes it
    :param host: in full, for clients in namespace shop
    """

    asked: str
    port: int
    host: str
    scheme: str = "http"


@dataclass(frozen=True)
class World:
    """What is in a cluster, and calls through it.

    :param mesh_config: settings of the mesh
    :param routes: the kind that the calls are read for alone, of the Gateway API's routes or Ingress; '' for all rules
    """

    objects: Sequence[Object]
    calls: Sequence[Call]
    mesh_config: Object
    routes: str = ""


# -- objects -------------------------------------------------------------------------------------------------------------


def named(kind: str, name: str, namespace: str, spec: Object, group: str = "networking.istio.io/v1", age: int = 0) -> Object:
    """An object as the API server gives it; the older, the higher ``age``, in minutes."""
    stamp = f"2026-01-01T{23 - age // 60:02d}:{59 - age % 60:02d}:00Z"
    metadata = {
        "name": name, "namespace": namespace, "uid": f"{kind}-{namespace}-{name}", "generation": 1, "resourceVersion": "1",
        "creationTimestamp": stamp,
    }  # fmt: skip
    return {"apiVersion": group, "kind": kind, "metadata": metadata, "spec": spec}


def service(name: str, namespace: str, address: str, **ports: int) -> Object:
    """A Service; the name of a port says its protocol, and ``any`` stands for one without a name."""
    named_ports = [
        {"port": number, "protocol": "TCP", "targetPort": number} | ({"name": port.replace("_", "-")} if port != "any" else {})
        for port, number in ports.items()
    ]
    spec = {"clusterIP": address, "clusterIPs": [address], "selector": {"app": name}, "ports": named_ports, "type": "ClusterIP"}
    return named("Service", name, namespace, spec, "v1")


def entry(name: str, namespace: str, host: str, resolution: str, **ports: int) -> Object:
    """A ServiceEntry; the name of a port is its protocol."""
    listed = [{"number": number, "name": port, "protocol": port.upper()} for port, number in ports.items()]
    spec = {"hosts": [host], "location": "MESH_EXTERNAL", "resolution": resolution, "ports": listed}
    return named("ServiceEntry", name, namespace, spec)


SERVICES = (
    service("reviews", "shop", "10.96.0.1", http=9080),
    service("ratings", "shop", "10.96.0.2", http=80, http_admin=8080),
    service("mixed", "shop", "10.96.0.3", any=7000),
    service("reviews", "bank", "10.96.0.4", http=9080),
    service("ledger", "bank", "10.96.0.5", tcp=5432, http=80),
)
ENTRIES = (
    entry("api", "shop", "api.example.com", "DNS", http=80, tls=443),
    entry("wild", "bank", "*.wild.example.com", "NONE", http=80),
)
ENTRANCE = service("istio-ingressgateway", "istio-system", "10.96.0.9", http=80)
ENTRANCE["spec"] |= {"selector": {"istio": "ingressgateway"}, "ports": [{"name": "http", "port": 80, "targetPort": 8080}]}
"""The Service in front of the gateway's pods."""
TARGETS = (
    Target("reviews", 9080, REVIEWS), Target("reviews.shop", 9080, REVIEWS), Target(REVIEWS, 9080, REVIEWS),
    Target(OTHERS, 9080, OTHERS), Target("ratings", 80, RATINGS), Target(RATINGS, 8080, RATINGS), Target(MIXED, 7000, MIXED),
    Target(LEDGER, 80, LEDGER), Target(LEDGER, 5432, LEDGER, "tcp"),
    Target("api.example.com", 80, "api.example.com"), Target("api.example.com", 443, "api.example.com", "tls"),
    Target("one.wild.example.com", 80, "one.wild.example.com"), Target("elsewhere.example.com", 80, "elsewhere.example.com"),
    Target("elsewhere.example.com", 9080, ""),
)  # fmt: skip
"""What sidecars are asked for."""
ENTRANCES = tuple(
    Target(host, port, host, scheme)
    for host in ("shop.example.com", "bank.example.com", "shopexample.com", "other.example.org")
    for port, scheme in ((80, "http"), (443, "tls"), (8443, "https"))
)
"""What the gateway is asked for; the third host only looks as if ``*.example.com`` covered it."""


# -- parts of rules ------------------------------------------------------------------------------------------------------


def one_of(*values: Any) -> Strategy:
    """One of plain values."""
    return st.sampled_from(values)


def some(fields: Mapping[str, Strategy], most: int) -> Strategy:
    """An object with a few of the fields."""
    names = st.lists(st.sampled_from(sorted(fields)), unique=True, max_size=most)
    return names.flatmap(lambda chosen: st.fixed_dictionaries({name: fields[name] for name in chosen}))


def weighted(*strategies: tuple[int, Strategy]) -> Strategy:
    """One of strategies, by weight; ``st.one_of`` takes what is repeated once."""
    every = [strategy for weight, strategy in strategies for _ in range(weight)]
    return st.integers(0, len(every) - 1).flatmap(lambda number: every[number])


def seldom(field: str, values: Strategy) -> Strategy:
    """An object with the field once in four, and empty otherwise."""
    return weighted((3, st.just({})), (1, values.map(lambda value: {field: value})))


def text(*words: str) -> Strategy:
    """A StringMatch that meets one of the words, or nearly."""
    word = st.sampled_from(words)
    return st.one_of(
        word.map(lambda w: {"exact": w}), word.map(lambda w: {"prefix": w}), word.map(lambda w: {"prefix": w[:2]}),
        word.map(lambda w: {"regex": w}), word.map(lambda w: {"regex": f"{w[:1]}.*"}),
    )  # fmt: skip


USER: Strategy = st.one_of(text("jason", "jane"), st.just({}))
MATCHES = some(
    {
        "uri": st.one_of(text(*PATHS), one_of({"regex": ".*"}, {"regex": "/a/(b|c)"}, {"prefix": "/"})),
        "ignoreUriCase": st.just(True),
        "headers": st.dictionaries(one_of("end-user", "x-flag"), USER, min_size=1, max_size=2),
        "withoutHeaders": st.dictionaries(one_of("end-user", "x-flag"), USER, min_size=1, max_size=2),
        "queryParams": st.dictionaries(one_of("q", "page"), st.one_of(text("1", "12"), st.just({})), min_size=1, max_size=2),
        "method": text("GET", "POST"),
        "authority": text("reviews", RATINGS, "shop.example.com", "api.example.com"),
        "scheme": text("http", "https"),
        "port": one_of(80, 9080, 8080),
        "sourceLabels": one_of({"app": "web"}, {"app": "web", "version": "v1"}, {"app": "nobody"}, {}),
        "sourceNamespace": one_of("shop", "bank"),
        "gateways": one_of(["mesh"], [GATEWAY], ["mesh", GATEWAY]),
        "name": st.just("condition"),
        "statPrefix": st.just("counted"),
    },
    most=2,
)
SHARE = st.fixed_dictionaries({"value": st.sampled_from(PERCENT)})
DELAY = st.fixed_dictionaries(
    {"fixedDelay": st.sampled_from(SECONDS)}, optional={"percentage": SHARE, "percent": one_of(0, 25, 100)}
)
ABORT = st.one_of(
    st.fixed_dictionaries({"httpStatus": one_of(400, 503)}, optional={"percentage": SHARE}),
    st.fixed_dictionaries({"grpcStatus": one_of("UNAVAILABLE", "NOT_FOUND")}, optional={"percentage": SHARE}),
)
RETRIES = st.one_of(
    st.just({"attempts": 0}),
    st.fixed_dictionaries(
    {"attempts": one_of(1, 3), "retryOn": one_of("503,connect-failure", "429,504", "5xx", "gateway-error,reset", "")},
    optional={
        "perTryTimeout": st.sampled_from(SECONDS),
        "retryRemoteLocalities": st.booleans(), "retryIgnorePreviousHosts": st.booleans(), "backoff": st.just("0.1s"),
    },
    ),
)  # fmt: skip
REWRITE = st.one_of(
    st.fixed_dictionaries({"uri": one_of("/new", "/", "/a/new/")}, optional={"authority": st.just("inner.example.com")}),
    st.just({"authority": "inner.example.com"}),
    st.just({"uriRegexRewrite": {"match": "/([a-z])(/|$)", "rewrite": r"/\1-\1\2"}}),
)
REDIRECT = st.fixed_dictionaries(
    {"redirectCode": one_of(301, 302, 307)},
    optional={"uri": one_of("/moved", "/a"), "authority": st.just("moved.example.com"), "scheme": one_of("http", "https")},
).flatmap(
    lambda plain: st.one_of(
        st.just(plain), st.just({**plain, "port": 8443}), st.just({**plain, "port": 80}),
        st.just({**plain, "derivePort": "FROM_REQUEST_PORT"}), st.just({**plain, "derivePort": "FROM_PROTOCOL_DEFAULT"}),
    )
).filter(lambda to: {"uri", "authority", "scheme", "port"} & set(to))  # fmt: skip
DIRECT = st.fixed_dictionaries(
    {"status": one_of(200, 418, 503)}, optional={"body": one_of({"string": "closed"}, {"bytes": "Y2xvc2Vk"})}
)
HEADERS = one_of(
    {"request": {"set": {"x-set": "1"}}}, {"response": {"add": {"x-added": "1"}, "remove": ["x-gone"]}},
    {"request": {"set": {"host": "set.example.com"}}},
)  # fmt: skip
CORS = st.just({"allowOrigins": [{"exact": "https://pages.example.com"}], "allowMethods": ["GET"], "maxAge": "60s"})


def destinations(subsets: Strategy) -> Strategy:
    """Where a route may lead, from any namespace."""
    hosts = one_of("reviews", REVIEWS, REVIEWS, OTHERS)
    return st.one_of(
        st.fixed_dictionaries({"host": hosts}, optional={"subset": subsets}),
        st.fixed_dictionaries({"host": hosts, "port": st.just({"number": 9080})}, optional={"subset": subsets}),
        one_of(
            {"host": RATINGS}, {"host": "ratings", "port": {"number": 8080}}, {"host": "api.example.com"},
            {"host": LEDGER, "port": {"number": 80}}, {"host": MIXED},
        ),
    )  # fmt: skip


DESTINATION = destinations(one_of("v1", "v1", "v2", "v2", "v3"))
LEG = st.builds(
    lambda to, weight, headers: {"destination": to, "weight": weight, **headers},
    DESTINATION, one_of(0, 1, 4, 20, 50, 99), seldom("headers", HEADERS),
)  # fmt: skip
LEGS = st.one_of(
    DESTINATION.map(lambda to: [{"destination": to}]),
    st.lists(LEG, min_size=2, max_size=4).filter(lambda legs: any(leg["weight"] for leg in legs)),
)
COPIES = st.one_of(
    st.fixed_dictionaries({"mirror": DESTINATION}, optional={"mirrorPercentage": SHARE, "mirrorPercent": one_of(0, 30)}),
    st.lists(st.fixed_dictionaries({"destination": DESTINATION}, optional={"percentage": SHARE}), min_size=1, max_size=2).map(
        lambda mirrors: {"mirrors": mirrors}
    ),
)
ASIDE = some(
    {
        "name": st.just("route"), "timeout": st.sampled_from(SECONDS), "headers": HEADERS,
        "corsPolicy": CORS,
    },
    most=2,
)  # fmt: skip
BOTH = st.builds(lambda delay, abort: {"delay": delay, "abort": abort}, DELAY, ABORT)
FAULT = st.one_of(DELAY.map(lambda d: {"delay": d}), ABORT.map(lambda a: {"abort": a}), BOTH)
FORWARDED = st.builds(
    lambda legs, aside, fault, rewrite, copies, retries: {"route": legs, **aside, **fault, **rewrite, **copies, **retries},
    LEGS, ASIDE, seldom("fault", FAULT), seldom("rewrite", REWRITE), weighted((2, st.just({})), (1, COPIES)),
    weighted((1, st.just({})), (1, RETRIES.map(lambda found: {"retries": found}))),
)  # fmt: skip
REPLACED = st.builds(
    lambda prefix, new, to: {
        "match": [{"uri": {"prefix": prefix}}], "rewrite": {"uri": new}, "route": [{"destination": to}]
    },
    one_of("/a", "/a/", "/"), one_of("/new", "/new/", "/"),
    one_of({"host": REVIEWS}, {"host": RATINGS, "port": {"number": 80}}),
)  # fmt: skip
"""A prefix and what takes its place."""
ANSWERED = st.one_of(REDIRECT.map(lambda to: {"redirect": to}), DIRECT.map(lambda answer: {"directResponse": answer}))
OWN = weighted((4, FORWARDED), (1, ANSWERED))
DELEGATED = st.builds(
    lambda to, aside, retries: {"delegate": to, **aside, **retries},
    one_of({"name": "part", "namespace": "shop"}, {"name": "part", "namespace": "shop"}, {"name": "part"}), ASIDE,
    seldom("retries", RETRIES),
)  # fmt: skip


def routes(actions: Strategy, most: int) -> Strategy:
    """HTTP routes of one VirtualService: each has one or two conditions, but for the last, which may take everything."""
    conditions = st.lists(MATCHES.filter(bool), min_size=1, max_size=2).map(lambda found: {"match": found})
    asked = st.lists(
        weighted((5, st.builds(lambda when, what: {**when, **what}, conditions, actions)), (1, REPLACED)), max_size=most
    )
    last = weighted((3, actions.map(lambda what: [what])), (1, st.just([])))
    return st.builds(lambda some, one: [*some, *one], asked, last).filter(bool)


# -- rules ---------------------------------------------------------------------------------------------------------------

EXPORT = seldom("exportTo", one_of(["."], ["*"], ["bank"], ["shop", "yard"]))
HOSTS = one_of(
    ["reviews"], ["reviews"], [REVIEWS], [REVIEWS], [OTHERS], ["ratings"],
    [RATINGS, REVIEWS], [f"*.shop.{DOMAIN}"], ["api.example.com"], ["*.example.com"],
    [MIXED], [LEDGER], ["reviews.shop"], ["shop.example.com"], ["elsewhere.example.com"],
    ["one.wild.example.com"], ["Reviews.shop.svc.cluster.local"],
)  # fmt: skip
GATES = one_of(None, None, None, None, ["mesh"], ["mesh", GATEWAY], [GATEWAY], [GATEWAY], ["public"])
TCP = st.builds(
    lambda when, legs: [{**when, "route": legs}],
    one_of({}, *({"match": [when]} for when in ({"port": 5432}, {"port": 5432, "sourceLabels": {"app": "web"}}, {"port": 80}))),
    one_of(
        [{"destination": {"host": LEDGER, "port": {"number": 5432}}}],
        [
            {"destination": {"host": LEDGER, "port": {"number": 5432}, "subset": "v1"}, "weight": 30},
            {"destination": {"host": LEDGER, "port": {"number": 5432}}, "weight": 10},
        ],
    ),
)  # fmt: skip
TLS = st.builds(
    lambda when, legs: [{"match": [{"sniHosts": ["api.example.com"], **when}], "route": legs}],
    one_of({}, {"port": 443}, {"sourceLabels": {"app": "web"}}),
    one_of(
        [{"destination": {"host": "api.example.com", "port": {"number": 443}}}],
        [{"destination": {"host": LEDGER, "port": {"number": 5432}}}],
    ),
)  # fmt: skip
PASSED_ON = st.lists(
    st.builds(
        lambda names, when, legs: {"match": [{"sniHosts": names, **when}], "route": legs},
        one_of(["shop.example.com"], ["bank.example.com"], ["shop.example.com", "bank.example.com"]),
        one_of({}, {}, {"port": 443}, {"port": 80}, {"gateways": [GATEWAY]}, {"sourceLabels": {"app": "web"}}),
        one_of(
            [{"destination": {"host": "api.example.com", "port": {"number": 443}}}],
            [{"destination": {"host": LEDGER, "port": {"number": 5432}}}],
            [
                {"destination": {"host": LEDGER, "port": {"number": 5432}}, "weight": 30},
                {"destination": {"host": "api.example.com", "port": {"number": 443}}, "weight": 10},
            ],
        ),
    ),
    min_size=1, max_size=2, unique_by=lambda route: route["match"][0]["sniHosts"][0],
)  # fmt: skip
"""Routes of TLS that the gateway does not end."""
SUBSETS = [{"name": version, "labels": {"version": version}} for version in ("v1", "v2", "v3")]
ENDED = {"mode": "SIMPLE", "credentialName": "certificate"}
POLICY = one_of(
    {"loadBalancer": {"simple": "LEAST_REQUEST"}}, {"loadBalancer": {"consistentHash": {"httpHeaderName": "end-user"}}},
    {"connectionPool": {"http": {"http1MaxPendingRequests": 5}}}, {"outlierDetection": {"consecutive5xxErrors": 3}},
    {"tls": {"mode": "ISTIO_MUTUAL"}},
)  # fmt: skip


@st.composite
def virtual_services(draw: st.DrawFn, number: int) -> Object:
    """One VirtualService, older or newer than the others."""
    hosts, gates = draw(HOSTS), draw(GATES)
    spec: Object = {"hosts": hosts, **draw(EXPORT)}
    if gates:
        spec["gateways"] = gates
        if "mesh" not in gates:
            spec["hosts"] = draw(
                one_of(["shop.example.com"], ["shop.example.com", "bank.example.com"], ["*.example.com"], ["*"])
            )
    protocol = draw(one_of("http", "http", "http", "http", "http", "http", "tcp", "tls"))
    if gates == [GATEWAY] and draw(one_of(True, False, False)):
        spec |= {"hosts": draw(one_of(["*.example.com"], ["shop.example.com", "bank.example.com"])), "tls": draw(PASSED_ON)}
    elif protocol == "tcp":
        spec |= {"hosts": [LEDGER], "tcp": draw(TCP)}
        spec.pop("gateways", None)
    elif protocol == "tls":
        spec |= {"hosts": ["api.example.com"], "tls": draw(TLS)}
        spec.pop("gateways", None)
    else:
        spec["http"] = draw(routes(weighted((6, OWN), (1, DELEGATED)), most=3))
    namespace = draw(one_of("shop", "shop", "shop", "bank", "istio-system"))
    return named("VirtualService", f"rule-{number}", namespace, spec, age=draw(one_of(0, 5, 10, 90)))


@st.composite
def destination_rules(draw: st.DrawFn, number: int) -> Object:
    """One DestinationRule, which need not be seen by everybody."""
    hosts = one_of(
        "reviews", REVIEWS, OTHERS, f"*.shop.{DOMAIN}", RATINGS,
        LEDGER,
    )  # fmt: skip
    spec: Object = {"host": draw(hosts), "subsets": draw(one_of(SUBSETS, SUBSETS, SUBSETS[:1])), **draw(EXPORT)}
    spec |= draw(seldom("trafficPolicy", POLICY)) | draw(
        seldom("workloadSelector", one_of({"matchLabels": {"app": "web"}}, {"matchLabels": {"app": "teller"}}))
    )
    if "workloadSelector" in spec and len(spec.get("exportTo", [])) > 1:
        del spec["exportTo"]  # both together are refused
    namespace = draw(one_of("shop", "shop", "bank", "istio-system"))
    return named("DestinationRule", f"pods-{number}", namespace, spec, age=draw(one_of(0, 5, 10)))


@st.composite
def sidecars(draw: st.DrawFn) -> Object:
    """What a caller's proxy knows."""
    hosts = one_of(
        ["./*"], ["./*", "bank/*"], ["*/*"], [f"*/reviews.shop.{DOMAIN}"], ["shop/*", "~/*"], ["*/api.example.com", "./*"]
    )
    spec: Object = {"egress": [{"hosts": draw(hosts)}]}
    spec |= draw(seldom("workloadSelector", one_of({"labels": {"app": "web"}}, {"labels": {"app": "teller"}})))
    spec |= draw(seldom("outboundTrafficPolicy", one_of({"mode": "REGISTRY_ONLY"}, {"mode": "ALLOW_ANY"})))
    return named("Sidecar", "scope", draw(one_of("shop", "bank", "yard", "istio-system")), spec)


def gateway(hosts: Sequence[str], tls: Object) -> Object:
    """The Gateway by which calls enter: in plain text, and by TLS that it passes on or ends."""
    ports = {80: ("http", tls), 443: ("tls", {"tls": {"mode": "PASSTHROUGH"}}), 8443: ("https", {"tls": ENDED})}
    servers = [
        {"port": {"number": number, "name": name, "protocol": name.upper()}, "hosts": list(hosts), **settings}
        for number, (name, settings) in ports.items()
    ]
    return named("Gateway", "public", "istio-system", {"selector": {"istio": "ingressgateway"}, "servers": servers})


LISTENER = {"name": "http", "port": 80, "protocol": "HTTP", "allowedRoutes": {"namespaces": {"from": "All"}}}


def kubernetes_gateway(name: str, listeners: Sequence[Object] = (LISTENER,), by: str = "istio-ingressgateway") -> Object:
    """A Gateway of the Gateway API, served by the pods behind a Service."""
    address = {"type": "Hostname", "value": f"{by}.istio-system.{DOMAIN}"}
    spec = {"gatewayClassName": "istio", "addresses": [address], "listeners": list(listeners)}
    return named("Gateway", name, "istio-system", spec, f"{ROUTES}/v1")


def attached(parent: Object, names: Object) -> Object:
    """A route of the Gateway API that leads everything to ratings."""
    backend = {"group": "", "kind": "Service", "name": "ratings", "port": 80, "weight": 1}
    rule = {"matches": [{"path": {"type": "PathPrefix", "value": "/"}}], "backendRefs": [backend]}
    return named("HTTPRoute", "beside", "shop", {"parentRefs": [parent], **names, "rules": [rule]}, f"{ROUTES}/v1")


INGRESSES = "networking.k8s.io/v1"
INGRESS_CLASS = named("IngressClass", "istio", "", {"controller": "istio.io/ingress-controller"}, INGRESSES)


def ingress(host: str, name: str, port: int) -> Object:
    """An Ingress that leads everything for a host to a service of namespace shop."""
    paths = [{"pathType": "Prefix", "path": "/", "backend": {"service": {"name": name, "port": {"number": port}}}}]
    rules = [{"host": host, "http": {"paths": paths}}]
    return named("Ingress", "beside", "shop", {"ingressClassName": "istio", "rules": rules}, INGRESSES)


def meant(rules: Sequence[Object], targets: Sequence[Target]) -> list[Target]:
    """Targets that a VirtualService names, or all where none does."""
    named_hosts = [
        (host if "." in host else f"{host}.{rule['metadata']['namespace']}.{DOMAIN}").lower()
        for rule in rules for host in rule["spec"].get("hosts", []) if rule["kind"] == "VirtualService"
    ]  # fmt: skip
    found = [t for t in targets if any(t.host.endswith(h[1:]) if h[0] == "*" else t.host == h for h in named_hosts)]
    return found or list(targets)


@st.composite
def calls(draw: st.DrawFn, caller: Caller, targets: Sequence[Target]) -> Call:
    """A call that the rules may be about."""
    target = draw(st.sampled_from(targets))
    ported = caller.gateway is None and target.scheme == "http" and target.port != 80 and draw(st.booleans())
    headers = one_of({}, {}, {"end-user": "jason"}, {"end-user": "jane", "x-flag": ""}, {"x-flag": "ja"})
    return Call(
        f"{target.asked}:{target.port}" if ported else target.asked, target.port, caller, uri=draw(st.sampled_from(PATHS)),
        method=draw(one_of("GET", "GET", "POST")), headers=draw(headers), scheme=target.scheme,
        query=draw(one_of({}, {}, {"q": "1"}, {"q": "12", "page": ""})),
    )  # fmt: skip


@st.composite
def worlds(draw: st.DrawFn, pairs: int) -> World:
    """Rules, and ``pairs`` calls through them, most for hosts that they name."""
    objects: Objects = [*SERVICES, *ENTRIES]
    objects += [draw(virtual_services(number)) for number in range(draw(one_of(1, 1, 2, 3)))]
    objects += [draw(destination_rules(number)) for number in range(draw(one_of(0, 1, 2)))]
    if draw(one_of(True, True, False)):
        objects.append(named("DestinationRule", "all", "shop", {"host": REVIEWS, "subsets": SUBSETS}, age=60))
    if draw(one_of(True, False, False)):
        objects.append(draw(sidecars()))
    if any("delegate" in route for one in objects for route in one["spec"].get("http", [])):
        part: Object = {"http": draw(routes(OWN, most=2)), **draw(EXPORT)}
        objects.append(named("VirtualService", "part", "shop", part))
    entering = [one for one in objects if one["spec"].get("gateways") == [GATEWAY] and "http" in one["spec"]]
    if entering and draw(one_of(True, False)):
        # The gateway merges rules of the same hosts: the older one's routes first, those that take everything last.
        spec = {**entering[0]["spec"], "http": draw(routes(OWN, most=1))}
        objects.append(named("VirtualService", "rule-9", "shop", spec, age=draw(one_of(2, 95))))
    gated = any(GATEWAY in one["spec"].get("gateways", []) for one in objects)
    if gated:
        hosts = draw(one_of(["*"], ["*"], ["*.example.com"], ["shop/*.example.com", "bank.example.com"], ["./*"]))
        objects.append(gateway(hosts, draw(one_of(*[{}] * 5, {"tls": {"httpsRedirect": True}}))))
    aside = draw(st.integers(0, 29))
    if gated and aside < 4:
        parent = {"group": ROUTES, "kind": "Gateway", "name": "ingress", "namespace": "istio-system"}
        names = {"hostnames": [draw(one_of("other.example.org", "other.example.org", "other.example.org", "bank.example.com"))]}
        objects += [ENTRANCE, kubernetes_gateway("ingress"), attached(parent, names)]
    elif aside == 4:
        objects.append(attached({"group": "", "kind": "Service", "name": draw(one_of("mixed", "mixed", "ratings"))}, {}))
    elif gated and aside < 8:
        host = draw(one_of("nobody.example.org", "other.example.org", "other.example.org", "bank.example.com"))
        objects += [ENTRANCE, INGRESS_CLASS, ingress(host, "ratings", 80)]
    callers = [*CALLERS, *[INGRESS] * (4 if gated else 0)]
    targets = {caller.gateway: ENTRANCES if caller.gateway else TARGETS for caller in callers}
    about = one_of(*callers).flatmap(
        lambda caller: weighted(
            (1, calls(caller, targets[caller.gateway])), (4, calls(caller, meant(objects, targets[caller.gateway])))
        )
    )
    chosen = draw(st.lists(about, min_size=pairs, max_size=pairs, unique_by=repr))
    settings = {"outboundTrafficPolicy": {"mode": draw(one_of("ALLOW_ANY", "ALLOW_ANY", "REGISTRY_ONLY"))}}
    return World(objects, chosen, settings | draw(seldom("defaultHttpRetryPolicy", RETRIES)))
