"""Login by e-mail and password: what it gives is the user's keypair, with which everything else is signed."""

from collections.abc import Callable
from datetime import datetime
from typing import TypedDict

from bai_jupyter.common.errors import AuthFailed, BadRequest
from bai_jupyter.common.ids import UserId
from bai_jupyter.common.reasons import Reason
from bai_jupyter.manager.auth.keypairs import Caller, may_come_from
from bai_jupyter.manager.auth.passwords import hash_password, verify_password
from bai_jupyter.manager.auth.rates import Rates
from bai_jupyter.manager.auth.vault import Vault
from bai_jupyter.manager.db import accounts
from bai_jupyter.manager.db.accounts import Login
from bai_jupyter.manager.db.records import Keypair
from bai_jupyter.manager.db.store import Store

ATTEMPTS_PER_ACCOUNT, ATTEMPTS_PER_ADDRESS = 30, 300
"""In ``rates.WINDOW_S``, and both by the address from which they come: so nobody can lock out somebody else."""


class PasswordExpired(AuthFailed):
    slug, title = "password-expired", "The password has expired."


class KeypairView(TypedDict):
    access_key: str
    secret_key: str
    role: str
    status: str


class Logins:
    def __init__(self, store: Store, vault: Vault, rates: Rates, now: Callable[[], datetime]) -> None:
        self._store, self._vault, self._rates, self._now = store, vault, rates, now

    async def authorize(self, domain: str, email: str, password: str, address: str) -> KeypairView:
        """The user's keypair. Raises the same ``AuthFailed`` whatever is wrong, but for a right password of today."""
        login = await self._check(domain, email, password, address)
        keypair = await self._keypair(login.user_id, address)
        if login.need_password_change:
            raise PasswordExpired(Reason.of("password-expired"))
        return {
            "access_key": keypair.access_key,
            "secret_key": self._vault.open(keypair.secret_encrypted),
            "role": keypair.role,
            "status": "active",
        }

    async def change_password(self, caller: Caller, old: str, new: str, address: str) -> None:
        """By the user, who is signed in."""
        keypair = await self._store.read(accounts.find_keypair, caller.access_key)
        assert keypair is not None
        login = await self._check(caller.domain, keypair.email, old, address)
        await self._set_password(login, old, new)

    async def replace_password(self, domain: str, email: str, old: str, new: str, address: str) -> None:
        """By the user, who could not sign in because the password must be changed first."""
        login = await self._check(domain, email, old, address)
        await self._keypair(login.user_id, address)
        await self._set_password(login, old, new)

    async def _check(self, domain: str, email: str, password: str, address: str) -> Login:
        self._rates.count(f"login:{address}", ATTEMPTS_PER_ADDRESS, "login-limited")
        self._rates.count(f"login:{address}:{domain}:{email}", ATTEMPTS_PER_ACCOUNT, "login-limited")
        login = await self._store.read(accounts.find_login, domain, email)
        is_right = await verify_password(login.password_hash if login else None, password)
        if login is None or not is_right:
            raise AuthFailed(Reason.of("login"))
        return login

    async def _keypair(self, user_id: UserId, address: str) -> Keypair:
        keypair = await self._store.read(accounts.find_main_keypair, user_id)
        if keypair is None or not keypair.is_active or not may_come_from(keypair.allowed_client_ip, address):
            raise AuthFailed(Reason.of("login"))
        return keypair

    async def _set_password(self, login: Login, old: str, new: str) -> None:
        if new == old:
            raise BadRequest("The new password is the old one. Choose another.")
        await self._store.write(accounts.set_password, login.user_id, await hash_password(new), self._now())
