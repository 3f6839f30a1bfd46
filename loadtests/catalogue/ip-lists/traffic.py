"""Requests echo from a pod, and through the gateway with an X-Forwarded-For that claims an address of a listed network."""

from loadtests.clients.http import Fetch
from loadtests.entries.question import SECURITY, ResponseCheck
from loadtests.rules.security import permitted
from loadtests.samples.echo import CALLED, READ, from_outside, principal, through, through_client

HOST = "echo.lab.internal"
CLAIMS = {
    "open to all": ("/public", ""),
    "claims a denied address": ("/public", "198.51.100.9"),
    "claims another network": ("/nobody", "192.0.2.9"),
    "not a partner": ("/partner", ""),
    "claims to be a partner": ("/partner", "203.0.113.9"),
}
BY_PODS = {"from the pods' networks": "/pods", "from another network": "/nobody"}
CLIENT = {**CALLED, **READ, "principal": principal("client"), "caller": {"app": "client"}}
QUESTION = ResponseCheck(
    namespace="echo",
    kinds=(*SECURITY, "pods"),
    expectation=permitted,
    classes={
        **{name: from_outside(uri) for name, (uri, _) in CLAIMS.items()},
        **{name: {**CLIENT, "uri": uri, **through("client", f"/call/echo{uri}")} for name, uri in BY_PODS.items()},
    },
)
SENT = {name: (uri, {"X-Forwarded-For": claimed} if claimed else {}) for name, (uri, claimed) in CLAIMS.items()}
TRAFFIC = {
    **{name: Fetch(uri, HOST, headers=headers) for name, (uri, headers) in SENT.items()},
    **{name: through_client(uri) for name, uri in BY_PODS.items()},
}
