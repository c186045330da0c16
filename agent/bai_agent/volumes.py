"""The volumes that this agent holds: what the manager may ask of the folders in them.

A folder is named by ``volume`` and ``subpath``. Its root is opened by the agent; everything below is done in threads
that act as the folder's owner (``acting``), through descriptors (``files``). What lies beside the folders of a volume:

    .vfolders/<id>            folders that the manager had made (others, such as homes, lie where an admin put them)
    .uploads/<folder>/<id>    what has come of uploads: no mount leads there, and the rename into place is one step

Where the file system keeps limits (``btrfs``), a new folder's place is ``.vfolders/<id>/files`` in a subvolume
``.vfolders/<id>``, which has its uploads, too, in ``uploads/<id>``: they count as well, and can be renamed. What such
folders of one owner hold together has a hard limit too.
"""

import asyncio
import errno
import hashlib
import json
import logging
import os
import stat
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, Protocol, TypeVar

from tornado.websocket import WebSocketClientConnection, WebSocketClosedError

from bai_agent import btrfs, files, folders
from bai_agent.acting import acting_as, drop_groups
from bai_agent.files import FileFault, Usage, opened
from bai_agent.runtimes.base import Identity
from bai_jupyter.common.messages import has_hard_quota
from bai_jupyter.common.reasons import Reason
from bai_jupyter.common.slots import format_size

log = logging.getLogger(__name__)

T = TypeVar("T")
Params = Mapping[str, Any]

_DRAFTS = ".uploads"
_LIMITED_FILES, _LIMITED_DRAFTS = "files", "uploads"
_DRAFT_LIFE_S = 2 * 86400
_WRITE_BYTES = 1024**2  # what comes is written in pieces of about this size
_CLOSE_TIMEOUT_S = 10.0  # tornado gives a peer that does not answer 5 s
_SCAN_SHARE = 10  # a folder is measured again when ten times as long as it took has passed


class Socket(Protocol):
    """A stream to the manager. An empty frame: no more comes this way."""

    def read_message(self) -> Awaitable[str | bytes | None]: ...

    def write_message(self, message: bytes, binary: bool = ...) -> Awaitable[None]: ...


