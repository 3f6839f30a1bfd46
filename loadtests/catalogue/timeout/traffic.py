"""Times reviews through productpage: its proxy gives up on reviews before ratings responds; productpage tries twice."""

from loadtests.clients.http import Fetch
from loadtests.entries.question import ROUTING, ResponseCheck
from loadtests.rules.responses import timed_out
from loadtests.samples.bookinfo import PAGE_SECONDS, RATINGS_SECONDS, REVIEWS_ATTEMPTS, REVIEWS_PATH, by_page, call

QUESTION = ResponseCheck(
    about_time=True,
    kinds=ROUTING,
    expectation=timed_out,
    classes={
        "anonymous": {
            "call": call("reviews", "/reviews/0"),
            "slow_call": call("ratings", "/ratings/0", caller="reviews"),
            "attempts": REVIEWS_ATTEMPTS,
            "caller_seconds": PAGE_SECONDS,
            "version_seconds": RATINGS_SECONDS,
            **by_page(REVIEWS_PATH),
        }
    },
)
TRAFFIC = {"anonymous": Fetch(REVIEWS_PATH, timed=True)}
