"""``/bai/api/copies``: files and directories between folders and this server's own files.

What is copied goes from the one to the other in pieces, at most one in memory, and never through the browser. It is
written under another name beside the one that it gets when all of it has come, so there is a whole copy or none; a
name that is taken is refused. The answer is one line of JSON after the other: how far it is, and at its end where the
copy is or why there is none. A page that closes the connection ends the copy.

A move is a copy, and then the source is deleted: if all of it was copied and it is as it was. Else it stays.
"""

import asyncio
import hashlib
import json
import posixpath
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import ExitStack, aclosing, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from jupyter_server.auth.decorator import authorized
from jupyter_server.utils import ensure_async
from tornado import web

from bai_jupyter.client import Json, ManagerClient
from bai_jupyter.common.errors import BadRequest, NotFound, PublicError
from bai_jupyter.common.reasons import Reason
from bai_jupyter.extension.drive import DriveHandler
from bai_jupyter.extension.folder_contents import Place
from bai_jupyter.extension.folder_trees import FolderEntry, walk_folder
from bai_jupyter.extension.handlers import bad_value
from bai_jupyter.extension.local_files import (
    Entry,
    LocalFiles,
    create,
    is_taken,
    make_directory,
    put_in_place,
    remove,
)

_Result = TypeVar("_Result")


@dataclass
class Progress:
    """Told after each piece and each entry."""

    tell: Callable[["Progress"], None]
    total: int = 0
    done: int = 0
    left_out: int = 0
    """Links and what is hidden."""
    kept: str = ""
    """Why the source of a move is not deleted."""

    def add(self, size: int) -> None:
        self.done += size
        self.tell(self)


class Survey:
    """What was found, to be told from what is found later."""

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        self.size, self._digest = 0, hashlib.sha256()
        for entry in entries:
            self.add(entry.path, entry)

    @classmethod
    async def of_folder(cls, client: ManagerClient, source: Place, facts: Json) -> "Survey":
        made = cls()
        async with aclosing(walk_folder(client, source.id, source.path, facts)) as entries:
            async for entry in entries:
                made.add(entry.below, entry)
        return made

    def add(self, path: str, entry: Entry | FolderEntry) -> None:
        self.size += entry.size
        self._digest.update(json.dumps([path, entry.kind, entry.size, entry.modified]).encode())

    def agrees(self, other: "Survey") -> bool:
        return self._digest.digest() == other._digest.digest()


async def let_go(
    path: str,
    progress: Progress,
    before: Survey,
    look_again: Callable[[], Awaitable[Survey]],
    delete: Callable[[], Awaitable[None]],
) -> None:
    """The end of a move; the whole copy is in its place by now. What is not deleted is told."""
    try:
        if progress.left_out:
            cause = "links or hidden files in it were left out"
        elif not before.agrees(await look_again()):
            cause = "it was changed meanwhile"
        else:
            await delete()
            return
    except PublicError as error:
        cause = error.message.rstrip(".")
    except OSError as error:
        cause = error.strerror or type(error).__name__
    progress.kept = Reason.of("file-not-moved", path=path, cause=cause).text


# From this server


async def to_folder(
    client: ManagerClient, files: LocalFiles, source: str, target: Place, progress: Progress, *, is_move: bool = False
) -> None:
    """Raises ``PublicError``; then there is no copy, and the source is as it was."""
    if is_move and await in_thread(files.is_link, source):
        raise BadRequest(Reason.of("file-kind", path=source, found="a link; copy it, or move what it leads to"))
    with ExitStack() as held:
        directory, name = await in_thread(held.enter_context, files.parent(source))
        if await in_thread(_is_other, files, directory, name):
            raise BadRequest(Reason.of("file-kind", path=source, found="neither a file nor a folder"))
        await _require_free(client, target)
        before = await in_thread(Survey, files.walk(directory, name))
        progress.total = before.size
        part = posixpath.join(posixpath.dirname(target.path), _part_name())
        try:
            async with aclosing(_in_threads(files.walk(directory, name))) as entries:
                async for entry in entries:
                    await _send(client, target.id, posixpath.join(part, entry.path).rstrip("/"), entry, progress)
            await client.rename_file(target.id, part, posixpath.basename(target.path))
        except BaseException:
            with suppress(PublicError):  # of what did not begin there is nothing
                await client.delete_file(target.id, part)
            raise
        if is_move:

            async def look_again() -> Survey:
                return await in_thread(Survey, files.walk(directory, name))

            async def delete() -> None:
                await in_thread(remove, directory, name)

            await let_go(source, progress, before, look_again, delete)


