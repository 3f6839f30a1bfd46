"""Certificates and token keys that entries need, made by the lab and kept as Secrets in the cluster: nothing is committed."""

from __future__ import annotations

import base64
import datetime
import json
from collections.abc import Mapping
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from jwt.algorithms import RSAAlgorithm

from loadtests.mesh.cluster import Cluster

VALID = datetime.timedelta(days=365)
RENEW_BEFORE = datetime.timedelta(days=30)
PURPOSES = {"server": ExtendedKeyUsageOID.SERVER_AUTH, "client": ExtendedKeyUsageOID.CLIENT_AUTH}


def read(cluster: Cluster, name: str, namespace: str) -> dict[str, bytes]:
    """The data of one Secret; empty when it is not there."""
    printed = cluster.kubectl("get", "secret", name, "--ignore-not-found", "--output", "json", "--namespace", namespace)
    return {key: base64.b64decode(value) for key, value in json.loads(printed or "{}").get("data", {}).items()}


def write(cluster: Cluster, name: str, namespace: str, data: Mapping[str, bytes]) -> None:
    """Put one Secret; its data goes through standard input, so that no process list shows it."""
    encoded = {key: base64.b64encode(value).decode() for key, value in data.items()}
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": namespace}, "data": encoded}
    cluster.kubectl(
        "apply", "--namespace", namespace, "--server-side", "--force-conflicts", "--filename", "-", stdin=json.dumps(secret)
    )


def fresh(data: Mapping[str, bytes]) -> bool:
    """Whether a Secret's certificate is good for another month."""
    if "tls.crt" not in data:
        return False
    end = x509.load_pem_x509_certificate(data["tls.crt"]).not_valid_after_utc
    return end - RENEW_BEFORE > datetime.datetime.now(datetime.UTC)


def _pem(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


@dataclass(frozen=True)
class Authority:
    """A certificate authority of the lab's own."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @classmethod
    def new(cls, name: str) -> Authority:
        """One with a new key."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        builder = _builder(subject, subject, key).add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        return cls(builder.sign(key, hashes.SHA256()), key)

    @property
    def pem(self) -> bytes:
        """Its certificate."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    def issue(self, host: str, purpose: str) -> dict[str, bytes]:
        """A certificate for ``host``, with its key and this authority's, as a gateway's Secret has them.

        :param purpose: server or client
        """
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
        signed = (
            _builder(subject, self.certificate.subject, key)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
            .add_extension(x509.ExtendedKeyUsage([PURPOSES[purpose]]), critical=False)
            .sign(self.key, hashes.SHA256())
        )
        certificate = signed.public_bytes(serialization.Encoding.PEM)
        return {"tls.crt": certificate, "tls.key": _pem(key), "ca.crt": self.pem}


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + VALID)
    )


def ensure_tls(cluster: Cluster, host: str, name: str, gateway_namespace: str = "istio-system") -> bool:
    """A server's certificate for the gateway and a client's for the entry, of one authority, unless they are there.

    :return: whether they were made
    """
    if fresh(read(cluster, name, gateway_namespace)) and fresh(read(cluster, f"{name}-client", cluster.namespace)):
        return False
    authority = Authority.new(f"istio-lab {name}")
    write(cluster, name, gateway_namespace, authority.issue(host, "server"))
    write(cluster, f"{name}-client", cluster.namespace, authority.issue("client.lab.internal", "client"))
    return True


def ensure_server_tls(cluster: Cluster, host: str, name: str, *deployments: str) -> bool:
    """A certificate for a server of a sample, the authority that signed it, and one that did not, unless they are there.

    :param name: of the Secrets NAME-tls, NAME-ca and other-ca
    :param deployments: the servers, which read their certificate when they start
    :return: whether they were made
    """
    if fresh(read(cluster, f"{name}-tls", cluster.namespace)):
        return False
    authority = Authority.new(f"istio-lab {name}")
    write(cluster, f"{name}-ca", cluster.namespace, {"ca.crt": authority.pem})
    write(cluster, "other-ca", cluster.namespace, {"ca.crt": Authority.new("istio-lab other").pem})
    write(cluster, f"{name}-tls", cluster.namespace, authority.issue(host, "server"))
    servers = [f"deployment/{deployment}" for deployment in deployments]
    cluster.kubectl("rollout", "restart", *servers)
    for server in servers:
        cluster.kubectl("rollout", "status", server, "--timeout=25s")
    return True


def ensure_signing_key(cluster: Cluster, name: str) -> bool:
    """An RSA key that signs tokens, and the sample's JWK set with its public half, unless they are there.

    :return: whether they were made
    """
    if "key.pem" in read(cluster, name, cluster.namespace):
        return False
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    public = RSAAlgorithm.to_jwk(key.public_key(), as_dict=True) | {"kid": name, "alg": "RS256", "use": "sig"}
    keys = {
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "jwks"},
        "data": {"jwks.json": json.dumps({"keys": [public]})},
    }  # fmt: skip
    cluster.kubectl("apply", "--filename", "-", stdin=json.dumps(keys))
    # A mounted ConfigMap takes a minute to follow; a new pod has it at once.
    cluster.kubectl("rollout", "restart", "deployment/keys")
    cluster.kubectl("rollout", "status", "deployment/keys", "--timeout=25s")
    write(cluster, name, cluster.namespace, {"key.pem": _pem(key)})
    return True
