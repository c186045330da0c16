"""Use cases of folders as a whole: what the API offers, without HTTP. Sharing and files have modules of their own."""

import asyncio
import logging
from collections.abc import Callable, Collection, Coroutine, Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Any, TypeVar

from sqlalchemy.engine import Connection

from bai_jupyter.common.errors import NotFound, PublicError
from bai_jupyter.common.ids import SessionId, UserId, VFolderId, new_vfolder_id
from bai_jupyter.common.messages import has_hard_quota
from bai_jupyter.common.reasons import Reason
from bai_jupyter.common.statuses import FolderStatus
from bai_jupyter.manager.auth import policy
from bai_jupyter.manager.auth.keypairs import Caller
from bai_jupyter.manager.db import folder_rules, mounts, vfolders
from bai_jupyter.manager.db.admission import Owner, owner_of
from bai_jupyter.manager.db.records import VFolderRecord
from bai_jupyter.manager.db.store import Store
from bai_jupyter.manager.db.vfolders import NewFolder, Viewer
from bai_jupyter.manager.vfolders import requests
from bai_jupyter.manager.vfolders.access import (
    FolderExists,
    FolderFailed,
    require_cloneable,
    require_hand_over,
    require_no_home,
    require_owner,
    require_ready,
)
from bai_jupyter.manager.vfolders.requests import Params
from bai_jupyter.manager.vfolders.volumes import Volumes, place_of

log = logging.getLogger(__name__)

T = TypeVar("T")

MEASURE_TIMEOUT_S = 10.0
_MOMENT_S = 0.5
_COPY_TIMEOUT_S = 6 * 3600.0
_DELETE_TIMEOUT_S = 3600.0


