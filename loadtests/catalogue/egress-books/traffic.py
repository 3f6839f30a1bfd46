"""Asks details v2 for a book; what it knows comes from the books API outside the mesh."""

from loadtests.samples.books import BOOK_FETCHED, FETCH

QUESTION = BOOK_FETCHED
TRAFFIC = {"details": FETCH}
