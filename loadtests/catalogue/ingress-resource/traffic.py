"""Requests paths that the Ingress lists, and one that it does not."""

from loadtests.clients.http import Fetch
from loadtests.entries.question import GATEWAY, LEADING, ResponseCheck
from loadtests.rules.ingresses import ingress_routed

HOST = "ingress.lab.internal"
ASKED = {"page": "/productpage", "below a prefix": "/api/v1/products/0", "not listed": "/health"}

QUESTION = ResponseCheck(
    kinds=LEADING,
    expectation=ingress_routed,
    classes={name: {"authority": HOST, "answers": ("productpage",), "uri": uri} for name, uri in ASKED.items()},
    proxies=(GATEWAY,),
)
TRAFFIC = {name: Fetch(uri, HOST) for name, uri in ASKED.items()}
