"""Requests paths that an HTTPRoute splits, and paths of a rule with one backend; the pod's name says which service answered."""

from typing import Any

from loadtests.clients.http import Fetch, status
from loadtests.entries.question import BY_ROUTES, GATEWAY, ResponseCheck
from loadtests.rules.ingress import http_shared
from loadtests.samples.echo import service

HOST = "echo.routes.lab.internal"
ASK = {"gateway": ("istio-system", "ingress"), "answers": ("echo", "pool"), "authority": HOST, "method": "GET"}
PATHS = {"split": "/any", "a single backend": "/pool/any"}


def answered_by(response: Any) -> str:
    """The service that answered; the status if it is not 200."""
    return service(response.json()["pod"]) if response.status_code == 200 else status(response)


QUESTION = ResponseCheck(
    namespace="echo",
    kinds=BY_ROUTES,
    expectation=http_shared,
    classes={name: {**ASK, "uri": uri} for name, uri in PATHS.items()},
    proxies=(GATEWAY,),
)
TRAFFIC = {name: Fetch(uri, HOST, label=answered_by) for name, uri in PATHS.items()}
