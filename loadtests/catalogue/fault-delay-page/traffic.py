"""Reads the page as jason, whose ratings are late, through two versions of reviews that cope differently; and anonymously."""

from typing import Any

from loadtests.clients.http import Fetch
from loadtests.entries.question import ROUTING, ResponseCheck
from loadtests.rules.promises import page_delayed
from loadtests.samples.bookinfo import UserFetch, call

# Bookinfo's own timeouts, in seconds: productpage's for reviews, which it calls twice, and each version's for ratings.
WAITS = {"page_seconds": 3.0, "page_attempts": 2}
V2, V3 = {**WAITS, "reviews_seconds": 10.0}, {**WAITS, "reviews_seconds": 2.5}
JASON = {"call": call("ratings", "/ratings/0", "jason", caller="reviews")}


def shown(response: Any) -> str:
    """What the page shows in place of the reviews."""
    page = response.text
    if "Sorry, product reviews are currently unavailable" in page:
        return "no reviews"
    if "Ratings service is currently unavailable" in page:
        return "reviews without ratings"
    return "reviews with stars" if "glyphicon-star" in page else "reviews alone"


QUESTION = ResponseCheck(
    about_time=True,
    kinds=ROUTING,
    promise=page_delayed,
    classes={
        "jason, reviews v2": {**JASON, **V2},
        "jason, reviews v3": {**JASON, **V3},
        "anonymous, reviews v2": {**V2, "call": call("ratings", "/ratings/0", caller="reviews")},
    },
    margin=0.2,
)
BY_V3 = {"User-Agent": "reviews-v3"}
TRAFFIC = {
    "jason, reviews v2": UserFetch("/productpage", user="jason", label=shown, timed=True),
    "jason, reviews v3": UserFetch("/productpage", user="jason", headers=BY_V3, label=shown, timed=True),
    "anonymous, reviews v2": Fetch("/productpage", label=shown, timed=True),
}
