"""Rule files of the kinds that people report to Istio, in the place of an entry's own rules, with what the mesh makes of them.

The right answers are those of Istio's API and source, and of Envoy's; each stands with the reason for it.
"""

from __future__ import annotations

import textwrap
from typing import Any

import pytest
import yaml

from loadtests.entries import entry
from loadtests.verdict import Expected
from tests.unit.entries.test_expected import entrances, sample


def objects(text: str) -> list[dict[str, Any]]:
    """Rules as a file has them: kind, name, and spec on a line each."""
    found = []
    for number, document in enumerate(yaml.safe_load_all(textwrap.dedent(text))):
        ((name, spec),) = document.items()
        kind, name, *namespace = name.split()
        metadata = {
            "name": name,
            "uid": f"{kind}/{name}",
            "generation": 1,
            "creationTimestamp": f"2026-01-01T00:00:{number:02}Z",
        }
        found.append({"kind": kind, "metadata": metadata | ({"namespace": namespace[0]} if namespace else {}), "spec": spec})
    return found


def expected(name: str, text: str) -> Expected:
    question = entry.load(name).question
    there = [*objects(text), *entrances(question.namespace), *sample(question.namespace)]
    return question.expect(there).expected


SUBSETS = """
    DestinationRule reviews:
      host: reviews
      subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}, {name: v3, labels: {version: v3}}]
    ---"""
DIRECT = """
    Gateway authorization: {selector: {istio: ingressgateway},
      servers: [{port: {number: 8080, name: http, protocol: HTTP}, hosts: [direct.lab.internal]}]}
    ---
    VirtualService authorization: {hosts: [direct.lab.internal], gateways: [authorization],
      http: [{route: [{destination: {host: details, port: {number: 9080}}}]}]}
    ---"""
SHOP = """
    Gateway ingress-rules: {selector: {istio: ingressgateway},
      servers: [{port: {number: 8080, name: http, protocol: HTTP}, hosts: [%s]}]}
    ---
    VirtualService shop:
      gateways: [ingress-rules]"""
MSGD = "location: MESH_EXTERNAL, ports: [{number: 9997, name: http, protocol: HTTP}]"
CLOSED = """
    Sidecar default: {outboundTrafficPolicy: {mode: REGISTRY_ONLY}}
    ---"""
