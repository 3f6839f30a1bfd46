"""Times ratings through productpage as jason and anonymously; productpage's proxy injects the delay."""

from loadtests.clients.http import Fetch
from loadtests.entries.question import ROUTING, ResponseCheck
from loadtests.rules.promises import delayed
from loadtests.samples.bookinfo import UserFetch, call

QUESTION = ResponseCheck(
    about_time=True,
    kinds=ROUTING,
    promise=delayed,
    classes={name: {"call": call("ratings", "/ratings/0", user)} for name, user in (("anonymous", ""), ("jason", "jason"))},
)
PATH = "/api/v1/products/0/ratings"
TRAFFIC = {"anonymous": Fetch(PATH, timed=True), "jason": UserFetch(PATH, user="jason", timed=True)}
