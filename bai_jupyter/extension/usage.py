"""``/bai/api/usage``: what was held day by day, for the tab *Usage*."""

from jupyter_server.auth.decorator import authorized
from tornado import web

from bai_jupyter.extension.handlers import BaiHandler


class UsageHandler(BaiHandler):
    @web.authenticated
    @authorized
    async def get(self) -> None:
        """``?start=20261101&end=20261130&scope=`` ``me``, ``all`` or a project's id → ``{"days"}``; the last two for
        admins, as far as they reach."""
        given = {name: self.get_query_argument(name, "") for name in ("start", "end")}
        scope = self.get_query_argument("scope", "me")
        self.finish({"days": await self.client.usage_by_day(given["start"], given["end"], scope)})


HANDLERS = [(r"/bai/api/usage", UsageHandler)]
