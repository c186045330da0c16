"""Who sends this request: checks the signature of a keypair. What the sender may do is in ``policy``."""

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from ipaddress import ip_address, ip_network

from bai_jupyter.common import signing
from bai_jupyter.common.errors import AuthFailed, BadRequest
from bai_jupyter.common.ids import AccessKey, SessionId, UserId
from bai_jupyter.common.reasons import Reason
from bai_jupyter.manager.auth import policy
from bai_jupyter.manager.auth.vault import Vault
from bai_jupyter.manager.db import accounts, people
from bai_jupyter.manager.db.records import Keypair
from bai_jupyter.manager.db.store import Store

CACHE_S = 5.0
"""A keypair that is switched off is refused after at most this long."""

_CACHE_SIZE = 1000

USE_NOTED_EVERY = timedelta(minutes=1)


class InvalidAuth(BadRequest):
    slug, title = "invalid-auth-params", "Missing or invalid authorization parameters."


@dataclass(frozen=True)
class Caller:
    """The user behind a request. ``only_session``: nothing but that one exists for this caller."""

    user_id: UserId
    user_name: str
    role: str
    access_key: AccessKey
    domain: str
    project_id: str
    only_session: SessionId | None = None
    rate_limit: int | None = None
    service_key: AccessKey | None = None  # of the service that acts for the user
    admin_key: AccessKey | None = None  # of the admin who asks for what is the user's

    @property
    def signing_key(self) -> AccessKey:
        """The keypair that answers for what is asked: it is counted, and named in the audit trail."""
        return self.service_key or self.admin_key or self.access_key

    @property
    def signing_role(self) -> str:
        """Of who asks: the service's, if one acts for the user."""
        return policy.SERVICE if self.service_key else self.role

    @property
    def image_viewer(self) -> UserId | None:
        """Who sees images: a person besides everybody's their own; None, who manages them, all."""
        return None if policy.may(self.role, "image:manage") else self.user_id


@dataclass(frozen=True)
class SignedRequest:
    """What of an HTTP request the signature covers. ``path`` is the raw target with its query."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    address: str = "127.0.0.1"  # of the client


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
        if not may_come_from(keypair.allowed_client_ip, request.address):
            raise AuthFailed(Reason.of("address", address=request.address))
        await self._note_use(*found)
        return caller_of(keypair)

    def forget(self) -> None:
        """Something about users or keypairs was changed here: read them again."""
        self._cache.clear()

    async def _note_use(self, keypair: Keypair, secret: str) -> None:
        now = self._now()
        if keypair.used_at is None or now - keypair.used_at > USE_NOTED_EVERY:
            await self._store.write(people.set_used, keypair.access_key, now)
            self._cache[keypair.access_key] = (time.monotonic(), replace(keypair, used_at=now), secret)

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


def caller_of(keypair: Keypair) -> Caller:
    return Caller(
        user_id=keypair.user_id,
        user_name=keypair.user_name,
        role=keypair.role,
        access_key=keypair.access_key,
        domain=keypair.domain,
        project_id=keypair.project_id,
        rate_limit=keypair.rate_limit,
    )


def may_come_from(networks: Collection[str] | None, address: str) -> bool:
    """True if the address is in one of the networks, or there is no rule."""
    return networks is None or any(ip_address(address) in ip_network(one, strict=False) for one in networks)


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
