"""``/storage``: the bytes of files, with a token from ``request-upload`` or ``request-download`` as only credential.

Uploads speak tus 1.0 (core, creation, termination) in the spelling that Backend.AI's clients use, too; downloads know
ranges. Nothing here holds more than a piece of a file.
"""

import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any
from urllib.parse import quote

from tornado.iostream import StreamClosedError
from tornado.web import stream_request_body

from bai_jupyter.common.errors import BadRequest, PublicError
from bai_jupyter.common.reasons import Reason
from bai_jupyter.common.slots import read_number
from bai_jupyter.manager.api.base import ApiHandler, gives
from bai_jupyter.manager.vfolders.requests import LARGEST
from bai_jupyter.manager.vfolders.transfers import Operation, Transfer, Upload
from bai_jupyter.manager.vfolders.volumes import error_of

TUS = "1.0.0"
_CHUNK_TYPE = "application/offset+octet-stream"
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})", re.ASCII)


class WrongVersion(BadRequest):
    status = 412


class WrongType(BadRequest):
    status = 415


class NoSuchRange(BadRequest):
    status = 416

    def __init__(self, asked: str, size: int) -> None:
        self.size = size
        super().__init__(_bad("Range", asked, f"inside the {size} bytes of the file"))


class StorageHandler(ApiHandler):
    is_public = True  # the token is the credential

    operation: Operation

    async def check(self) -> Transfer:
        return await self.services.transfers.check(self.operation, self.get_query_argument("token", ""))


@stream_request_body
class UploadHandler(StorageHandler):
    """``HEAD``: how far it is. ``PATCH``: more of it. ``POST``: where to go on (tus creation). ``DELETE``: drop it."""

    operation = Operation.UPLOAD
    _upload: Upload | None = None
    _refusal: PublicError | None = None
    _is_gone = False

    def set_default_headers(self) -> None:
        super().set_default_headers()
        self.set_header("Tus-Resumable", TUS)
        self.set_header("Cache-Control", "no-store")

    async def prepare(self) -> None:
        """A refusal waits for the end of the body: a client that still sends would not read it."""
        self.params = {}
        if self.request.method != "PATCH":
            return
        connection: Any = self.request.connection
        connection.set_max_body_size(LARGEST)
        try:
            self._upload = await self._begin()
        except PublicError as error:
            self._refusal = error
        if self._is_gone:
            self.on_finish()

    async def _begin(self) -> Upload:
        headers = self.request.headers
        _check_version(headers.get("Tus-Resumable"))
        if headers.get("Content-Type") != _CHUNK_TYPE:
            raise WrongType(_bad("Content-Type", headers.get("Content-Type"), _CHUNK_TYPE))
        given = headers.get("Upload-Offset", "")
        offset = read_number(given)
        if offset is None:
            raise BadRequest(_bad("Upload-Offset", given, "a number"))
        subfolder = self.get_query_argument("dst_dir", "")
        return await self.services.transfers.open_upload(await self.check(), offset, subfolder)

    async def data_received(self, chunk: bytes) -> None:
        if self._upload is not None:
            await self._upload.write(chunk)

    @gives(None)
    async def patch(self) -> None:
        if self._refusal is not None:
            raise self._refusal
        assert self._upload is not None
        offset = await self._upload.finish()
        self.set_header("Upload-Offset", str(offset))
        self.answer(204, None)

    @gives(None)
    async def head(self) -> None:
        upload = await self.check()
        offset = await self.services.transfers.offset(upload)
        self.set_header("Upload-Offset", str(offset or 0))
        self.set_header("Upload-Length", str(upload.claims.size))
        self.finish()

    @gives(None)
    async def post(self) -> None:
        """The token has told file and size already, so there is nothing to make."""
        upload = await self.check()
        length = self.request.headers.get("Upload-Length")
        if length != str(upload.claims.size):
            raise BadRequest(_bad("Upload-Length", length, str(upload.claims.size)))
        self.set_header("Location", self.own_url(str(self.request.uri)))
        self.answer(201, None)

    @gives(None)
    async def delete(self) -> None:
        await self.services.transfers.drop(await self.check())
        self.answer(204, None)

    @gives(None)
    def options(self) -> None:
        self.set_header("Tus-Version", TUS)
        self.set_header("Tus-Extension", "creation,termination")
        self.set_header("Tus-Max-Size", str(LARGEST))
        self.answer(204, None)

    def on_finish(self) -> None:
        if self._upload is not None:
            self._upload.close()

    def on_connection_close(self) -> None:
        """The agent keeps what has come."""
        super().on_connection_close()
        self._is_gone = True
        self.on_finish()


