"""Signatures, computed here a second time from the public description, with hmac alone."""

import hashlib
import hmac
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest

from bai_jupyter.common import signing
from bai_jupyter.common.signing import SignedParts

SECRET = "cWbsM_vBB4CzTW7JdORRMx8SjGI3-wEXAMPLEKEY"
BODY = b'{"name": "train"}'
PARTS = SignedParts(
    method="POST",
    path="/session?x=1&y=%2F",
    date="2026-03-01T10:20:30.123456+00:00",
    host="backend.example:8081",
    content_type="application/json",
    version_header="x-backendai-version",
    version="v7.20230615",
)


def by_hand(body: bytes, *, day: str = "20260301", date: str = PARTS.date, media_type: str = "application/json") -> str:
    text = (
        f"POST\n/session?x=1&y=%2F\n{date}\nhost:backend.example:8081\ncontent-type:{media_type}\n"
        f"x-backendai-version:v7.20230615\n{hashlib.sha256(body).hexdigest()}"
    )
    key = hmac.new(SECRET.encode(), day.encode(), hashlib.sha256).digest()
    key = hmac.new(key, b"backend.example:8081", hashlib.sha256).digest()
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


def test_fixed_vector():
    """Guards the description above as well: written down once, from hmac alone."""
    assert (
        signing.sign(SECRET, PARTS)
        == by_hand(b"")
        == "a430a94d2bbf6f47d8d9c9b35841fac2eba8daca7f8320d89a7fbe7c76c7e951"
    )


def test_both_rules_for_the_body_are_accepted():
    assert signing.verify(SECRET, PARTS, by_hand(b""), BODY)
    assert signing.verify(SECRET, PARTS, by_hand(BODY), BODY)
    assert signing.verify(SECRET, PARTS, by_hand(b""), b"")


def test_another_body_is_refused():
    assert not signing.verify(SECRET, PARTS, by_hand(BODY), BODY + b" ")
    assert not signing.verify(SECRET, PARTS, by_hand(BODY), b"")


@pytest.mark.parametrize(
    "change",
    [
        {"method": "PUT"},
        {"path": "/session?x=2&y=%2F"},
        {"path": "/session?x=1&y=/"},
        {"date": "2026-03-01T10:20:31.123456+00:00"},
        {"host": "other.example:8081"},
        {"host": "backend.example"},
        {"content_type": "text/plain"},
        {"version_header": "x-sorna-version"},
        {"version": "v8.20240315"},
    ],
)
def test_every_part_is_signed(change):
    assert not signing.verify(SECRET, replace(PARTS, **change), signing.sign(SECRET, PARTS), b"")


@pytest.mark.parametrize("signature", ["", "0" * 64, "Ω", by_hand(b"").upper()])
def test_wrong_signature_is_refused_quietly(signature):
    assert not signing.verify(SECRET, PARTS, signature, BODY)


def test_wrong_key_is_refused():
    assert not signing.verify(SECRET + "x", PARTS, by_hand(b""), b"")


def test_content_type_goes_without_parameters_and_method_in_capitals():
    parts = replace(PARTS, method="post", content_type="Application/JSON; charset=utf-8")
    assert signing.sign(SECRET, parts) == by_hand(b"")
    multipart = replace(PARTS, content_type="multipart/form-data; boundary=xyz")
    assert signing.sign(SECRET, multipart) == by_hand(b"", media_type="multipart/form-data")


def test_no_content_type_is_signed_as_octet_stream():
    assert signing.sign(SECRET, replace(PARTS, content_type="")) == by_hand(b"", media_type="application/octet-stream")


@pytest.mark.parametrize(
    ("date", "day"),
    [
        ("20260301T102030Z", "20260301"),
        ("Sun, 01 Mar 2026 10:20:30 GMT", "20260301"),
        ("2026-03-01T10:20:30", "20260301"),
    ],
)
def test_dates_in_every_form(date, day):
    parts = replace(PARTS, date=date)
    assert signing.sign(SECRET, parts) == by_hand(b"", day=day, date=date)
    assert signing.parse_date(date) == datetime(2026, 3, 1, 10, 20, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    "date", ["", "yesterday", "2026-13-01T00:00:00Z", "Sun, 99 Mar 2026 10:20:30 GMT", "1", "\x00"]
)
def test_unreadable_date(date):
    with pytest.raises(ValueError, match=r".*"):
        signing.parse_date(date)


def test_clock_skew():
    now = datetime(2026, 3, 1, 10, 0, tzinfo=UTC)
    assert signing.clock_skew("2026-03-01T10:20:00Z", now) == timedelta(minutes=20)
    assert signing.clock_skew("2026-03-01T19:00:00+09:00", now.astimezone(timezone(timedelta(hours=2)))) == timedelta()


@pytest.mark.parametrize("scheme", ["BackendAI", "Sorna"])
def test_authorization_header(scheme):
    header = f"{scheme} signMethod=HMAC-SHA256, credential=AKIAEXAMPLE:0a1b"
    assert signing.parse_authorization(header) == ("AKIAEXAMPLE", "0a1b")


def test_authorization_header_round_trip():
    assert signing.parse_authorization(signing.format_authorization("AKIA", "ff")) == ("AKIA", "ff")


@pytest.mark.parametrize(
    "header",
    [
        "",
        "BackendAI",
        "Bearer abc",
        "BackendAI credential=AKIA:ff",
        "BackendAI signMethod=HMAC-MD5, credential=AKIA:ff",
        "BackendAI signMethod=HMAC-SHA256",
        "BackendAI signMethod=HMAC-SHA256, credential=AKIA",
        "BackendAI signMethod=HMAC-SHA256, credential=:ff",
        "BackendAI signMethod=HMAC-SHA256, credential=AKIA:",
        "BackendAI ,,,===",
    ],
)
def test_other_authorization_headers_are_refused(header):
    with pytest.raises(ValueError, match=r"scheme|signMethod|credential"):
        signing.parse_authorization(header)
