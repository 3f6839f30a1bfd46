"""Says hello with and without the header of testers; the reply names the pod, and with it the Service in front of it."""

from loadtests.entries.question import BY_ROUTES, GATEWAY, ResponseCheck
from loadtests.rules.grpc_routes import grpc_shared
from loadtests.samples.greeter import SAY_HELLO, Hello

HOST = "greeter.routes.lab.internal"
ASK = {"gateway": ("istio-system", "ingress"), "answers": ("greeter-0", "greeter-1"), "authority": HOST, "uri": SAY_HELLO.uri}
HEADERS = {"split": {}, "testers": {"x-lab-group": "testers"}}

QUESTION = ResponseCheck(
    namespace="greeter",
    kinds=BY_ROUTES,
    expectation=grpc_shared,
    classes={name: {**ASK, "headers": headers} for name, headers in HEADERS.items()},
    proxies=(GATEWAY,),
)
TRAFFIC = {name: Hello(HOST, headers) for name, headers in HEADERS.items()}
