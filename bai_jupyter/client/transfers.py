"""What files hold, carried to and from folders in pieces that are sent again after a broken connection."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import BinaryIO

from tornado.httputil import HTTPHeaders

from bai_jupyter.client.connection import TRANSFER_TIMEOUT_S, Connection
from bai_jupyter.client.faults import ManagerAway
from bai_jupyter.client.paths import folder_path
from bai_jupyter.common.errors import BadRequest
from bai_jupyter.common.reasons import Reason

TRANSFER_BYTES = 16 * 1024**2
"""Files are carried in pieces of this size: so much is in memory, and is sent again after a broken connection."""

_TRIES = 6


@dataclass(frozen=True)
class Download:
    """A file that is fetched in pieces, as it was when the first was asked for."""

    path: str
    token: str = field(repr=False)
    size: int
    version: str


class Transfers(Connection):
    async def upload(
        self, folder: str, path: str, source: BinaryIO, size: int, on_progress: Callable[[int], None] | None = None
    ) -> None:
        """Send ``size`` bytes of a file; it is there when all of it is. Goes on after a broken connection."""
        token = await self.begin_upload(folder, path, size)
        offset, failures = 0, 0
        while offset < size:
            try:
                if failures:
                    offset = await self.uploaded(token)
                piece = await asyncio.to_thread(_read_at, source, offset, min(TRANSFER_BYTES, size - offset))
                if not piece:  # it was cut off meanwhile
                    raise BadRequest(Reason.of("file-changed", path=path))
                offset, failures = await self.send_piece(token, offset, piece), 0
            except ManagerAway:
                failures += 1
                if failures == _TRIES:
                    raise
                await asyncio.sleep(_pause_s(failures))
            if on_progress is not None:
                on_progress(offset)

    async def begin_upload(self, folder: str, path: str, size: int) -> str:
        """The token that the pieces of this file are sent with; an empty file is there at once."""
        return (await self.request("POST", f"{folder_path(folder)}/request-upload", {"path": path, "size": size}))[
            "token"
        ]

    async def send_piece(self, token: str, offset: int, piece: bytes) -> int:
        """How much of the file has come then. With the last piece the file is there."""
        sent = {"Upload-Offset": str(offset), "Content-Type": "application/offset+octet-stream"}
        _, headers, _ = await self._carry("PATCH", "/storage/upload", token, sent, piece)
        return int(headers["Upload-Offset"])

    async def uploaded(self, token: str) -> int:
        """How much of the file has come."""
        _, headers, _ = await self._carry("HEAD", "/storage/upload", token, {})
        return int(headers["Upload-Offset"])

    async def drop_upload(self, token: str) -> None:
        """Forget what has come."""
        await self._carry("DELETE", "/storage/upload", token, {})

    async def download(
        self, folder: str, path: str, target: BinaryIO, on_progress: Callable[[int, int], None] | None = None
    ) -> None:
        """Fetch a file; as ``upload``. Raises ``PublicError`` if it is changed meanwhile."""
        found = await self.begin_download(folder, path)
        start = 0
        async for piece in self.pieces(found):
            await asyncio.to_thread(target.write, piece)
            start += len(piece)
            if on_progress is not None:
                on_progress(start, found.size)

    async def begin_download(self, folder: str, path: str) -> Download:
        token = (await self.request("POST", f"{folder_path(folder)}/request-download", {"path": path}))["token"]
        _, headers, _ = await self._carry("HEAD", "/storage/download", token, {})
        return Download(path, token, int(headers["Content-Length"]), headers["ETag"])

    async def pieces(self, download: Download) -> AsyncGenerator[bytes, None]:
        """The file, one piece in memory at a time. Goes on after a broken connection, but not in a changed file."""
        start, failures = 0, 0
        while start < download.size:
            end = min(start + TRANSFER_BYTES, download.size)
            wanted = {"Range": f"bytes={start}-{end - 1}", "If-Range": download.version}
            try:
                status, _, piece = await self._carry("GET", "/storage/download", download.token, wanted)
            except ManagerAway:
                failures += 1
                if failures == _TRIES:
                    raise
                await asyncio.sleep(_pause_s(failures))
                continue
            if status != 206:
                raise BadRequest(Reason.of("file-changed", path=download.path))
            yield piece
            start, failures = start + len(piece), 0

    @asynccontextmanager
    async def archive(self, folder: str, path: str = "") -> AsyncIterator[tuple[str, AsyncGenerator[bytes, None]]]:
        """A directory of a folder, by default all of it, as a zip file that is made while it is read.

        Gives the header ``Content-Disposition``, which names it, and its pieces. Raises ``PublicError``, also among the
        pieces: one that breaks off is not begun again.
        """
        asked = {"path": path, "archive": True}
        token = (await self.request("POST", f"{folder_path(folder)}/request-download", asked))["token"]
        target, headers = self._target("/storage/download", {"token": token}), HTTPHeaders({"Host": self._host})
        try:
            async with self._send("GET", target, headers, b"") as answer:
                await self._begun(answer, TRANSFER_TIMEOUT_S)
                yield answer.headers["Content-Disposition"], self._whole(answer)
        except (OSError, TimeoutError) as error:
            raise self._away(error) from error

    async def _carry(
        self, method: str, path: str, token: str, headers: Mapping[str, str], content: bytes = b""
    ) -> tuple[int, HTTPHeaders, bytes]:
        """One piece of a transfer, whose token is its only credential."""
        sent = HTTPHeaders({"Host": self._host, **headers})
        sending = self._send(method, self._target(path, {"token": token}), sent, content)
        return await self._completed(sending, TRANSFER_TIMEOUT_S)


def _read_at(source: BinaryIO, offset: int, length: int) -> bytes:
    source.seek(offset)
    return source.read(length)


def _pause_s(failures: int) -> float:
    return 0.1 * 2**failures
