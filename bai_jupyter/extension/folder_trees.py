"""What lies in folders, read as a whole: entry by entry, and as one zip file of several."""

import posixpath
import zipfile
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import IO, cast

from bai_jupyter.client import Json, ManagerClient
from bai_jupyter.common.errors import BadRequest
from bai_jupyter.common.reasons import Reason
from bai_jupyter.extension.local_files import Kind

_PAGE = 1000
_KINDS: dict[str, Kind] = {"DIRECTORY": "directory", "FILE": "file"}


@dataclass(frozen=True)
class FolderEntry:
    path: str
    """Inside the folder."""
    below: str
    """Below what was asked for; empty for that itself."""
    kind: Kind
    size: int
    modified: float


async def walk_folder(
    client: ManagerClient, folder: str, path: str, facts: Json, below: str = ""
) -> AsyncGenerator[FolderEntry, None]:
    """What ``facts`` are of and, if that is a directory, all in it. Directories come before what is in them."""
    kind = _KINDS.get(facts["type"], "other")
    size = facts["size"] if kind == "file" else 0
    yield FolderEntry(path, below, kind, size, facts["modified"])
    if kind != "directory":
        return
    offset, total = 0, 1
    while offset < total:
        page = await client.list_files(folder, path, offset, _PAGE)
        for one in page["items"]:
            name = one["name"]
            if name in ("", ".", "..") or "/" in name or "\0" in name:  # what it becomes elsewhere is not ours to say
                raise BadRequest(Reason.of("file-kind", path=path, found="not readable: a name in it is none"))
            async with aclosing(
                walk_folder(client, folder, posixpath.join(path, name), one, posixpath.join(below, name))
            ) as inner:
                async for entry in inner:
                    yield entry
        offset, total = offset + _PAGE, page["total"]


async def zip_of(
    client: ManagerClient, folder: str, directory: str, chosen: Sequence[Json]
) -> AsyncGenerator[bytes, None]:
    """A zip file of some of a directory's entries, made while it is read. Links are left out."""
    sink = _Sink()
    with zipfile.ZipFile(cast(IO[bytes], sink), "w") as archive:
        for facts in chosen:
            name = facts["name"]
            async with aclosing(walk_folder(client, folder, posixpath.join(directory, name), facts, name)) as entries:
                async for entry in entries:
                    async with aclosing(_member(client, folder, archive, entry)) as written:
                        async for _ in written:
                            yield sink.take()
    yield sink.take()


async def _member(
    client: ManagerClient, folder: str, archive: zipfile.ZipFile, entry: FolderEntry
) -> AsyncGenerator[None, None]:
    """Write one, and say after each piece that there is something to take."""
    moment = datetime.fromtimestamp(max(entry.modified, _EARLIEST), UTC)
    if entry.kind == "directory":
        archive.writestr(zipfile.ZipInfo(f"{entry.below}/", moment.timetuple()[:6]), b"")
        yield
    elif entry.kind == "file":
        download = await client.begin_download(folder, entry.path)
        info = zipfile.ZipInfo(entry.below, moment.timetuple()[:6])
        with archive.open(info, "w", force_zip64=True) as member:
            async with aclosing(client.pieces(download)) as pieces:
                async for piece in pieces:
                    member.write(piece)
                    yield
        yield


_EARLIEST = datetime(1980, 1, 2, tzinfo=UTC).timestamp()
"""What a zip file can tell."""


class _Sink:
    """Takes what ``zipfile`` writes, and hands it on."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def write(self, piece: bytes) -> int:
        self._pieces.append(bytes(piece))
        return len(piece)

    def flush(self) -> None: ...

    def take(self) -> bytes:
        taken, self._pieces = b"".join(self._pieces), []
        return taken
