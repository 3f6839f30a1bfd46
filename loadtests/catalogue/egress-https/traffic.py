"""Asks client to call hosts outside by HTTPS, verifying their certificates: one that is registered, and one that is not."""

from loadtests.clients.http import Fetch
from loadtests.entries.question import LEADING, ResponseCheck
from loadtests.rules.calls import Call, Caller
from loadtests.rules.egress import encrypted_by_caller
from loadtests.samples.echo import called, serve_tls, through

PREPARE = serve_tls
HOSTS = ("registered", "unknown")
CALLER = Caller("echo", {"app": "client"}, all_labels=False)

QUESTION = ResponseCheck(
    namespace="echo",
    kinds=LEADING,
    expectation=encrypted_by_caller,
    classes={
        host: {
            "call": Call(f"{host}.sni.lab.internal", 8443, CALLER, scheme="tls"),
            "address": "legacy-tls.echo.svc.cluster.local",
            "port": 8443,
            **through("client", f"/call/{host}/"),
        }
        for host in HOSTS
    },
    proxies=(("echo", "client"),),
)
TRAFFIC = {host: Fetch(f"/call/{host}/", "client.lab.internal", label=called) for host in HOSTS}
