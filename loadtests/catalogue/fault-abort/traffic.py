"""Asks productpage for ratings as jason and anonymously; productpage's proxy injects the aborts."""

from loadtests.clients.http import Fetch
from loadtests.entries.question import ROUTING, ResponseCheck
from loadtests.rules.responses import aborted
from loadtests.samples.bookinfo import RATINGS_PATH, UserFetch, by_page, call

QUESTION = ResponseCheck(
    kinds=ROUTING,
    expectation=aborted,
    classes={
        name: {"call": call("ratings", "/ratings/0", user), **by_page(RATINGS_PATH, user)}
        for name, user in (("anonymous", ""), ("jason", "jason"))
    },
)
TRAFFIC = {"anonymous": Fetch(RATINGS_PATH), "jason": UserFetch(RATINGS_PATH, user="jason")}
