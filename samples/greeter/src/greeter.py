"""The greeter: a gRPC server on 50051 that names its pod, and (ROLE=caller) its HTTP caller on 8080.

The name in a call selects the behaviour: late-3 is answered after three seconds; wanting-3 is UNAVAILABLE until the third
attempt of the same call, by the attempt number that the caller's proxy sends. The trailer x-attempt reports that number.

The caller keeps one connection to TARGET for all calls; /hello/12 makes twelve calls and reports which pods answered;
/ask/NAME makes one call and reports its status and attempt.
"""

from __future__ import annotations

import json
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import grpc
from hello import SERVICE, HelloReply, HelloRequest, say_hello

POD = os.environ.get("HOSTNAME", "?")
TARGET = os.environ.get("TARGET", "greeter:50051")
MOST_CALLS = 50
MOST_SECONDS = 10
TIMEOUT_SECONDS = 8
_one_at_a_time = threading.Lock()


def serve() -> None:
    """Serve until the pod stops."""

    def greet(request: Any, context: Any) -> Any:
        verb, _, number = request.name.partition("-")
        attempt = dict(context.invocation_metadata()).get("x-envoy-attempt-count", "1")
        context.set_trailing_metadata((("x-attempt", attempt),))
        if verb == "late" and number.isdigit():
            time.sleep(min(int(number), MOST_SECONDS))
        if verb == "wanting" and number.isdigit() and int(attempt) < int(number):
            context.abort(grpc.StatusCode.UNAVAILABLE, f"attempt {attempt}")
        return HelloReply(message=f"Hello {request.name} from {POD}")

    method = grpc.unary_unary_rpc_method_handler(greet, HelloRequest.FromString, HelloReply.SerializeToString)
    server = grpc.server(ThreadPoolExecutor(max_workers=16))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, {"SayHello": method}),))
    server.add_insecure_port("0.0.0.0:50051")
    server.start()
    server.wait_for_termination()


def ask(hello: Any, name: str) -> dict[str, str]:
    """One call: the name of its status, and the attempt that the greeter answered, if any."""
    try:
        _, call = hello.with_call(HelloRequest(name=name), timeout=TIMEOUT_SECONDS)
    except grpc.RpcError as error:
        call = error
    return {"code": call.code().name, "attempt": dict(call.trailing_metadata() or ()).get("x-attempt", "")}


class Caller(BaseHTTPRequestHandler):
    """Serve HTTP in front of one gRPC channel."""

    protocol_version = "HTTP/1.1"
    # Headers and body are two writes: the second must not wait for the acknowledgement of the first (40 ms).
    disable_nagle_algorithm = True
    hello: Any = None

    def do_GET(self) -> None:
        """Respond to /hello/N, /ask/NAME and /health."""
        verb, _, count = self.path.strip("/").partition("/")
        status: int = 200
        content: dict[str, Any] = {}
        if verb == "hello" and count.isdigit() and int(count) <= MOST_CALLS:
            try:
                with _one_at_a_time:
                    replies = [Caller.hello(HelloRequest(name="lab"), timeout=5).message for _ in range(int(count))]
                content = {"pods": [reply.rpartition(" ")[2] for reply in replies]}
            except grpc.RpcError as error:
                status, content = 502, {"error": str(error.code())}
        elif verb == "ask":
            content = ask(Caller.hello, count)
        elif verb != "health":
            status, content = 404, {"error": f"no such path; there is /hello/N, N at most {MOST_CALLS}, and /ask/NAME"}
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002 - named by the base class
        """Log nothing: the sidecar has the access log."""


if __name__ == "__main__":
    if os.environ.get("ROLE") == "caller":
        Caller.hello = staticmethod(say_hello(grpc.insecure_channel(TARGET)))
        ThreadingHTTPServer(("", 8080), Caller).serve_forever()
    else:
        serve()
