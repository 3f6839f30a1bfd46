"""Calls from zone a to a service in two zones: which zone answers, by the name of the pod."""

from loadtests.clients.http import Fetch
from loadtests.entries.question import ROUTING, ResponseCheck
from loadtests.rules.localities import near
from loadtests.samples.echo import by_client, called_service, through

SERVICES = {"distributed": "spread", "kept near": "near"}

QUESTION = ResponseCheck(
    namespace="echo",
    kinds=ROUTING,
    expectation=near,
    classes={
        name: {
            "namespace": "echo",
            "app": service,
            "port": 8080,
            "call": by_client(service),
            **through("client", f"/call/{service}/"),
        }
        for name, service in SERVICES.items()
    },
    proxies=(("echo", "client"),),
)
TRAFFIC = {name: Fetch(f"/call/{service}/", "client.lab.internal", label=called_service) for name, service in SERVICES.items()}
