"""Folders on this agent's volumes, opened: by the agent, worked on in threads that act as their owner.

A folder is named by ``volume`` and ``subpath``. What lies beside the folders of a volume:

    .vfolders/<id>            folders that the manager had made (others, such as homes, lie where an admin put them)
    .uploads/<folder>/<id>    what has come of uploads: no mount leads there, and the rename into place is one step

Where the file system keeps limits (``btrfs``), a new folder's place is ``.vfolders/<id>/files`` in a subvolume
``.vfolders/<id>``, which has its uploads, too, in ``uploads/<id>``: they count as well, and can be renamed.
"""

import asyncio
import errno
import hashlib
import os
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from bai_agent import folders
from bai_agent.acting import acting_as, drop_groups
from bai_agent.files import FileFault, opened
from bai_agent.runtimes.base import Identity
from bai_jupyter.common.messages import has_hard_quota
from bai_jupyter.common.reasons import Reason

T = TypeVar("T")
Params = Mapping[str, Any]

DRAFTS = ".uploads"
LIMITED_FILES, LIMITED_DRAFTS = "files", "uploads"


class OpenFolders:
    """Long work (copy, delete, measure) keeps no short work waiting. ``stopping`` is set when nothing is to go on."""

    def __init__(self, volumes: Mapping[str, Path], agent: str, forced: Identity | None) -> None:
        drop_groups()
        self._volumes, self._agent, self._forced = volumes, agent, forced
        self._usual = forced or Identity(folders.DEFAULT_UID, folders.DEFAULT_UID)
        self._quick = ThreadPoolExecutor(8, thread_name_prefix="files")
        self._slow = ThreadPoolExecutor(2, thread_name_prefix="trees")
        self.stopping = threading.Event()

    async def close(self) -> None:
        self.stopping.set()
        for pool in (self._quick, self._slow):
            await asyncio.to_thread(pool.shutdown, wait=True, cancel_futures=True)

    async def do(self, params: Params, work: Callable[[int], T]) -> T:
        """Short work on the folder's root, in a thread, as the folder's user."""
        return await self.quickly(partial(self.in_folder, params, work))

    async def quickly(self, work: Callable[[], T]) -> T:
        """Short work in a thread. Raises ``FileFault``, also for what the system refuses."""
        return await self._run(self._quick, work)

    async def slowly(self, work: Callable[[], T]) -> T:
        """Long work, as ``quickly``."""
        return await self._run(self._slow, work)

    async def _run(self, pool: ThreadPoolExecutor, work: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(pool, work)
        except (OSError, ValueError) as error:
            raise FileFault(self._reason_of(error)) from error

    # In a thread

    def in_folder(self, params: Params, work: Callable[[int], T]) -> T:
        """``work`` gets the folder's root."""
        with opened(self.open(params)) as root, acting_as(self.user_of(root)):
            return work(root)

    def open(self, params: Params) -> int:
        return folders.open_below(self.root_of(params["volume"]), params["subpath"])

    def root_of(self, volume: str) -> Path:
        """Where the volume is here."""
        if volume not in self._volumes:
            raise FileFault(Reason.of("volume-away", volume=volume))
        return self._volumes[volume].resolve(strict=True)

    def user_of(self, root: int) -> Identity:
        """The owner of a folder; one that is root's is given to the user that its sessions will have."""
        found = os.fstat(root)
        if os.geteuid() != 0 or found.st_uid != 0:
            return Identity(found.st_uid, found.st_gid or found.st_uid)
        os.chown(f"/proc/self/fd/{root}", self._usual.uid, self._usual.gid)  # the descriptor is O_PATH
        return self._usual

    def owner_beside(self, home: Params | None) -> Identity:
        """Whose a folder is that is made beside this home."""
        if os.geteuid() != 0:
            return Identity(os.geteuid(), os.getegid())
        if self._forced is None and home is not None and home["volume"] in self._volumes:
            with suppress(FileNotFoundError), opened(self.open(home)) as root:
                return self.user_of(root)
        return self._usual

    def open_drafts(self, params: Params, owner: Identity) -> int:
        """The folder of a folder's uploads, made if there is none."""
        volume = self.root_of(params["volume"])
        if has_hard_quota(params["subpath"]):
            with opened(folders.open_below(volume, split(params["subpath"])[0])) as subvolume:
                return folders.open_owned(subvolume, LIMITED_DRAFTS, owner)
        with suppress(FileExistsError):
            os.mkdir(volume / DRAFTS, 0o711)
        with opened(folders.open_below(volume, DRAFTS)) as above:
            with suppress(FileExistsError):
                os.mkdir(key(params), 0o700, dir_fd=above)
            return folders.open_owned(above, key(params), owner)

    def _reason_of(self, error: OSError | ValueError) -> Reason:
        number = getattr(error, "errno", None)
        if number == errno.EDQUOT:
            return Reason.of("folder-full", agent=self._agent)
        if number == errno.ENOSPC:
            return Reason.of("host-full", agent=self._agent)
        cause = getattr(error, "strerror", None) or str(error)
        return Reason.of("files-failed", agent=self._agent, cause=cause)


def split(subpath: str) -> tuple[str, str]:
    """Parent and name. A volume's own root is nobody's to make or delete."""
    path = PurePosixPath(subpath)
    if not path.name or ".." in path.parts or path.is_absolute():
        raise ValueError(f"{subpath!r} is not a folder inside a volume")
    return str(path.parent) if path.parent.name else "", path.name


def key(params: Params) -> str:
    """The name of a folder's uploads among those of the volume."""
    return hashlib.sha256(params["subpath"].encode()).hexdigest()[:32]
