"""Downloads: a file, or a directory as a zip file that is made while it is read.

First a frame that is ``{}`` or ``{"error": reason}``, then data, then an empty frame.
"""

import logging
import os
import threading
from collections.abc import Callable, Generator

from bai_agent import files
from bai_agent.files import FileFault, opened
from bai_agent.open_folders import OpenFolders, Params
from bai_agent.transfers import Socket, told
from bai_jupyter.common.reasons import Reason

log = logging.getLogger(__name__)


class Downloads:
    def __init__(self, folders: OpenFolders) -> None:
        self._folders = folders

    async def file(self, socket: Socket, params: Params) -> None:
        """``version``: the time and size that the caller was told of; another version is refused."""
        path, start, end = params["path"], params["start"], params["start"] + params["length"]
        inode = None

        def following(root: int) -> bytes | None:
            nonlocal start, inode
            with opened(files.open_file(root, path)) as file:
                found = os.fstat(file)
                if inode is None and [found.st_mtime_ns, found.st_size] == params["version"]:
                    inode = found.st_ino
                piece = os.pread(file, min(files.PIECE_BYTES, end - start), start)
            if found.st_ino != inode or (start < end and not piece):
                raise FileFault(Reason.of("file-changed", path=path))
            start += len(piece)
            return piece or None

        await self._pour(socket, params, following)

    async def archive(self, socket: Socket, params: Params) -> None:
        pieces: Generator[bytes, None, None] | None = None
        lock = threading.Lock()  # closing waits for the piece that is being made

        def following(root: int) -> bytes | None:
            nonlocal pieces
            with lock:
                if pieces is None:
                    pieces = files.zip_pieces(files.open_folder(root, files.parts_of(params["path"])), params["called"])
                return next(pieces, None)

        def finish() -> None:
            with lock:
                if pieces is not None:
                    pieces.close()

        try:
            await self._pour(socket, params, following)
        finally:
            await self._folders.quickly(finish)

    async def _pour(self, socket: Socket, params: Params, following: Callable[[int], bytes | None]) -> None:
        """A fault after the first piece ends the stream without its last frame; so the reader knows."""
        try:
            piece = await self._folders.do(params, following)
            await socket.write_message(b"{}", binary=True)
        except FileFault as fault:
            await socket.write_message(told(fault), binary=True)
            return
        try:
            while piece is not None:
                await socket.write_message(piece, binary=True)
                piece = await self._folders.do(params, following)
        except FileFault as fault:
            log.warning("a download was broken off: %s", fault)
        else:
            await socket.write_message(b"", binary=True)
