"""``/bai/api/announcement``: what superadmins tell everybody."""

from jupyter_server.auth.decorator import authorized
from tornado import web

from bai_jupyter.extension.handlers import BaiHandler, bad_value

_PATH = "/manager/announcement"


class AnnouncementHandler(BaiHandler):
    @web.authenticated
    @authorized
    async def get(self) -> None:
        """``{"message"}``; empty if there is none."""
        self.finish({"message": (await self.client.request("GET", _PATH))["message"]})

    @web.authenticated
    @authorized
    async def put(self) -> None:
        """``{"message"}`` in place of the one before; an empty one takes it away. For superadmins."""
        message = self.fields().get("message")
        if not isinstance(message, str):
            raise bad_value("message", message, "a text")
        text = message.strip()
        await self.client.request("POST", _PATH, {"enabled": bool(text), "message": text})
        self.done()


HANDLERS = [(r"/bai/api/announcement", AnnouncementHandler)]
