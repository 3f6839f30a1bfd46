"""HTTPS through the gateway, one connection per request; the client verifies the certificate."""

from loadtests.clients.secure import SecureFetch
from loadtests.entries.question import GATEWAY, LEADING, ResponseCheck
from loadtests.mesh.cluster import Cluster
from loadtests.mesh.credentials import ensure_tls
from loadtests.rules.security import handshaken
from loadtests.samples.echo import CALLED

HOST, SECRET = "secure.lab.internal", "lab-gateway-tls"


def PREPARE(cluster: Cluster) -> bool:  # noqa: N802 - found by this name
    """Create certificates for the gateway and the client, and one for another host, for control.yaml."""
    made = [ensure_tls(cluster, HOST, SECRET), ensure_tls(cluster, "other.lab.internal", f"{SECRET}-other")]
    return any(made)


QUESTION = ResponseCheck(
    namespace="echo",
    kinds=LEADING,
    expectation=handshaken,
    classes={
        "with the lab's authority": {"host": HOST, "port": 8443, "certificate": False, "to": CALLED},
    },
    proxies=(GATEWAY,),
)
TRAFFIC = {
    "with the lab's authority": SecureFetch(HOST, f"{SECRET}-client", "/", "echo"),
}
