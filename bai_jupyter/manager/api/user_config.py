"""What people have in each of their new sessions: dotfiles and a bootstrap script. SSH keypairs are in ``auth``."""

from typing import NotRequired, TypedDict

from bai_jupyter.manager.api.base import Answer, ApiHandler, OwnedHandler, gives, needs, takes


class DotfileView(TypedDict):
    path: str
    permission: str
    data: str
    perm: NotRequired[str]  # the same, of one that was asked for


class DotfilesHandler(ApiHandler):
    """Of one scope, which subclasses find and check."""

    async def scope(self, *, to_change: bool) -> str:
        raise NotImplementedError

    @takes(path=str, group=str, domain=str)
    @gives([DotfileView], DotfileView)
    @needs("config:read")
    async def get(self) -> Answer:
        """A dotfile, or without ``path`` a list of all."""
        scope = await self.scope(to_change=False)
        if "path" not in self.params:
            found = await self.services.user_config.list_dotfiles(scope)
            return 200, [{"path": one.path, "permission": one.permission, "data": one.data} for one in found]
        one = await self.services.user_config.get_dotfile(scope, self.params["path"])
        return 200, {"path": one.path, "perm": one.permission, "permission": one.permission, "data": one.data}

    @takes(path=str, data=str, permission=str, group=str, domain=str)
    @gives({})
    @needs("config:change")
    async def post(self) -> Answer:
        """Put a file into each new session."""
        await self.services.user_config.add_dotfile(await self.scope(to_change=True), self.params)
        return 200, {}

    @takes(path=str, data=str, permission=str, group=str, domain=str)
    @gives({})
    @needs("config:change")
    async def patch(self) -> Answer:
        """Change a dotfile; sessions that have it keep what they have."""
        await self.services.user_config.change_dotfile(await self.scope(to_change=True), self.params)
        return 200, {}

    @takes(path=str, group=str, domain=str)
    @gives({"success": bool})
    @needs("config:change")
    async def delete(self) -> Answer:
        """Delete a dotfile; sessions that have it keep it."""
        await self.services.user_config.delete_dotfile(await self.scope(to_change=True), self.params.get("path"))
        return 200, {"success": True}


class UserDotfilesHandler(OwnedHandler, DotfilesHandler):
    async def scope(self, *, to_change: bool) -> str:  # noqa: ARG002 - one's own may be read and changed
        return f"user:{self.caller.user_id}"


class ProjectDotfilesHandler(DotfilesHandler):
    async def scope(self, *, to_change: bool) -> str:
        group, domain = self.text("group"), self.params.get("domain")
        return await self.services.user_config.scope_of_project(self.caller, group, domain, to_change=to_change)


class DomainDotfilesHandler(DotfilesHandler):
    async def scope(self, *, to_change: bool) -> str:
        return await self.services.user_config.scope_of_domain(self.caller, self.text("domain"), to_change=to_change)


class BootstrapHandler(ApiHandler):
    @gives(str)
    @needs("config:read")
    async def get(self) -> Answer:
        """The script that runs first in each of one's sessions, as a JSON text."""
        return 200, await self.services.user_config.bootstrap(self.caller)

    @takes(script=str)
    @gives({})
    @needs("config:change")
    async def post(self) -> Answer:
        """Set the script that runs first in each of one's sessions; an empty one is none."""
        await self.services.user_config.set_bootstrap(self.caller, self.params.get("script"))
        return 200, {}


ROUTES = [
    (r"/user-config/dotfiles", UserDotfilesHandler),
    (r"/group-config/dotfiles", ProjectDotfilesHandler),
    (r"/domain-config/dotfiles", DomainDotfilesHandler),
    (r"/user-config/bootstrap-script", BootstrapHandler),
]
