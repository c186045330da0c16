"""``/bai/api/contents`` and ``/bai/api/download``: folders as a drive. Jupyter's own handlers, our contents."""

import json
import posixpath
from urllib.parse import quote

from jupyter_client.jsonutil import json_default
from jupyter_server.auth.decorator import authorized
from jupyter_server.base.handlers import path_regex
from jupyter_server.services.contents import handlers as stock
from jupyter_server.utils import url_escape, url_path_join
from tornado import web

from bai_jupyter.common.errors import BadRequest
from bai_jupyter.common.reasons import Reason
from bai_jupyter.extension.folder_contents import FolderContents, Place
from bai_jupyter.extension.folder_trees import zip_of
from bai_jupyter.extension.folders import DownloadHandler
from bai_jupyter.extension.handlers import NOT_CONNECTED, BaiHandler, NotConnected, bad_value


class DriveHandler(BaiHandler):
    @property
    def contents_manager(self) -> FolderContents:
        contents = self.extension.folder_contents
        if contents is None:
            raise NotConnected(self.extension.config_error or NOT_CONNECTED)
        return contents  # type: ignore[no-any-return]

    async def place(self, path: str) -> Place:
        """Where that is. Raises ``PublicError``: also of the drive's own root, which is no folder."""
        found = await self.contents_manager.place_of(path)
        if found is None:
            raise BadRequest(Reason.of("folders-only"))
        return found


class ContentsHandler(DriveHandler, stock.ContentsHandler):
    def location_url(self, path: str) -> str:
        return url_path_join(self.base_url, "bai", "api", "contents", url_escape(path))


class PageHandler(DriveHandler):
    @web.authenticated
    @authorized
    async def get(self, path: str) -> None:
        """``?offset=…&match=…``: a directory as Jupyter's contents have it, with this part of its entries."""
        offset, match = self.number("offset", 0), self.get_query_argument("match", "", strip=False)
        model = await self.contents_manager.get_page(path, offset, match)
        self.set_header("Content-Type", "application/json")
        self.finish(json.dumps(model, default=json_default))


class CheckpointsHandler(DriveHandler, stock.CheckpointsHandler):
    pass


class ModifyCheckpointsHandler(DriveHandler, stock.ModifyCheckpointsHandler):
    pass


class DriveDownloadHandler(DriveHandler, DownloadHandler):
    @web.authenticated
    @authorized
    async def get(self, path: str) -> None:
        place = await self.place(path)
        await self.send_file(place.id, place.path)


class DriveArchiveHandler(DriveHandler, DownloadHandler):
    @web.authenticated
    @authorized
    async def get(self, path: str) -> None:
        """``?name=…&name=…``: these entries of the directory, as one zip file."""
        place = await self.place(path)
        names = dict.fromkeys(self.get_query_arguments("name", strip=False))
        if not names or any("/" in name for name in names):
            raise bad_value("name", list(names), "names of what lies there")
        chosen = [await self.client.get_file(place.id, posixpath.join(place.path, name)) for name in names]
        called = posixpath.basename(place.path) or place.folder["name"]
        disposition = f"attachment; filename*=UTF-8''{quote(called)}.zip"
        pieces = zip_of(self.client, place.id, place.path, chosen)
        await self._pour(path, "application/zip", disposition, pieces)


HANDLERS = [
    (rf"/bai/api/contents{path_regex}/checkpoints", CheckpointsHandler),
    (rf"/bai/api/contents{path_regex}/checkpoints/(?P<checkpoint_id>[\w-]+)", ModifyCheckpointsHandler),
    (rf"/bai/api/contents{path_regex}", ContentsHandler),
    (rf"/bai/api/pages{path_regex}", PageHandler),
    (rf"/bai/api/download{path_regex}", DriveDownloadHandler),
    (rf"/bai/api/archive{path_regex}", DriveArchiveHandler),
]
