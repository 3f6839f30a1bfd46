"""A gRPC client for the greeter sample, outside the cluster."""

from __future__ import annotations

import importlib.util
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# kubectl is started during calls; gRPC must not touch its own threads in the child process.
os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"
import grpc
import grpc.experimental.gevent

from loadtests.entries.question import through
from loadtests.rules.calls import Call, Caller
from loadtests.verdict import ERROR

SAY_HELLO = Call(
    "greeter:50051", 50051, Caller("greeter", {"app": "caller"}, all_labels=False), "/helloworld.Greeter/SayHello", "POST"
)
"""A call that caller makes."""


def through_caller(uri: str) -> dict[str, Any]:
    """How a request gets to caller."""
    return through("greeter/caller", "greeter.lab.internal", "caller", uri)


# Use the sample's own message definitions.
_spec = importlib.util.spec_from_file_location("hello", Path(__file__).parents[2] / "samples/greeter/src/hello.py")
assert _spec is not None
assert _spec.loader is not None
hello = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(hello)

CALLED = {"namespace": "greeter", "app": "greeter", "port": 50051}
"""The workload that callers call."""
TIMEOUT_SECONDS = 10.0
_ready: list[bool] = []


OUT_OF_TIME = ("UNAVAILABLE", "DEADLINE_EXCEEDED")
"""How gRPC reports a mesh timeout: from the proxy's 504, or from the server if it is faster, since the proxy sends it the
deadline."""


def in_time(response: Any) -> str:
    """``out of time`` for a timeout, otherwise the gRPC status that the sample's caller received."""
    code = str(response.json()["code"])
    return "out of time" if code in OUT_OF_TIME else code


def code_and_attempt(response: Any) -> str:
    """The gRPC status that the sample's caller received, and the attempt that the greeter answered."""
    body = response.json()
    return f"{body['code']} at attempt {body['attempt']}"


def status_of(error: grpc.RpcError) -> str:
    """The status that a call failed with; ``ERROR`` for one that the client itself may have set, without a response."""
    code = str(error.code().name)
    return ERROR if code in OUT_OF_TIME else code


@dataclass(frozen=True)
class Hello:
    """One SayHello through the gateway's HTTP port, which also accepts HTTP/2; one connection per client."""

    host: str
    headers: Mapping[str, str] = field(default_factory=dict)

    def start(self, client: Any) -> None:
        """Open the connection."""
        if not _ready:
            grpc.experimental.gevent.init_gevent()
            _ready.append(True)
        target = client.environment.host.removeprefix("http://")
        client.hello = hello.say_hello(grpc.insecure_channel(target, options=(("grpc.default_authority", self.host),)))

    def visit(self, client: Any) -> str:
        """The pod that answered, or the status that the call failed with; ``ERROR`` without a response."""
        started, failed, metadata = time.monotonic(), None, tuple(self.headers.items())
        try:
            reply = client.hello(hello.HelloRequest(name="lab"), timeout=TIMEOUT_SECONDS, metadata=metadata)
            outcome = reply.message.rpartition(" ")[2]
        except grpc.RpcError as error:
            outcome = status_of(error)
            # Another status may be what the rules require; the verdict decides.
            failed = error if outcome == ERROR else None
        client.environment.events.request.fire(
            request_type="gRPC", name=hello.METHOD, response_length=0, exception=failed, context={},
            response_time=(time.monotonic() - started) * 1000,
        )  # fmt: skip
        return str(outcome)
