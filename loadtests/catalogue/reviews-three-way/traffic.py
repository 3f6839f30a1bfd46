"""Everybody reads the reviews; the split is whatever VirtualService `reviews` says."""

from loadtests.entries.entry import REVIEWS_CLASSES, ReadReviews
from loadtests.entries.question import Split

QUESTION = Split(virtual_service="reviews", app="reviews", classes=REVIEWS_CLASSES, callers="productpage")
TRAFFIC = {"anonymous": ReadReviews()}
