"""Pays while a ServiceEntry knows msgd."""

from loadtests.billing import PAY, paid, sent_to_msgd
from loadtests.egress import reached
from loadtests.question import Contract

QUESTION = Contract(
    namespace="billing",
    kinds=("serviceentries.networking.istio.io", "sidecars.networking.istio.io"),
    promise=reached,
    classes={"pay": {"host": "msgd.outside.internal", "port": 9997}},
    server=sent_to_msgd,
    at_server={"host": "msgd.outside.internal", "port": 9997, "at_server": True},
)
TRAFFIC = {"pay": paid(PAY)}
