"""A server that was asked for and does not run yet, as the Hub's database keeps it: the next Hub goes on with it.

JupyterHub itself forgets such a server when it starts again. Its session has waited meanwhile, with the token in its
environment by which the Hub will know it: whoever takes it up must have that one. It is sealed with the Hub's cookie
secret, because the database holds no token that could be used by whoever reads it.
"""

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from cryptography.fernet import Fernet, InvalidToken

_PURPOSE = b"bai_jupyter: tokens of queued servers"


@dataclass(frozen=True)
class Queued:
    session: str  # its id
    asked: str  # digest of what was asked for
    sealed_token: str

    @classmethod
    def of(cls, session: str, asked: Mapping[str, Any], token: str, secret: bytes) -> "Queued":
        """``asked`` is the request as far as a user decides on it, ``secret`` the Hub's."""
        return cls(session, _digest(asked), _key(secret).encrypt(token.encode()).decode())

    def token(self, session: str, asked: Mapping[str, Any], secret: bytes) -> str | None:
        """The token, if this is that session and nothing else is asked for now; ``None`` also if the secret changed."""
        if (session, _digest(asked)) != (self.session, self.asked):
            return None
        try:
            return _key(secret).decrypt(self.sealed_token.encode()).decode()
        except InvalidToken:
            return None

    def to_json(self) -> dict[str, str]:
        return asdict(self)

    @classmethod
    def from_json(cls, raw: Any) -> "Queued | None":
        """``None`` for anything that ``to_json`` did not make: then there is nothing to go on with."""
        try:
            return cls(**{name: str(value) for name, value in raw.items()})
        except (AttributeError, TypeError):
            return None


def _digest(asked: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()


def _key(secret: bytes) -> Fernet:
    return Fernet(base64.urlsafe_b64encode(hashlib.sha256(_PURPOSE + secret).digest()))
