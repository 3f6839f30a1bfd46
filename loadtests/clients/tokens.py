"""Clients that send a JSON Web Token, signed with the lab's own key."""

from __future__ import annotations

import functools
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from loadtests.clients.http import Fetch
from loadtests.mesh import credentials
from loadtests.mesh.cluster import Cluster

ISSUER = "https://tokens.lab.internal"
HOUR = 3600


@functools.cache
def unknown_key() -> Any:
    """A private key that nobody else has; one for all, for making it takes a processor a third of a second."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@dataclass(frozen=True)
class TokenFetch:
    """Calls echo with a token.

    :param secret: Secret with the signing key
    :param claims: the token's claims; None for no token
    :param forged: sign with an unknown key
    """

    secret: str
    claims: Mapping[str, str] | None
    forged: bool = False
    valid_seconds: int = HOUR
    namespace: str = "echo"

    def start(self, client: Any) -> None:
        """Sign the token."""
        client.bearer = {}
        if self.claims is None:
            return
        if self.forged:
            key = unknown_key()
        else:
            cluster = Cluster(client.environment.parsed_options.kubeconfig, self.namespace)
            key = load_pem_private_key(credentials.read(cluster, self.secret, self.namespace)["key.pem"], password=None)
        token = jwt.encode(
            {**self.claims, "exp": int(time.time()) + self.valid_seconds}, key, algorithm="RS256", headers={"kid": self.secret}
        )
        client.bearer = {"Authorization": f"Bearer {token}"}

    def visit(self, client: Any) -> str:
        """The status."""
        return Fetch("/", "echo.lab.internal", headers=client.bearer).visit(client)
