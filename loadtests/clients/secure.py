"""Clients for the gateway's other ports: HTTPS with the lab's certificates, and plain TCP."""

from __future__ import annotations

import ssl
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import urllib3

from loadtests.mesh import credentials
from loadtests.mesh.cluster import Cluster
from loadtests.rules.responses import CLOSED
from loadtests.verdict import ERROR

TIMEOUT_SECONDS = 10.0


def context(cluster: Cluster, secret: str, with_certificate: bool) -> ssl.SSLContext:
    """A TLS context that trusts only the authority in ``secret``, and optionally presents the certificate in it.

    :raises KeyError: if the Secret does not exist
    """
    data = credentials.read(cluster, secret, cluster.namespace)
    made = ssl.create_default_context(cadata=data["ca.crt"].decode())
    if with_certificate:
        # ssl reads certificates only from files; these are 0600 and removed at once.
        with tempfile.TemporaryDirectory() as folder:
            chain, key = Path(folder) / "crt", Path(folder) / "key"
            chain.write_bytes(data["tls.crt"])
            key.touch(mode=0o600)
            key.write_bytes(data["tls.key"])
            made.load_cert_chain(chain, key)
    return made


def failure(error: Exception) -> str:
    """Why there was no response, independent of the OpenSSL version."""
    message = str(error)
    # OpenSSL's words for an authority that is not trusted, and urllib3's for another host.
    if "CERTIFICATE_VERIFY_FAILED" in message or "doesn't match" in message:
        return "the client refused the certificate"
    # In TLS 1.3, the server checks the client's certificate when the client already considers the handshake done. The
    # rejection arrives as an alert, or as a closed connection if that is faster.
    closed = isinstance(error, (urllib3.exceptions.SSLError, urllib3.exceptions.ProtocolError))
    return CLOSED if closed else ERROR


def report(client: Any, name: str, started: float, error: Exception | None = None) -> None:
    """Report one request to Locust."""
    client.environment.events.request.fire(
        request_type="TLS" if name.startswith("https") else "TCP", name=name, response_length=0, exception=error,
        response_time=(time.monotonic() - started) * 1000, context={},
    )  # fmt: skip


def status(response: Any) -> str:
    """``HTTP 200``."""
    return f"HTTP {response.status}"


@dataclass(frozen=True)
class SecureFetch:
    """One HTTPS request on a new connection, so that each request is a handshake.

    :param host: server name that the client asks for, which the server's certificate has to name
    :param secret: Secret with the trusted authority and the client's certificate
    :param label: the outcome of a response
    """

    host: str
    secret: str
    path: str
    namespace: str
    with_certificate: bool = False
    label: Callable[[Any], str] = status

    def start(self, client: Any) -> None:
        """Read the certificates."""
        options = client.environment.parsed_options
        client.tls = context(Cluster(options.kubeconfig, self.namespace), self.secret, self.with_certificate)

    def visit(self, client: Any) -> str:
        """The status, or which side refused the other."""
        options, started = client.environment.parsed_options, time.monotonic()
        address, _, port = options.gateway_https.partition(":")
        pool = urllib3.HTTPSConnectionPool(
            address, int(port), ssl_context=client.tls, server_hostname=self.host, assert_hostname=self.host,
            timeout=TIMEOUT_SECONDS, retries=False,
        )  # fmt: skip
        name = f"https {self.host}{self.path}"
        try:
            response = pool.request("GET", self.path, headers={"Host": self.host, "Connection": "close"})
        except urllib3.exceptions.HTTPError as error:
            outcome = failure(error)
            report(client, name, started, error if outcome == ERROR else None)
            return outcome
        finally:
            pool.close()
        report(client, name, started)
        return self.label(response)


@dataclass(frozen=True)
class TcpFetch:
    """One request to an HTTP server through the gateway's TCP port, where no proxy parses it."""

    path: str
    label: Callable[[Any], str]

    def start(self, client: Any) -> None:
        """Nothing to prepare."""

    def visit(self, client: Any) -> str:
        """The outcome; ``ERROR`` without a response."""
        started, name = time.monotonic(), f"tcp {self.path}"
        address, _, port = client.environment.parsed_options.gateway_tcp.partition(":")
        pool = urllib3.HTTPConnectionPool(address, int(port), timeout=TIMEOUT_SECONDS, retries=False)
        try:
            outcome = self.label(pool.request("GET", self.path, headers={"Connection": "close"}))
        except (urllib3.exceptions.HTTPError, ValueError, KeyError, TypeError) as error:
            report(client, name, started, error)
            return ERROR
        finally:
            pool.close()
        report(client, name, started)
        return outcome