async def _require_free(client: ManagerClient, target: Place) -> None:
    above = posixpath.dirname(target.path)
    if (await client.get_file(target.id, above))["type"] != "DIRECTORY":
        raise BadRequest(Reason.of("file-kind", path=above, found="not a folder"))
    with suppress(NotFound):
        await client.get_file(target.id, target.path)
        raise BadRequest(Reason.of("file-exists", path=target.path))


async def _send(client: ManagerClient, folder: str, path: str, entry: Entry, progress: Progress) -> None:
    if entry.kind == "directory":
        await client.make_directory(folder, path)
    elif entry.kind == "file":
        before = progress.done

        def tell(sent: int) -> None:
            progress.add(before + sent - progress.done)

        with await in_thread(entry.open) as file:
            await client.upload(folder, path, file, entry.size, tell)
    else:
        progress.left_out += 1
    progress.add(0)


async def _in_threads(entries: Iterator[Entry]) -> AsyncGenerator[Entry, None]:
    while (entry := await in_thread(next, entries, None)) is not None:
        yield entry


def _is_other(files: LocalFiles, directory: int, name: str) -> bool:
    return next(files.walk(directory, name)).kind == "other"


# To this server


async def to_server(
    client: ManagerClient,
    source: Place,
    files: LocalFiles,
    directory: str,
    name: str,
    progress: Progress,
    *,
    is_move: bool = False,
) -> None:
    """Raises ``PublicError``; then there is no copy, and the source is as it was."""
    if is_move and not source.path:
        raise BadRequest(Reason.of("file-kind", path=source.folder["name"], found="a whole folder; move what is in it"))
    if files.is_hidden(name):
        raise bad_value("name", name, "a name that this server shows: it hides those that begin with a dot")
    facts = await client.get_file(source.id, source.path)
    with ExitStack() as held:
        there = await in_thread(held.enter_context, files.directory(directory))
        if await in_thread(is_taken, there, name):
            raise BadRequest(Reason.of("file-exists", path=name))
        before = await Survey.of_folder(client, source, facts)
        progress.total = before.size
        part = _part_name()
        try:
            async with aclosing(walk_folder(client, source.id, source.path, facts)) as entries:
                async for entry in entries:
                    path = posixpath.join(part, entry.below).rstrip("/")
                    if entry.kind == "other" or any(map(files.is_hidden, entry.below.split("/"))):
                        progress.left_out += 1
                    elif entry.kind == "directory":
                        await in_thread(make_directory, there, path)
                    else:
                        await _fetch(client, source.id, entry.path, there, path, progress)
                    progress.add(0)
            await in_thread(put_in_place, there, part, name)
        except FileExistsError:
            await in_thread(remove, there, part)
            raise BadRequest(Reason.of("file-exists", path=name)) from None
        except BaseException:
            await in_thread(remove, there, part)
            raise
    if is_move:

        async def look_again() -> Survey:
            return await Survey.of_folder(client, source, await client.get_file(source.id, source.path))

        await let_go(source.path, progress, before, look_again, lambda: client.delete_file(source.id, source.path))


async def _fetch(
    client: ManagerClient, folder: str, path: str, directory: int, target: str, progress: Progress
) -> None:
    download = await client.begin_download(folder, path)
    with await in_thread(create, directory, target) as file:
        async with aclosing(client.pieces(download)) as pieces:
            async for piece in pieces:
                await in_thread(file.write, piece)
                progress.add(len(piece))


async def in_thread(work: Callable[..., _Result], *args: Any) -> _Result:
    """Its end is waited for also when this is cancelled: what it works on is closed then."""
    running = asyncio.ensure_future(asyncio.to_thread(work, *args))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait([running])
        raise


