"""client calls echo with paths and methods on either side of each condition; the pod's name says which service answered."""

from loadtests.entries.question import ROUTING, ResponseCheck
from loadtests.rules.responses import fronted
from loadtests.samples.echo import by_client, called_service, through, through_client

CALLS = {
    "path and method": ("/orders", "POST"), "another method": ("/orders", "GET"), "expression": ("/orders/17", "GET"),
    "expression, another method": ("/orders/17", "POST"), "beside the expression": ("/orders/17a", "GET"),
    "prefix in other case": ("/Orders/Archive/1", "POST"), "beside the prefix": ("/orders/archived", "GET"),
}  # fmt: skip
QUESTION = ResponseCheck(
    namespace="echo",
    kinds=ROUTING,
    expectation=fronted,
    classes={
        name: {"call": by_client("echo", uri, method), **through("client", f"/call/echo{uri}", method)}
        for name, (uri, method) in CALLS.items()
    },
    proxies=(("echo", "client"),),
)
TRAFFIC = {name: through_client(uri, method, called_service) for name, (uri, method) in CALLS.items()}
