"""HTTPS to a listener of the Gateway API: the client verifies the certificate, and the pod's name says who answered."""

from loadtests.clients.secure import SecureFetch
from loadtests.entries.question import BY_ROUTES, GATEWAY, ResponseCheck
from loadtests.rules.ingress import http_shared
from loadtests.samples.echo import answered_by, serve_tls

HOST = "ended.sni.lab.internal"
ASK = {
    "gateway": ("istio-system", "ingress"), "listener_set": ("echo", "https-listener"), "port": 443, "scheme": "https",
    "authority": HOST, "method": "GET", "answers": ("echo", "pool"),
}  # fmt: skip
PATHS = {"a path of pool": "/pool/any", "another path": "/any"}

PREPARE = serve_tls
QUESTION = ResponseCheck(
    namespace="echo",
    kinds=BY_ROUTES,
    expectation=http_shared,
    classes={name: {**ASK, "uri": uri} for name, uri in PATHS.items()},
    proxies=(GATEWAY,),
)
TRAFFIC = {name: SecureFetch(HOST, "sni-ca", uri, "echo", label=answered_by) for name, uri in PATHS.items()}
