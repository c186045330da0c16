"""``/bai/api/usage``: what was held, day by day and by sessions, for the tab *Usage*."""

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


class SessionUsageHandler(BaiHandler):
    @web.authenticated
    @authorized
    async def get(self) -> None:
        """As ``UsageHandler``, by sessions: those that held most, → ``{"sessions", "total_count"}``."""
        start, end = (self.get_query_argument(name, "") for name in ("start", "end"))
        self.finish(await self.client.usage_by_session(start, end, self.get_query_argument("scope", "me")))


HANDLERS = [(r"/bai/api/usage", UsageHandler), (r"/bai/api/usage/sessions", SessionUsageHandler)]
