"""Asks details v2 for a book, which it fetches from the books API outside the mesh."""

from loadtests.samples.books import BOOK_FETCHED, FETCH

QUESTION = BOOK_FETCHED
TRAFFIC = {"details": FETCH}
