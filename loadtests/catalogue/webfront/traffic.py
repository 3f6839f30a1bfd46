"""Reads a page from one public host; the page names the web server that sent it."""

import re
from typing import Any

from loadtests.clients.http import Fetch
from loadtests.entries.question import GATEWAY, ROUTING, ResponseCheck, enters
from loadtests.rules.responses import fronted

REQUEST = {"call": enters("web.lab.internal", "webfront/webfront", "/page/")}


def server(response: Any) -> str:
    """The title of the page."""
    found = re.search("<title>(.*)</title>", response.text)
    if found is None:
        raise ValueError("no title")
    return found[1]


QUESTION = ResponseCheck(
    namespace="webfront",
    kinds=ROUTING,
    expectation=fronted,
    classes={"page": REQUEST},
    proxies=(GATEWAY,),
    margin=0.1,
)
TRAFFIC = {"page": Fetch("/page/", "web.lab.internal", label=server)}
