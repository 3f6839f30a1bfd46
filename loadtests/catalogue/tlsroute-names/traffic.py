"""TLS connections by server name, which TLSRoutes lead on: the client verifies the certificate of the server at their end."""

from loadtests.clients.secure import SecureFetch
from loadtests.entries.question import BY_ROUTES, GATEWAY, ResponseCheck
from loadtests.rules.l4_routes import tls_passed
from loadtests.samples.echo import answered_by, serve_tls

NAMES = {
    "one name": "one.sni.lab.internal",
    "another name of the domain": "any.sni.lab.internal",
    "a name without a route": "closed.lab.internal",
}
ASK = {"gateway": ("istio-system", "ingress"), "listener_set": ("echo", "tlsroute-names"), "port": 443}
SERVERS = {"echo-tls": "echo", "pool-tls": "pool"}


PREPARE = serve_tls
QUESTION = ResponseCheck(
    namespace="echo",
    kinds=BY_ROUTES,
    expectation=tls_passed,
    classes={name: {**ASK, "authority": host, "servers": SERVERS} for name, host in NAMES.items()},
    proxies=(GATEWAY,),
)
TRAFFIC = {name: SecureFetch(host, "sni-ca", "/", "echo", label=answered_by) for name, host in NAMES.items()}
