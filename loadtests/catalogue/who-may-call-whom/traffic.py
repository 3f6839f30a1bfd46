"""Every caller calls every service, once per case that the policies distinguish; the table follows from all policies."""

from loadtests.clients.http import Fetch
from loadtests.entries.question import SECURITY, ResponseCheck
from loadtests.rules.security import permitted
from loadtests.samples.echo import CALLED, called, principal, through

CALLERS = {"client": principal("client"), "auditor": principal("auditor"), "legacy": ""}
CALLS = (("echo", "GET", "/books"), ("echo", "POST", "/books"), ("pool", "GET", "/books"), ("pool", "GET", "/private/1"))
PAIRS = {
    f"{caller} {method} {target}{path}": (caller, target, method, path) for caller in CALLERS for target, method, path in CALLS
}
QUESTION = ResponseCheck(
    namespace="echo",
    kinds=SECURITY,
    expectation=permitted,
    classes={
        name: {
            **CALLED,
            "app": target,
            "principal": CALLERS[caller],
            "caller": {"app": caller},
            "method": method,
            "uri": path,
            "authority": f"{target}:8080",
            **through(caller, f"/call/{target}{path}", method),
        }
        for name, (caller, target, method, path) in PAIRS.items()
    },
)
TRAFFIC = {
    name: Fetch(f"/call/{target}{path}", f"{caller}.lab.internal", method, label=called)
    for name, (caller, target, method, path) in PAIRS.items()
}
