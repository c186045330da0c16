"""The manager's certificate by itself: kept, private, and who would trust it."""

import ssl
import stat

import pytest
from certificates import Authority
from cryptography import x509

from bai_jupyter.common.trust import Trust
from bai_jupyter.manager.certificate import CertificateError, is_loopback, load, outgoing_address, own


@pytest.fixture
def authority(tmp_path) -> Authority:
    return Authority(tmp_path)


def test_its_own_is_made_once_and_its_key_is_private(tmp_path) -> None:
    made = own(tmp_path, ["localhost", "10.0.0.5", "10.0.0.5"])
    assert own(tmp_path, ["other"]).fingerprint == made.fingerprint
    assert {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {
        "certificate.pem": 0o644,
        "certificate-key.pem": 0o600,
    }
    certificate = x509.load_pem_x509_certificate(made.path.read_bytes())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [str(one.value) for one in names] == ["10.0.0.5", "localhost"]
    assert made.context.minimum_version == ssl.TLSVersion.TLSv1_2
    made.path.unlink()
    assert own(tmp_path, ["localhost"]).fingerprint != made.fingerprint


def test_a_start_that_was_killed_before_the_certificate_was_written_is_made_good(tmp_path) -> None:
    (tmp_path / "certificate-key.pem").write_text("half")
    assert own(tmp_path, ["localhost"]).fingerprint


def test_the_system_s_cas_vouch_for_their_names_only(authority, tmp_path, monkeypatch) -> None:
    signed = load(authority.sign("bai.example.org"), None)
    assert not signed.is_vouched_for("bai.example.org")
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.ca_file))
    assert signed.is_vouched_for("bai.example.org")
    assert not signed.is_vouched_for("127.0.0.1")
    assert load(authority.sign("127.0.0.1"), None).is_vouched_for("127.0.0.1")
    assert not own(tmp_path, ["localhost"]).is_vouched_for("localhost")


def test_a_certificate_that_cannot_be_used_is_named(authority, tmp_path) -> None:
    signed, other = authority.sign("one"), authority.sign("two")
    for certfile, keyfile in (
        (tmp_path / "none.pem", None),
        (authority.ca_file, None),  # without a key
        (signed, other),
        (tmp_path / "empty.pem", None),
    ):
        (tmp_path / "empty.pem").write_text("")
        with pytest.raises(CertificateError, match=f"{certfile.name}.* cannot be used"):
            load(certfile, keyfile)


def test_a_key_with_a_password_is_refused_without_asking_for_it(authority, tmp_path) -> None:
    from cryptography.hazmat.primitives import serialization

    signed = authority.sign("one")
    key = serialization.load_pem_private_key(signed.read_bytes().partition(b"-----END CERTIFICATE-----\n")[2], None)
    locked = tmp_path / "locked.pem"
    locked.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"x")
        )
    )
    with pytest.raises(CertificateError, match="without a password"):
        load(signed, locked)


def test_addresses() -> None:
    assert [is_loopback(one) for one in ("127.0.0.1", "127.9.9.9", "::1", "[::1]", "localhost")] == [True] * 5
    assert [is_loopback(one) for one in ("10.0.0.5", "example.org", "")] == [False] * 3
    assert outgoing_address()
    assert Trust().ca_file == ""
