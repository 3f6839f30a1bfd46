"""The greeter: a gRPC server on 50051 that says which pod it is, and (ROLE=caller) its HTTP caller on 8080.

The caller keeps one connection to TARGET for all its calls; /hello/12 makes twelve of them and tells which pods answered.
"""

from __future__ import annotations

import json
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import grpc
from hello import SERVICE, HelloReply, HelloRequest, say_hello

POD = os.environ.get("HOSTNAME", "?")
TARGET = os.environ.get("TARGET", "greeter:50051")
MOST_CALLS = 50
_one_at_a_time = threading.Lock()


def serve() -> None:
    """Answer until the pod ends."""

    def greet(request: Any, _: Any) -> Any:
        return HelloReply(message=f"Hello {request.name} from {POD}")

    method = grpc.unary_unary_rpc_method_handler(greet, HelloRequest.FromString, HelloReply.SerializeToString)
    server = grpc.server(ThreadPoolExecutor(max_workers=16))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, {"SayHello": method}),))
    server.add_insecure_port("0.0.0.0:50051")
    server.start()
    server.wait_for_termination()


class Caller(BaseHTTPRequestHandler):
    """HTTP in front of one channel."""

    protocol_version = "HTTP/1.1"
    hello: Any = None

    def do_GET(self) -> None:
        """/hello/N, or /health."""
        verb, _, count = self.path.strip("/").partition("/")
        status, told = 200, {}
        if verb == "hello" and count.isdigit() and int(count) <= MOST_CALLS:
            try:
                with _one_at_a_time:
                    replies = [Caller.hello(HelloRequest(name="lab"), timeout=5).message for _ in range(int(count))]
                told = {"pods": [reply.rpartition(" ")[2] for reply in replies]}
            except grpc.RpcError as error:
                status, told = 502, {"error": str(error.code())}
        elif verb != "health":
            status, told = 404, {"error": f"no such path; there is /hello/N, N at most {MOST_CALLS}"}
        body = json.dumps(told).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002 - as the base class names it
        """Silent: the sidecar has the access log."""


if __name__ == "__main__":
    if os.environ.get("ROLE") == "caller":
        Caller.hello = staticmethod(say_hello(grpc.insecure_channel(TARGET)))
        ThreadingHTTPServer(("", 8080), Caller).serve_forever()
    else:
        serve()