ECHO = "selector: {matchLabels: {app: echo}}"
KEYS = "jwksUri: 'http://keys.echo.svc.cluster.local:8080/jwks.json'"
OK, DENIED = {"HTTP 200": 1.0}, {"HTTP 403": 1.0}
ARRIVED, LOST = {"arrived": 1.0}, {"did not arrive": 1.0}
BLOCKED = {"HTTP 500 at http://msgd.outside.internal:9997/send": 1.0}
RIGHT: dict[str, tuple[str, str, dict[str, dict[str, float]]]] = {
    "a route for callers of another namespace is not given to this one": (
        "reviews-v1",
        f"""{SUBSETS}
    VirtualService reviews:
      hosts: [reviews]
      http:
        - {{match: [{{sourceNamespace: other}}], route: [{{destination: {{host: reviews, subset: v3}}}}]}}
        - {{route: [{{destination: {{host: reviews, subset: v1}}}}]}}
        """,
        {"anonymous": {"v1": 1.0}},
    ),
    "of several mirrors, each takes its own share": (
        "mirror",
        f"""{SUBSETS}
    VirtualService reviews:
      hosts: [reviews]
      http:
        - route: [{{destination: {{host: reviews, subset: v1}}}}]
          mirrors:
            - {{destination: {{host: reviews, subset: v3}}, percentage: {{value: 30}}}}
            - {{destination: {{host: reviews, subset: v2}}, percentage: {{value: 10}}}}
        """,
        {"anonymous": OK, "at the server": {"arrived": 0.3, "did not arrive": 0.7}},
    ),
    "the deprecated percent of a delay counts": (
        "fault-delay",
        """
    VirtualService ratings:
      hosts: [ratings]
      http: [{fault: {delay: {fixedDelay: 2s, percent: 50}}, route: [{destination: {host: ratings}}]}]
        """,
        {name: {"HTTP 200 after 0 s": 0.5, "HTTP 200 after 2 s": 0.5} for name in ("anonymous", "jason")},
    ),
    "a delay comes before a time-out on the same route, which then has no effect": (
        "timeout",
        """
    VirtualService reviews:
      hosts: [reviews]
      http:
        - fault: {delay: {fixedDelay: 2s, percentage: {value: 100}}}
          timeout: 0.5s
          route: [{destination: {host: reviews}}]
        """,
        {"anonymous": {"HTTP 200 after 2 s": 1.0}},
    ),
    "nobody waits longer for a delay than the caller's own limit": (
        "fault-delay",
        """
    VirtualService ratings:
      hosts: [ratings]
      http: [{fault: {delay: {fixedDelay: 5s, percentage: {value: 100}}}, route: [{destination: {host: ratings}}]}]
        """,
        {name: {"HTTP 500 after 3 s": 1.0} for name in ("anonymous", "jason")},
    ),
    "a policy of nothing allows nothing": (
        "authorization", f"{DIRECT}\n    AuthorizationPolicy p: {{}}", {"from the gateway": DENIED},
    ),
    "a DENY of nothing denies nothing": (
        "authorization",
        f"{DIRECT}\n    AuthorizationPolicy p: {{selector: {{matchLabels: {{app: details}}}}, action: DENY}}",
        {"by productpage": OK, "from the gateway": OK},
    ),
    "a principal has no scheme": (
        "authorization",
        f"""{DIRECT}
    AuthorizationPolicy p:
      selector: {{matchLabels: {{app: details}}}}
      rules: [{{from: [{{source: {{principals: ['spiffe://cluster.local/ns/bookinfo/sa/bookinfo-productpage']}}}}]}}]
        """,
        {"by productpage": DENIED, "from the gateway": DENIED},
    ),
    "the port is a part of the host that is asked for": (
        "authorization",
        f"""{DIRECT}
    AuthorizationPolicy p:
      selector: {{matchLabels: {{app: details}}}}
      rules: [{{to: [{{operation: {{hosts: [details]}}}}]}}]
        """,
        {"by productpage": DENIED, "from the gateway": DENIED},
    ),
    "who has no certificate is of none of the namespaces, and so not of those that are left out": (
        "who-may-call-whom",
        """
    AuthorizationPolicy p:
      selector: {matchLabels: {app: echo}}
      action: DENY
      rules: [{from: [{source: {notNamespaces: [echo]}}]}]
        """,
        {"legacy GET echo/books": DENIED, "legacy GET pool/books": OK},
    ),
    "a port may have a mode of its own": (
        "mtls-strict",
        f"""
    PeerAuthentication default: {{mtls: {{mode: STRICT}}}}
    ---
    PeerAuthentication echo: {{{ECHO}, portLevelMtls: {{8080: {{mode: DISABLE}}}}}}
        """,
        {"with a sidecar": OK, "without a sidecar": OK},
    ),
    "the mode of another port has no bearing": (
        "mtls-strict",
        f"PeerAuthentication echo: {{{ECHO}, mtls: {{mode: STRICT}}, portLevelMtls: {{9090: {{mode: DISABLE}}}}}}",
        {"with a sidecar": OK, "without a sidecar": {"refused": 1.0}},
    ),
    "UNSET is what the mesh says": (
        "mtls-strict",
        """
    PeerAuthentication default istio-system: {mtls: {mode: STRICT}}
    ---
    PeerAuthentication default: {mtls: {mode: UNSET}}
        """,
        {"with a sidecar": OK, "without a sidecar": {"refused": 1.0}},
    ),
    "TLS may be set for a port alone": (
        "mtls-strict",
        """
    PeerAuthentication default: {mtls: {mode: STRICT}}
    ---
    DestinationRule echo: {host: echo, trafficPolicy: {portLevelSettings: [{port: {number: 8080}, tls: {mode: DISABLE}}]}}
        """,
        {"with a sidecar": {"HTTP 503": 1.0}, "without a sidecar": {"refused": 1.0}},
    ),
    "a token of an issuer that no rule names is refused, and none is not": (
        "jwt",
        f"RequestAuthentication echo: {{{ECHO}, jwtRules: [{{issuer: 'https://other', {KEYS}}}]}}",
        {"right": {"HTTP 401": 1.0}, "none": OK},
    ),
    "whom nobody has authenticated has no principal": (
        "jwt",
        f"AuthorizationPolicy p: {{{ECHO}, rules: [{{from: [{{source: {{requestPrincipals: ['*']}}}}]}}]}}",
        {"right": DENIED, "none": DENIED},
    ),
    "notValues of a claim holds for who has none": (
        "jwt",
        f"""
    RequestAuthentication echo: {{{ECHO},
      jwtRules: [{{issuer: 'https://tokens.lab.internal', audiences: [pool, echo], {KEYS}}}]}}
    ---
    AuthorizationPolicy p: {{{ECHO}, rules: [{{when: [{{key: 'request.auth.claims[group]', notValues: [writers]}}]}}]}}
        """,
        {"right": OK, "none": OK, "other group": DENIED, "wrong audience": OK, "wrong key": {"HTTP 401": 1.0}},
    ),
    "an attempt out of time is a reset": (
        "retries",
        """
    VirtualService echo:
      hosts: [echo]
      http: [{retries: {attempts: 4, perTryTimeout: 0.3s, retryOn: reset}, route: [{destination: {host: echo}}]}]
        """,
        {
            "fails twice": {"HTTP 503 at attempt 1": 1.0},
            "fails always": {"HTTP 503 at attempt 1": 1.0},
            "late once": {"HTTP 200 at attempt 2": 1.0},
        },
    ),
    "Istio's own retries are not about a 503": (
        "retries",
        "VirtualService echo: {hosts: [echo], http: [{route: [{destination: {host: echo}}]}]}",
        {
            "fails twice": {"HTTP 503 at attempt 1": 1.0},
            "fails always": {"HTTP 503 at attempt 1": 1.0},
            "late once": {"HTTP 200 at attempt 1": 1.0},
        },
    ),
    "49 percent of two pods is none": (
        "outlier-detection",
        """
    VirtualService shaky: {hosts: [shaky], http: [{retries: {attempts: 0}, route: [{destination: {host: shaky}}]}]}
    ---
    DestinationRule shaky:
      host: shaky
      trafficPolicy:
        loadBalancer: {simple: ROUND_ROBIN}
        outlierDetection: {consecutive5xxErrors: 3, interval: 1s, baseEjectionTime: 1s, maxEjectionPercent: 49}
        """,
        {"row of calls": {"10 of 20 failed": 1.0}, "taken back": {"does not grow": 1.0}},
    ),
    "settings of a port inherit nothing": (
        "circuit-breaker",
        """
    DestinationRule echo:
      host: echo
      trafficPolicy:
        connectionPool: {http: {http1MaxPendingRequests: 100}}
        portLevelSettings:
          - {port: {number: 8080}, connectionPool: {tcp: {maxConnections: 1}, http: {http1MaxPendingRequests: 1}}}
        """,
        {"burst": {"2 of 10 served, 8 rejected": 1.0}},
    ),
    "what is exported to nobody is not registered": (
        "egress-allowed",
        f"{CLOSED}\n    ServiceEntry msgd: {{hosts: [msgd.outside.internal], resolution: DNS, {MSGD}, exportTo: ['~']}}",
        {"pay": BLOCKED, "at the server": LOST},
    ),
    "what another namespace exports to all is registered": (
        "egress-allowed",
        f"{CLOSED}\n    ServiceEntry msgd other: {{hosts: [msgd.outside.internal], resolution: DNS, {MSGD}}}",
        {"pay": OK, "at the server": ARRIVED},
    ),
    "a Sidecar binds the pods that it selects": (
        "egress-allowed",
        "Sidecar svca: {workloadSelector: {labels: {app: svca}}, outboundTrafficPolicy: {mode: REGISTRY_ONLY}}",
        {"pay": OK, "at the server": ARRIVED},
    ),
    "an empty outboundTrafficPolicy is REGISTRY_ONLY": (
        "egress-allowed", "Sidecar default: {outboundTrafficPolicy: {}}", {"pay": BLOCKED, "at the server": LOST},
    ),
    "a redirect keeps what it does not name": (
        "ingress-rules",
        f"""{SHOP % "'./*.lab.internal'"}
      hosts: ['*.lab.internal']
      http:
        - match: [{{uri: {{prefix: /books}}}}]
          rewrite: {{uri: /details}}
          route: [{{destination: {{host: details, port: {{number: 9080}}}}}}]
        - redirect: {{scheme: https, port: 8443, redirectCode: 302}}
        """,
        {
            "moved": {"HTTP 302 to https://shop.lab.internal:8443/moved": 1.0},
            "own answer": {"HTTP 302 to https://shop.lab.internal:8443/teapot": 1.0},
            "by method": OK, "rewritten": OK,
        },
    ),
    "whichever Gateway serves the host, requests for it come in": (
        "ingress-rules",
        """
    Gateway front: {selector: {istio: ingressgateway},
      servers: [{port: {number: 8080, name: http, protocol: HTTP}, hosts: [shop.lab.internal]}]}
    ---
    Gateway back: {selector: {istio: ingressgateway},
      servers: [{port: {number: 8080, name: http, protocol: HTTP}, hosts: ['./*.staff.lab.internal']}]}
    ---
    VirtualService shop:
      hosts: [shop.lab.internal, shop.staff.lab.internal]
      gateways: [front, back]
      http:
        - match: [{uri: {prefix: /books/}}]
          rewrite: {uri: /details/}
          route: [{destination: {host: details, port: {number: 9080}}}]
        - directResponse: {status: 404}
        """,
        {"moved": {"HTTP 404": 1.0}, "own answer": {"HTTP 404": 1.0}, "by method": OK, "rewritten": OK},
    ),
    "a prefix of an Ingress ends at a slash": (
        "ingress-resource",
        """
    Ingress i:
      ingressClassName: istio
      rules:
        - host: ingress.lab.internal
          http: {paths: [{path: /product, pathType: Prefix, backend: {service: {name: productpage, port: {number: 9080}}}}]}
        """,
        {name: {"HTTP 404": 1.0} for name in ("page", "below a prefix", "not listed")},
    ),
    "backends without a weight at all answer nothing": (
        "httproute-weights",
        """
    HTTPRoute h:
      parentRefs: [{name: ingress, namespace: istio-system}]
      hostnames: [echo.routes.lab.internal]
      rules: [{backendRefs: [{name: echo, port: 8080, weight: 0}, {name: pool, port: 8080, weight: 0}]}]
        """,
        {"split": {"HTTP 500": 1.0}, "a single backend": {"HTTP 500": 1.0}},
    ),
}  # fmt: skip
"""What a file is about -> the entry that it is tried with, its rules, and the right answer for some of the classes or all."""


