"""``/bai/api/environments``: images that the user made with *Save as Environment…*, for the tab *My Environments*."""

from jupyter_server.auth.decorator import authorized
from tornado import web

from bai_jupyter.extension.handlers import BaiHandler

_FIELDS = ("name", "size_bytes", "base", "created_at")


class EnvironmentsHandler(BaiHandler):
    @web.authenticated
    @authorized
    async def get(self) -> None:
        """``{"environments": [{"name", "size_bytes", "base", "created_at"}]}``, newest first."""
        own = [one for one in await self.client.list_images() if one["is_own"]]
        own.sort(key=lambda one: one["created_at"], reverse=True)
        self.finish({"environments": [{name: one[name] for name in _FIELDS} for one in own]})


class EnvironmentHandler(BaiHandler):
    @web.authenticated
    @authorized
    async def delete(self, name: str) -> None:
        """Refused while sessions use it; then it is no longer among the kernelspecs."""
        await self.client.remove_image(name)
        await self.extension.refresh_images()
        self.done()


HANDLERS = [
    (r"/bai/api/environments", EnvironmentsHandler),
    (r"/bai/api/environments/(.+)", EnvironmentHandler),
]
