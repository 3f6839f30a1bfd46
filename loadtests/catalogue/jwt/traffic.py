"""Sends tokens to echo: none, one with the wrong key, expired, for another audience, from another group, and the right one."""

from loadtests.clients.tokens import HOUR, ISSUER, TokenFetch
from loadtests.entries.question import SECURITY, ResponseCheck
from loadtests.mesh.cluster import Cluster
from loadtests.mesh.credentials import ensure_signing_key
from loadtests.rules.security import token_accepted
from loadtests.samples.echo import CALLED, GATEWAY

KEY = "lab-tokens"
RIGHT = {"iss": ISSUER, "sub": "reader", "aud": "echo", "group": "readers"}
TOKENS = {
    "right": TokenFetch(KEY, RIGHT),
    "none": TokenFetch(KEY, None),
    "wrong key": TokenFetch(KEY, RIGHT, forged=True),
    "expired": TokenFetch(KEY, RIGHT, valid_seconds=-HOUR),
    "wrong audience": TokenFetch(KEY, {**RIGHT, "aud": "pool"}),
    "other group": TokenFetch(KEY, {**RIGHT, "group": "writers"}),
}


def PREPARE(cluster: Cluster) -> bool:  # noqa: N802 - found by this name
    """Create the signing key, and publish its public half where istiod fetches it."""
    return ensure_signing_key(cluster, KEY)


QUESTION = ResponseCheck(
    namespace="echo",
    kinds=("requestauthentications.security.istio.io", *SECURITY),
    expectation=token_accepted,
    classes={
        name: {
            **CALLED,
            "authority": "echo.lab.internal",
            "gateway": GATEWAY,
            "keys": "http://keys.echo.svc.cluster.local:8080/jwks.json",
            "claims": t.claims,
            "sound": not t.forged and t.valid_seconds > 0,
        }
        for name, t in TOKENS.items()
    },
)
TRAFFIC = TOKENS
