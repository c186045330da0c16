"""Who am I; login and passwords; and users for whom a service may act."""

from typing import Any, TypedDict

from bai_jupyter.common.errors import AuthFailed, BadRequest
from bai_jupyter.common.reasons import Reason
from bai_jupyter.manager.api.base import Answer, ApiHandler, gives, needs, takes
from bai_jupyter.manager.auth import policy
from bai_jupyter.manager.auth.logins import KeypairView
from bai_jupyter.manager.db import accounts
from bai_jupyter.manager.people.service import WardView


class SshKeypairView(TypedDict):
    ssh_public_key: str
    ssh_private_key: str


class AuthHandler(ApiHandler):
    @gives({"authorized": str, "user": {"id": str, "name": str, "role": str}})
    @needs("auth:read")
    async def get(self) -> Answer:
        caller = self.caller
        user = {"id": caller.user_id, "name": caller.user_name, "role": caller.role}
        return 200, {"authorized": "yes", "user": user}


class RoleHandler(ApiHandler):
    @gives({"global_role": str, "domain_role": str, "group_role": str})
    @needs("auth:read")
    async def get(self) -> Answer:
        role = self.caller.role
        return 200, {
            "global_role": policy.SUPERADMIN if role == policy.SUPERADMIN else policy.USER,
            "domain_role": policy.ADMIN if role in (policy.SUPERADMIN, policy.ADMIN) else policy.USER,
            "group_role": policy.USER,
        }


class AuthorizeHandler(ApiHandler):
    """Login: e-mail and password in, keypair out."""

    is_public = True

    @takes(type=str, domain=str, username=str, password=str)
    @gives({"data": KeypairView})
    async def post(self) -> None:
        if self.params.get("type", "keypair") != "keypair":
            raise BadRequest(Reason.of("bad-value", field="type", given=repr(self.params["type"]), expected="keypair"))
        domain, email, password = (self.text(name) for name in ("domain", "username", "password"))
        try:
            keypair = await self.services.logins.authorize(domain, email, password, self.address)
        except AuthFailed as error:
            await self._audit_login(domain, email, None, error.status)
            raise
        await self._audit_login(domain, email, keypair["access_key"], 200)
        self.answer(200, {"data": keypair})

    async def _audit_login(self, domain: str, email: str, access_key: str | None, result: int) -> None:
        """An e-mail of nobody here is left out: it may be a password in the wrong place."""
        login = await self.services.store.read(accounts.find_login, domain, email)
        user_id, target = (login.user_id, email) if login else (None, "")
        await self.audit_of(user_id, access_key, "auth:login", target, result)


class PasswordHandler(ApiHandler):
    @takes(old_password=str, new_password=str, new_password2=str)
    @gives({})
    @needs("auth:password")
    async def post(self) -> Answer:
        old, new, again = (self.text(name) for name in ("old_password", "new_password", "new_password2"))
        if new != again:
            raise BadRequest("The two new passwords are not the same.")
        await self.services.logins.change_password(self.caller, old, new, self.address)
        return 200, {}


class ExpiredPasswordHandler(ApiHandler):
    """For whom login says that the password must be changed first."""

    is_public = True

    @takes(domain=str, username=str, current_password=str, new_password=str)
    @gives({})
    async def post(self) -> None:
        names = ("domain", "username", "current_password", "new_password")
        domain, email, old, new = (self.text(name) for name in names)
        await self.services.logins.replace_password(domain, email, old, new, self.address)
        self.answer(200, {})


class SshKeypairHandler(ApiHandler):
    """Sessions have it in ``.ssh``; the private key is told once."""

    @gives({"ssh_public_key": str})
    @needs("config:read")
    async def get(self) -> Answer:
        """One's public SSH key, empty if there is none."""
        return 200, {"ssh_public_key": await self.services.user_config.public_key(self.caller)}

    @gives(SshKeypairView)
    @needs("config:change")
    async def patch(self) -> Answer:
        """Make a new SSH keypair, in the place of the one before."""
        return 200, _ssh_keypair(*await self.services.user_config.new_ssh_keypair(self.caller))

    @takes(pubkey=str, privkey=str)
    @gives(SshKeypairView)
    @needs("config:change")
    async def post(self) -> Answer:
        """Bring an SSH keypair, in the place of the one before."""
        keys = self.text("pubkey"), self.text("privkey")
        return 200, _ssh_keypair(*await self.services.user_config.set_ssh_keypair(self.caller, *keys))


def _ssh_keypair(public: str, private: str) -> SshKeypairView:
    return {"ssh_public_key": public, "ssh_private_key": private}


class WardsHandler(ApiHandler):
    @takes(name=str, email=str, full_name=str, projects=list, policy=str)
    @gives(WardView)
    @needs("user:make-ward")
    async def post(self) -> Answer:
        """``{"name", "email"?, "full_name"?, "projects"?, "policy"?}``: the ward of that name, made if need be."""
        ward, is_new_policy = await self.services.people.make_ward(self.caller, self.params)
        if is_new_policy:
            await self.audit("policy:give", f"{ward['name']}/{ward['policy']}", 200)
        return 201 if ward["created"] else 200, ward


class WardHandler(ApiHandler):
    @gives(None)
    @needs("user:give-ward")
    async def put(self, access_key: str, name: str) -> Answer:
        await self.services.people.give_ward(self.caller, access_key, name, is_ward=True)
        return 204, None

    @gives(None)
    @needs("user:give-ward")
    async def delete(self, access_key: str, name: str) -> Answer:
        await self.services.people.give_ward(self.caller, access_key, name, is_ward=False)
        return 204, None


class WardPolicyHandler(ApiHandler):
    @gives(None)
    @needs("policy:manage")
    async def put(self, access_key: str, name: str) -> Answer:
        await self.services.people.allow_policy(self.caller, access_key, name, is_allowed=True)
        return 204, None

    @gives(None)
    @needs("policy:manage")
    async def delete(self, access_key: str, name: str) -> Answer:
        await self.services.people.allow_policy(self.caller, access_key, name, is_allowed=False)
        return 204, None


ROUTES: list[tuple[str, Any]] = [
    (r"/auth(?:/test)?", AuthHandler),
    (r"/auth/role", RoleHandler),
    (r"/auth/authorize", AuthorizeHandler),
    (r"/auth/update-password", PasswordHandler),
    (r"/auth/update-password-no-auth", ExpiredPasswordHandler),
    (r"/auth/ssh-keypair", SshKeypairHandler),
    (r"/wards", WardsHandler),
    (r"/wards/([^/]+)/([^/]+)", WardHandler),
    (r"/wards/([^/]+)/policies/([^/]+)", WardPolicyHandler),
]
