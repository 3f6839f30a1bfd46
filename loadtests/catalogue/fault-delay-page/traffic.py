"""Reads the page as jason, whose ratings are late, through two versions of reviews that cope differently; and anonymously."""

from typing import Any

from loadtests.clients.http import Fetch
from loadtests.entries.question import ROUTING, ResponseCheck
from loadtests.rules.responses import page_delayed
from loadtests.samples.bookinfo import (
    PAGE_SECONDS,
    RATINGS_SECONDS,
    REVIEWS_ATTEMPTS,
    UserFetch,
    by_page,
    call,
    follows,
    from_page,
)

WAITS = {"page_seconds": PAGE_SECONDS, "page_attempts": REVIEWS_ATTEMPTS}
AGENT = {version: f"reviews-{version}" for version in RATINGS_SECONDS}
"""By which the rules distinguish clients; productpage and reviews forward it."""


def page(user: str, version: str) -> dict[str, Any]:
    """The page for a user or for nobody: how it gets to ratings by one version of reviews; details must not be late."""
    headers = {"user-agent": AGENT[version]}
    entry = by_page("/productpage", user, headers)
    reviews = call("reviews", "/reviews/0", user, headers=headers)
    asked = from_page("reviews", reviews.uri, headers=reviews.headers, varied=reviews.varied, version=version)
    return {
        **WAITS,
        "reviews_seconds": RATINGS_SECONDS[version],
        "call": call("ratings", "/ratings/0", user, "reviews", headers),
        "through": (*entry["through"], asked),
        "onward": (follows(call("details", "/details/0", user, headers=headers), within=0.0),),
    }


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
    expectation=page_delayed,
    classes={
        "jason, reviews v2": page("jason", "v2"),
        "jason, reviews v3": page("jason", "v3"),
        "anonymous, reviews v2": page("", "v2"),
    },
    margin=0.2,
)
BY_V2, BY_V3 = ({"User-Agent": AGENT[version]} for version in RATINGS_SECONDS)
TRAFFIC = {
    "jason, reviews v2": UserFetch("/productpage", user="jason", headers=BY_V2, label=shown, timed=True),
    "jason, reviews v3": UserFetch("/productpage", user="jason", headers=BY_V3, label=shown, timed=True),
    "anonymous, reviews v2": Fetch("/productpage", headers=BY_V2, label=shown, timed=True),
}
