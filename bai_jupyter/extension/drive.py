"""``/bai/api/contents`` and ``/bai/api/download``: folders as a drive. Jupyter's own handlers, our contents."""

from jupyter_server.auth.decorator import authorized
from jupyter_server.base.handlers import path_regex
from jupyter_server.services.contents import handlers as stock
from jupyter_server.utils import url_escape, url_path_join
from tornado import web

from bai_jupyter.common.errors import BadRequest
from bai_jupyter.common.reasons import Reason
from bai_jupyter.extension.folder_contents import FolderContents
from bai_jupyter.extension.folders import DownloadHandler
from bai_jupyter.extension.handlers import NOT_CONNECTED, BaiHandler, NotConnected


class DriveHandler(BaiHandler):
    @property
    def contents_manager(self) -> FolderContents:
        contents = self.extension.folder_contents
        if contents is None:
            raise NotConnected(self.extension.config_error or NOT_CONNECTED)
        return contents  # type: ignore[no-any-return]


class ContentsHandler(DriveHandler, stock.ContentsHandler):
    def location_url(self, path: str) -> str:
        return url_path_join(self.base_url, "bai", "api", "contents", url_escape(path))


class CheckpointsHandler(DriveHandler, stock.CheckpointsHandler):
    pass


class ModifyCheckpointsHandler(DriveHandler, stock.ModifyCheckpointsHandler):
    pass


class DriveDownloadHandler(DriveHandler, DownloadHandler):
    @web.authenticated
    @authorized
    async def get(self, path: str) -> None:
        place = await self.contents_manager.place_of(path)
        if place is None:
            raise BadRequest(Reason.of("folders-only"))
        await self.send_file(place.id, place.path)


HANDLERS = [
    (rf"/bai/api/contents{path_regex}/checkpoints", CheckpointsHandler),
    (rf"/bai/api/contents{path_regex}/checkpoints/(?P<checkpoint_id>[\w-]+)", ModifyCheckpointsHandler),
    (rf"/bai/api/contents{path_regex}", ContentsHandler),
    (rf"/bai/api/download{path_regex}", DriveDownloadHandler),
]
