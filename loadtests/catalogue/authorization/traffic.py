"""Reads details through productpage, which is allowed, and straight from the gateway, which is not."""

from loadtests.clients.http import Fetch
from loadtests.entries.question import Contract
from loadtests.rules.security import authorized

READ = {"policy": "details-readers", "method": "GET", "uri": "/details/0"}
QUESTION = Contract(
    kinds=("authorizationpolicies.security.istio.io",),
    promise=authorized,
    classes={
        "by productpage": {**READ, "principal": "cluster.local/ns/bookinfo/sa/bookinfo-productpage"},
        "from the gateway": {**READ, "principal": "cluster.local/ns/istio-system/sa/istio-ingressgateway-service-account"},
    },
)
TRAFFIC = {"by productpage": Fetch("/api/v1/products/0"), "from the gateway": Fetch("/details/0", "direct.lab.internal")}