class VFolderService:
    """Long work (a copy, a purge) goes on when its caller hangs up; what a manager did not finish shows as it is.

    ``on_mounts`` gets each session that lost a folder, or the right to write there, and its owner. ``on_limits`` is
    told when somebody has a folder more, or one has another limit.
    """

    def __init__(
        self,
        store: Store,
        volumes: Volumes,
        now: Callable[[], datetime],
        on_mounts: Callable[[SessionId, UserId], None],
        on_limits: Callable[[], None],
    ) -> None:
        self._store, self._volumes, self._now = store, volumes, now
        self._on_mounts, self._on_limits = on_mounts, on_limits
        self._working: set[asyncio.Task[Any]] = set()
        self._counts: dict[VFolderId, asyncio.Task[Any]] = {}
        self._giving: dict[VFolderId, asyncio.Lock] = {}  # of those that were handed over

    async def start(self) -> None:
        await self._store.write(vfolders.break_clones)
        self._tell(await self._store.write(mounts.recheck))

    async def stop(self) -> None:
        tasks = list(self._working)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # Looking

    async def hosts(self, caller: Caller) -> dict[str, Any]:
        return await self._volumes.hosts(owner_of(caller))

    async def list(self, caller: Caller, *, everybody: bool = False) -> "list[VFolderRecord]":
        if everybody:
            policy.require(caller.role, "folder:any-owner")
        return await self._store.read(vfolders.list_all if everybody else vfolders.visible, viewer_of(caller))

    async def counted(self, caller: Caller) -> Sequence[VFolderRecord]:
        """As ``list``, with their use as it is now where that is found out within a moment; where not, it is on record
        when it is. A home without a limit is left out: it may hold everything that somebody has."""
        found = await self.list(caller)
        ready = [one for one in found if one.status is FolderStatus.READY]
        work = [self._count(one) for one in ready if one.is_limited or one.name != folder_rules.HOME]
        if not work:
            return found
        await asyncio.wait(work, timeout=_MOMENT_S)
        return await self.list(caller)

    async def get(self, caller: Caller, ref: str) -> VFolderRecord:
        """By id or by name. What is another's and what is missing raise the same ``NotFound``."""
        found = await self._store.read(vfolders.find, requests.folder_ref(ref), viewer_of(caller))
        if found is None:
            raise NotFound(Reason.of("not-found", kind="folder", name=ref), title="No such virtual folder.")
        return found

    async def measured(self, caller: Caller, ref: str) -> VFolderRecord:
        """With its use as it is now, or as last known where that cannot be found out quickly."""
        folder = await self.get(caller, ref)
        if folder.status is not FolderStatus.READY:
            return folder
        usage = await self._measure(folder.id, place_of(folder))
        return _as_counted(folder, usage)

    # Changing

    async def create(self, caller: Caller, params: Params) -> VFolderRecord:
        """Raises ``PublicError`` and leaves nothing behind."""
        if requests.optional_text(params, "unmanaged_path") is not None:
            raise FolderFailed("Folders at paths of your own choice are not offered. Ask an admin for a volume there.")
        name = requests.folder_name(params)
        project_id = await self._project(caller, requests.optional_word(params, "group"))
        owner = owner_of(caller if project_id is None else replace(caller, project_id=project_id))
        volume = await self._volumes.choose(owner, requests.optional_word(params, "host"))
        new = self._new(caller, name, project_id, volume, params, FolderStatus.READY)
        await self._refuse_taken(caller, new)
        await self._store.read(folder_rules.check_count, owner, is_projects=project_id is not None)
        limit_bytes = await self._limit_of(new)
        place = {"volume": new.volume, "subpath": new.subpath}
        scope = await self._store.read(folder_rules.scope, new)
        wanted = {"beside": await self._home(caller.user_id), "quota_bytes": limit_bytes, "scope": scope}
        made = await self._volumes.call(place, "make_folder", wanted)
        new = replace(new, subpath=made.get("subpath", new.subpath))
        try:
            if not await self._store.write(vfolders.create, new, self._now(), owner):
                raise FolderExists(Reason.of("folder-used", name=name))
        except PublicError:
            await self._volumes.call(place, "delete_folder", timeout_s=_DELETE_TIMEOUT_S)
            raise
        self._on_limits()
        return await self.get(caller, new.id)

    async def clone(self, caller: Caller, ref: str, params: Params) -> VFolderRecord:
        """A copy of one's own. Answers when it is complete."""
        source = await self.get(caller, ref)
        require_cloneable(source, caller)
        name = requests.folder_name(params, "target_name")
        volume = await self._volumes.choose(owner_of(caller), requests.optional_word(params, "target_host"))
        await self._volumes.holder(source.volume, volume)
        new = self._new(caller, name, None, volume, params, FolderStatus.CLONING)
        limit_bytes = await self._limit_of(new)
        if not await self._store.write(vfolders.create, new, self._now(), owner_of(caller)):
            raise FolderExists(Reason.of("folder-used", name=name))
        await self._finish(self._copy(source, new, limit_bytes))
        return await self.get(caller, new.id)

    async def rename(self, caller: Caller, ref: str, params: Params) -> None:
        folder = await self._owned(caller, ref)
        require_ready(folder)
        require_no_home(folder)
        name = requests.folder_name(params, "new_name")
        if name == folder.name:
            return
        renamed = await self._store.write(vfolders.rename, folder, name)
        if renamed is None:  # it has just been given to somebody else
            raise NotFound(Reason.of("not-found", kind="folder", name=ref), title="No such virtual folder.")
        if not renamed:
            raise FolderExists(Reason.of("folder-used", name=name))

    async def set_options(self, caller: Caller, ref: str, params: Params) -> None:
        folder = await self._owned(caller, ref)
        given = requests.optional_text(params, "permission")
        permission = requests.permission(params, "permission") if given else None
        cloneable = requests.optional_flag(params, "cloneable")
        change = partial(vfolders.set_options, cloneable=cloneable)
        await self.change_rights(folder, change, folder.id, permission)

    async def set_quota(self, caller: Caller, ref: str, quota_bytes: int | None) -> VFolderRecord:
        """A limit for what the folder may hold; ``None``: as much as the policies of its owner allow."""
        folder = await self._owned(caller, ref)
        whose = folder.user_name or folder.project_name or ""
        folder_rules.check_size(folder.name, whose, quota_bytes, folder.used_bytes or 0, folder.most_bytes)
        if has_hard_quota(folder.subpath):
            limit_bytes = replace(folder, quota_bytes=quota_bytes).limit_bytes
            await self._volumes.call(place_of(folder), "limit_folder", {"quota_bytes": limit_bytes})
        await self._store.write(vfolders.set_quota, folder.id, quota_bytes)
        self._on_limits()
        return await self.get(caller, folder.id)

    async def trash(self, caller: Caller, ref: str) -> None:
        """Out of sight; nothing is lost yet. Repeating it changes nothing.

        Its owner's sessions keep it; those of people that it was shared with do not.
        """
        folder = await self._owned(caller, ref)
        require_no_home(folder)
        if folder.status in (FolderStatus.READY, FolderStatus.BROKEN):
            await self.change_rights(folder, vfolders.set_status, folder.id, FolderStatus.TRASHED)
        elif folder.status is FolderStatus.CLONING:
            require_ready(folder)

    async def restore(self, caller: Caller, ref: str) -> None:
        folder = await self._owned(caller, ref)
        if folder.status is FolderStatus.READY:
            return
        if folder.status is not FolderStatus.TRASHED:
            require_ready(folder)
        if not await self._store.write(vfolders.restore, folder):
            raise FolderExists(Reason.of("folder-used", name=folder.name))

    async def purge(self, caller: Caller, ref: str) -> None:
        """Delete what is in the trash for good. May be repeated if it was broken off."""
        folder = await self._owned(caller, ref)
        if folder.status not in (FolderStatus.TRASHED, FolderStatus.PURGING):
            raise FolderFailed(f"Folder {folder.name} is not in the trash. Delete it first; then it can be purged.")
        mounting = await self._store.read(vfolders.sessions_mounting, folder)
        if mounting:
            raise FolderFailed(Reason.of("folder-mounted", folder=folder.name, sessions=", ".join(mounting)))
        await self._store.write(vfolders.set_status, folder.id, FolderStatus.PURGING)
        await self._finish(self._delete(folder))

    async def hand_over(self, caller: Caller, params: Params) -> None:
        """Make somebody else the owner of a person's folder, also of the files in it.

        May be repeated: then what was broken off is completed.
        """
        folder = await self.get(caller, requests.word(params, "vfolder"))
        address = requests.word(params, "user_email")
        require_hand_over(folder)
        owner = await self._store.read(vfolders.heir, folder, address)
        if owner is None:
            raise NotFound(Reason.of("not-found", kind="user", name=address), title="No such user.")
        await self._volumes.holder(folder.volume)
        folder = await self._measured_for(UserId(owner.user_id), folder)
        viewer = viewer_of(caller)
        if not await self.change_rights(folder, _hand_over, folder, viewer, owner, address, self._now()):
            raise FolderExists(Reason.of("folder-given", who=address, name=folder.name))
        await self._finish(self._give(caller, folder))

    # Rights, and sessions that run

    async def change_rights(self, folder: VFolderRecord, change: Callable[..., T], *args: Any) -> T:
        """A unit of work after which fewer may use the folder. Sessions lose it in the same transaction."""
        result, affected = await self._store.write(mounts.rechecked, folder, change, *args)
        self._tell(affected)
        return result

    async def recheck(self, user_ids: Collection[UserId]) -> None:
        """These people may use fewer folders than before."""
        self._tell(await self._store.write(mounts.recheck, user_ids))

    def _tell(self, affected: Iterable[mounts.Affected]) -> None:
        for one in affected:
            log.info("session %s has fewer folders: its owner may not use them any more", one.session_id)
            self._on_mounts(one.session_id, one.user_id)

    # Inside

    async def _measure(
        self, folder_id: VFolderId, place: dict[str, Any], known: tuple[int | None, int | None] | None = None
    ) -> tuple[int, int] | None:
        """Bytes and files, on record from now on; None where that cannot be found out quickly."""
        try:
            usage = await self._volumes.call(place, "folder_usage", timeout_s=MEASURE_TIMEOUT_S)
        except PublicError as error:
            log.info("folder %s: its use is not known: %s", folder_id, error)
            return None
        found = usage["used_bytes"], usage["num_files"]
        if found != known:
            await self._store.write(vfolders.set_usage, folder_id, *found)
        return found

    def _count(self, folder: VFolderRecord) -> asyncio.Task[Any]:
        """Once at a time."""
        if (count := self._counts.get(folder.id)) is None:
            known = folder.used_bytes, folder.num_files
            count = self._counts[folder.id] = self._begin(self._measure(folder.id, place_of(folder), known))
            count.add_done_callback(lambda _: self._counts.pop(folder.id))
        return count

    async def _measured_for(self, user_id: UserId, folder: VFolderRecord) -> VFolderRecord:
        """A folder with its use as it is now; so are those on record that would count together with it if that user
        owned it."""
        theirs = replace(folder, user_id=user_id)
        limited = await self._store.read(folder_rules.scope, theirs) is not None
        beside = await self._store.read(folder_rules.beside, theirs) if limited else []
        places = [(one, {"volume": folder.volume, "subpath": subpath}) for one, subpath in beside]
        measured = [self._measure(*one) for one in [(folder.id, place_of(folder)), *places]]
        usage, *_ = await asyncio.gather(*measured)
        return _as_counted(folder, usage)

    async def _owned(self, caller: Caller, ref: str) -> VFolderRecord:
        folder = await self.get(caller, ref)
        require_owner(folder, caller)
        return folder

    def _new(
        self, caller: Caller, name: str, project_id: str | None, volume: str, params: Params, status: FolderStatus
    ) -> NewFolder:
        vfolder_id = new_vfolder_id()
        return NewFolder(
            id=vfolder_id,
            name=name,
            user_id=caller.user_id if project_id is None else None,
            project_id=project_id,
            creator=caller.user_name,
            volume=volume,
            subpath=f".vfolders/{vfolder_id}",
            permission=requests.permission(params, "permission", default="rw"),
            status=status,
            usage_mode=requests.choice(params, "usage_mode", requests.USAGE_MODES, "general"),
            cloneable=requests.flag(params, "cloneable"),
            quota_bytes=requests.quota(params, "quota"),
        )

    async def _limit_of(self, new: NewFolder) -> int | None:
        """Its quota, else as much as the policies of its owner allow. Raises ``QuotaExceeded``."""
        most = await self._store.read(folder_rules.largest_of, new.user_id, new.project_id)
        owner = "yours" if new.project_id is None else "the project"
        folder_rules.check_size(new.name, owner, new.quota_bytes, 0, most)
        return most if new.quota_bytes is None else new.quota_bytes

    async def _project(self, caller: Caller, group: str | None) -> str | None:
        """The project that is to own a folder; only its admins may have it own one."""
        if group is None:
            return None
        policy.require(caller.role, "folder:of-project")
        mine = await self._store.read(vfolders.projects_of, caller.user_id)
        for project_id, name in mine.items():
            if group in (project_id, name):
                return project_id
        raise NotFound(Reason.of("not-found", kind="project", name=group), title="No such user group (or project).")

    async def _refuse_taken(self, caller: Caller, new: NewFolder) -> None:
        """Before anything is made; whether it really is free is seen when it is recorded."""
        for folder in await self.list(caller):
            if folder.name == new.name and folder.project_id == new.project_id and folder.status in vfolders.KEPT:
                raise FolderExists(Reason.of("folder-used", name=new.name))

    async def _home(self, user_id: UserId | None) -> dict[str, str] | None:
        found = await self._store.read(vfolders.home_of, user_id) if user_id else None
        return None if found is None else {"volume": found[0], "subpath": found[1]}

    async def _copy(self, source: VFolderRecord, new: NewFolder, limit_bytes: int | None) -> None:
        target = {"volume": new.volume, "subpath": new.subpath}
        beside = await self._home(new.user_id)
        scope = await self._store.read(folder_rules.scope, new)
        wanted = {**target, "beside": beside, "name": new.name, "quota_bytes": limit_bytes, "scope": scope}
        try:
            made = await self._volumes.copy(place_of(source), wanted, _COPY_TIMEOUT_S)
        except PublicError:
            await self._store.write(vfolders.set_status, new.id, FolderStatus.PURGING)
            await self._volumes.call(target, "delete_folder", timeout_s=_DELETE_TIMEOUT_S)
            await self._store.write(vfolders.forget, new.id)
            raise
        await self._store.write(vfolders.complete, new.id, made.get("subpath", new.subpath))
        self._on_limits()

    async def _give(self, caller: Caller, before: VFolderRecord) -> None:
        """To whom it belongs when its turn comes. Two at once would each give a part of its files."""
        async with self._giving.setdefault(before.id, asyncio.Lock()):
            folder = await self.get(caller, before.id)
            new = {
                "was": await self._home(before.user_id),
                "beside": await self._home(folder.user_id),
                "quota_bytes": folder.limit_bytes,
                "scope": await self._store.read(folder_rules.scope, folder),
            }
            try:
                await self._volumes.call(place_of(folder), "give_folder", new, _COPY_TIMEOUT_S)
            finally:
                self._on_limits()

    async def _delete(self, folder: VFolderRecord) -> None:
        try:
            await self._volumes.call(place_of(folder), "delete_folder", timeout_s=_DELETE_TIMEOUT_S)
        except PublicError:
            await self._store.write(vfolders.set_status, folder.id, FolderStatus.TRASHED)
            raise
        await self._store.write(vfolders.forget, folder.id)

    async def _finish(self, work: Coroutine[Any, Any, T]) -> T:
        """Wait for work that goes on also if nobody waits any more."""
        return await asyncio.shield(self._begin(work))

    def _begin(self, work: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
        task = asyncio.create_task(work)
        self._working.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: "asyncio.Task[Any]") -> None:
        self._working.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.info("work on a folder failed: %s", error)


def _hand_over(
    conn: Connection, folder: VFolderRecord, viewer: Viewer, owner: Owner, address: str, now: datetime
) -> bool:
    """As it is now: while it was measured it may have been renamed, put into the trash, or given away."""
    found = vfolders.find(conn, folder.id, viewer)
    if found is None or found.user_id not in (folder.user_id, owner.user_id):
        raise FolderFailed(f"Folder {folder.name} was given away or deleted meanwhile. Look at it, and ask again.")
    require_hand_over(found)
    return vfolders.hand_over(conn, replace(found, used_bytes=folder.used_bytes), owner, address, now)


def _as_counted(folder: VFolderRecord, usage: tuple[int, int] | None) -> VFolderRecord:
    return folder if usage is None else replace(folder, used_bytes=usage[0], num_files=usage[1])


def viewer_of(caller: Caller) -> Viewer:
    return Viewer(caller.user_id, policy.may(caller.role, "folder:any-owner"))
