"""Sign and verify a request as Backend.AI does (public API documents, and measured with client 23.9.10).

The string to sign is seven lines: method, raw path with query, the Date header's exact text, host, content type
without parameters, API version, and the SHA-256 of the body. Since v4.20181215 clients sign the hash of an *empty*
body; clients written from the document sign the real one, so a verifier accepts both.
"""

import hashlib
import hmac
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

EMPTY_HASH = hashlib.sha256(b"").hexdigest()
CLOCK_WINDOW = timedelta(minutes=15)
DEFAULT_CONTENT_TYPE = "application/octet-stream"  # what clients sign when they send none (WebSocket, SSE)


@dataclass(frozen=True)
class SignedParts:
    """What is signed. ``path`` is the raw request target with its query; ``date`` the header's exact text."""

    method: str
    path: str
    date: str
    host: str  # with port, unless it is the scheme's default
    content_type: str
    version_header: str  # "x-backendai-version", or "x-sorna-version" of old clients
    version: str

    def string_to_sign(self, body_hash: str) -> bytes:
        media_type = (self.content_type or DEFAULT_CONTENT_TYPE).split(";")[0].strip().lower()
        lines = [
            self.method.upper(),
            self.path,
            self.date,
            f"host:{self.host}",
            f"content-type:{media_type}",
            f"{self.version_header}:{self.version}",
            body_hash,
        ]
        return "\n".join(lines).encode()


def sign(secret_key: str, parts: SignedParts, body_hash: str = EMPTY_HASH) -> str:
    """The hex HMAC-SHA256 for the Authorization header. Raises ``ValueError`` if the date cannot be read."""
    day = parse_date(parts.date).strftime("%Y%m%d")
    day_key = hmac.digest(secret_key.encode(), day.encode(), "sha256")
    signing_key = hmac.digest(day_key, parts.host.encode(), "sha256")
    return hmac.new(signing_key, parts.string_to_sign(body_hash), hashlib.sha256).hexdigest()


def verify(secret_key: str, parts: SignedParts, signature: str, body: bytes) -> bool:
    """True if ``signature`` is right for the empty or the real body hash. Constant time in the signature."""
    given = signature.encode()  # compare_digest takes other characters than ASCII as bytes only
    if hmac.compare_digest(sign(secret_key, parts).encode(), given):
        return True
    body_hash = hashlib.sha256(body).hexdigest()
    return bool(body) and hmac.compare_digest(sign(secret_key, parts, body_hash).encode(), given)


def parse_authorization(header: str) -> tuple[str, str]:
    """Access key and signature of ``BackendAI signMethod=HMAC-SHA256, credential=AKIA…:hex``.

    The old scheme name ``Sorna`` is accepted. Raises ``ValueError`` for anything else.
    """
    scheme, _, rest = header.partition(" ")
    if scheme not in ("BackendAI", "Sorna"):
        raise ValueError(f"unknown authorization scheme {scheme!r}")
    fields = dict(part.strip().partition("=")[::2] for part in rest.split(","))
    if fields.get("signMethod", "").upper() != "HMAC-SHA256":
        raise ValueError("only signMethod=HMAC-SHA256 is supported")
    access_key, _, signature = fields.get("credential", "").partition(":")
    if not access_key or not signature:
        raise ValueError("credential must be ACCESSKEY:SIGNATURE")
    return access_key, signature


def format_authorization(access_key: str, signature: str) -> str:
    return f"BackendAI signMethod=HMAC-SHA256, credential={access_key}:{signature}"


def parse_date(text: str) -> datetime:
    """ISO 8601, compact ``YYYYmmddTHHMMSSZ`` or RFC 1123; no zone means UTC. Raises ``ValueError``."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = parsedate_to_datetime(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def clock_skew(date: str, now: datetime) -> timedelta:
    """How far ahead of ``now`` the caller's clock is; negative when behind."""
    return parse_date(date) - now
