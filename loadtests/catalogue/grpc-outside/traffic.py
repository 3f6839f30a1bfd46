"""A gRPC client outside the cluster says hello through the gateway; the response names the greeter that answered."""

from loadtests.entries.question import GATEWAY, ROUTING, ResponseCheck, enters
from loadtests.rules.resilience import uniform
from loadtests.samples.greeter import CALLED, SAY_HELLO, Hello

HOST = "greeter-grpc.lab.internal"
QUESTION = ResponseCheck(
    namespace="greeter",
    kinds=(*ROUTING, "statefulsets.apps"),
    expectation=uniform,
    classes={
        "hello": {**CALLED, "call": enters(HOST, "greeter/greeter", SAY_HELLO.uri, "POST"), "stateful_set": "greeter"},
    },
    proxies=(GATEWAY,),
    margin=0.1,
)
TRAFFIC = {"hello": Hello(HOST)}
