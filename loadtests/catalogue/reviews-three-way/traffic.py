"""Reads the reviews anonymously; VirtualService `reviews` declares the split."""

from loadtests.samples.bookinfo import REVIEWS_SPLIT, ReadReviews

QUESTION = REVIEWS_SPLIT
TRAFFIC = {"anonymous": ReadReviews()}
