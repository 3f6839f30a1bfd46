"""Requests a moved page, a teapot, a method that is not allowed and a rewritten path from one public host."""

from typing import Any

from loadtests.clients.http import Fetch
from loadtests.entries.question import GATEWAY, ROUTING, ResponseCheck, enters
from loadtests.rules.responses import answered

HOST = "shop.lab.internal"


def request(uri: str, method: str = "GET") -> dict[str, Any]:
    """A request as the gateway's rules see it; details, behind the gateway, serves its books under /details/."""
    return {"call": enters(HOST, "bookinfo/ingress-rules", uri, method), "answers": ("/details/",)}


QUESTION = ResponseCheck(
    kinds=ROUTING,
    expectation=answered,
    classes={
        "moved": request("/moved"),
        "own answer": request("/teapot"),
        "by method": request("/books/0", "POST"),
        "rewritten": request("/books/0"),
    },
    proxies=(GATEWAY,),
)
TRAFFIC = {
    "moved": Fetch("/moved", HOST),
    "own answer": Fetch("/teapot", HOST),
    "by method": Fetch("/books/0", HOST, "POST"),
    "rewritten": Fetch("/books/0", HOST),
}
