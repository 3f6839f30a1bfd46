"""Everybody reads the reviews; the split is whatever VirtualService `reviews` says."""

from loadtests.samples.bookinfo import REVIEWS_SPLIT, ReadReviews

QUESTION = REVIEWS_SPLIT
TRAFFIC = {"anonymous": ReadReviews()}
