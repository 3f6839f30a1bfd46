"""Asks productpage for ratings as jason and anonymously; productpage's proxy injects the aborts."""

from loadtests.clients.http import Fetch
from loadtests.entries.question import ROUTING, ResponseCheck
from loadtests.rules.promises import aborted
from loadtests.samples.bookinfo import UserFetch, call

QUESTION = ResponseCheck(
    kinds=ROUTING,
    promise=aborted,
    classes={name: {"call": call("ratings", "/ratings/0", user)} for name, user in (("anonymous", ""), ("jason", "jason"))},
)
PATH = "/api/v1/products/0/ratings"
TRAFFIC = {"anonymous": Fetch(PATH), "jason": UserFetch(PATH, user="jason")}
