"""The volumes that this agent holds: what the manager may ask of the folders in them.

Folders as a whole, and the files in them; what those hold comes and goes by ``uploads`` and ``downloads``. All is done
in threads that act as the folder's owner (``open_folders``), through descriptors (``files``).

Where the file system keeps limits (``btrfs``), what such folders of one owner hold together has a hard limit too.
"""

import asyncio
import os
import threading
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

from bai_agent import btrfs, files, folders
from bai_agent.acting import acting_as
from bai_agent.downloads import Downloads
from bai_agent.files import Usage, opened
from bai_agent.open_folders import DRAFTS, LIMITED_DRAFTS, LIMITED_FILES, OpenFolders, Params, key, split
from bai_agent.quotas import Usages, limits_of, refuse_excess
from bai_agent.runtimes.base import Identity
from bai_agent.transfers import Socket, TransferEnd
from bai_agent.uploads import Uploads
from bai_jupyter.common.messages import has_hard_quota


class Volumes:
    """``calls`` are the methods of ``messages.Call`` that are answered here, ``streams`` the kinds of endpoints.

    Guarantees: one upload is written by one stream at a time, the newest; a file appears under its name complete or not
    at all; long work (copy, delete, measure) keeps no short work waiting.
    """

    def __init__(self, volumes: Mapping[str, Path], agent: str, forced: Identity | None) -> None:
        self._folders = OpenFolders(volumes, agent, forced)
        self._usages = Usages(self._folders)
        self._counts: dict[tuple[str, str], asyncio.Future[Usage]] = {}
        self._giving: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        self._uploads = Uploads(self._folders, self._usages)
        self._downloads = Downloads(self._folders)
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
            "upload_offset": self._uploads.offset,
            "drop_upload": self._uploads.drop,
        }
        self.streams: dict[str, Callable[[Socket, Params], Awaitable[None]]] = {
            "upload": self._uploads.receive,
            "download": self._downloads.file,
            "archive": self._downloads.archive,
        }

    def end(self, endpoint: Params) -> TransferEnd:
        """The local end of a stream of one of the kinds in ``streams``."""
        return TransferEnd(self.streams[endpoint["kind"]], endpoint)

    async def close(self) -> None:
        await self._folders.close()

    # Folders as a whole

    async def _volume_usage(self, params: Params) -> dict[str, Any]:
        free, total, is_hard = await self._folders.quickly(partial(_space, self._folders.root_of(params["volume"])))
        return {"free_bytes": free, "total_bytes": total, "hard_quota": is_hard}

    async def _make_folder(self, params: Params) -> dict[str, Any]:
        """May be repeated. ``beside``: the owner's home, if there is one; who owns that owns the new folder.

        With ``quota_bytes`` it may come to lie in a place of its own below ``subpath``, where its limit is hard; so is
        that of its ``scope`` then.
        """
        return {"subpath": await self._folders.quickly(partial(self._make, params))}

    def _make(self, params: Params) -> str:
        owner = self._folders.owner_beside(params.get("beside"))
        subpath: str = params["subpath"]
        parent, name = split(subpath)
        root = self._folders.root_of(params["volume"])
        if parent and "/" not in parent:
            with suppress(FileExistsError):
                os.mkdir(root / parent, 0o711)
        with opened(folders.open_below(root, parent)) as above:
            if "quota_bytes" in params and self._make_limited(above, name, owner, params):
                return f"{subpath}/{LIMITED_FILES}"
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
                for inside in (LIMITED_FILES, LIMITED_DRAFTS):
                    with suppress(FileExistsError):
                        os.mkdir(inside, 0o700, dir_fd=subvolume)
                    os.close(folders.open_owned(subvolume, inside, owner))
                _enter_scope(above, subvolume, params.get("scope"))
                btrfs.limit(above, subvolume, params["quota_bytes"])
        return True

    async def _limit_folder(self, params: Params) -> dict[str, Any]:
        """Of a folder with a hard limit."""
        await self._folders.quickly(partial(self._limit, params))
        return {}

    def _limit(self, params: Params) -> None:
        with self._limited(params) as (beside, folder):
            btrfs.limit(beside, folder, params["quota_bytes"])

    async def _limit_scopes(self, params: Params) -> dict[str, Any]:
        """Whose folders count together and to which limit, and that of each: of those with hard limits.

        May be repeated. What is missing is left out. A limit may be below what is used: then nothing can be added.
        """
        await self._folders.slowly(partial(self._gather, params))
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
        above, _ = split(split(params["subpath"])[0])
        with (
            opened(folders.open_below(self._folders.root_of(params["volume"]), above)) as parent,
            opened(files.open_folder(parent, ())) as beside,
            opened(self._folders.open(params)) as root,
            opened(files.open_folder(root, ())) as folder,
        ):
            yield beside, folder

    async def _give_folder(self, params: Params) -> dict[str, Any]:
        """Give it, and what its owner has in it, to whom the home ``beside`` belongs. May be repeated.

        ``was``: the home of who had it, to whom it may have come in part only. One after another for each folder, also
        where nobody waits for the one before any more.
        From then on it counts for that one's ``scope`` and may hold ``quota_bytes``, if it lies where limits are hard.
        """
        await self._folders.slowly(partial(self._give, params))
        return {}

    def _give(self, params: Params) -> None:
        with self._giving[key(params)]:
            self._give_next(params)

    def _give_next(self, params: Params) -> None:
        new = self._folders.owner_beside(params["beside"])
        is_limited = has_hard_quota(params["subpath"])
        if is_limited:
            self._bound(params, None, None)  # giving takes room for a moment, which there may not be
        try:
            with opened(self._folders.open(params)) as root:
                old_uids = {self._folders.user_of(root).uid}
                if params.get("was") is not None:
                    old_uids.add(self._folders.owner_beside(params["was"]).uid)
                if old_uids != {new.uid}:
                    with opened(files.open_folder(root, ())) as folder:
                        files.give_tree(folder, old_uids, new)
        finally:
            if is_limited:
                self._bound(params, params["scope"], params["quota_bytes"])

    async def _delete_folder(self, params: Params) -> dict[str, Any]:
        """All of it, whoever owns what is inside. May be repeated."""
        await self._folders.slowly(partial(self._delete, params))
        return {}

    def _delete(self, params: Params) -> None:
        parent, name = split(params["subpath"])
        if has_hard_quota(params["subpath"]):
            with suppress(FileNotFoundError):
                self._bound(params, None, None)  # deleting takes room for a moment
            parent, name = split(parent)
        root = self._folders.root_of(params["volume"])
        with opened(folders.open_below(root, parent)) as above:
            files.delete_tree(above, name)
        with suppress(FileNotFoundError), opened(folders.open_below(root, DRAFTS)) as drafts:
            files.delete_tree(drafts, key(params))

    async def _clone_folder(self, params: Params) -> dict[str, Any]:
        """Make ``target`` and copy ``source`` into it. What was made stays if it fails: it is to be deleted then."""
        return {"subpath": await self._folders.slowly(partial(self._clone, params["source"], params["target"]))}

    def _clone(self, source: Params, target: Params) -> str:
        need = self._folders.in_folder(source, partial(self._usages.measure, source)).used_bytes
        refuse_excess(limits_of(target, 0, self._usages.used_elsewhere(target)), "the copy", need)
        place = self._make(target)
        with (
            opened(self._folders.open(source)) as here,
            opened(self._folders.open({**target, "subpath": place})) as there,
            acting_as(self._folders.user_of(there)),
            opened(files.open_folder(here, ())) as readable,
        ):
            files.copy_tree(readable, there, lambda: not self._folders.stopping.is_set())
        return place

    async def _folder_usage(self, params: Params) -> dict[str, Any]:
        """Who asks while it is counted waits for the same count."""
        place = (params["volume"], params["subpath"])
        if (count := self._counts.get(place)) is None:
            work = partial(self._folders.in_folder, params, partial(self._usages.measure, params))
            count = self._counts[place] = asyncio.ensure_future(self._folders.slowly(work))
            count.add_done_callback(lambda _: self._counts.pop(place))
        usage = await asyncio.shield(count)
        return {"used_bytes": usage.used_bytes, "num_files": usage.num_files}

    # Files

    async def _list_files(self, params: Params) -> dict[str, Any]:
        asked = (params["path"], params["offset"], params["limit"], params.get("match", ""))
        return await self._folders.do(params, lambda root: files.list_page(root, *asked))

    async def _file_facts(self, params: Params) -> dict[str, Any]:
        return await self._folders.do(params, lambda root: files.facts_of(root, params["path"]))

    async def _make_directory(self, params: Params) -> dict[str, Any]:
        options = {"parents": params["parents"], "exist_ok": params["exist_ok"]}
        await self._folders.do(params, lambda root: files.make_directory(root, params["path"], **options))
        return {}

    async def _rename_file(self, params: Params) -> dict[str, Any]:
        await self._folders.do(params, lambda root: files.rename(root, params["path"], params["new_name"]))
        return {}

    async def _move_file(self, params: Params) -> dict[str, Any]:
        await self._folders.do(params, lambda root: files.move(root, params["source"], params["target"]))
        return {}

    async def _delete_files(self, params: Params) -> dict[str, Any]:
        work = partial(files.delete, paths=params["paths"], recursive=params["recursive"])
        await self._folders.slowly(partial(self._folders.in_folder, params, work))
        return {}


def _space(root: Path) -> tuple[int, int, bool]:
    """Free bytes, all bytes, and whether limits of new folders are hard."""
    disk = os.statvfs(root)
    with opened(os.open(root, os.O_RDONLY | os.O_DIRECTORY)) as folder:
        is_hard = btrfs.keeps_limits(folder)
    return disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize, is_hard


def _enter_scope(root: int, folder: int, scope: Params | None) -> None:
    """As ``messages.Call`` tells of a scope; one without a limit is as none."""
    if scope is None or scope["limit_bytes"] is None:
        btrfs.enter_scope(root, folder, None)
    else:
        btrfs.enter_scope(root, folder, scope["key"])
        btrfs.limit_scope(root, scope["key"], scope["limit_bytes"])
