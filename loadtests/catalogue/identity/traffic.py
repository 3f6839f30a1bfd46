"""Makes client and auditor call echo, which reports the identity in each caller's certificate."""

from loadtests.clients.http import Fetch
from loadtests.entries.question import Contract
from loadtests.rules.security import identified
from loadtests.samples.echo import caller_shown

CALLERS = ("auditor", "client")

QUESTION = Contract(
    namespace="echo",
    kinds=("deployments.apps", "peerauthentications.security.istio.io"),
    promise=identified,
    classes={caller: {"peer_authentication": "default", "deployment": caller, "namespace": "echo"} for caller in CALLERS},
)
TRAFFIC = {caller: Fetch("/call/echo/", f"{caller}.lab.internal", label=caller_shown) for caller in CALLERS}
