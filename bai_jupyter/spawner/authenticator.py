"""``BackendAIAuthenticator``: log in to the Hub with the account that one has at the manager.

The manager answers a login with the user's keypair. It is used here and now, to learn who that is and to let the Hub's
service act for them, and is not kept.
"""

from collections.abc import Mapping
from dataclasses import replace
from http import HTTPStatus
from typing import Any

from jupyterhub.auth import Authenticator
from jupyterhub.handlers.login import LoginHandler
from tornado.web import Finish, HTTPError
from traitlets import Enum, Set, Unicode, default

from bai_jupyter.client import ConfigError, ManagerClient
from bai_jupyter.common.errors import AuthFailed, PublicError
from bai_jupyter.spawner.credentials import service_config
from bai_jupyter.spawner.login_pages import CHANGE_PATH, LOGIN_FORM, PasswordHandler, password_url

_USER = "user"
_WHO = "{user {username role groups {name}}}"


class BackendAIAuthenticator(Authenticator):
    """A user's name is that of the manager, a user's groups are the projects there."""

    domain = Unicode("default", help="Domain of the accounts.").tag(config=True)
    admin_roles = Set(
        Enum(("superadmin", "admin")),
        help="Who is an admin of this Hub by their role at the manager. Empty: nobody; then admin_users names them.",
    ).tag(config=True)

    @default("allow_all")
    def _default_allow_all(self) -> bool:
        return True  # who may use the manager is decided there

    @default("manage_groups")
    def _default_manage_groups(self) -> bool:
        return True

    @default("custom_html")
    def _default_custom_html(self) -> str:
        return LOGIN_FORM

    def get_handlers(self, app: Any) -> list[Any]:
        return [*super().get_handlers(app), (CHANGE_PATH, PasswordHandler, {"domain": self.domain})]

    def normalize_username(self, username: str) -> str:
        """As the manager spells it: the spawner acts for the user of that very name."""
        return username

    async def authenticate(self, handler: Any, data: Mapping[str, str]) -> dict[str, Any] | None:
        """``data`` are ``username``, an e-mail address, and ``password``. None if they are not right.

        Who must change the password first is sent to the page for that. Raises ``HTTPError``, whose sentence the login
        page shows, for all else that the user should know.
        """
        try:
            service = service_config()
            async with ManagerClient(service) as client:
                person = await client.log_in(data["username"], data["password"], self.domain)
            async with ManagerClient(person) as client:
                found = await _who(client)
                if found["role"] == _USER:
                    await client.give_ward(service.access_key, found["name"])
        except AuthFailed as error:
            if error.code != "password-expired":
                return None
            if not isinstance(handler, LoginHandler):  # a program that asks for a token
                raise HTTPError(HTTPStatus.FORBIDDEN, str(error)) from error
            handler.redirect(password_url(handler.hub.base_url, data["username"]))
            raise Finish from error
        except (PublicError, ConfigError) as error:
            self.log.warning("login of %s: %s", data["username"], error)
            status = error.status if isinstance(error, PublicError) else HTTPStatus.INTERNAL_SERVER_ERROR
            raise HTTPError(status, str(error)) from error
        return found

    async def refresh_user(self, user: Any, handler: Any = None) -> Any:  # noqa: ARG002 - JupyterHub's
        """Groups as they are now; False for an account that was switched off. Without an answer it stays as it is."""
        try:
            async with ManagerClient(replace(service_config(), on_behalf_of=user.name)) as client:
                found = await _who(client)
        except PublicError as error:
            return error.code != "inactive"
        except ConfigError:
            return True
        return {**found, "admin": self.is_admin(None, found)}

    def is_admin(self, handler: Any, authentication: Mapping[str, Any]) -> bool | None:
        """By ``admin_users``, or by role: where roles say it, they also end it."""
        is_listed: bool | None = super().is_admin(handler, authentication)
        if is_listed or not self.admin_roles:
            return is_listed
        return authentication["role"] in self.admin_roles


async def _who(client: ManagerClient) -> dict[str, Any]:
    """``{"name", "role", "groups"}`` of who asks."""
    found = (await client.graphql(_WHO))["user"]
    groups = [one["name"] for one in found["groups"]]
    return {"name": found["username"], "role": found["role"], "groups": groups}
