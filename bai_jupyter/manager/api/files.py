"""Files inside a session: sent as a form, fetched as tar archives, listed. None is held in memory as a whole."""

from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

from tornado.web import stream_request_body

from bai_jupyter.common.errors import BadRequest, PublicError
from bai_jupyter.manager.api.base import Answer, OwnedHandler, gives, needs, takes
from bai_jupyter.manager.api.multipart import Event, MultipartReader, Part, PartEnds, boundary_of
from bai_jupyter.manager.auth import policy
from bai_jupyter.manager.db.records import SessionRecord
from bai_jupyter.manager.sessions.files import Upload

MAX_UPLOAD_BYTES = 64 * 1024**3
MAX_FILES = 1000
_FIELD = "src"


class FilesHandler(OwnedHandler):
    @takes(path=str)
    @gives({"files": str, "errors": str, "folder_path": str, "abspath": str})
    @needs("session:execute")
    async def get(self, ref: str) -> Answer:
        return 200, await self.services.session_files.listing(self.caller, ref, self.params.get("path"))


@stream_request_body
class UploadHandler(OwnedHandler):
    """Each part ``src`` is a file, written as it arrives.

    What goes wrong meanwhile is kept until the body is over: who is still sending reads no answer.
    """

    _failure: PublicError | None = None
    _upload: Upload | None = None
    _files = 0
    _session: SessionRecord
    _reader: MultipartReader

    async def prepare(self) -> None:
        await super().prepare()
        policy.require(self.caller.role, "session:execute")
        self.request.connection.set_max_body_size(MAX_UPLOAD_BYTES)  # type: ignore[union-attr]
        try:
            self._reader = MultipartReader(boundary_of(self.request.headers.get("Content-Type", "")))
        except ValueError as error:
            raise BadRequest(f"Cannot read the files: {error}.") from error
        self._session = await self.services.sessions.get(self.caller, self.path_args[0])

    async def data_received(self, chunk: bytes) -> None:
        if self._failure is not None:
            return
        try:
            for event in self._reader.feed(chunk):
                await self._take(event)
        except PublicError as error:
            self._fail(error)
        except ValueError as error:
            self._fail(BadRequest(f"Cannot read the files: {error}."))

    @gives(None)
    @needs("session:execute")
    async def post(self, _ref: str) -> Answer:
        if self._failure is None and not self._reader.is_complete:
            self._fail(BadRequest("Cannot read the files: the body ends in the middle of one."))
        if self._failure is not None:
            raise self._failure
        return 204, None

    def on_connection_close(self) -> None:
        self._abandon()

    async def _take(self, event: Event) -> None:
        match event:
            case Part(name, filename) if name == _FIELD:
                self._files += 1
                if self._files > MAX_FILES:
                    raise BadRequest(f"At most {MAX_FILES} files can be sent at a time.")
                self._upload = await self.services.session_files.begin_upload(self._session, filename)
            case bytes() if self._upload is not None:
                await self._upload.write(event)
            case PartEnds() if self._upload is not None:
                upload, self._upload = self._upload, None
                await upload.finish()

    def _fail(self, error: PublicError) -> None:
        self._failure = error
        self._abandon()

    def _abandon(self) -> None:
        if self._upload is not None:
            self._upload.abandon()
            self._upload = None


class DownloadHandler(OwnedHandler):
    """Several files or folders: a multipart answer of one tar archive each."""

    @takes(files=list)
    @gives("multipart/mixed")
    async def get(self, ref: str) -> None:
        policy.require(self.caller.role, "session:execute")
        session, places = await self.services.session_files.find(self.caller, ref, self.params.get("files"))
        boundary = uuid4().hex
        self.set_header("Content-Type", f"multipart/mixed; boundary={boundary}")
        await self.while_connected(self._send_all(session, places, boundary))

    async def _send_all(self, session: SessionRecord, places: list[str], boundary: str) -> None:
        for place in places:
            self.write(f"--{boundary}\r\nContent-Type: application/x-tar\r\n\r\n")
            await self._send(self.services.session_files.archive(session, place))
            self.write("\r\n")
        await self.finish(f"--{boundary}--\r\n")

    async def _send(self, pieces: AsyncIterator[bytes]) -> None:
        try:
            async for piece in pieces:
                self.write(piece)
                await self.flush()
        except PublicError as error:
            self.break_off(error)


class DownloadOneHandler(DownloadHandler):
    """One file as it is."""

    @takes(file=str)
    @gives("application/octet-stream")
    async def get(self, ref: str) -> None:
        policy.require(self.caller.role, "session:execute")
        session, place = await self.services.session_files.find_one(self.caller, ref, self.params.get("file"))
        self.set_header("Content-Type", "application/octet-stream")
        await self.while_connected(self._send_one(session, place))

    post = get

    async def _send_one(self, session: SessionRecord, place: str) -> Any:
        await self._send(self.services.session_files.content(session, place))
        await self.finish()


_ONE = r"/(?:session|kernel)/([^/]+)"

ROUTES = [
    (_ONE + r"/files", FilesHandler),
    (_ONE + r"/upload", UploadHandler),
    (_ONE + r"/download", DownloadHandler),
    (_ONE + r"/download_single", DownloadOneHandler),
]
