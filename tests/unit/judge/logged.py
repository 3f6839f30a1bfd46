"""Lines of an access log in Istio's default format."""

from __future__ import annotations


def connection_line(port: int, *, host: str, cluster: str) -> str:
    """The line of a connection from a port of 10.0.0.9."""
    return (
        f'[2026-11-27T05:00:00.000Z] "- - -" 0 - - - "-" 0 0 501 - "-" "-" "-" "-" "{host}" '
        f"{cluster} 10.0.0.9:1 10.96.0.1:9000 10.0.0.9:{port} - -"
    )


def log_line(
    identifier: str, *, status: int = 200, flags: str = "-", details: str = "via_upstream", milliseconds: int = 3,
    agent: str = "istio-lab-judge", host: str = "-", cluster: str = "-",
) -> str:  # fmt: skip
    """One line.

    :param identifier: of the request
    :param host: address and port of the upstream
    """
    return (
        f'[2026-11-26T18:00:00.000Z] "GET / HTTP/1.1" {status} {flags} {details} - "-" 0 5 {milliseconds} 2 "-" "{agent}" '
        f'"{identifier}" "reviews.shop.svc.cluster.local:9080" "{host}" {cluster} 10.0.0.1:5 10.96.0.1:80 10.0.0.1:6 - default'
    )