class Volumes:
    """``calls`` are the methods of ``messages.Call`` that are answered here, ``streams`` the kinds of endpoints.

    Guarantees: one upload is written by one stream at a time, the newest; a file appears under its name complete or not
    at all; long work (copy, delete, measure) keeps no short work waiting.
    """

    def __init__(self, volumes: Mapping[str, Path], agent: str, forced: Identity | None) -> None:
        drop_groups()
        self._volumes, self._agent, self._forced = volumes, agent, forced
        self._usual = forced or Identity(folders.DEFAULT_UID, folders.DEFAULT_UID)
        self._quick = ThreadPoolExecutor(8, thread_name_prefix="files")
        self._slow = ThreadPoolExecutor(2, thread_name_prefix="trees")
        self._stopping = threading.Event()
        self._measured: dict[tuple[str, str], tuple[Usage, float, float]] = {}  # and when, and how long it took
        self._counting = threading.Lock()
        self._counts: dict[tuple[str, str], asyncio.Future[Usage]] = {}
        self._receiving: dict[str, asyncio.Task[Any]] = {}
        self.calls: dict[str, Callable[[Params], Awaitable[dict[str, Any]]]] = {
            "volume_usage": self._volume_usage,
            "make_folder": self._make_folder,
            "limit_folder": self._limit_folder,
            "limit_scopes": self._limit_scopes,
            "give_folder": self._give_folder,
            "delete_folder": self._delete_folder,
            "clone_folder": self._clone_folder,
            "folder_usage": self._folder_usage,
            "list_files": self._list_files,
            "file_facts": self._file_facts,
            "make_directory": self._make_directory,
            "rename_file": self._rename_file,
            "move_file": self._move_file,
            "delete_files": self._delete_files,
            "upload_offset": self._upload_offset,
            "drop_upload": self._drop_upload,
        }
        self.streams: dict[str, Callable[[Socket, Params], Awaitable[None]]] = {
            "upload": self._upload,
            "download": self._download,
            "archive": self._archive,
        }

    def end(self, endpoint: Params) -> "TransferEnd":
        """The local end of a stream of one of the kinds in ``streams``."""
        return TransferEnd(self.streams[endpoint["kind"]], endpoint)

    async def close(self) -> None:
        self._stopping.set()
        for pool in (self._quick, self._slow):
            await asyncio.to_thread(pool.shutdown, wait=True, cancel_futures=True)

    # Folders as a whole

    async def _volume_usage(self, params: Params) -> dict[str, Any]:
        free, total, is_hard = await self._run(self._quick, partial(_space, self._root_of(params["volume"])))
        return {"free_bytes": free, "total_bytes": total, "hard_quota": is_hard}

    async def _make_folder(self, params: Params) -> dict[str, Any]:
        """May be repeated. ``beside``: the owner's home, if there is one; who owns that owns the new folder.

        With ``quota_bytes`` it may come to lie in a place of its own below ``subpath``, where its limit is hard; so is
        that of its ``scope`` then.
        """
        return {"subpath": await self._run(self._quick, partial(self._make, params))}

    def _make(self, params: Params) -> str:
        owner = self._owner_beside(params.get("beside"))
        subpath: str = params["subpath"]
        parent, name = _split(subpath)
        root = self._root_of(params["volume"])
        if parent and "/" not in parent:
            with suppress(FileExistsError):
                os.mkdir(root / parent, 0o711)
        with opened(folders.open_below(root, parent)) as above:
            if "quota_bytes" in params and self._make_limited(above, name, owner, params):
                return f"{subpath}/{_LIMITED_FILES}"
            with suppress(FileExistsError):
                os.mkdir(name, 0o700, dir_fd=above)
                os.close(folders.open_owned(above, name, owner))
        return subpath

    def _make_limited(self, parent: int, name: str, owner: Identity, params: Params) -> bool:
        """False, and nothing made, where limits are not hard."""
        with opened(files.open_folder(parent, ())) as above:
            if not btrfs.keeps_limits(above):
                return False
            btrfs.sweep(above)
            btrfs.make_subvolume(above, name)
            with opened(files.open_folder(above, (name,))) as subvolume:
                os.fchmod(subvolume, 0o711)
                for inside in (_LIMITED_FILES, _LIMITED_DRAFTS):
                    with suppress(FileExistsError):
                        os.mkdir(inside, 0o700, dir_fd=subvolume)
                    os.close(folders.open_owned(subvolume, inside, owner))
                _enter_scope(above, subvolume, params.get("scope"))
                btrfs.limit(above, subvolume, params["quota_bytes"])
        return True

    async def _limit_folder(self, params: Params) -> dict[str, Any]:
        """Of a folder with a hard limit."""
        await self._run(self._quick, partial(self._limit, params))
        return {}

    def _limit(self, params: Params) -> None:
        with self._limited(params) as (beside, folder):
            btrfs.limit(beside, folder, params["quota_bytes"])

    async def _limit_scopes(self, params: Params) -> dict[str, Any]:
        """Whose folders count together and to which limit, and that of each: of those with hard limits.

        May be repeated. What is missing is left out. A limit may be below what is used: then nothing can be added.
        """
        await self._run(self._slow, partial(self._gather, params))
        return {}

    def _gather(self, params: Params) -> None:
        for scope in params["scopes"]:
            for subpath, quota_bytes in scope["folders"].items():
                place = {"volume": params["volume"], "subpath": subpath}
                with suppress(FileNotFoundError):
                    self._bound(place, scope, quota_bytes)

    def _bound(self, params: Params, scope: Params | None, quota_bytes: int | None) -> None:
        """Have a folder with a hard limit count for that scope alone, and hold no more than that; None: for none, and
        anything. Nothing is done where limits are not kept any more."""
        with self._limited(params) as (beside, folder):
            if btrfs.keeps_limits(beside):
                _enter_scope(beside, folder, scope)
                btrfs.limit(beside, folder, quota_bytes)

    @contextmanager
    def _limited(self, params: Params) -> Iterator[tuple[int, int]]:
        """Where a folder with a hard limit lies, which has none itself, and the folder: both open."""
        above, _ = _split(_split(params["subpath"])[0])
        with (
            opened(folders.open_below(self._root_of(params["volume"]), above)) as parent,
            opened(files.open_folder(parent, ())) as beside,
            opened(self._open(params)) as root,
            opened(files.open_folder(root, ())) as folder,
        ):
            yield beside, folder

    def _owner_beside(self, home: Params | None) -> Identity:
        if os.geteuid() != 0:
            return Identity(os.geteuid(), os.getegid())
        if self._forced is None and home is not None and home["volume"] in self._volumes:
            with suppress(FileNotFoundError), opened(self._open(home)) as root:
                return self._user_of(root)
        return self._usual

    async def _give_folder(self, params: Params) -> dict[str, Any]:
        """Give it, and what its owner has in it, to whom the home ``beside`` belongs. May be repeated.

        From then on it counts for that one's ``scope`` and may hold ``quota_bytes``, if it lies where limits are hard.
        """
        await self._run(self._slow, partial(self._give, params))
        return {}

    def _give(self, params: Params) -> None:
        new = self._owner_beside(params["beside"])
        is_limited = has_hard_quota(params["subpath"])
        if is_limited:
            self._bound(params, None, None)  # giving takes room for a moment, which there may not be
        try:
            with opened(self._open(params)) as root:
                old = self._user_of(root)
                if old.uid != new.uid:
                    with opened(files.open_folder(root, ())) as folder:
                        files.give_tree(folder, old.uid, new)
        finally:
            if is_limited:
                self._bound(params, params["scope"], params["quota_bytes"])

    async def _delete_folder(self, params: Params) -> dict[str, Any]:
        """All of it, whoever owns what is inside. May be repeated."""
        await self._run(self._slow, partial(self._delete, params))
        return {}

    def _delete(self, params: Params) -> None:
        parent, name = _split(params["subpath"])
        if has_hard_quota(params["subpath"]):
            with suppress(FileNotFoundError):
                self._bound(params, None, None)  # deleting takes room for a moment
            parent, name = _split(parent)
        root = self._root_of(params["volume"])
        with opened(folders.open_below(root, parent)) as above:
            files.delete_tree(above, name)
        with suppress(FileNotFoundError), opened(folders.open_below(root, _DRAFTS)) as drafts:
            files.delete_tree(drafts, _key(params))

    async def _clone_folder(self, params: Params) -> dict[str, Any]:
        """Make ``target`` and copy ``source`` into it. What was made stays if it fails: it is to be deleted then."""
        return {"subpath": await self._run(self._slow, partial(self._clone, params["source"], params["target"]))}

    def _clone(self, source: Params, target: Params) -> str:
        need = self._in_folder(source, partial(self._measure, source)).used_bytes
        _refuse_excess(_limits(target, 0, self._used_elsewhere(target)), "the copy", need)
        place = self._make(target)
        with (
            opened(self._open(source)) as here,
            opened(self._open({**target, "subpath": place})) as there,
            acting_as(self._user_of(there)),
            opened(files.open_folder(here, ())) as readable,
        ):
            files.copy_tree(readable, there, lambda: not self._stopping.is_set())
        return place

    async def _folder_usage(self, params: Params) -> dict[str, Any]:
        """Who asks while it is counted waits for the same count."""
        key = (params["volume"], params["subpath"])
        if (count := self._counts.get(key)) is None:
            work = partial(self._in_folder, params, partial(self._measure, params))
            count = self._counts[key] = asyncio.ensure_future(self._run(self._slow, work))
            count.add_done_callback(lambda _: self._counts.pop(key))
        usage = await asyncio.shield(count)
        return {"used_bytes": usage.used_bytes, "num_files": usage.num_files}

    def _measure(self, params: Params, root: int) -> Usage:
        """Counted now, or a moment ago if counting takes long; with what was uploaded since."""
        key = (params["volume"], params["subpath"])
        usage, at, took_s = self._measured.get(key, (None, 0.0, 0.0))
        began = time.monotonic()
        if usage is None or began - at > _SCAN_SHARE * took_s:
            usage = files.usage_of(root)
            at = time.monotonic()
            with self._counting:
                self._measured[key] = (usage, at, at - began)
        return usage

    def _add(self, params: Params, size: int, replaced: int | None) -> None:
        """An upload to what was measured: many small ones would have all others counted anew each time."""
        key = (params["volume"], params["subpath"])
        with self._counting:
            if key in self._measured:
                usage, at, took_s = self._measured[key]
                grown, more = size - (replaced or 0), int(replaced is None)
                self._measured[key] = (Usage(usage.used_bytes + grown, usage.num_files + more), at, took_s)

    # Files

    async def _list_files(self, params: Params) -> dict[str, Any]:
        asked = (params["path"], params["offset"], params["limit"], params.get("match", ""))
        return await self._do(params, lambda root: files.list_page(root, *asked))

    async def _file_facts(self, params: Params) -> dict[str, Any]:
        return await self._do(params, lambda root: files.facts_of(root, params["path"]))

    async def _make_directory(self, params: Params) -> dict[str, Any]:
        options = {"parents": params["parents"], "exist_ok": params["exist_ok"]}
        await self._do(params, lambda root: files.make_directory(root, params["path"], **options))
        return {}

    async def _rename_file(self, params: Params) -> dict[str, Any]:
        await self._do(params, lambda root: files.rename(root, params["path"], params["new_name"]))
        return {}

    async def _move_file(self, params: Params) -> dict[str, Any]:
        await self._do(params, lambda root: files.move(root, params["source"], params["target"]))
        return {}

    async def _delete_files(self, params: Params) -> dict[str, Any]:
        work = partial(files.delete, paths=params["paths"], recursive=params["recursive"])
        await self._run(self._slow, partial(self._in_folder, params, work))
        return {}

    # Uploads

    async def _upload_offset(self, params: Params) -> dict[str, Any]:
        """How far an upload is; None: nothing has come, or it is complete.

        Who asks wants to go on from there, so a stream that still writes is stopped.
        """
        upload_id = params["upload_id"]
        await self._stop_receiving(upload_id)
        return {"offset": await self._with_drafts(params, lambda _, drafts: files.draft_length(drafts, upload_id))}

    async def _drop_upload(self, params: Params) -> dict[str, Any]:
        await self._stop_receiving(params["upload_id"])
        await self._with_drafts(params, partial(self._drop_draft, params))
        return {}

    def _drop_draft(self, params: Params, _root: int, drafts: int) -> None:
        with suppress(FileNotFoundError):
            os.unlink(params["upload_id"], dir_fd=drafts)

    async def _upload(self, socket: Socket, params: Params) -> None:
        """Takes data until an empty frame, answers with one frame: ``{"offset": …}`` or ``{"error": reason}``."""
        try:
            outcome = json.dumps({"offset": await self._receive(socket, params)}).encode()
        except FileFault as fault:
            outcome = _told(fault)
        await socket.write_message(outcome, binary=True)

    async def _receive(self, socket: Socket, params: Params) -> int:
        """Append what comes to the draft, and put it in its place once it is complete. The offset reached."""
        upload_id = params["upload_id"]
        await self._stop_receiving(upload_id)
        task = asyncio.current_task()
        assert task is not None
        self._receiving[upload_id] = task
        try:
            params = {**params, "used_elsewhere": await self._run(self._slow, partial(self._used_elsewhere, params))}
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
                    raise _full(params, limits) from error
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
        self._add(params, params["size"], replaced)

    def _used_elsewhere(self, params: Params) -> int:
        """What the other folders of its owner on this volume hold, if a limit counts them all."""
        scope = params.get("scope")
        used = 0
        for subpath in scope["others"] if scope else ():
            other = {"volume": params["volume"], "subpath": subpath}
            with suppress(FileNotFoundError):
                used += self._in_folder(other, partial(self._measure, other)).used_bytes
        return used

    def _limits_of(self, params: Params, root: int) -> list[tuple[str, int, int]]:
        return list(_limits(params, self._measure(params, root).used_bytes, params["used_elsewhere"]))

    def _check_quota(self, params: Params, root: int, drafts: int) -> None:
        """Refuse an upload that would not fit, and drop what has come of it."""
        if params["quota_bytes"] is None and params.get("scope") is None:
            return
        limits = self._limits_of(params, root)
        try:
            _refuse_excess(limits, params["path"], params["size"], _size_of(root, params["path"]) or 0)
        except FileFault:
            self._drop_draft(params, root, drafts)
            raise

    # Downloads: first a frame that is ``{}`` or ``{"error": reason}``, then data, then an empty frame

    async def _download(self, socket: Socket, params: Params) -> None:
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

    async def _archive(self, socket: Socket, params: Params) -> None:
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
            await self._run(self._quick, finish)

    async def _pour(self, socket: Socket, params: Params, following: Callable[[int], bytes | None]) -> None:
        """A fault after the first piece ends the stream without its last frame; so the reader knows."""
        try:
            piece = await self._do(params, following)
            await socket.write_message(b"{}", binary=True)
        except FileFault as fault:
            await socket.write_message(_told(fault), binary=True)
            return
        try:
            while piece is not None:
                await socket.write_message(piece, binary=True)
                piece = await self._do(params, following)
        except FileFault as fault:
            log.warning("a download was broken off: %s", fault)
        else:
            await socket.write_message(b"", binary=True)

    # Inside

    async def _do(self, params: Params, work: Callable[[int], T]) -> T:
        """Short work on the folder's root, in a thread, as the folder's user."""
        return await self._run(self._quick, partial(self._in_folder, params, work))

    async def _run(self, pool: ThreadPoolExecutor, work: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(pool, work)
        except (OSError, ValueError) as error:
            raise FileFault(self._reason_of(error)) from error

    def _in_folder(self, params: Params, work: Callable[[int], T]) -> T:
        with opened(self._open(params)) as root, acting_as(self._user_of(root)):
            return work(root)

    def _open(self, params: Params) -> int:
        return folders.open_below(self._root_of(params["volume"]), params["subpath"])

    def _root_of(self, volume: str) -> Path:
        if volume not in self._volumes:
            raise FileFault(Reason.of("volume-away", volume=volume))
        return self._volumes[volume].resolve(strict=True)

    def _user_of(self, root: int) -> Identity:
        """The owner of a folder; one that is root's is given to the user that its sessions will have."""
        found = os.fstat(root)
        if os.geteuid() != 0 or found.st_uid != 0:
            return Identity(found.st_uid, found.st_gid or found.st_uid)
        os.chown(f"/proc/self/fd/{root}", self._usual.uid, self._usual.gid)  # the descriptor is O_PATH
        return self._usual

    async def _with_drafts(self, params: Params, work: Callable[[int, int], T]) -> T:
        """As ``_do``; ``work`` also gets the open folder of this folder's uploads."""
        return await self._run(self._quick, partial(self._in_uploads, params, work))

    def _in_uploads(self, params: Params, work: Callable[[int, int], T]) -> T:
        with opened(self._open(params)) as root:
            owner = self._user_of(root)
            with opened(self._open_drafts(params, owner)) as drafts, acting_as(owner):
                return work(root, drafts)

    def _open_drafts(self, params: Params, owner: Identity) -> int:
        volume = self._root_of(params["volume"])
        if has_hard_quota(params["subpath"]):
            with opened(folders.open_below(volume, _split(params["subpath"])[0])) as subvolume:
                return folders.open_owned(subvolume, _LIMITED_DRAFTS, owner)
        with suppress(FileExistsError):
            os.mkdir(volume / _DRAFTS, 0o711)
        with opened(folders.open_below(volume, _DRAFTS)) as above:
            with suppress(FileExistsError):
                os.mkdir(_key(params), 0o700, dir_fd=above)
            return folders.open_owned(above, _key(params), owner)

    def _reason_of(self, error: OSError | ValueError) -> Reason:
        number = getattr(error, "errno", None)
        if number == errno.EDQUOT:
            return Reason.of("folder-full", agent=self._agent)
        if number == errno.ENOSPC:
            return Reason.of("host-full", agent=self._agent)
        cause = getattr(error, "strerror", None) or str(error)
        return Reason.of("files-failed", agent=self._agent, cause=cause)


class TransferEnd:
    """An upload or download as the end of a stream, and that stream as it sees it."""

    def __init__(self, serve: Callable[[Socket, Params], Awaitable[None]], endpoint: Params) -> None:
        self._serve, self._endpoint = serve, endpoint
        self._is_over = False

    async def carry(self, socket: WebSocketClientConnection) -> None:
        self._socket = socket
        try:
            with suppress(WebSocketClosedError):
                await self._serve(self, self._endpoint)
        finally:
            socket.close()
            await self._read_the_rest()

    async def _read_the_rest(self) -> None:
        """What was sent before the other side knew: tornado would wait for ever for somebody to take it."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_TIMEOUT_S):
                while not self._is_over:
                    await self.read_message()

    async def read_message(self) -> str | bytes | None:
        message = await self._socket.read_message()
        self._is_over = message is None
        return message

    def write_message(self, message: bytes, binary: bool = True) -> Awaitable[None]:
        return self._socket.write_message(message, binary=binary)

    def close(self) -> None:
        """Nothing is held from one piece to the next."""


async def _to_its_end(work: Coroutine[Any, Any, T]) -> T:
    """Threads cannot be stopped: who is cancelled while one works waits for it all the same."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise


def _told(fault: FileFault) -> bytes:
    return json.dumps({"error": fault.reason.to_json()}).encode()


def _split(subpath: str) -> tuple[str, str]:
    """Parent and name. A volume's own root is nobody's to make or delete."""
    path = PurePosixPath(subpath)
    if not path.name or ".." in path.parts or path.is_absolute():
        raise ValueError(f"{subpath!r} is not a folder inside a volume")
    return str(path.parent) if path.parent.name else "", path.name


def _key(params: Params) -> str:
    return hashlib.sha256(params["subpath"].encode()).hexdigest()[:32]


def _space(root: Path) -> tuple[int, int, bool]:
    """Free bytes, all bytes, and whether limits of new folders are hard."""
    disk = os.statvfs(root)
    with opened(os.open(root, os.O_RDONLY | os.O_DIRECTORY)) as folder:
        is_hard = btrfs.keeps_limits(folder)
    return disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize, is_hard


def _limits(params: Params, used: int, used_elsewhere: int) -> Iterator[tuple[str, int, int]]:
    """What may hold how much and how much it holds: the folder, and all of its owner on this volume."""
    if params.get("quota_bytes") is not None:
        yield params["name"], params["quota_bytes"], used
    if scope := params.get("scope"):
        yield scope["name"], scope["limit_bytes"], used + used_elsewhere


def _refuse_excess(limits: Iterable[tuple[str, int, int]], file: str, size: int, replaced: int = 0) -> None:
    for holder, limit, used in limits:
        excess = used - replaced + size - limit
        if excess > 0:
            figures = {"limit": limit, "used": used, "need": size, "excess": excess}
            shown = {name: format_size(amount) for name, amount in figures.items()}
            raise FileFault(Reason.of("quota-reached", folder=holder, file=file, **shown))


def _full(params: Params, limits: Iterable[tuple[str, int, int]]) -> FileFault:
    """The file system says so: it also counts what sessions write this moment, and its own book-keeping."""
    holder, limit, _ = min(limits, key=lambda one: one[1] - one[2])
    return FileFault(Reason.of("quota-full", folder=holder, file=params["path"], limit=format_size(limit)))


def _enter_scope(root: int, folder: int, scope: Params | None) -> None:
    """As ``messages.Call`` tells of a scope; one without a limit is as none."""
    if scope is None or scope["limit_bytes"] is None:
        btrfs.enter_scope(root, folder, None)
    else:
        btrfs.enter_scope(root, folder, scope["key"])
        btrfs.limit_scope(root, scope["key"], scope["limit_bytes"])


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
