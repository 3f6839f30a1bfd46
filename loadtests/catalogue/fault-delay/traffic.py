"""Times ratings through productpage as jason and anonymously; productpage's proxy injects the delay."""

from loadtests.clients.http import Fetch
from loadtests.entries.question import ROUTING, ResponseCheck
from loadtests.rules.responses import delayed
from loadtests.samples.bookinfo import PAGE_SECONDS, RATINGS_PATH, UserFetch, by_page, call

QUESTION = ResponseCheck(
    about_time=True,
    kinds=ROUTING,
    expectation=delayed,
    classes={
        name: {"call": call("ratings", "/ratings/0", user), "caller_seconds": PAGE_SECONDS, **by_page(RATINGS_PATH, user)}
        for name, user in (("anonymous", ""), ("jason", "jason"))
    },
)
TRAFFIC = {"anonymous": Fetch(RATINGS_PATH, timed=True), "jason": UserFetch(RATINGS_PATH, user="jason", timed=True)}
