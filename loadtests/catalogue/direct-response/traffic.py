"""client calls echo on paths that its own proxy answers, and on one that echo answers."""

from loadtests.entries.question import ROUTING, ResponseCheck
from loadtests.rules.responses import responded
from loadtests.samples.echo import REPORTED, by_client, called_text, through, through_client

PATHS = {"with a text": "/closed/today", "without a text": "/gone", "echo's own": "/open"}
QUESTION = ResponseCheck(
    namespace="echo",
    kinds=ROUTING,
    expectation=responded,
    classes={
        name: {"call": by_client("echo", uri), "characters": REPORTED, **through("client", f"/call/echo{uri}")}
        for name, uri in PATHS.items()
    },
    proxies=(("echo", "client"),),
)
TRAFFIC = {name: through_client(uri, label=called_text) for name, uri in PATHS.items()}
