"""Asks details v2 for a book; details calls the books API over plain HTTP, and the API reports how the call arrived."""

from loadtests.mesh.cluster import Cluster
from loadtests.mesh.credentials import ensure_server_tls
from loadtests.samples.books import BOOK_FETCHED, FETCH, HOST


def PREPARE(cluster: Cluster) -> bool:  # noqa: N802 - found by this name
    """Create the API's certificate, and the authority that details' sidecar trusts (or, with control.yaml, does not trust)."""
    return ensure_server_tls(cluster, HOST, "books", "api")


QUESTION = BOOK_FETCHED
TRAFFIC = {"details": FETCH}
