"""Everybody reads the reviews; the split is whatever VirtualService `reviews` says."""

from loadtests.entries.question import Split
from loadtests.samples.bookinfo import REVIEWS_CLASSES, ReadReviews

QUESTION = Split(virtual_service="reviews", app="reviews", classes=REVIEWS_CLASSES, callers="productpage")
TRAFFIC = {"anonymous": ReadReviews()}
