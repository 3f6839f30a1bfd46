"""Has client and auditor call echo, which tells whom the certificate of each call names."""

from loadtests.echo import caller_shown
from loadtests.entry import Fetch
from loadtests.question import Contract
from loadtests.security import identified

CALLERS = ("auditor", "client")

QUESTION = Contract(
    namespace="echo",
    kinds=("deployments.apps", "peerauthentications.security.istio.io"),
    promise=identified,
    classes={caller: {"peer_authentication": "default", "deployment": caller, "namespace": "echo"} for caller in CALLERS},
)
TRAFFIC = {caller: Fetch("/call/echo/", f"{caller}.lab.internal", label=caller_shown) for caller in CALLERS}
