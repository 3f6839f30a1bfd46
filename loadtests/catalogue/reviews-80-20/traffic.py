"""Everybody reads the reviews; the split is whatever VirtualService `reviews` says."""

from loadtests.declared import Question
from loadtests.entry import REVIEWS_CLASSES, ReadReviews

QUESTION = Question(virtual_service="reviews", app="reviews", classes=REVIEWS_CLASSES, callers="productpage")
TRAFFIC = {"anonymous": ReadReviews()}
