"""Tokens with which a browser reaches one app of one session, and nothing else: the manager's API does not know them.

They are given to the session's owner only, also where others may do more: a page of a hostile app could use whatever
its reader's browser holds for other apps of this origin.
"""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime

from bai_jupyter.common.errors import AuthFailed, Forbidden
from bai_jupyter.common.ids import SessionId
from bai_jupyter.common.reasons import Reason
from bai_jupyter.manager.auth.keypairs import Caller
from bai_jupyter.manager.auth.vault import Vault, VaultError
from bai_jupyter.manager.db.records import SessionRecord

LINK_S = 60
"""A token in a link is seen over shoulders and kept in histories, so it is exchanged for a cookie at once."""

COOKIE_S = 12 * 3600

_KIND = "app"


@dataclass(frozen=True)
class AppClaims:
    session_id: SessionId
    app: str
    expires_at: int  # seconds since 1970


class AppTokens:
    def __init__(self, vault: Vault, now: Callable[[], datetime]) -> None:
        self._vault, self._now = vault, now

    def issue(self, caller: Caller, session: SessionRecord, app: str) -> str:
        """A token for a link. Raises ``Forbidden`` for who is not the session's owner."""
        if caller.user_id != session.user_id:
            raise Forbidden(Reason.of("forbidden", role="the owner of the session"))
        return self._seal(session.id, app, LINK_S)

    def extend(self, claims: AppClaims) -> str:
        """The cookie that a link's token is exchanged for."""
        return self._seal(claims.session_id, claims.app, COOKIE_S)

    def read(self, token: str) -> AppClaims:
        """Whatever is wrong with it, the same ``AuthFailed``."""
        try:
            raw = json.loads(self._vault.open(token))
            if raw.pop("kind") != _KIND:
                raise ValueError("a token for something else")
            claims = AppClaims(**raw)
        except (VaultError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise AuthFailed(Reason.of("token")) from error
        if claims.expires_at <= self._now().timestamp():
            raise AuthFailed(Reason.of("token"))
        return claims

    def _seal(self, session_id: SessionId, app: str, life_s: int) -> str:
        claims = AppClaims(session_id, app, int(self._now().timestamp()) + life_s)
        return self._vault.seal(json.dumps({"kind": _KIND, **asdict(claims)}))
