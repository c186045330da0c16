"""Secrets at rest: sealed with ``master.key``, which lies outside the database; and hashes of shown-once tokens."""

import hashlib
import hmac
import os
import secrets
from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken

from bai_jupyter.common.errors import BaiError


class VaultError(BaiError):
    """The key is missing or is not the one that sealed what is stored."""


class Vault:
    """Seals and opens short texts with one key."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._fernet = Fernet(key)

    @classmethod
    def at(cls, path: Path, *, create: bool) -> "Vault":
        """The vault of the key file ``path``; made (mode 0600) if ``create`` and there is none."""
        if not path.exists():
            if not create:
                raise VaultError(f"{path} is missing, but the database holds secrets sealed with it. Restore the file.")
            write_private(path, Fernet.generate_key())
        return cls(path.read_bytes().strip())

    def seal(self, text: str) -> str:
        return self._fernet.encrypt(text.encode()).decode()

    def derive(self, purpose: str) -> bytes:
        """A key for one other purpose, from which this one cannot be found."""
        return hmac.digest(self._key, purpose.encode(), "sha256")

    def open(self, sealed: str) -> str:
        """Raises ``VaultError`` if another key sealed it."""
        try:
            return self._fernet.decrypt(sealed.encode()).decode()
        except InvalidToken as error:
            raise VaultError("a stored secret was sealed with another master.key. Restore the right one.") from error


def write_private(path: Path, content: bytes) -> None:
    """Write a file of mode 0600 so that it is there completely or not at all, whenever the process is killed."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


def new_token() -> str:
    """256 random bits as text: join tokens, credentials, tickets."""
    return secrets.token_urlsafe(32)


def hash_token(token: str) -> str:
    """What is stored of a token. It is random and long, so a plain hash gives nothing away."""
    return hashlib.sha256(token.encode()).hexdigest()


def new_keypair() -> tuple[str, str]:
    """Access key (20 characters, ``AKIA…``) and secret key (40)."""
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
    return "AKIA" + "".join(secrets.choice(letters) for _ in range(16)), secrets.token_urlsafe(30)
