"""Asks productpage for ratings as jason and anonymously; productpage's proxy injects the aborts."""

from loadtests.clients.http import Fetch
from loadtests.entries.question import Contract
from loadtests.rules.promises import aborted
from loadtests.samples.bookinfo import UserFetch

RATINGS = {"virtual_service": "ratings", "uri": "/ratings/0", "method": "GET"}
QUESTION = Contract(
    kinds=("virtualservices.networking.istio.io",),
    promise=aborted,
    classes={"anonymous": {**RATINGS, "headers": {}}, "jason": {**RATINGS, "headers": {"end-user": "jason"}}},
)
PATH = "/api/v1/products/0/ratings"
TRAFFIC = {"anonymous": Fetch(PATH), "jason": UserFetch(PATH, user="jason")}
