"""Who sends this request: checks the signature of a keypair. What the sender may do is in ``policy``."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from bai_jupyter.common import signing
from bai_jupyter.common.errors import AuthFailed, BadRequest
from bai_jupyter.common.ids import AccessKey, UserId
from bai_jupyter.common.reasons import Reason
from bai_jupyter.manager.auth.vault import Vault
from bai_jupyter.manager.db import accounts
from bai_jupyter.manager.db.records import Keypair
from bai_jupyter.manager.db.store import Store

CACHE_S = 5.0
"""A keypair that is switched off is refused after at most this long."""

_CACHE_SIZE = 1000


class InvalidAuth(BadRequest):
    slug, title = "invalid-auth-params", "Missing or invalid authorization parameters."


@dataclass(frozen=True)
class Caller:
    """The user behind a request."""

    user_id: UserId
    user_name: str
    role: str
    access_key: AccessKey
    domain: str
    project_id: str


@dataclass(frozen=True)
class SignedRequest:
    """What of an HTTP request the signature covers. ``path`` is the raw target with its query."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


class KeypairAuth:
    """Verifies requests against the keypairs of the database."""

    def __init__(self, store: Store, vault: Vault, now: Callable[[], datetime]) -> None:
        self._store, self._vault, self._now = store, vault, now
        self._cache: dict[str, tuple[float, Keypair, str]] = {}

    async def authenticate(self, request: SignedRequest) -> Caller:
        """The caller. Raises ``AuthFailed``, or ``InvalidAuth`` if the request does not even look signed.

        A wrong key, a wrong signature and a key that does not exist are answered alike.
        """
        access_key, signature = _credential(request.headers)
        parts = _signed_parts(request)
        self._check_clock(parts.date)
        found = await self._find(access_key)
        if found is None or not signing.verify(found[1], parts, signature, request.body):
            raise AuthFailed(Reason.of("signature"))
        keypair = found[0]
        if not keypair.is_active:
            raise AuthFailed(Reason.of("inactive"))
        return Caller(
            user_id=keypair.user_id,
            user_name=keypair.user_name,
            role=keypair.role,
            access_key=keypair.access_key,
            domain=keypair.domain,
            project_id=keypair.project_id,
        )

    def _check_clock(self, date: str) -> None:
        try:
            skew = signing.clock_skew(date, self._now())
        except (ValueError, TypeError, OverflowError) as error:
            raise InvalidAuth(f"Date: {date!r} is not a date in ISO 8601 or RFC 1123.") from error
        if abs(skew) > signing.CLOCK_WINDOW:
            minutes = f"{abs(skew).total_seconds() / 60:.0f} min"
            raise AuthFailed(
                Reason.of("clock", delta=minutes, direction="ahead" if skew.total_seconds() > 0 else "behind")
            )

    async def _find(self, access_key: str) -> tuple[Keypair, str] | None:
        cached = self._cache.get(access_key)
        if cached is not None and time.monotonic() - cached[0] < CACHE_S:
            return cached[1], cached[2]
        keypair = await self._store.read(accounts.find_keypair, access_key)
        if keypair is None:
            return None
        secret = self._vault.open(keypair.secret_encrypted)
        if len(self._cache) >= _CACHE_SIZE:
            self._cache.clear()
        self._cache[access_key] = (time.monotonic(), keypair, secret)
        return keypair, secret


def _credential(headers: Mapping[str, str]) -> tuple[str, str]:
    header = headers.get("Authorization")
    if not header:
        raise AuthFailed("This call must be signed: there is no Authorization header.")
    try:
        return signing.parse_authorization(header)
    except ValueError as error:
        raise InvalidAuth(f"Authorization: {error}.") from error


def _signed_parts(request: SignedRequest) -> signing.SignedParts:
    headers = request.headers
    date = headers.get("Date") or headers.get("X-BackendAI-Date")
    if not date:
        raise InvalidAuth("Date/time sync error: there is no Date header.")
    legacy = "X-BackendAI-Version" not in headers and "X-Sorna-Version" in headers
    name = "x-sorna-version" if legacy else "x-backendai-version"
    return signing.SignedParts(
        method=request.method,
        path=request.path,
        date=date,
        host=headers.get("Host", ""),
        content_type=headers.get("Content-Type", ""),
        version_header=name,
        version=headers.get(name, ""),
    )
