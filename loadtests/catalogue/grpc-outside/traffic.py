"""A gRPC client outside the cluster says hello through the gateway; which greeter answers is in the answer."""

from loadtests.greeter import Hello
from loadtests.question import GATEWAY, Contract
from loadtests.resilience import uniform

QUESTION = Contract(
    namespace="greeter",
    kinds=("destinationrules.networking.istio.io", "statefulsets.apps"),
    promise=uniform,
    classes={"hello": {"destination_rule": "greeter", "stateful_set": "greeter"}},
    proxies=(GATEWAY,),
)
TRAFFIC = {"hello": Hello("greeter-grpc.lab.internal")}
