"""client calls paths of echo that its rule delegates, and some that it does not; the pod's name says which service answered."""

from loadtests.entries.question import ROUTING, ResponseCheck
from loadtests.rules.responses import fronted
from loadtests.samples.echo import by_client, called_service, through, through_client

PATHS = {
    "delegated": "/books/1", "delegated with a condition": "/books/new/1", "within no condition of the delegate": "/films/1",
    "another delegate": "/films/old/1", "not delegated": "/others/1",
}  # fmt: skip
QUESTION = ResponseCheck(
    namespace="echo",
    kinds=ROUTING,
    expectation=fronted,
    classes={name: {"call": by_client("echo", uri), **through("client", f"/call/echo{uri}")} for name, uri in PATHS.items()},
    proxies=(("echo", "client"),),
)
TRAFFIC = {name: through_client(uri, label=called_service) for name, uri in PATHS.items()}
