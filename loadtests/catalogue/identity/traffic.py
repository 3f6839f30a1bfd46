"""Makes client and auditor call echo, which reports the identity in each caller's certificate."""

from loadtests.clients.http import Fetch
from loadtests.entries.question import SECURITY, ResponseCheck
from loadtests.rules.security import identified
from loadtests.samples.echo import CALLED, caller_shown, through

CALLERS = ("auditor", "client")

QUESTION = ResponseCheck(
    namespace="echo",
    kinds=SECURITY,
    expectation=identified,
    classes={
        caller: {**CALLED, "deployment": caller, "caller": {"app": caller}, **through(caller, "/call/echo/")}
        for caller in CALLERS
    },
)
TRAFFIC = {caller: Fetch("/call/echo/", f"{caller}.lab.internal", label=caller_shown) for caller in CALLERS}
