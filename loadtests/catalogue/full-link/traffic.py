"""Visits the shop normally, through its test host, and with a forged mark; each response shows which path it took."""

from loadtests.clients.http import Fetch
from loadtests.entries.question import ROUTING, enters, through
from loadtests.samples.shadow import FullLink, linked, stars

SHOP, TEST = "link.lab.internal", "test.link.lab.internal"
PATH = "/api/v1/products/0/reviews"
# The marks that the gateway sets on test traffic; clients may not set them.
FORGED = {"baggage": "lab-traffic=test", "x-lab-traffic": "test"}
VISITS = {"everybody": (SHOP, {}), "test traffic": (TEST, {}), "forged mark": (SHOP, FORGED)}

QUESTION = FullLink(
    kinds=(*ROUTING, "deployments.apps"),
    expectation=linked,
    classes={
        name: {
            "call": enters(host, "shadow/full-link", PATH, headers=headers),
            # What its route does with headers is what the check is about.
            **through("shadow/full-link", host, "productpage", PATH, port=9080, headers=headers, inert=("headers",)),
        }
        for name, (host, headers) in VISITS.items()
    },
    # At most one request in a hundred on the wrong path, by the exact bound.
    margin=0.01,
    namespace="shadow",
    stores={"5,4": "normal", "1,1": "shadow"},
)
TRAFFIC = {name: Fetch(PATH, host, headers=headers, label=stars) for name, (host, headers) in VISITS.items()}
