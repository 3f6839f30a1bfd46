"""TLS connections by server name, which the gateway passes on: the client verifies the certificate of the server behind it."""

from loadtests.clients.secure import SecureFetch
from loadtests.entries.question import ROUTING, ResponseCheck, enters
from loadtests.rules.responses import passed_on
from loadtests.samples.echo import answered_by, serve_tls

NAMES = {
    "split": "split.sni.lab.internal",
    "another name of the domain": "any.sni.lab.internal",
    "a name without a route": "closed.lab.internal",
}
SERVERS = {"echo-tls": "echo", "pool-tls": "pool"}


PREPARE = serve_tls
QUESTION = ResponseCheck(
    namespace="echo",
    kinds=ROUTING,
    expectation=passed_on,
    classes={
        name: {"call": enters(host, "echo/sni", port=8443), "servers": SERVERS, "port": 8443} for name, host in NAMES.items()
    },
)
TRAFFIC = {name: SecureFetch(host, "sni-ca", "/", "echo", label=answered_by) for name, host in NAMES.items()}