@pytest.mark.parametrize("about", RIGHT)
def test_rule_files(about: str) -> None:
    name, text, right = RIGHT[about]
    found = expected(name, text)
    assert found.broken == ()
    assert {one: pytest.approx(dict(found.shares.get(one, {}))) for one in right} == right


OPEN: dict[str, tuple[str, str, str]] = {
    "v1 does not ask for ratings, and so is not late": (
        "timeout",
        """
    VirtualService ratings:
      hosts: [ratings]
      http: [{fault: {delay: {fixedDelay: 2s, percentage: {value: 100}}}, route: [{destination: {host: ratings}}]}]
    ---
    VirtualService reviews: {hosts: [reviews], http: [{timeout: 0.5s, route: [{destination: {host: reviews}}]}]}
        """,
        "VirtualService reviews: spec.http[0].route",
    ),
    "a rule for all services of the namespace is one for ratings as well": (
        "reviews-80-20",
        f"""{SUBSETS}
    VirtualService reviews:
      hosts: ['*.bookinfo.svc.cluster.local']
      http:
        - route:
            - {{destination: {{host: reviews, subset: v1}}, weight: 80}}
            - {{destination: {{host: reviews, subset: v3}}, weight: 20}}
        """,
        "VirtualService reviews: spec.http[0].route",
    ),
    "slow starts": (
        "load-balancing",
        "DestinationRule pool: {host: pool, trafficPolicy: {loadBalancer: {simple: ROUND_ROBIN, warmup: {duration: 30s}}}}",
        "DestinationRule pool: spec.trafficPolicy.loadBalancer.warmup.duration",
    ),
    "what becomes of preflights that no origin fits": (
        "cors",
        """
    Gateway cors: {selector: {istio: ingressgateway},
      servers: [{port: {number: 8080, name: http, protocol: HTTP}, hosts: [api.lab.internal]}]}
    ---
    VirtualService c:
      hosts: [api.lab.internal]
      gateways: [cors]
      http:
        - corsPolicy: {allowOrigins: [{exact: 'https://shop.lab.internal'}], unmatchedPreflights: IGNORE}
          route: [{destination: {host: details, port: {number: 9080}}}]
        """,
        "VirtualService c: spec.http[0].corsPolicy.unmatchedPreflights",
    ),
    "TLS by mistake to a host that speaks none": (
        "egress-allowed",
        f"""
    ServiceEntry msgd: {{hosts: [msgd.outside.internal], resolution: DNS, {MSGD}}}
    ---
    DestinationRule msgd: {{host: msgd.outside.internal, trafficPolicy: {{tls: {{mode: SIMPLE}}}}}}
        """,
        "DestinationRule: spec.trafficPolicy.tls.mode",
    ),
}
"""What a file is about -> the entry that it is tried with, its rules, and the field that leaves every class open."""


