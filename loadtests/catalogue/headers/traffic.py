"""Sends three headers through the gateway; echo and pool report what they received, and the client what came back."""

from typing import Any

from loadtests.clients.http import Fetch
from loadtests.entries.question import GATEWAY, ROUTING, ResponseCheck, enters
from loadtests.rules.headers import text_of
from loadtests.rules.responses import headers_changed
from loadtests.samples.echo import service

HOST, PREFIX = "headers.lab.internal", "x-lab-"
SENT = {"x-lab-set": "client", "x-lab-added": "client", "x-lab-removed": "client"}
PATHS = {"by route": "/route", "by destination": "/destination"}


def shown(response: Any) -> str:
    """Who answered, which of the lab's headers it received, and which the client got back."""
    body = response.json()
    received, returned = (text_of(headers.items(), PREFIX) for headers in (body["headers"], response.headers))
    return f"{service(body['pod'])} received {received}; returned {returned}"


QUESTION = ResponseCheck(
    namespace="echo",
    kinds=ROUTING,
    expectation=headers_changed,
    classes={
        name: {
            "call": enters(HOST, "echo/headers", uri, headers=SENT),
            "prefix": PREFIX,
            "returned": {"x-lab-version": "v1"},  # the label version of all of echo's pods, and of pool's
        }
        for name, uri in PATHS.items()
    },
    proxies=(("echo", "echo"), ("echo", "pool"), GATEWAY),
)
TRAFFIC = {name: Fetch(uri, HOST, headers=SENT, label=shown) for name, uri in PATHS.items()}
