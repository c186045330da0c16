"""Passwords as Argon2 hashes. Hashing takes long on purpose, so it never runs on the event loop."""

import asyncio
from functools import cache

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from bai_jupyter.common.errors import BadRequest

MIN_LENGTH, MAX_LENGTH = 8, 1024

_HASHER = PasswordHasher()


def check_password(password: str) -> None:
    """Raises ``BadRequest`` for one that is too short or absurdly long."""
    if not MIN_LENGTH <= len(password) <= MAX_LENGTH:
        raise BadRequest(f"A password has {MIN_LENGTH} to {MAX_LENGTH} characters; this one has {len(password)}.")


async def hash_password(password: str) -> str:
    """Raises as ``check_password`` does."""
    check_password(password)
    return await asyncio.to_thread(_HASHER.hash, password)


async def verify_password(password_hash: str | None, password: str) -> bool:
    """False without a hash too, after as long a time: so nobody learns who has an account."""
    return await asyncio.to_thread(_verify, password_hash, password) and password_hash is not None


def _verify(password_hash: str | None, password: str) -> bool:
    try:
        return _HASHER.verify(password_hash or _nobody_s_hash(), password[:MAX_LENGTH])
    except (VerificationError, InvalidHashError):
        return False


@cache
def _nobody_s_hash() -> str:
    return _HASHER.hash("nobody")
