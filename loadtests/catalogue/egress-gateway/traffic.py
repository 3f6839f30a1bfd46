"""Pays while calls to msgd must go through the egress gateway; msgd reports the gateway header of each call."""

from loadtests.entries.question import GATEWAY, Contract
from loadtests.rules.egress import EGRESS, by_gateway
from loadtests.samples.billing import PAY, paid, path_taken

QUESTION = Contract(
    namespace="billing",
    kinds=("virtualservices.networking.istio.io",),
    promise=by_gateway,
    classes={"pay": {"virtual_service": "msgd", "gateway": "egress"}},
    proxies=(("billing", ""), GATEWAY, EGRESS),
)
TRAFFIC = {"pay": paid(PAY, path_taken)}
