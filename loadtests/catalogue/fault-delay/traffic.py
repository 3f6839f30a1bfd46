"""Times ratings through productpage as jason and anonymously; productpage's proxy injects the delay."""

from loadtests.clients.http import Fetch
from loadtests.entries.question import Contract
from loadtests.rules.promises import delayed
from loadtests.samples.bookinfo import UserFetch

RATINGS = {"virtual_service": "ratings", "uri": "/ratings/0", "method": "GET"}
QUESTION = Contract(
    about_time=True,
    kinds=("virtualservices.networking.istio.io",),
    promise=delayed,
    classes={"anonymous": {**RATINGS, "headers": {}}, "jason": {**RATINGS, "headers": {"end-user": "jason"}}},
)
PATH = "/api/v1/products/0/ratings"
TRAFFIC = {"anonymous": Fetch(PATH, timed=True), "jason": UserFetch(PATH, user="jason", timed=True)}
