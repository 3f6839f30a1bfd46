"""Everybody reads the reviews; the split is whatever VirtualService `reviews` says."""

from loadtests.entry import REVIEWS_CLASSES, ReadReviews
from loadtests.question import Split

QUESTION = Split(virtual_service="reviews", app="reviews", classes=REVIEWS_CLASSES, callers="productpage")
TRAFFIC = {"anonymous": ReadReviews()}