class DownloadHandler(StorageHandler):
    operation = Operation.DOWNLOAD

    @gives("application/octet-stream", "application/zip")
    async def get(self) -> None:
        await self._answer(with_body=True)

    @gives(None)
    async def head(self) -> None:
        await self._answer(with_body=False)

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        error = kwargs.get("exc_info", (None, None))[1]
        if isinstance(error, NoSuchRange):
            self.set_header("Content-Range", f"bytes */{error.size}")  # what was set before is gone by now
        super().write_error(status_code, **kwargs)

    async def _answer(self, *, with_body: bool) -> None:
        download = await self.check()
        transfers = self.services.transfers
        facts = await transfers.facts(download)
        if download.claims.archive and facts["type"] == "DIRECTORY":
            self._attach((facts["name"] or download.folder.name) + ".zip", "application/zip")
            pieces = await transfers.open_archive(download) if with_body else None
        else:
            if facts["type"] != "FILE":
                raise error_of(Reason.of("file-kind", path=download.claims.path, found="not a file"))
            start, length = self._describe(facts)
            pieces = await transfers.open_download(download, facts, start, length) if with_body else None
        if pieces is None:
            self.finish()
        else:
            await self._pour(pieces)

    def _describe(self, facts: dict[str, Any]) -> tuple[int, int]:
        """Set the headers of a file, and say which part of it is meant."""
        modified = format_datetime(datetime.fromtimestamp(facts["mtime_ns"] // 10**9, UTC), usegmt=True)
        tag = f'"{facts["mtime_ns"]:x}-{facts["size"]:x}"'
        self._attach(facts["name"], "application/octet-stream")
        self.set_header("Accept-Ranges", "bytes")
        self.set_header("Last-Modified", modified)
        self.set_header("ETag", tag)
        size = facts["size"]
        asked = self.request.headers.get("Range")
        if asked is None or self.request.headers.get("If-Range", tag) not in (tag, modified):
            start, end = 0, size
        else:
            start, end = self._part(asked, size)
        self.set_header("Content-Length", str(end - start))
        return start, end - start

    def _part(self, asked: str, size: int) -> tuple[int, int]:
        """From where to where. One range; several, or another unit, give all of it."""
        found = _RANGE.fullmatch(asked.strip())
        if found is None or not any(found.groups()):
            return 0, size
        first, last = found.groups()
        start, end = (int(first), int(last) + 1 if last else size) if first else (max(0, size - int(last)), size)
        end = min(end, size)
        if start >= end:
            raise NoSuchRange(asked, size)
        self.set_status(206)
        self.set_header("Content-Range", f"bytes {start}-{end - 1}/{size}")
        return start, end

    def _attach(self, name: str, content_type: str) -> None:
        shown = quote(name.encode(errors="surrogateescape"))
        self.set_header("Content-Type", content_type)
        self.set_header("Content-Disposition", f"attachment; filename*=UTF-8''{shown}")
        self.set_header("X-Content-Type-Options", "nosniff")

    async def _pour(self, pieces: AsyncIterator[bytes]) -> None:
        """What is broken off is seen by the reader: its connection ends before the last byte."""
        try:
            await self.flush()
            async for piece in pieces:
                self.write(piece)
                await self.flush()
        except StreamClosedError:
            return
        except PublicError:
            self.request.connection.stream.close()  # type: ignore[union-attr]
            return
        finally:
            await pieces.aclose()  # type: ignore[attr-defined]
        self.finish()


def _check_version(given: str | None) -> None:
    if given not in (None, TUS):
        raise WrongVersion(_bad("Tus-Resumable", given, TUS))


def _bad(field: str, given: object, expected: str) -> Reason:
    return Reason.of("bad-value", field=field, given=repr(given), expected=expected)


ROUTES = [
    (r"/storage/upload", UploadHandler),
    (r"/storage/download", DownloadHandler),
]
