"""Hard limits of folders on btrfs: each such folder lies in a subvolume of its own, in a quota group with its limit.

Groups of folders that one limit counts together (a *scope*: all of a user's or project's) are in a group of that scope.

Only *simple quotas* count as hard: with them a subvolume that somebody makes in a limited one joins its group, while
btrfs' older quotas let everybody write without limit in one. All of it blocks and needs root; each function may be
repeated, also after a kill in the middle. Raises ``OSError``.
"""

import errno
import fcntl
import hashlib
import os
import struct
import threading
from contextlib import suppress
from pathlib import Path
from uuid import UUID

# From <linux/btrfs.h>
_SUBVOL_CREATE, _INO_LOOKUP, _FS_INFO, _TREE_SEARCH = 0x5000940E, 0xD0009412, 0x8400941F, 0xD0009411
_QGROUP_ASSIGN, _QGROUP_CREATE, _QGROUP_LIMIT = 0x40189429, 0x4010942A, 0x8030942B
_FIRST_INODE = 256  # of each subvolume
_LIMITS_REFERENCED = 1
_NO_LIMIT = 2**64 - 1
_QUOTA_TREE, _RELATION = 8, 246
_SEARCH, _FOUND = struct.Struct("7Q4I4Q"), struct.Struct("3Q2I")
_LEVEL = 2977
"""Our groups are ``2977/<id of the subvolume>``: subvolumes' own are of level 0, and admins' begin at 1."""
_SCOPE_LEVEL = _LEVEL + 1
_scopes = threading.Lock()
"""A scope's group is made and filled without another thread finding it empty and taking it away."""


def keeps_limits(folder: int) -> bool:
    """Whether limits of subvolumes here are hard: an agent that is root, btrfs, and simple quotas that are on."""
    if os.geteuid() != 0:
        return False
    try:
        groups = _groups(folder)
        return ((groups / "mode").read_text().strip(), (groups / "enabled").read_text().strip()) == ("squota", "1")
    except OSError:
        return False


def make_subvolume(parent: int, name: str) -> None:
    """With a quota group of its own, which has no limit yet."""
    with suppress(FileExistsError):
        fcntl.ioctl(parent, _SUBVOL_CREATE, bytearray(struct.pack("q4088s", 0, os.fsencode(name))))
    folder = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=parent)
    try:
        subvolume, group = _numbers(folder)
        with suppress(FileExistsError):
            fcntl.ioctl(folder, _QGROUP_CREATE, struct.pack("QQ", 1, group))
        with suppress(FileExistsError):
            fcntl.ioctl(folder, _QGROUP_ASSIGN, struct.pack("QQQ", 1, subvolume, group))
    finally:
        os.close(folder)


def limit(root: int, folder: int, size_bytes: int | None) -> None:
    """How much the subvolume of this open folder may hold, its own book-keeping counted; None: no limit.

    It may be less than what is there: then nothing can be added. ``root`` as for ``enter_scope``.
    """
    _, group = _numbers(folder)
    most = _NO_LIMIT if size_bytes is None else size_bytes
    fcntl.ioctl(root, _QGROUP_LIMIT, struct.pack("QQQQQQ", group, _LIMITS_REFERENCED, most, 0, 0, 0))


def enter_scope(root: int, folder: int, scope: str | None) -> None:
    """Have what the subvolume of ``folder`` holds count for that scope, and no other; None: for none.

    ``root`` lies in no limited subvolume: in one that is full, Linux refuses this.
    """
    _, member = _numbers(folder)
    with _scopes:
        group = None if scope is None else _scope_group(scope)
        present = _scopes_of(root, member)
        if group is not None and group not in present:
            with suppress(FileExistsError):
                fcntl.ioctl(root, _QGROUP_CREATE, struct.pack("QQ", 1, group))
            with suppress(FileExistsError):
                fcntl.ioctl(root, _QGROUP_ASSIGN, struct.pack("QQQ", 1, member, group))
        for other in present - {group}:
            with suppress(FileNotFoundError):
                fcntl.ioctl(root, _QGROUP_ASSIGN, struct.pack("QQQ", 0, member, other))
            _drop_empty(root, other)


def limit_scope(root: int, scope: str, size_bytes: int) -> None:
    """How much all its members together may hold. A scope that has none any more needs no limit."""
    asked = struct.pack("QQQQQQ", _scope_group(scope), _LIMITS_REFERENCED, size_bytes, 0, 0, 0)
    with suppress(FileNotFoundError):
        fcntl.ioctl(root, _QGROUP_LIMIT, asked)


def sweep(folder: int) -> None:
    """Take away groups of subvolumes that are gone. btrfs drops those some time after they were deleted."""
    groups = _groups(folder)
    for path in groups.glob(f"{_LEVEL}_*"):
        number = int(path.name.partition("_")[2])
        if not (groups / f"0_{number}").exists():
            with suppress(OSError):
                fcntl.ioctl(folder, _QGROUP_CREATE, struct.pack("QQ", 0, _LEVEL << 48 | number))
    with _scopes:
        for path in groups.glob(f"{_SCOPE_LEVEL}_*"):
            _drop_empty(folder, _SCOPE_LEVEL << 48 | int(path.name.partition("_")[2]))


def _numbers(folder: int) -> tuple[int, int]:
    """The subvolume that an open folder lies in, and its group."""
    asked = bytearray(struct.pack("QQ4080x", 0, _FIRST_INODE))
    fcntl.ioctl(folder, _INO_LOOKUP, asked)
    (subvolume,) = struct.unpack_from("Q", asked)
    return subvolume, _LEVEL << 48 | subvolume


def _scope_group(scope: str) -> int:
    """By its name alone, so that nothing has to be written down: 48 bits tell the owners of one volume apart."""
    return _SCOPE_LEVEL << 48 | int.from_bytes(hashlib.sha256(scope.encode()).digest()[:6])


def _scopes_of(folder: int, member: int) -> set[int]:
    """The groups of scopes that a folder's group is in."""
    first, last = _SCOPE_LEVEL << 48, (_SCOPE_LEVEL + 1 << 48) - 1
    asked = (_QUOTA_TREE, member, member, first, last, 0, _NO_LIMIT, _RELATION, _RELATION, 64, 0, 0, 0, 0, 0)
    told = bytearray(4096)
    _SEARCH.pack_into(told, 0, *asked)
    fcntl.ioctl(folder, _TREE_SEARCH, told)
    count, at, found = _SEARCH.unpack_from(told)[9], _SEARCH.size, set()
    for _ in range(count):
        _, _, group, _, length = _FOUND.unpack_from(told, at)
        found.add(group)
        at += _FOUND.size + length
    return found


def _drop_empty(folder: int, group: int) -> None:
    """Linux keeps one that has members."""
    try:
        fcntl.ioctl(folder, _QGROUP_CREATE, struct.pack("QQ", 0, group))
    except OSError as error:
        if error.errno not in (errno.EBUSY, errno.ENOENT):
            raise


def _groups(folder: int) -> Path:
    """Where Linux tells of the quota groups of this file system."""
    told = fcntl.ioctl(folder, _FS_INFO, bytes(1024))
    return Path(f"/sys/fs/btrfs/{UUID(bytes=told[16:32])}/qgroups")
