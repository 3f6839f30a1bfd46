"""Times reviews through productpage: its proxy gives up on reviews before ratings responds; productpage tries twice."""

from loadtests.clients.http import Fetch
from loadtests.entries.question import Contract
from loadtests.rules.promises import timed_out

QUESTION = Contract(
    about_time=True,
    kinds=("virtualservices.networking.istio.io", "destinationrules.networking.istio.io"),
    promise=timed_out,
    classes={
        "anonymous": {
            "virtual_service": "reviews",
            "slow_virtual_service": "ratings",
            "attempts": 2,
            "uri": "/reviews/0",
            "method": "GET",
            "headers": {},
        }
    },
)
TRAFFIC = {"anonymous": Fetch("/api/v1/products/0/reviews", timed=True)}