@pytest.mark.parametrize("about", OPEN)
def test_rule_files_that_are_left_open(about: str) -> None:
    name, text, field = OPEN[about]
    found = expected(name, text)
    assert (found.shares, found.broken) == ({}, ())
    assert {paths[0] for paths in found.unknown.values()} == {field}


NOTHING: dict[str, tuple[str, str, str]] = {
    "a host with a dot is not completed": (
        "reviews-80-20",
        f"""{SUBSETS}
    VirtualService reviews: {{hosts: [reviews], http: [{{route: [{{destination: {{host: reviews.bookinfo, subset: v1}}}}]}}]}}
        """,
        "there is no service reviews.bookinfo",
    ),
    "a rule for its own namespace is not given to the gateway in another one": (
        "ingress-rules",
        f"""{SHOP % "shop.lab.internal"}
      hosts: [shop.lab.internal]
      exportTo: ['.']
      http: [{{route: [{{destination: {{host: details, port: {{number: 9080}}}}}}]}}]
        """,
        "shop.lab.internal:8080 has no route for it",
    ),
    "a server for rules of another namespace": (
        "ingress-rules",
        f"""{SHOP % "'other/shop.lab.internal'"}
      hosts: [shop.lab.internal]
      http: [{{route: [{{destination: {{host: details, port: {{number: 9080}}}}}}]}}]
        """,
        "shop.lab.internal:8080 has no route for it",
    ),
    "a Sidecar that hides the next service": (
        "egress-allowed",
        """
    Sidecar default:
      egress: [{hosts: ['istio-system/*', './msgd.outside.internal']}]
      outboundTrafficPolicy: {mode: REGISTRY_ONLY}
        """,
        "svcb:8080 has no route for it",
    ),
}
"""What a file is about -> the entry that it is tried with, its rules, and why every class has no expectation."""


@pytest.mark.parametrize("about", NOTHING)
def test_rule_files_that_lead_nowhere(about: str) -> None:
    name, text, reason = NOTHING[about]
    found = expected(name, text)
    assert (found.shares, found.unknown) == ({}, {})
    assert found.broken
    assert all(reason in one for one in found.broken)
