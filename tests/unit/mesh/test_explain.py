"""How the explanation of a pod interprets its input."""

from __future__ import annotations

import base64
import datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from loadtests.mesh.credentials import Authority
from loadtests.mesh.explain import Rule, certificates_of, containers_of, listening, rules_of, selected, taken, webhooks_of

SAVED = """*nat
:PREROUTING ACCEPT [0:0]
[3:180] -A PREROUTING -p tcp -j ISTIO_INBOUND
[{inbound}:60] -A ISTIO_INBOUND -p tcp -j ISTIO_IN_REDIRECT
[0:0] -A ISTIO_INBOUND -p tcp -m tcp --dport 15090 -j RETURN
COMMIT
"""


def test_rules_that_matched_packets_are_explained() -> None:
    before, after = rules_of(SAVED.format(inbound=1)), rules_of(SAVED.format(inbound=3))
    assert [r.packets for r in after] == [3, 3, 0]
    (line,) = taken(before, after)
    assert "  2 packets  -A ISTIO_INBOUND -p tcp -j ISTIO_IN_REDIRECT" in line
    assert "= all else that comes in is led to the proxy" in line


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("-A ISTIO_INBOUND -p tcp -m tcp --dport 15090 -j RETURN", "port 15090 goes straight to whoever listens there"),
        ("-A ISTIO_OUTPUT -m owner --uid-owner 1337 -j RETURN", "what the proxy itself (user 1337) sends goes straight"),
        (
            "-A ISTIO_OUTPUT -o lo -m owner ! --uid-owner 1337 -j RETURN",
            "what the application sends to its own pod goes straight",
        ),
        ("-A ISTIO_REDIRECT -p tcp -j REDIRECT --to-ports 15001", "the proxy's outbound port: 15001"),
        ("-A SOMEBODY_ELSE -j RETURN", ""),
    ],
)
def test_meanings(text: str, words: str) -> None:
    assert Rule(text, 0).meaning == words


def test_listening_ports_of_both_families() -> None:
    table = """  sl  local_address rem_address   st
   0: 00000000:3A9E 00000000:0000 0A
   1: 0100007F:3A98 00000000:0000 0A
   2: 0100007F:3A98 0100007F:9999 01
   0: 00000000000000000000000000000000:2378 00000000000000000000000000000000:0000 0A
"""
    assert listening(table) == [9080, 15000, 15006]


def test_containers_by_what_they_are() -> None:
    spec = {
        "initContainers": [
            {"name": "istio-init", "image": "p"},
            {"name": "istio-proxy", "image": "p", "restartPolicy": "Always"},
        ],
        "containers": [{"name": "app", "image": "a"}],
    }
    once, native, app = containers_of({"spec": spec})
    assert (once, app) == ("istio-init: init container: runs once, first; p", "app: application; a")
    assert "native sidecar" in native


@pytest.mark.parametrize(
    ("operator", "values", "given", "holds"),
    [
        ("In", ["enabled"], {"k": "enabled"}, True), ("In", ["enabled"], {}, False), ("NotIn", ["false"], {}, True),
        ("NotIn", ["false"], {"k": "false"}, False), ("Exists", [], {"k": ""}, True), ("DoesNotExist", [], {"k": ""}, False),
    ],
)  # fmt: skip
def test_selectors(operator: str, values: list[str], given: dict[str, str], holds: bool) -> None:
    assert selected({"matchExpressions": [{"key": "k", "operator": operator, "values": values}]}, given) is holds


def test_only_webhooks_that_select_the_pod_are_listed() -> None:
    def hook(name: str, **selector: str) -> dict[str, object]:
        return {
            "name": f"{name}.sidecar-injector.istio.io", "failurePolicy": "Fail", "clientConfig": {},
            "rules": [{"operations": ["CREATE"], "resources": ["pods"]}], "namespaceSelector": {"matchLabels": selector},
        }  # fmt: skip

    there = [{"webhooks": [hook("never", a="b"), hook("namespace", **{"istio-injection": "enabled"})]}]
    (line,) = webhooks_of(there, {"istio-injection": "enabled"}, {})
    assert (
        line == "namespace.sidecar-injector.istio.io: on CREATE of pods; when it does not answer: Fail; its authority: nobody"
    )
    (none,) = webhooks_of(there, {}, {})
    assert none.startswith("none takes this pod")


def test_certificates_the_workloads_own_first() -> None:
    authority = Authority.new("a mesh")
    spiffe = "spiffe://cluster.local/ns/a/sa/b"
    key = ec.generate_private_key(ec.SECP256R1())
    own = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(authority.certificate.subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC))
        .not_valid_after(datetime.datetime(2026, 1, 2, 3, 4, tzinfo=datetime.UTC))
        .add_extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier(spiffe)]), critical=True)
        .sign(authority.key, hashes.SHA256())
    )
    chain = base64.b64encode(own.public_bytes(serialization.Encoding.PEM) + authority.pem).decode()
    root = base64.b64encode(authority.pem).decode()
    dump = {
        "configs": [
            {"name": "ROOTCA", "secret": {"validation_context": {"trusted_ca": {"inline_bytes": root}}}},
            {"name": "default", "secret": {"tls_certificate": {"certificate_chain": {"inline_bytes": chain}}}},
        ]
    }
    lines = certificates_of(dump)
    assert lines[0] == f"shown to others: {spiffe}; signed by CN=a mesh; good until 2026-01-02 03:04 UTC"
    assert [line.split(";")[0] for line in lines[1:]] == ["shown to others: CN=a mesh", "trusted: CN=a mesh"]
    assert certificates_of({}) == []
