"""Use cases of the files in a folder: what the API offers, without HTTP. The agents do it; here is who may."""

from typing import Any

from bai_jupyter.manager.auth.keypairs import Caller
from bai_jupyter.manager.db.records import VFolderRecord
from bai_jupyter.manager.vfolders import requests
from bai_jupyter.manager.vfolders.access import require_ready, require_write
from bai_jupyter.manager.vfolders.requests import Params
from bai_jupyter.manager.vfolders.service import VFolderService, viewer_of
from bai_jupyter.manager.vfolders.transfers import Operation, Transfers
from bai_jupyter.manager.vfolders.volumes import Volumes, place_of

PAGE = 10_000  # entries in one answer
_DELETE_TIMEOUT_S = 600.0


class FolderFiles:
    def __init__(self, folders: VFolderService, volumes: Volumes, transfers: Transfers) -> None:
        self._folders, self._volumes, self._transfers = folders, volumes, transfers

    async def list(self, caller: Caller, ref: str, params: Params) -> dict[str, Any]:
        """``{"items", "total", "offset"}``: entries by name, ``limit`` of them from ``offset`` on."""
        folder = await self._readable(caller, ref)
        offset = requests.number(params, "offset", 0, requests.LARGEST)
        page = {
            "path": requests.optional_text(params, "path") or "",
            "offset": offset,
            "limit": requests.number(params, "limit", PAGE, PAGE),
            "match": requests.optional_text(params, "match") or "",
        }
        return {"offset": offset, **await self._volumes.call(place_of(folder), "list_files", page)}

    async def make_directory(self, caller: Caller, ref: str, params: Params) -> None:
        """``path`` may be a list: they are made one after another."""
        folder = await self._writable(caller, ref)
        options = {"parents": requests.flag(params, "parents"), "exist_ok": requests.flag(params, "exist_ok")}
        for path in requests.texts(params, "path"):
            await self._volumes.call(place_of(folder), "make_directory", {"path": path, **options})

    async def rename(self, caller: Caller, ref: str, params: Params) -> None:
        folder = await self._writable(caller, ref)
        asked = {"path": requests.text(params, "target_path"), "new_name": requests.text(params, "new_name")}
        await self._volumes.call(place_of(folder), "rename_file", asked)

    async def move(self, caller: Caller, ref: str, params: Params) -> None:
        folder = await self._writable(caller, ref)
        asked = {"source": requests.text(params, "src"), "target": requests.text(params, "dst")}
        await self._volumes.call(place_of(folder), "move_file", asked)

    async def delete(self, caller: Caller, ref: str, params: Params) -> None:
        folder = await self._writable(caller, ref)
        asked = {"paths": requests.texts(params, "files"), "recursive": requests.flag(params, "recursive")}
        await self._volumes.call(place_of(folder), "delete_files", asked, _DELETE_TIMEOUT_S)

    async def request_upload(self, caller: Caller, ref: str, params: Params) -> str:
        """A token to upload one file with. An empty file is there at once: clients send nothing for it."""
        folder = await self._writable(caller, ref)
        path, size = requests.text(params, "path"), requests.number(params, "size", None, requests.LARGEST)
        token = self._transfers.issue(Operation.UPLOAD, viewer_of(caller), folder, path, size=size)
        if size == 0:
            upload = await self._transfers.open_upload(await self._transfers.check(Operation.UPLOAD, token), 0)
            try:
                await upload.finish()
            finally:
                upload.close()
        return token

    async def request_download(self, caller: Caller, ref: str, params: Params) -> tuple[str, dict[str, Any]]:
        """A token to download one file with, or with ``archive`` a folder; and what is known of it."""
        folder = await self._readable(caller, ref)
        archive = requests.flag(params, "archive")
        path = requests.optional_text(params, "path") or requests.optional_text(params, "file") or ""
        facts = await self._volumes.call(place_of(folder), "file_facts", {"path": path})
        return self._transfers.issue(Operation.DOWNLOAD, viewer_of(caller), folder, path, archive=archive), facts

    async def _readable(self, caller: Caller, ref: str) -> VFolderRecord:
        folder = await self._folders.get(caller, ref)
        require_ready(folder)
        return folder

    async def _writable(self, caller: Caller, ref: str) -> VFolderRecord:
        folder = await self._folders.get(caller, ref)
        require_write(folder)
        return folder
