"""Requests echo as a user whom the authorizer knows, as one whom it does not know, and as nobody."""

from loadtests.clients.http import Fetch
from loadtests.entries.question import SECURITY, ResponseCheck
from loadtests.rules.security import permitted
from loadtests.samples.echo import from_outside

HOST, AUTHORIZER = "echo.lab.internal", "lab-authorizer"
ANSWERS = {"ann": 200, "eve": 403, "": 401}
"""What the sample's authorizer decides, by the header x-user."""
HEADERS: dict[str, dict[str, str]] = {user: {"x-user": user} if user else {} for user in ANSWERS}
REQUESTS = {
    "known user": ("/private/1", "ann"),
    "unknown user": ("/private/1", "eve"),
    "no user": ("/private/1", ""),
    "known user, denied by a rule": ("/private/archive/1", "ann"),
    "no user, denied by a rule": ("/private/archive/1", ""),
    "not referred": ("/public", ""),
}
QUESTION = ResponseCheck(
    namespace="echo",
    kinds=SECURITY,
    expectation=permitted,
    classes={
        name: {**from_outside(uri), "headers": HEADERS[user], "authorizers": {AUTHORIZER: ANSWERS[user]}}
        for name, (uri, user) in REQUESTS.items()
    },
)
TRAFFIC = {name: Fetch(uri, HOST, headers=HEADERS[user]) for name, (uri, user) in REQUESTS.items()}
