"""Forwards a port on 127.0.0.1 to one of the lab's pages until interrupted: ``make open WHAT=prometheus``.

``kubectl port-forward`` is bound to one pod and ends with it; it is restarted here, so the address outlives the pod.
"""

from __future__ import annotations

import argparse
import signal
import socket
import subprocess
import sys
import time

# Page -> (namespace, Service, port, path to show, command that installs it)
PAGES = {
    "prometheus": ("telemetry", "prometheus", 9090, "/alerts", "make telemetry"),
    "zipkin": ("telemetry", "zipkin", 9411, "/zipkin/", "make telemetry"),
    "grafana": ("telemetry", "grafana", 3000, "/dashboards", "make telemetry, in a lab with image_source: pull"),
    "kiali": ("telemetry", "kiali", 20001, "/kiali/", "make telemetry, in a lab with image_source: pull"),
    "console": ("istio-lab-load", "locust-master", 8089, "/", "make load UI=1 WHERE=cluster"),
}
PAUSE_SECONDS = 1.0


def free_port() -> int:
    """A free port on 127.0.0.1."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def main() -> int:
    """0 when interrupted; 1 if there is no such page, with one line that explains what to do."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", help=f"one of: {', '.join(PAGES)}")
    parser.add_argument("--kubeconfig", required=True)
    parser.add_argument("--port", type=int, default=0)
    options = parser.parse_args()
    if options.what not in PAGES:
        print(
            f"WHAT: {options.what!r} was given; accepted: one of: {', '.join(PAGES)}, gate; nothing was changed",
            file=sys.stderr,
        )
        return 1
    namespace, service, port, path, brought_by = PAGES[options.what]
    kubectl = ["kubectl", "--kubeconfig", options.kubeconfig, "--namespace", namespace]
    found = subprocess.run([*kubectl, "get", "service", service], capture_output=True, text=True, check=False)
    if found.returncode:
        why = (found.stderr.strip().splitlines() or ["no answer"])[-1]
        print(f"WHAT: {options.what} is not installed ({why}); run: {brought_by}", file=sys.stderr)
        return 1
    here = options.port or free_port()
    print(f"{options.what}: http://127.0.0.1:{here}{path}   (Ctrl-C to stop)", flush=True)
    # Both, because background processes of a script start with SIGINT ignored.
    for ending in (signal.SIGINT, signal.SIGTERM):
        signal.signal(ending, signal.default_int_handler)
    try:
        while True:
            subprocess.run(
                [*kubectl, "port-forward", "--address", "127.0.0.1", f"service/{service}", f"{here}:{port}"],
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False,
            )  # fmt: skip
            time.sleep(PAUSE_SECONDS)
    except KeyboardInterrupt:
        return 0


if __name__ == "__main__":
    sys.exit(main())
