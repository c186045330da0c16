"""Who one is: one's account, keys, dotfiles and record; logging in; and for services their wards."""

from collections.abc import Collection
from urllib.parse import quote

from bai_jupyter.client.answers import Json
from bai_jupyter.client.connection import Connection
from bai_jupyter.client.credentials import ClientConfig


class People(Connection):
    async def account(self) -> Json:
        """Who the keypair's user is: ``email``, ``full_name``, ``role``, ``domain_name``, ``resource_policy``,
        ``projects``; and their ``keypairs``, without secrets."""
        fields = "email full_name role domain_name resource_policy groups {name}"
        user = (await self.graphql(f"{{user {{{fields}}}}}"))["user"]
        projects = [one["name"] for one in user.pop("groups")]
        document = """query($domain: String, $email: String) {keypairs(domain_name: $domain, email: $email)
            {access_key is_active resource_policy created_at last_used}}"""
        keypairs = (await self.graphql(document, domain=user["domain_name"], email=user["email"]))["keypairs"]
        return {**user, "projects": projects, "keypairs": keypairs}

    async def ssh_public_key(self) -> str:
        """One's own, empty if there is none."""
        return str((await self.request("GET", "/auth/ssh-keypair"))["ssh_public_key"])

    async def new_ssh_keypair(self) -> tuple[str, str]:
        """A public and a private key, in the place of those before. The private one is told this once."""
        made = await self.request("PATCH", "/auth/ssh-keypair")
        return made["ssh_public_key"], made["ssh_private_key"]

    async def list_dotfiles(self) -> list[Json]:
        """One's own: ``path``, ``permission``, ``data``."""
        return await self.request("GET", "/user-config/dotfiles")

    async def get_dotfile(self, path: str) -> Json:
        return await self.request("GET", "/user-config/dotfiles", query={"path": path})

    async def add_dotfile(self, path: object, permission: object, data: object) -> None:
        await self.request("POST", "/user-config/dotfiles", {"path": path, "permission": permission, "data": data})

    async def change_dotfile(self, path: str, permission: object, data: object) -> None:
        await self.request("PATCH", "/user-config/dotfiles", {"path": path, "permission": permission, "data": data})

    async def delete_dotfile(self, path: str) -> None:
        await self.request("DELETE", "/user-config/dotfiles", query={"path": path})

    async def get_bootstrap(self) -> str:
        """The script that runs first in each of one's sessions; empty if there is none."""
        return str(await self.request("GET", "/user-config/bootstrap-script"))

    async def set_bootstrap(self, script: object) -> None:
        await self.request("POST", "/user-config/bootstrap-script", {"script": script})

    async def audit(self, only: str, limit: int = 50) -> list[Json]:
        """What was done in one's own name, of everybody for a superadmin, newest first; ``only`` is a filter."""
        return (await self.request("GET", "/audit", query={"filter": only, "limit": limit}))["entries"]

    async def own_audit(self, offset: int, limit: int) -> tuple[list[Json], int]:
        """What was done in one's own name, newest first, and how much that is in all."""
        mine = f'user_id == "{(await self.whoami())["id"]}"'  # a superadmin is told of everybody else
        page = await self.request("GET", "/audit", query={"offset": offset, "limit": limit, "filter": mine})
        return page["entries"], page["total_count"]

    async def list_projects(self) -> list[str]:
        """Names of the projects that the keypair's user is in."""
        return [str(one["name"]) for one in (await self.graphql("{user {groups {name}}}"))["user"]["groups"]]

    async def log_in(self, email: str, password: str, domain: str = "default") -> ClientConfig:
        """What to call with as the person whose e-mail and password these are.

        Raises ``AuthFailed``: ``login`` if they are not right, ``password-expired`` if it must be changed first.
        """
        body = {"domain": domain, "username": email, "password": password}
        keypair = (await self.request("POST", "/auth/authorize", body))["data"]
        config = self.config
        return ClientConfig(config.endpoint, keypair["access_key"], keypair["secret_key"], trust=config.trust)

    async def replace_password(self, email: str, old: str, new: str, domain: str = "default") -> None:
        """A new password for whom ``log_in`` said that it must be changed first."""
        body = {"domain": domain, "username": email, "current_password": old, "new_password": new}
        await self.request("POST", "/auth/update-password-no-auth", body)

    async def make_ward(
        self,
        name: str,
        email: str | None = None,
        projects: Collection[str] | None = None,
        policy: str | None = None,
    ) -> Json:
        """For a service: the user of that name for whom it may act, made if there is none.

        Of the service's projects the user is then in those of ``projects``; without, in all at first, then as it is.
        The user's keypair then has that ``policy``, unless an admin gave it one that the service may not give.
        """
        wanted = None if projects is None else list(projects)
        body = {"name": name, "email": email, "projects": wanted, "policy": policy}
        return await self.request("POST", "/wards", body)

    async def give_ward(self, service_key: str, name: str) -> None:
        """Let a service act for a user: oneself, or for superadmins anybody."""
        await self.request("PUT", f"/wards/{quote(service_key, safe='')}/{quote(name, safe='')}")
