"""Pays while calls to msgd must take the egress gateway: msgd tells what mark of a gateway each call had."""

from loadtests.entries.question import GATEWAY, Contract
from loadtests.rules.egress import EGRESS, by_gateway
from loadtests.samples.billing import PAY, paid, way

QUESTION = Contract(
    namespace="billing",
    kinds=("virtualservices.networking.istio.io",),
    promise=by_gateway,
    classes={"pay": {"virtual_service": "msgd", "gateway": "egress"}},
    proxies=(("billing", ""), GATEWAY, EGRESS),
)
TRAFFIC = {"pay": paid(PAY, way)}
