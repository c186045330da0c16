"""Fingerprints and join tokens as texts; that a certificate is checked is seen in ``tests/manager/test_tls``."""

import ssl

import pytest

from bai_jupyter.common.join_tokens import BadJoinToken, JoinToken
from bai_jupyter.common.trust import BY_SYSTEM, OtherCertificate, Trust, fingerprint_of, refusal

HEX = "0123456789abcdef" * 4


def test_a_fingerprint_may_be_written_as_openssl_does() -> None:
    pairs = ":".join(HEX[at : at + 2] for at in range(0, 64, 2)).upper()
    assert {Trust(one).fingerprint for one in (HEX, HEX.upper(), pairs, f"sha256:{HEX}")} == {HEX}
    assert Trust() == BY_SYSTEM


@pytest.mark.parametrize("given", [HEX[1:], HEX + "0", "x" * 64, "sha1:" + HEX[:40]])
def test_what_is_no_fingerprint_is_refused(given: str) -> None:
    with pytest.raises(ValueError, match="64 hexadecimal digits"):
        Trust(given)


def test_without_a_fingerprint_certificate_and_name_are_verified() -> None:
    context = BY_SYSTEM.context()
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
    for one in (context, Trust(HEX).context()):
        assert one.minimum_version == ssl.TLSVersion.TLSv1_2


def test_a_text_without_a_certificate_has_no_fingerprint() -> None:
    with pytest.raises(ValueError, match="no certificate"):
        fingerprint_of("-----BEGIN PRIVATE KEY-----\nx\n-----END PRIVATE KEY-----")


def test_a_refusal_says_what_was_asked_and_found() -> None:
    text = refusal("https://m", OtherCertificate("aa", "bb")).text
    assert "certificate of https://m should have the SHA-256 fingerprint aa; it has bb." in text
    assert "bai agent join-token" in text


# Join tokens


def test_a_token_says_which_manager_it_is_for() -> None:
    token = JoinToken("s3cret", "https://10.0.0.5:8090", HEX)
    assert JoinToken.parse(token.format()) == token
    assert "s3cret" not in repr(token)
    assert not set(token.format()) - set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.")


def test_a_bare_secret_is_a_token() -> None:
    assert JoinToken.parse("abc") == JoinToken("abc")
    assert JoinToken("abc").format() == "abc"


@pytest.mark.parametrize("cut", [1, 2, 3, 40, 150])
def test_a_token_that_was_cut_is_refused_and_not_shown(cut: int) -> None:
    whole = JoinToken("s3cret", "https://10.0.0.5:8090", HEX).format()
    with pytest.raises(BadJoinToken, match="not complete") as caught:
        JoinToken.parse(whole[:-cut])
    assert whole[8:20] not in str(caught.value)
