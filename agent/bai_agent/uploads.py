"""Uploads: what comes is appended to a draft beside the folder, which becomes the file once it is complete.

One upload is written by one stream at a time, the newest; a file appears under its name complete or not at all.
"""

import asyncio
import errno
import json
import os
import stat
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

from bai_agent import files, quotas
from bai_agent.acting import acting_as
from bai_agent.files import FileFault, opened
from bai_agent.open_folders import OpenFolders, Params
from bai_agent.quotas import Usages
from bai_agent.transfers import Socket, told
from bai_jupyter.common.reasons import Reason

T = TypeVar("T")

_DRAFT_LIFE_S = 2 * 86400
_WRITE_BYTES = 1024**2  # what comes is written in pieces of about this size


class Uploads:
    def __init__(self, folders: OpenFolders, usages: Usages) -> None:
        self._folders, self._usages = folders, usages
        self._receiving: dict[str, asyncio.Task[Any]] = {}

    async def offset(self, params: Params) -> dict[str, Any]:
        """How far an upload is; None: nothing has come, or it is complete.

        Who asks wants to go on from there, so a stream that still writes is stopped.
        """
        upload_id = params["upload_id"]
        await self._stop_receiving(upload_id)
        return {"offset": await self._with_drafts(params, lambda _, drafts: files.draft_length(drafts, upload_id))}

    async def drop(self, params: Params) -> dict[str, Any]:
        await self._stop_receiving(params["upload_id"])
        await self._with_drafts(params, partial(self._drop_draft, params))
        return {}

    def _drop_draft(self, params: Params, _root: int, drafts: int) -> None:
        with suppress(FileNotFoundError):
            os.unlink(params["upload_id"], dir_fd=drafts)

    async def receive(self, socket: Socket, params: Params) -> None:
        """Takes data until an empty frame, answers with one frame: ``{"offset": …}`` or ``{"error": reason}``."""
        try:
            outcome = json.dumps({"offset": await self._receive(socket, params)}).encode()
        except FileFault as fault:
            outcome = told(fault)
        await socket.write_message(outcome, binary=True)

    async def _receive(self, socket: Socket, params: Params) -> int:
        """Append what comes to the draft, and put it in its place once it is complete. The offset reached."""
        upload_id = params["upload_id"]
        await self._stop_receiving(upload_id)
        task = asyncio.current_task()
        assert task is not None
        self._receiving[upload_id] = task
        try:
            used = await self._folders.slowly(partial(self._usages.used_elsewhere, params))
            params = {**params, "used_elsewhere": used}
            await self._with_drafts(params, partial(self._begin_upload, params))
            offset = await self._append(socket, params)
            if offset == params["size"]:
                await _to_its_end(self._with_drafts(params, partial(self._publish, params)))
            return offset
        finally:
            if self._receiving.get(upload_id) is task:
                del self._receiving[upload_id]

    async def _stop_receiving(self, upload_id: str) -> None:
        """A connection that was cut may live on here for a while; the newest one counts."""
        previous = self._receiving.pop(upload_id, None)
        if previous is not None:
            previous.cancel()
            await asyncio.wait([previous])

    async def _append(self, socket: Socket, params: Params) -> int:
        offset: int = params["offset"]
        size: int = params["size"]
        waiting = bytearray()
        try:
            while frame := await socket.read_message():
                waiting += frame if isinstance(frame, bytes) else frame.encode()
                if offset + len(waiting) > size:
                    waiting.clear()
                    raise FileFault(Reason.of("upload-too-long", file=params["path"], size=size))
                if len(waiting) >= _WRITE_BYTES:
                    offset = await self._write(params, waiting, offset)
        finally:
            # Also of a connection that was cut: so much less has to be sent again.
            offset = await self._write(params, waiting, offset)
        return offset

    async def _write(self, params: Params, waiting: bytearray, offset: int) -> int:
        """Empties ``waiting``. The offset after it. Over only when it is done, also for who is cancelled meanwhile."""
        data = bytes(waiting)
        waiting.clear()
        if not data:
            return offset

        def work(root: int, drafts: int) -> None:
            try:
                with opened(files.open_draft(drafts, params["upload_id"])) as file:
                    files.write_all(file, data, offset)
            except OSError as error:  # no room: what has come is of no use
                self._drop_draft(params, root, drafts)
                if error.errno == errno.EDQUOT and (limits := self._limits_of(params, root)):
                    raise quotas.full(params, limits) from error
                raise

        await _to_its_end(self._with_drafts(params, work))
        return offset + len(data)

    def _begin_upload(self, params: Params, root: int, drafts: int) -> None:
        self._check_quota(params, root, drafts)
        _prune(drafts)
        with opened(files.open_draft(drafts, params["upload_id"])) as file:
            length = os.fstat(file).st_size
        if length != params["offset"]:
            raise FileFault(Reason.of("upload-offset", file=params["path"], offset=length, given=params["offset"]))

    def _publish(self, params: Params, root: int, drafts: int) -> None:
        self._check_quota(params, root, drafts)
        replaced = _size_of(root, params["path"])
        try:
            files.publish(drafts, params["upload_id"], root, params["path"])
        except (FileFault, OSError):
            self._drop_draft(params, root, drafts)
            raise
        self._usages.add(params, params["size"], replaced)

    def _limits_of(self, params: Params, root: int) -> list[tuple[str, int, int]]:
        return list(quotas.limits_of(params, self._usages.measure(params, root).used_bytes, params["used_elsewhere"]))

    def _check_quota(self, params: Params, root: int, drafts: int) -> None:
        """Refuse an upload that would not fit, and drop what has come of it."""
        if params["quota_bytes"] is None and params.get("scope") is None:
            return
        limits = self._limits_of(params, root)
        try:
            quotas.refuse_excess(limits, params["path"], params["size"], _size_of(root, params["path"]) or 0)
        except FileFault:
            self._drop_draft(params, root, drafts)
            raise

    async def _with_drafts(self, params: Params, work: Callable[[int, int], T]) -> T:
        """As ``OpenFolders.do``; ``work`` also gets the open folder of this folder's uploads."""
        return await self._folders.quickly(partial(self._in_uploads, params, work))

    def _in_uploads(self, params: Params, work: Callable[[int, int], T]) -> T:
        with opened(self._folders.open(params)) as root:
            owner = self._folders.user_of(root)
            with opened(self._folders.open_drafts(params, owner)) as drafts, acting_as(owner):
                return work(root, drafts)


async def _to_its_end(work: Coroutine[Any, Any, T]) -> T:
    """Threads cannot be stopped: who is cancelled while one works waits for it all the same."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise


def _size_of(root: int, path: str) -> int | None:
    """None if there is no such file."""
    try:
        return files.facts_of(root, path)["size"]
    except FileFault:
        return None


def _prune(drafts: int) -> None:
    """Forget uploads that nobody goes on with."""
    oldest = time.time() - _DRAFT_LIFE_S
    for name in os.listdir(drafts):
        with suppress(OSError):
            found = os.stat(name, dir_fd=drafts, follow_symlinks=False)
            if stat.S_ISREG(found.st_mode) and found.st_mtime < oldest:
                os.unlink(name, dir_fd=drafts)
