"""Tokens with which a session calls the manager: short-lived, of one session, its owner and a scope.

Nothing of a token is stored: its signature (``sealing``) says that it is ours, and each use asks the database whether
its session still is to run, was granted this scope, and whose it is. So a session's end is its token's end, also
within its few minutes.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from bai_jupyter.common.errors import AuthFailed
from bai_jupyter.common.ids import SessionId
from bai_jupyter.common.reasons import Reason
from bai_jupyter.common.statuses import Target
from bai_jupyter.manager.auth import policy, sealing
from bai_jupyter.manager.auth.keypairs import Caller
from bai_jupyter.manager.auth.vault import Vault
from bai_jupyter.manager.db import accounts, sessions
from bai_jupyter.manager.db.records import Keypair, SessionRecord
from bai_jupyter.manager.db.store import Store

_KIND = "bai1"
_PURPOSE = "session tokens"


class Scope(StrEnum):
    """What a session may do with its token; ``config.manager_access`` of its request."""

    SELF = "self"  # see and end itself
    USER = "user"  # what its owner may, but for what only admins may and for granting access in turn


_ROLES = {Scope.SELF: policy.OWN_SESSION, Scope.USER: policy.DELEGATE}


@dataclass(frozen=True)
class Claims:
    session_id: SessionId
    scope: Scope
    expires_at: int  # seconds since 1970


def seal(key: bytes, claims: Claims) -> str:
    """The token of these claims. Pure."""
    return sealing.seal(_KIND, key, asdict(claims))


def unseal(key: bytes, token: str, now: datetime) -> Claims | None:
    """What a token says; ``None`` if it is not valid, or not any more. Pure."""
    raw = sealing.unseal(_KIND, key, token, now)
    return None if raw is None else Claims(SessionId(raw["session_id"]), Scope(raw["scope"]), int(raw["expires_at"]))


class SessionTokens:
    """Issues tokens to sessions that were granted one, and knows them again."""

    def __init__(self, store: Store, vault: Vault, now: Callable[[], datetime], life_s: float) -> None:
        self._store, self._now, self._life = store, now, timedelta(seconds=life_s)
        self._key = vault.derive(_PURPOSE)

    def issue(self, session: SessionRecord) -> str | None:
        """A fresh token; ``None`` for a session that was granted none or is to end."""
        if session.manager_access is None or session.target is not Target.RUNNING:
            return None
        expires_at = int((self._now() + self._life).timestamp())
        return seal(self._key, Claims(session.id, Scope(session.manager_access), expires_at))

    async def authenticate(self, token: str) -> Caller:
        """The caller. Whatever is wrong with a token, the same ``AuthFailed``."""
        claims = unseal(self._key, token, self._now())
        caller = None if claims is None else await self._caller(claims)
        if caller is None:
            raise AuthFailed(Reason.of("token"))
        return caller

    async def _caller(self, claims: Claims) -> Caller | None:
        session = next(iter(await self._store.read(sessions.load_many, [claims.session_id])), None)
        if session is None or session.is_final or session.target is not Target.RUNNING:
            return None
        keypair: Keypair | None = await self._store.read(accounts.find_keypair, session.access_key)
        if session.manager_access != claims.scope or keypair is None or not keypair.is_active:
            return None
        if session.route_path is not None and not await self._store.read(accounts.is_ward, session.user_id):
            return None  # a service made it, and has nothing to do with its owner any more
        return Caller(
            user_id=session.user_id,
            user_name=keypair.user_name,
            role=_ROLES[claims.scope],
            access_key=session.access_key,
            domain=session.domain,
            project_id=session.project_id,
            only_session=session.id if claims.scope is Scope.SELF else None,
            rate_limit=keypair.rate_limit,
        )


def bearer_token(authorization: str) -> str | None:
    """The token of ``Authorization: Bearer …``; ``None`` if the header is of another scheme."""
    scheme, _, token = authorization.partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None
