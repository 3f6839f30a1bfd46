"""Pays while calls to msgd must go through the egress gateway; msgd reports the gateway header of each call."""

from dataclasses import replace

from loadtests.entries.question import GATEWAY, ROUTING, ResponseCheck
from loadtests.rules.calls import Caller
from loadtests.rules.egress import EGRESS
from loadtests.rules.responses import by_gateway
from loadtests.samples.billing import PAY, TO_MSGD, paid, path_taken

ENTERING = replace(TO_MSGD["call"], port=80, caller=Caller(EGRESS[0], {"istio": "egressgateway"}, "billing/egress"))
QUESTION = ResponseCheck(
    namespace="billing",
    kinds=ROUTING,
    expectation=by_gateway,
    classes={"pay": {**TO_MSGD, "by": "istio-egressgateway.istio-system.svc.cluster.local", "entering": ENTERING}},
    proxies=(("billing", ""), GATEWAY, EGRESS),
)
TRAFFIC = {"pay": paid(PAY, path_taken)}
