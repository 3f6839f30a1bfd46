"""The lab's own certificates."""

from __future__ import annotations

import ssl

import pytest
import urllib3
from cryptography import x509

from loadtests.clients import secure
from loadtests.mesh import credentials
from loadtests.verdict import ERROR


def test_a_certificate_is_valid_for_one_host_and_one_purpose() -> None:
    authority = credentials.Authority.new("lab")
    data = authority.issue("web.lab.internal", "server")
    certificate = x509.load_pem_x509_certificate(data["tls.crt"])
    certificate.verify_directly_issued_by(authority.certificate)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["web.lab.internal"]
    purposes = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(purposes) == [credentials.PURPOSES["server"]]
    with pytest.raises(ValueError, match="Issuer"):
        certificate.verify_directly_issued_by(credentials.Authority.new("other").certificate)


def test_an_expiring_certificate_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    authority = credentials.Authority.new("lab")
    assert credentials.fresh(authority.issue("a", "client"))
    assert not credentials.fresh({})
    monkeypatch.setattr(credentials, "VALID", credentials.RENEW_BEFORE / 2)
    assert not credentials.fresh(authority.issue("a", "client"))


def test_the_error_shows_which_side_refused() -> None:
    def tls(error: Exception) -> Exception:
        return urllib3.exceptions.SSLError(error)

    assert secure.failure(tls(ssl.SSLError("CERTIFICATE_VERIFY_FAILED"))) == "the client refused the certificate"
    assert secure.failure(tls(ssl.SSLError("TLSV13_ALERT_CERTIFICATE_REQUIRED"))) == "the gateway refused the client"
    assert secure.failure(urllib3.exceptions.ProtocolError("Connection aborted")) == "the gateway refused the client"
    assert secure.failure(urllib3.exceptions.TimeoutError()) == ERROR