def _part_name() -> str:
    return f".copy-{secrets.token_hex(8)}"


# Handlers


class CopyHandler(DriveHandler):
    """``{"path", "directory", "name"?, "move"?}``: what, where to, and what it is called there."""

    _copying: asyncio.Future[None] | None = None
    _is_gone = False

    def text(self, field: str) -> str:
        given = self.fields().get(field, "")
        if not isinstance(given, str) or "\0" in given:
            raise bad_value(field, given, "a path")
        return given.strip("/")

    def name(self, path: str) -> str:
        """By default as it is called where it comes from."""
        name = self.fields().get("name") or posixpath.basename(path)
        if not isinstance(name, str) or name in ("", ".", "..") or "/" in name or "\0" in name:
            raise bad_value("name", name, "a name")
        return name

    async def is_move(self) -> bool:
        """Raises ``HTTPError`` if whoever asks may not delete here."""
        given = self.fields().get("move", False)
        if not isinstance(given, bool):
            raise bad_value("move", given, "true or false")
        who = self.current_user
        if given and not await ensure_async(self.authorizer.is_authorized(self, who, "write", "contents")):
            raise web.HTTPError(403, "User is not authorized to write on resource: contents.")
        return given

    @property
    def local_files(self) -> LocalFiles:
        return LocalFiles.of(self.settings["contents_manager"])

    async def answer(self, copy: Awaitable[None], path: str, progress: Progress) -> None:
        """Begins with what is told first, so what is refused at once is an answer like any."""
        self._copying = asyncio.ensure_future(copy)
        try:
            async with as_sentences(path):
                await self._copying
            last: Json = {"path": path, "left_out": progress.left_out}
            if progress.kept:
                last["kept"] = progress.kept
        except asyncio.CancelledError:
            if self._is_gone:
                return  # nobody reads an answer
            self._copying.cancel()
            raise
        except PublicError as error:
            if not self._headers_written:
                raise
            last = {"code": error.code, "message": error.message}
        self.write(json.dumps(last) + "\n")
        self.finish(set_content_type="application/x-ndjson")

    def tell(self, progress: Progress) -> None:
        if not self._is_gone:
            self.set_header("Content-Type", "application/x-ndjson")
            self.write(json.dumps({"done": progress.done, "total": progress.total}) + "\n")
            self.flush()

    def on_connection_close(self) -> None:
        super().on_connection_close()
        self._is_gone = True
        if self._copying is not None:
            self._copying.cancel()


@asynccontextmanager
async def as_sentences(path: str) -> AsyncIterator[None]:
    """What this server's disk refuses, as errors that people can read."""
    try:
        yield
    except OSError as error:
        cause = error.strerror or type(error).__name__
        named = error.filename if isinstance(error.filename, str) else path
        raise BadRequest(Reason.of("file-local", path=named, cause=cause)) from error


class ToFolderHandler(CopyHandler):
    @web.authenticated
    @authorized
    @authorized("read", resource="contents")
    async def post(self) -> None:
        """``path`` of this server, ``directory`` in the drive of folders."""
        source, directory = self.text("path"), self.text("directory")
        if not directory:
            raise BadRequest(Reason.of("folders-only"))
        target = f"{directory}/{self.name(source)}"
        place, progress, is_move = await self.place(target), Progress(self.tell), await self.is_move()
        copy = to_folder(self.client, self.local_files, source, place, progress, is_move=is_move)
        await self.answer(copy, target, progress)


class ToServerHandler(CopyHandler):
    @web.authenticated
    @authorized
    @authorized("write", resource="contents")
    async def post(self) -> None:
        """``path`` in the drive of folders, ``directory`` of this server."""
        path, directory = self.text("path"), self.text("directory")
        place, name, progress = await self.place(path), self.name(path), Progress(self.tell)
        is_move = await self.is_move()
        copy = to_server(self.client, place, self.local_files, directory, name, progress, is_move=is_move)
        await self.answer(copy, posixpath.join(directory, name), progress)


HANDLERS: list[tuple[str, Any]] = [
    (r"/bai/api/copies/to-folder", ToFolderHandler),
    (r"/bai/api/copies/to-server", ToServerHandler),
]
