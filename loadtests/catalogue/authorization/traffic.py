"""Reads details through productpage, which is allowed, and straight from the gateway, which is not."""

from loadtests.clients.http import Fetch
from loadtests.entries.question import SECURITY, ResponseCheck
from loadtests.rules.security import permitted
from loadtests.rules.workloads import BY_GATEWAY, INGRESS_PRINCIPAL
from loadtests.samples.bookinfo import by_page

READ = {"namespace": "bookinfo", "app": "details", "port": 9080, "method": "GET", "uri": "/details/0"}
QUESTION = ResponseCheck(
    kinds=SECURITY,
    expectation=permitted,
    classes={
        "by productpage": {
            **READ,
            "principal": "cluster.local/ns/bookinfo/sa/bookinfo-productpage",
            "caller": {"app": "productpage"},
            "authority": "details:9080",
            **by_page("/api/v1/products/0"),
        },
        "from the gateway": {
            **READ,
            "principal": INGRESS_PRINCIPAL,
            **BY_GATEWAY,
            "authority": "direct.lab.internal",
            "gateway": "bookinfo/authorization",
        },
    },
)
TRAFFIC = {"by productpage": Fetch("/api/v1/products/0"), "from the gateway": Fetch("/details/0", "direct.lab.internal")}
