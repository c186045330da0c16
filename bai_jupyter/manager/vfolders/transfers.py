"""Uploads and downloads: the tokens that allow one, and the streams that carry it.

A token names its user, folder and file, and is all that a transfer needs: nothing of it is stored. Each use looks again
whether the user may still do this, so what is taken back ends its transfers too.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any
from uuid import uuid4

from tornado.websocket import WebSocketClosedError

from bai_jupyter.common.errors import AuthFailed, Unavailable
from bai_jupyter.common.ids import UserId, VFolderId
from bai_jupyter.common.reasons import Reason
from bai_jupyter.manager.agents.streams import ByteStream
from bai_jupyter.manager.auth import sealing
from bai_jupyter.manager.auth.vault import Vault
from bai_jupyter.manager.db import folder_rules, vfolders
from bai_jupyter.manager.db.records import VFolderRecord
from bai_jupyter.manager.db.store import Store
from bai_jupyter.manager.db.vfolders import Viewer
from bai_jupyter.manager.vfolders.access import require_ready, require_write
from bai_jupyter.manager.vfolders.volumes import Volumes, error_of, place_of

_KIND, _PURPOSE = "bai2", "folder transfers"
_LIVES = {"upload": timedelta(days=1), "download": timedelta(hours=1)}


class Operation(StrEnum):
    UPLOAD = "upload"
    DOWNLOAD = "download"


@dataclass(frozen=True)
class Claims:
    operation: Operation
    user_id: UserId
    sees_all: bool
    vfolder_id: VFolderId
    path: str
    size: int  # of an upload
    upload_id: str
    archive: bool  # of a download: a folder, as one zip file
    expires_at: int  # seconds since 1970


@dataclass(frozen=True)
class Transfer:
    """A token that is good now, and the folder that it is about."""

    claims: Claims
    folder: VFolderRecord


class Transfers:
    def __init__(self, store: Store, volumes: Volumes, vault: Vault, now: Callable[[], datetime]) -> None:
        self._store, self._volumes, self._now = store, volumes, now
        self._key = vault.derive(_PURPOSE)

    def issue(
        self,
        operation: Operation,
        viewer: Viewer,
        folder: VFolderRecord,
        path: str,
        *,
        size: int = 0,
        archive: bool = False,
    ) -> str:
        expires_at = int((self._now() + _LIVES[operation]).timestamp())
        claims = Claims(
            operation, viewer.user_id, viewer.sees_all, folder.id, path, size, uuid4().hex, archive, expires_at
        )
        return sealing.seal(_KIND, self._key, asdict(claims))

    async def check(self, operation: Operation, token: str) -> Transfer:
        """Whatever is wrong with a token, the same ``AuthFailed``."""
        raw = sealing.unseal(_KIND, self._key, token, self._now())
        if raw is None or raw["operation"] != operation:
            raise AuthFailed(Reason.of("token"))
        claims = Claims(**raw)
        folder = await self._store.read(vfolders.find, claims.vfolder_id, Viewer(claims.user_id, claims.sees_all))
        if folder is None or folder.id != claims.vfolder_id:
            raise AuthFailed(Reason.of("token"))
        (require_write if operation is Operation.UPLOAD else require_ready)(folder)
        return Transfer(claims, folder)

    # Uploads

    async def offset(self, upload: Transfer) -> int | None:
        """How many bytes have come; None: none have, or the file is complete."""
        place = place_of(upload.folder)
        answer = await self._volumes.call(place, "upload_offset", {"upload_id": upload.claims.upload_id})
        return None if answer["offset"] is None else int(answer["offset"])

    async def drop(self, upload: Transfer) -> None:
        await self._volumes.call(place_of(upload.folder), "drop_upload", {"upload_id": upload.claims.upload_id})

    async def open_upload(self, upload: Transfer, offset: int, subfolder: str = "") -> "Upload":
        claims, folder = upload.claims, upload.folder
        params = {
            "name": folder.name,
            "upload_id": claims.upload_id,
            "path": f"{subfolder}/{claims.path}" if subfolder else claims.path,
            "size": claims.size,
            "offset": offset,
            "quota_bytes": folder.limit_bytes,
            "scope": await self._store.read(folder_rules.scope, folder),
        }
        return Upload(await self._volumes.open_stream(place_of(folder), "upload", params))

    # Downloads

    async def facts(self, download: Transfer) -> dict[str, Any]:
        return await self._volumes.call(place_of(download.folder), "file_facts", {"path": download.claims.path})

    async def open_download(
        self, download: Transfer, facts: dict[str, Any], start: int, length: int
    ) -> AsyncIterator[bytes]:
        """The bytes of the version that ``facts`` told of. Raises before the first one if it cannot be had."""
        version = [facts["mtime_ns"], facts["size"]]
        more = {"path": download.claims.path, "start": start, "length": length, "version": version}
        return await self._begin(download.folder, "download", more)

    async def open_archive(self, download: Transfer) -> AsyncIterator[bytes]:
        claims = download.claims
        called = claims.path.strip("/.").rpartition("/")[2] or download.folder.name
        return await self._begin(download.folder, "archive", {"path": claims.path, "called": called})

    async def _begin(self, folder: VFolderRecord, kind: str, params: dict[str, Any]) -> AsyncIterator[bytes]:
        stream = await self._volumes.open_stream(place_of(folder), kind, params)
        try:
            _raise_for(await stream.read_message())
        except BaseException:
            stream.close()
            raise
        return _read_all(stream)


class Upload:
    """An upload on its way to the agent. Close it in the end."""

    def __init__(self, stream: ByteStream) -> None:
        self._stream = stream
        self._outcome = asyncio.ensure_future(stream.read_message())

    async def write(self, data: bytes) -> None:
        """Returns when there is room for more. What comes after a refusal is dropped; ``finish`` tells of it."""
        if self._outcome.done():
            return
        try:
            await self._stream.write_message(data, binary=True)
        except WebSocketClosedError:
            return

    async def finish(self) -> int:
        """The offset reached. Raises the ``PublicError`` for which data was refused."""
        await self.write(b"")
        return int(_raise_for(await self._outcome)["offset"])

    def close(self) -> None:
        self._outcome.cancel()
        self._stream.close()


async def _read_all(stream: ByteStream) -> AsyncIterator[bytes]:
    """Raises ``Unavailable`` if it breaks off."""
    try:
        while piece := await stream.read_message():
            yield piece
        if piece is None:
            raise Unavailable("The agent broke the download off. Try again.")
    finally:
        stream.close()


def _raise_for(frame: bytes | None) -> dict[str, Any]:
    """What an agent's word on a transfer says. Raises the ``PublicError`` that it means."""
    if not frame:
        raise Unavailable("The agent broke the transfer off. Try again.")
    told: dict[str, Any] = json.loads(frame)
    if "error" in told:
        raise error_of(Reason.from_json(told["error"]))
    return told
