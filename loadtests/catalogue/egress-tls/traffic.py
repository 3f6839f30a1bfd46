"""Asks details v2 for a book; it asks the books API over plain HTTP, and the API tells how the call came."""

from loadtests.mesh.cluster import Cluster
from loadtests.mesh.credentials import ensure_server_tls
from loadtests.samples.books import BOOK_FETCHED, FETCH, HOST


def PREPARE(cluster: Cluster) -> bool:  # noqa: N802 - found by this name
    """The API's certificate, and the authority that details' sidecar is to trust (for control.yaml, not to trust)."""
    return ensure_server_tls(cluster, HOST, "books", "api")


QUESTION = BOOK_FETCHED
TRAFFIC = {"details": FETCH}
