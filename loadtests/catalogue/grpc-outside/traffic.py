"""A gRPC client outside the cluster says hello through the gateway; the response names the greeter that answered."""

from loadtests.entries.question import GATEWAY, Contract
from loadtests.rules.resilience import uniform
from loadtests.rules.workloads import BY_GATEWAY
from loadtests.samples.greeter import CALLED, Hello

QUESTION = Contract(
    namespace="greeter",
    kinds=("destinationrules.networking.istio.io", "statefulsets.apps"),
    promise=uniform,
    classes={"hello": {**CALLED, **BY_GATEWAY, "stateful_set": "greeter"}},
    proxies=(GATEWAY,),
)
TRAFFIC = {"hello": Hello("greeter-grpc.lab.internal")}
