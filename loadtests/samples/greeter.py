"""A gRPC client of the greeter sample, outside the cluster."""

from __future__ import annotations

import importlib.util
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# kubectl is started beside the calls; gRPC must not touch its own threads in the child.
os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"
import grpc
import grpc.experimental.gevent

from loadtests.verdict import ERROR

# The messages are the sample's own.
_spec = importlib.util.spec_from_file_location("hello", Path(__file__).parents[2] / "samples/greeter/src/hello.py")
assert _spec is not None
assert _spec.loader is not None
hello = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(hello)

TIMEOUT_SECONDS = 10.0
_ready: list[bool] = []


OUT_OF_TIME = ("UNAVAILABLE", "DEADLINE_EXCEEDED")
"""What a time-out of the mesh is to gRPC: the proxy's 504, or the server's own word when it is quicker, for the proxy tells it
the deadline."""


def in_time(response: Any) -> str:
    """Whether the sample's caller was answered, or gRPC's status where that has nothing to do with time."""
    told = str(response.json()["code"])
    return "out of time" if told in OUT_OF_TIME else told


def code_and_attempt(response: Any) -> str:
    """gRPC's status, as the sample's caller was told it, and the attempt that the greeter answered."""
    told = response.json()
    return f"{told['code']} at attempt {told['attempt']}"


@dataclass(frozen=True)
class Hello:
    """One SayHello through the gateway's HTTP port, which takes HTTP/2 as well; a connection for each client."""

    host: str

    def start(self, client: Any) -> None:
        """Open the connection."""
        if not _ready:
            grpc.experimental.gevent.init_gevent()
            _ready.append(True)
        target = client.environment.host.removeprefix("http://")
        client.hello = hello.say_hello(grpc.insecure_channel(target, options=(("grpc.default_authority", self.host),)))

    def visit(self, client: Any) -> str:
        """The pod that answered, or gRPC's own word for what went wrong."""
        started, outcome, failed = time.monotonic(), ERROR, None
        try:
            outcome = client.hello(hello.HelloRequest(name="lab"), timeout=TIMEOUT_SECONDS).message.rpartition(" ")[2]
        except grpc.RpcError as error:
            failed = error
        client.environment.events.request.fire(
            request_type="gRPC", name=hello.METHOD, response_length=0, exception=failed, context={},
            response_time=(time.monotonic() - started) * 1000,
        )  # fmt: skip
        return str(outcome)
