"""Short-lived tokens that say something and that nobody else could have made: ``<kind>.<claims>.<signature>``.

Nothing of them is stored. ``claims`` are JSON with ``expires_at``, in seconds since 1970; anybody may read them.
"""

import base64
import hmac
import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

_MAX_LENGTH = 8192


def seal(kind: str, key: bytes, claims: Mapping[str, Any]) -> str:
    """The token of these claims. Pure."""
    body = f"{kind}.{_encode(json.dumps(claims).encode())}"
    return f"{body}.{_encode(hmac.digest(key, body.encode(), 'sha256'))}"


def unseal(kind: str, key: bytes, token: str, now: datetime) -> dict[str, Any] | None:
    """What a token says, if we sealed it and its time is not over; otherwise ``None``. Pure; reads nothing unsigned."""
    if len(token) > _MAX_LENGTH or not token.isascii():
        return None
    body, _, signature = token.rpartition(".")
    right = _encode(hmac.digest(key, body.encode(), "sha256"))
    if not hmac.compare_digest(right, signature) or not body.startswith(f"{kind}."):
        return None
    claims: dict[str, Any] = json.loads(_decode(body.removeprefix(f"{kind}.")))
    return claims if now.timestamp() < claims["expires_at"] else None


def _encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
