"""Reads details as a page from another origin would: the browser sends a preflight first."""

from typing import Any

from loadtests.clients.http import Fetch
from loadtests.entries.question import GATEWAY, ROUTING, ResponseCheck, enters
from loadtests.rules.responses import shared

HOST = "api.lab.internal"
ORIGINS = {"the shop": "https://shop.lab.internal", "another site": "https://evil.lab.internal"}


def verdict_of_a_browser(response: Any) -> str:
    """How a browser interprets the response to its preflight."""
    asked = response.request.headers.get("Origin")
    return "may read" if response.headers.get("Access-Control-Allow-Origin") == asked else "may not read"


def preflight(origin: str) -> Fetch:
    """The preflight that a browser sends before it reads."""
    headers = {"Origin": origin, "Access-Control-Request-Method": "GET"}
    return Fetch("/details/0", HOST, "OPTIONS", headers=headers, label=verdict_of_a_browser)


QUESTION = ResponseCheck(
    kinds=ROUTING,
    expectation=shared,
    classes={
        name: {"origin": origin, "call": enters(HOST, "bookinfo/cors", "/details/0", "OPTIONS", {"origin": origin})}
        for name, origin in ORIGINS.items()
    },
    proxies=(GATEWAY,),
)
TRAFFIC = {name: preflight(origin) for name, origin in ORIGINS.items()}
