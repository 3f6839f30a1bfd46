"""Reads the reviews; v3's own proxy counts how many of the requests also arrive there."""

from loadtests.clients.http import Fetch
from loadtests.entries.question import ROUTING, ResponseCheck
from loadtests.mesh.cluster import Cluster
from loadtests.mesh.observed import inbound_requests, pods_of
from loadtests.rules.responses import mirrored
from loadtests.samples.bookinfo import REVIEWS_PATH, by_page, call, follows

MIRROR = {
    "call": call("reviews", "/reviews/0"),
    "mirror": ("reviews", "v3"),
    "onward": (follows(call("ratings", "/ratings/0", caller="reviews")),),
    **by_page(REVIEWS_PATH),
}


def arrived_at_v3(cluster: Cluster) -> int:
    """Requests that v3's proxies have passed to it so far."""
    pods = [pod for pod, version in pods_of(cluster, "reviews").items() if version == "v3"]
    return sum(inbound_requests(cluster.proxy_metrics(pod)) for pod in pods)


QUESTION = ResponseCheck(
    kinds=ROUTING,
    expectation=mirrored,
    classes={"anonymous": MIRROR},
    server=arrived_at_v3,
    at_server={**MIRROR, "at_server": True},
)
TRAFFIC = {"anonymous": Fetch(REVIEWS_PATH)}
