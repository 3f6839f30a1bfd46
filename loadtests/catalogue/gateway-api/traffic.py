"""Requests paths that the HTTPRoute matches, and paths that it does not."""

from loadtests.clients.http import Fetch
from loadtests.entries.question import BY_ROUTES, GATEWAY, ResponseCheck
from loadtests.rules.ingress import http_routed

HOST = "bookinfo.routes.lab.internal"
ASK = {"gateway": ("istio-system", "ingress"), "answers": ("productpage",)}
ASKED = {
    "page": ("/productpage", "GET"),
    "below a prefix": ("/api/v1/products/0", "GET"),
    "another method": ("/api/v1/products/0", "POST"),
    "beside a prefix": ("/api/v1/products-of-others", "GET"),
}

QUESTION = ResponseCheck(
    kinds=BY_ROUTES,
    expectation=http_routed,
    classes={name: {**ASK, "authority": HOST, "uri": uri, "method": m} for name, (uri, m) in ASKED.items()},
    proxies=(GATEWAY,),
)
TRAFFIC = {name: Fetch(uri, HOST, method) for name, (uri, method) in ASKED.items()}
